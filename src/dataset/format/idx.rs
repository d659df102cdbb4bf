//! The idx format of MNIST: a magic number, big-endian dimensions, bytes.
//!
//! LeCun, Cortes and Burges, "The MNIST database", section "File formats".

use std::io::BufRead;
use std::path::Path;

use super::{open, read_up_to};
use crate::dataset::{DatasetError, Part};

/// Two zero bytes, 8 for "unsigned byte", the number of dimensions.
const IMAGES: u32 = 0x0000_0803;
const LABELS: u32 = 0x0000_0801;

/// Reads a file of images and the file of their labels.
///
/// # Errors
/// Another magic number, another image size, fewer or more bytes than the header says, a label that
/// is not below `classes`, or two files of different lengths.
pub(crate) fn read(
    images: &Path,
    labels: &Path,
    [height, width]: [u32; 2],
    classes: u32,
) -> Result<Part, DatasetError> {
    let (count, pixels) = read_images(images, [height, width])?;
    let label_bytes = read_labels(labels, classes)?;
    if label_bytes.len() as u64 != u64::from(count) {
        return Err(DatasetError::format(
            labels,
            "byte 4",
            format!("{} labels", label_bytes.len()),
            format!("{count}, one for each image of {}", images.display()),
        ));
    }
    Ok(Part { pixels, labels: label_bytes })
}

fn read_images(path: &Path, [height, width]: [u32; 2]) -> Result<(u32, Vec<u8>), DatasetError> {
    let mut reader = open(path)?;
    let [count, rows, columns] = header(&mut reader, path, IMAGES)?;
    if [rows, columns] != [height, width] {
        return Err(DatasetError::format(
            path,
            "byte 8",
            format!("images of {rows}×{columns}"),
            format!("{height}×{width}"),
        ));
    }
    let size = u64::from(count) * u64::from(rows) * u64::from(columns);
    Ok((count, body(&mut reader, path, 16, size)?))
}

fn read_labels(path: &Path, classes: u32) -> Result<Vec<u8>, DatasetError> {
    let mut reader = open(path)?;
    let [count] = header(&mut reader, path, LABELS)?;
    let labels = body(&mut reader, path, 8, u64::from(count))?;
    if let Some(index) = labels.iter().position(|&label| u32::from(label) >= classes) {
        return Err(DatasetError::format(
            path,
            format!("byte {}", 8 + index),
            format!("label {}", labels[index]),
            format!("0 to {}", classes - 1),
        ));
    }
    Ok(labels)
}

fn header<const N: usize>(
    reader: &mut dyn BufRead,
    path: &Path,
    magic: u32,
) -> Result<[u32; N], DatasetError> {
    let size = 4 + 4 * N;
    let bytes = read_up_to(reader, size as u64, path)?;
    if bytes.len() < size {
        return Err(DatasetError::format(
            path,
            format!("byte {}", bytes.len()),
            "the file ends",
            format!("an idx header of {size} bytes"),
        ));
    }
    let word = |index: usize| {
        let at = 4 * index;
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    if word(0) != magic {
        return Err(DatasetError::format(
            path,
            "byte 0",
            format!("magic number {:#010x}", word(0)),
            format!("{magic:#010x}"),
        ));
    }
    let dimensions = std::array::from_fn(|index| word(index + 1));
    if dimensions[0] == 0 {
        return Err(DatasetError::format(path, "byte 4", "a count of 0", "at least 1"));
    }
    Ok(dimensions)
}

/// Exactly `size` bytes and then the end.
fn body(
    reader: &mut dyn BufRead,
    path: &Path,
    offset: u64,
    size: u64,
) -> Result<Vec<u8>, DatasetError> {
    let bytes = read_up_to(reader, size + 1, path)?;
    let found = bytes.len() as u64;
    if found == size {
        return Ok(bytes);
    }
    let found = if found < size { "the file ends" } else { "the file goes on" };
    Err(DatasetError::format(
        path,
        format!("byte {}", offset + (bytes.len() as u64).min(size)),
        found,
        format!("{size} bytes after the header of {offset}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, gzip};
    use super::*;

    /// Two images of 2×3 and their labels.
    fn images() -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        bytes.extend(0..12);
        bytes
    }

    fn labels() -> Vec<u8> {
        vec![0, 0, 8, 1, 0, 0, 0, 2, 9, 4]
    }

    /// The message without the folder, or the part that was read.
    fn check(images: &[u8], labels: &[u8]) -> Result<Part, String> {
        let folder = tempfile::tempdir().unwrap();
        let (images, labels) = (file(&folder, "images", images), file(&folder, "labels", labels));
        read(&images, &labels, [2, 3], 10).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn reads_plain_and_packed_files() {
        let part = check(&images(), &gzip(&labels())).unwrap();
        assert_eq!(part, Part { pixels: (0..12).collect(), labels: vec![9, 4] });
        assert_eq!(check(&gzip(&images()), &labels()).unwrap(), part);
    }

    #[test]
    fn every_way_to_be_wrong_has_its_message() {
        #[track_caller]
        fn refuses(images: &[u8], labels: &[u8], message: &str) {
            assert_eq!(check(images, labels).unwrap_err(), message);
        }
        let (x, y) = (images(), labels());
        let with = |bytes: &[u8], at: usize, value: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] = value;
            bytes
        };
        refuses(&[], &y, "images, byte 0: the file ends; expected an idx header of 16 bytes");
        refuses(&y, &x, "images, byte 10: the file ends; expected an idx header of 16 bytes");
        refuses(
            &with(&x, 3, 1),
            &y,
            "images, byte 0: magic number 0x00000801; expected 0x00000803",
        );
        refuses(
            &x,
            &with(&y, 2, 9),
            "labels, byte 0: magic number 0x00000901; expected 0x00000801",
        );
        refuses(&with(&x, 11, 3), &y, "images, byte 8: images of 3×3; expected 2×3");
        refuses(
            &x[..20],
            &y,
            "images, byte 20: the file ends; expected 12 bytes after the header of 16",
        );
        refuses(&with(&x, 7, 0), &y, "images, byte 4: a count of 0; expected at least 1");
        refuses(&x, &with(&y, 8, 10), "labels, byte 8: label 10; expected 0 to 9");
        refuses(
            &with(&x, 7, 1),
            &y,
            "images, byte 22: the file goes on; expected 6 bytes after the header of 16",
        );
        let three = [0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3];
        refuses(&x, &three, "labels, byte 4: 3 labels; expected 2, one for each image of images");
    }

    #[test]
    fn a_header_that_claims_four_billion_images_costs_no_memory() {
        let mut bytes = images();
        bytes[4..8].fill(0xff);
        let error = check(&bytes, &labels()).unwrap_err();
        assert_eq!(
            error,
            "images, byte 28: the file ends; expected 25769803770 bytes after the header of 16"
        );
    }
}
