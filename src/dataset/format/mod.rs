//! File formats. A reader checks what it reads and returns bytes; it knows no dataset.

pub(super) mod cifar;
pub(super) mod idx;
pub(super) mod libsvm;
pub(super) mod tab;
pub(super) mod table;
pub(super) mod wav;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;

use super::DatasetError;

/// No text file of a dataset here is larger than this when unpacked; a packed file that goes on is
/// damaged or hostile.
const TEXT_LIMIT: u64 = 1 << 30;

/// Opens a file, unpacking gzip and bzip2 by their first bytes, whatever its name says.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, DatasetError> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(cannot_read(path))?);
    let start = file.fill_buf().map_err(cannot_read(path))?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file)))
    } else if start.starts_with(b"BZh") {
        Box::new(BufReader::with_capacity(1 << 16, MultiBzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

/// Reads up to `limit` bytes. The buffer grows with what is really there, so a count in a damaged
/// header cannot claim memory.
fn read_up_to(reader: &mut dyn BufRead, limit: u64, path: &Path) -> Result<Vec<u8>, DatasetError> {
    let mut bytes = Vec::new();
    reader.take(limit).read_to_end(&mut bytes).map_err(cannot_read(path))?;
    Ok(bytes)
}

/// Reads a whole text file.
fn text(path: &Path) -> Result<String, DatasetError> {
    let mut text = String::new();
    let read = open(path)?.take(TEXT_LIMIT).read_to_string(&mut text).map_err(cannot_read(path))?;
    if read as u64 == TEXT_LIMIT {
        let place = format!("byte {TEXT_LIMIT}");
        return Err(DatasetError::format(path, place, "the text goes on", "less than 1 GiB"));
    }
    Ok(text)
}

fn cannot_read(path: &Path) -> impl Fn(std::io::Error) -> DatasetError + '_ {
    |source| DatasetError::Io { doing: "read", path: path.to_owned(), source }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use super::*;

    pub(crate) fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_files_are_known_by_their_bytes_and_not_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [b"text".to_vec(), gzip(b"text"), bzip2(b"text")] {
            let path = file(&folder, "name.txt", &bytes);
            let mut reader = open(&path).unwrap();
            assert_eq!(read_up_to(&mut reader, 99, &path).unwrap(), b"text");
        }
    }

    #[test]
    fn a_packed_file_that_ends_early_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [gzip(&[7; 5000]), bzip2(&[7; 5000])] {
            let path = file(&folder, "short", &bytes[..bytes.len() - 9]);
            let mut reader = open(&path).unwrap();
            let error = read_up_to(&mut reader, 1 << 20, &path).unwrap_err();
            assert!(error.to_string().starts_with("cannot read "), "{error}");
        }
    }
}
