//! Comma-separated numbers: the pixels of an image and then its label, a line per image.
//!
//! Lines that start with `@` are the header of KEEL's format and are passed over.

use std::path::Path;

use super::text;
use crate::dataset::{DatasetError, Part};

/// What a file's numbers must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Numbers before the label.
    pub pixels: usize,
    /// The greatest pixel value; the least is 0.
    pub greatest: u8,
    /// Number of classes; a label is below it.
    pub classes: u8,
}

/// Reads a file.
///
/// # Errors
/// A line with another number of fields, or a field that is not an integer within `limits`; and an
/// empty file.
pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Part, DatasetError> {
    let mut part = Part::default();
    for (index, line) in text(path)?.lines().enumerate() {
        if line.starts_with('@') || line.trim().is_empty() {
            continue;
        }
        let fields = line.split(',').count();
        if fields != limits.pixels + 1 {
            return Err(DatasetError::format(
                path,
                format!("line {}", index + 1),
                format!("{fields} fields"),
                format!("{}: {} pixels and the label", limits.pixels + 1, limits.pixels),
            ));
        }
        for (at, field) in line.split(',').map(str::trim).enumerate() {
            let is_pixel = at < limits.pixels;
            let greatest = if is_pixel { limits.greatest } else { limits.classes - 1 };
            let Some(number) = field.parse().ok().filter(|number: &u8| *number <= greatest) else {
                return Err(DatasetError::format(
                    path,
                    format!("line {}, field {}", index + 1, at + 1),
                    format!("`{field}`"),
                    format!("an integer from 0 to {greatest}"),
                ));
            };
            if is_pixel { &mut part.pixels } else { &mut part.labels }.push(number);
        }
    }
    if part.is_empty() {
        return Err(DatasetError::format(path, "line 1", "no image", "at least one"));
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, gzip};
    use super::*;

    fn check(bytes: &[u8]) -> Result<Part, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "rows.dat", bytes);
        read(&path, &Limits { pixels: 3, greatest: 16, classes: 10 }).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn reads_plain_packed_and_keel_files() {
        let part = Part { pixels: vec![0, 16, 3, 4, 5, 6], labels: vec![9, 0] };
        assert_eq!(check(b"0,16,3,9\n4,5,6,0").unwrap(), part);
        assert_eq!(check(&gzip(b"0,16,3,9\r\n4,5,6,0\r\n")).unwrap(), part);
        let keel =
            b"@relation optdigits\n@attribute a integer [0, 16]\n@data\n0, 16, 3, 9\n4,5,6,0\n";
        assert_eq!(check(keel).unwrap(), part);
    }

    #[test]
    fn every_way_to_be_wrong_has_its_message() {
        #[track_caller]
        fn refuses(text: &str, message: &str) {
            assert_eq!(check(text.as_bytes()).unwrap_err(), message);
        }
        refuses("", "rows.dat, line 1: no image; expected at least one");
        refuses("@data\n1,2,3", "rows.dat, line 2: 3 fields; expected 4: 3 pixels and the label");
        refuses(
            "1,2,3,4\n1,2,3,4,5",
            "rows.dat, line 2: 5 fields; expected 4: 3 pixels and the label",
        );
        refuses("1,17,3,4", "rows.dat, line 1, field 2: `17`; expected an integer from 0 to 16");
        refuses("1,2,-3,4", "rows.dat, line 1, field 3: `-3`; expected an integer from 0 to 16");
        refuses("1,2,3,10", "rows.dat, line 1, field 4: `10`; expected an integer from 0 to 9");
        refuses("a,2,3,1", "rows.dat, line 1, field 1: `a`; expected an integer from 0 to 16");
    }

    #[test]
    fn a_packed_file_that_ends_early_cannot_be_read() {
        let bytes = gzip("1,2,3,4\n".repeat(1000).as_bytes());
        let error = check(&bytes[..bytes.len() / 2]).unwrap_err();
        assert!(error.starts_with("cannot read rows.dat: "), "{error}");
    }
}
