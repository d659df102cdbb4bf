//! The CIFAR binary format: records of one or two label bytes and 3,072 pixel bytes.
//!
//! Krizhevsky, "The CIFAR-10 dataset", section "Binary version": red, green and blue plane, row by row.

use std::path::Path;

use super::{open, read_up_to};
use crate::dataset::{DatasetError, Part};

const PIXELS: usize = 3 * 32 * 32;

/// No file of the two datasets has more images.
const MOST_IMAGES: usize = 60_000;

/// The label bytes of a record, first to last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label {
    /// What it is, for messages.
    pub what: &'static str,
    /// Number of classes; the byte is below it.
    pub classes: u8,
}

/// Reads a file whose records start with `labels`; the last of them is the label.
///
/// # Errors
/// A size that is not a number of whole records, or a label out of range.
pub(crate) fn read(path: &Path, labels: &[Label]) -> Result<Part, DatasetError> {
    let record = labels.len() + PIXELS;
    let limit = record * MOST_IMAGES;
    let bytes = read_up_to(&mut open(path)?, limit as u64 + 1, path)?;
    if bytes.is_empty() || bytes.len() % record != 0 || bytes.len() > limit {
        return Err(DatasetError::format(
            path,
            format!("byte {}", bytes.len() / record * record),
            match bytes.len() {
                0 => "the file is empty".to_owned(),
                size if size > limit => format!("more than {MOST_IMAGES} records"),
                size => format!("a record of {} bytes", size % record),
            },
            format!("records of {record} bytes, 1 to {MOST_IMAGES} of them"),
        ));
    }
    let mut part = Part::default();
    part.pixels.reserve_exact(bytes.len() / record * PIXELS);
    for (index, bytes) in bytes.chunks_exact(record).enumerate() {
        let (found, pixels) = bytes.split_at(labels.len());
        for (at, (&value, label)) in found.iter().zip(labels).enumerate() {
            if value >= label.classes {
                return Err(DatasetError::format(
                    path,
                    format!("byte {} (record {index})", index * record + at),
                    format!("{} {value}", label.what),
                    format!("0 to {}", label.classes - 1),
                ));
            }
        }
        part.labels.extend(found.last());
        part.pixels.extend_from_slice(pixels);
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    const TEN: [Label; 1] = [Label { what: "label", classes: 10 }];
    const HUNDRED: [Label; 2] =
        [Label { what: "coarse label", classes: 20 }, Label { what: "fine label", classes: 100 }];

    fn check(bytes: &[u8], labels: &[Label]) -> Result<Part, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "train.bin", bytes);
        read(&path, labels).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    fn record(labels: &[u8], pixel: u8) -> Vec<u8> {
        let mut bytes = labels.to_vec();
        bytes.resize(labels.len() + PIXELS, pixel);
        bytes
    }

    #[test]
    fn reads_both_versions() {
        let part = check(&[record(&[9], 1), record(&[0], 2)].concat(), &TEN).unwrap();
        assert_eq!(part.labels, [9, 0]);
        assert_eq!(part.pixels, [vec![1; PIXELS], vec![2; PIXELS]].concat());
        let part = check(&record(&[19, 99], 3), &HUNDRED).unwrap();
        assert_eq!((part.labels, part.pixels), (vec![99], vec![3; PIXELS]));
    }

    #[test]
    fn every_way_to_be_wrong_has_its_message() {
        #[track_caller]
        fn refuses(bytes: &[u8], labels: &[Label], message: &str) {
            assert_eq!(check(bytes, labels).unwrap_err(), message);
        }
        let whole = record(&[1], 5);
        let expected = "expected records of 3073 bytes, 1 to 60000 of them";
        refuses(&[], &TEN, &format!("train.bin, byte 0: the file is empty; {expected}"));
        let cut = [&whole[..], &whole[..100]].concat();
        refuses(&cut, &TEN, &format!("train.bin, byte 3073: a record of 100 bytes; {expected}"));
        let bad = [whole, record(&[10], 5)].concat();
        refuses(&bad, &TEN, "train.bin, byte 3073 (record 1): label 10; expected 0 to 9");
        let bad = record(&[20, 5], 5);
        refuses(&bad, &HUNDRED, "train.bin, byte 0 (record 0): coarse label 20; expected 0 to 19");
        let bad = record(&[2, 100], 5);
        refuses(&bad, &HUNDRED, "train.bin, byte 1 (record 0): fine label 100; expected 0 to 99");
    }
}
