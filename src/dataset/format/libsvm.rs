//! The LIBSVM text format: a line per example, `label index:value index:value …`.
//!
//! Indices count from 1 and rise; a feature that is not named is 0.

use std::path::Path;

use super::text;
use crate::dataset::DatasetError;

/// Examples as they are in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Examples {
    /// Feature values, example by example.
    pub values: Vec<f32>,
    /// Labels, as numbered in the file.
    pub labels: Vec<u8>,
}

/// What the values of a file must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Number of features.
    pub features: usize,
    /// Least and greatest value.
    pub values: [f32; 2],
    /// Least and greatest label.
    pub labels: [u8; 2],
}

/// Reads a file.
///
/// # Errors
/// A line that is not in the format, or a label, index or value outside `limits`; and an empty file.
pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Examples, DatasetError> {
    let mut examples = Examples::default();
    for (index, line) in text(path)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        read_line(line, limits, &mut examples).map_err(|Fault { place, found, expected }| {
            DatasetError::format(path, format!("line {}{place}", index + 1), found, expected)
        })?;
    }
    if examples.labels.is_empty() {
        return Err(DatasetError::format(path, "line 1", "no example", "at least one"));
    }
    Ok(examples)
}

struct Fault {
    place: String,
    found: String,
    expected: String,
}

fn read_line(line: &str, limits: &Limits, examples: &mut Examples) -> Result<(), Fault> {
    let mut words = line.split_ascii_whitespace();
    let label = words.next().unwrap_or_default();
    let [least, greatest] = limits.labels;
    let number = label.parse().ok().filter(|number: &u8| (least..=greatest).contains(number));
    examples.labels.push(number.ok_or_else(|| Fault {
        place: String::new(),
        found: format!("label `{label}`"),
        expected: format!("an integer from {least} to {greatest}"),
    })?);

    let start = examples.values.len();
    examples.values.resize(start + limits.features, 0.0);
    let mut last = 0;
    for word in words {
        let fault = |expected: String| Fault {
            place: format!(", after feature {last}"),
            found: format!("`{word}`"),
            expected,
        };
        let (index, value) = word.split_once(':').ok_or_else(|| fault("index:value".to_owned()))?;
        let index = index
            .parse()
            .ok()
            .filter(|index| (last + 1..=limits.features).contains(index))
            .ok_or_else(|| fault(format!("an index from {} to {}", last + 1, limits.features)))?;
        let [least, greatest] = limits.values;
        // A range contains no NaN, so that is refused too.
        examples.values[start + index - 1] = value
            .parse()
            .ok()
            .filter(|value: &f32| (least..=greatest).contains(value))
            .ok_or_else(|| fault(format!("a value from {least} to {greatest}")))?;
        last = index;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bzip2, file};
    use super::*;

    fn check(bytes: &[u8]) -> Result<Examples, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "usps", bytes);
        let limits = Limits { features: 3, values: [-1.0, 1.0], labels: [1, 10] };
        read(&path, &limits).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn reads_plain_and_packed_files() {
        let text = b"7 1:-1 2:0.5 3:1\n10 2:-0.25\n\n1 \n";
        let examples = check(text).unwrap();
        assert_eq!(examples.labels, [7, 10, 1]);
        assert_eq!(examples.values, [-1.0, 0.5, 1.0, 0.0, -0.25, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(check(&bzip2(text)).unwrap(), examples);
    }

    #[test]
    fn every_way_to_be_wrong_has_its_message() {
        #[track_caller]
        fn refuses(text: &str, message: &str) {
            assert_eq!(check(text.as_bytes()).unwrap_err(), message);
        }
        refuses("", "usps, line 1: no example; expected at least one");
        refuses("0 1:1", "usps, line 1: label `0`; expected an integer from 1 to 10");
        refuses("1 1:0\n11 1:1", "usps, line 2: label `11`; expected an integer from 1 to 10");
        refuses("1.5", "usps, line 1: label `1.5`; expected an integer from 1 to 10");
        refuses("1 1", "usps, line 1, after feature 0: `1`; expected index:value");
        refuses("1 0:1", "usps, line 1, after feature 0: `0:1`; expected an index from 1 to 3");
        refuses("1 4:1", "usps, line 1, after feature 0: `4:1`; expected an index from 1 to 3");
        refuses("1 2:1 2:1", "usps, line 1, after feature 2: `2:1`; expected an index from 3 to 3");
        refuses(
            "1 1:1.01",
            "usps, line 1, after feature 0: `1:1.01`; expected a value from -1 to 1",
        );
        refuses("1 1:NaN", "usps, line 1, after feature 0: `1:NaN`; expected a value from -1 to 1");
        refuses("1 1:x", "usps, line 1, after feature 0: `1:x`; expected a value from -1 to 1");
    }
}
