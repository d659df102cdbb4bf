//! Tab-separated text of two columns, with the three header rows of Orange.

use std::path::Path;

use super::text;
use crate::dataset::DatasetError;

/// The number of a line, counted from 1, and its two fields.
pub(crate) type Row = (usize, [String; 2]);

/// Reads a file whose first lines are `header`. Empty lines are passed over.
///
/// # Errors
/// Another header, a line that has not two fields, and a file without a row.
pub(crate) fn read(path: &Path, header: &[&str]) -> Result<Vec<Row>, DatasetError> {
    let content = text(path)?;
    let mut lines = (1..).zip(content.lines());
    for expected in header {
        let (line, found) = lines.next().unwrap_or((1, ""));
        if found != *expected {
            let expected = format!("the header {expected:?}");
            return Err(DatasetError::format(
                path,
                format!("line {line}"),
                format!("{found:?}"),
                expected,
            ));
        }
    }
    let rows = lines.filter(|(_, line)| !line.is_empty()).map(|(number, line)| {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            [one, other] => Ok((number, [one.to_owned(), other.to_owned()])),
            _ => Err(DatasetError::format(
                path,
                format!("line {number}"),
                format!("{} fields", fields.len()),
                "2, separated by a tab",
            )),
        }
    });
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() {
        let place = format!("line {}", header.len() + 1);
        return Err(DatasetError::format(path, place, "no row", "at least one"));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, gzip};
    use super::*;

    fn check(bytes: &[u8]) -> Result<Vec<Row>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "x.tab", bytes);
        read(&path, &["a\tb", "c\t"]).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn reads_plain_and_packed_files() {
        let text = b"a\tb\nc\t\none\ttwo words\n\nthree\t\n";
        let row = |line, one: &str, other: &str| (line, [one.to_owned(), other.to_owned()]);
        let rows = [row(3, "one", "two words"), row(5, "three", "")];
        assert_eq!(check(text).unwrap(), rows);
        assert_eq!(check(&gzip(text)).unwrap(), rows);
    }

    #[test]
    fn every_way_to_be_wrong_has_its_message() {
        #[track_caller]
        fn refuses(text: &str, message: &str) {
            assert_eq!(check(text.as_bytes()).unwrap_err(), message);
        }
        refuses("", "x.tab, line 1: \"\"; expected the header \"a\\tb\"");
        refuses("a\tb\nd\t", "x.tab, line 2: \"d\\t\"; expected the header \"c\\t\"");
        refuses("a\tb\nc\t\n", "x.tab, line 3: no row; expected at least one");
        refuses("a\tb\nc\t\nx", "x.tab, line 3: 1 fields; expected 2, separated by a tab");
        refuses("a\tb\nc\t\nx\ty\tz", "x.tab, line 3: 3 fields; expected 2, separated by a tab");
    }
}
