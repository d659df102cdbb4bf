//! The LIBSVM text format (svmlight's): a line per example, `label index:value index:value …`.
//!
//! Indices count from 1 or, as some programs write them, from 0, and rise; a feature that is not
//! named is 0.

use std::path::Path;

use super::text;
use crate::dataset::DatasetError;

/// An example as it is in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Example {
    /// Its label, as numbered in the file.
    pub label: i32,
    /// The features that are named, counted from 0, rising, and their values.
    pub features: Vec<(u32, f32)>,
}

/// What the values of a file must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The index of the first feature.
    pub first: usize,
    /// Number of features.
    pub features: usize,
    /// Least and greatest value.
    pub values: [f32; 2],
    /// Whether values are whole numbers.
    pub whole: bool,
    /// The labels that there are.
    pub labels: &'static [i32],
    /// The same for people.
    pub labels_in_words: &'static str,
}

/// Reads a file.
///
/// # Errors
/// A line that is not in the format, or a label, index or value outside `limits`; and an empty file.
pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Vec<Example>, DatasetError> {
    let mut examples = Vec::new();
    for (index, line) in text(path)?.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let example = read_line(line, limits).map_err(|Fault { place, found, expected }| {
            DatasetError::format(path, format!("line {}{place}", index + 1), found, expected)
        })?;
        examples.push(example);
    }
    if examples.is_empty() {
        return Err(DatasetError::format(path, "line 1", "no example", "at least one"));
    }
    Ok(examples)
}

struct Fault {
    place: String,
    found: String,
    expected: String,
}

fn read_line(line: &str, limits: &Limits) -> Result<Example, Fault> {
    let mut words = line.split_ascii_whitespace();
    let label = words.next().unwrap_or_default();
    let number = label.parse().ok().filter(|number| limits.labels.contains(number));
    let label = number.ok_or_else(|| Fault {
        place: String::new(),
        found: format!("label `{label}`"),
        expected: limits.labels_in_words.to_owned(),
    })?;

    let mut features: Vec<(u32, f32)> = Vec::new();
    let mut next = limits.first;
    let end = limits.first + limits.features;
    for word in words {
        let fault = |expected: String| Fault {
            place: match features.last() {
                None => ", before the first feature".to_owned(),
                Some(_) => format!(", after feature {}", next - 1),
            },
            found: format!("`{word}`"),
            expected,
        };
        let (index, value) = word.split_once(':').ok_or_else(|| fault("index:value".to_owned()))?;
        let index = index
            .parse()
            .ok()
            .filter(|index| (next..end).contains(index))
            .ok_or_else(|| fault(format!("an index from {next} to {}", end - 1)))?;
        let [least, greatest] = limits.values;
        // A range contains no NaN, so that is refused too.
        let value = value
            .parse()
            .ok()
            .filter(|value: &f32| (least..=greatest).contains(value))
            .filter(|value| !limits.whole || value.fract() == 0.0)
            .ok_or_else(|| {
                let what = if limits.whole { "whole number" } else { "value" };
                fault(format!("a {what} from {least} to {greatest}"))
            })?;
        features.push(((index - limits.first) as u32, value));
        next = index + 1;
    }
    Ok(Example { label, features })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bzip2, file};
    use super::*;

    const USPS: Limits = Limits {
        first: 1,
        features: 3,
        values: [-1.0, 1.0],
        whole: false,
        labels: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        labels_in_words: "an integer from 1 to 10",
    };

    fn check(bytes: &[u8]) -> Result<Vec<Example>, String> {
        check_with(&USPS, bytes)
    }

    fn check_with(limits: &Limits, bytes: &[u8]) -> Result<Vec<Example>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "usps", bytes);
        read(&path, limits).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn reads_plain_and_packed_files() {
        let text = b"7 1:-1 2:0.5 3:1\n10 2:-0.25\n\n1 \n";
        let examples = check(text).unwrap();
        let example = |label, features: &[(u32, f32)]| Example { label, features: features.into() };
        assert_eq!(
            examples,
            [
                example(7, &[(0, -1.0), (1, 0.5), (2, 1.0)]),
                example(10, &[(1, -0.25)]),
                example(1, &[]),
            ]
        );
        assert_eq!(check(&bzip2(text)).unwrap(), examples);
    }

    #[test]
    fn indices_may_count_from_zero_and_labels_may_be_negative() {
        let limits = Limits { first: 0, labels: &[-1, 1], labels_in_words: "-1 or 1", ..USPS };
        let examples = check_with(&limits, b"-1 0:1 2:0.5\n").unwrap();
        assert_eq!(examples, [Example { label: -1, features: vec![(0, 1.0), (2, 0.5)] }]);
        let refuses = |text: &str| check_with(&limits, text.as_bytes()).unwrap_err();
        assert_eq!(refuses("0 0:1"), "usps, line 1: label `0`; expected -1 or 1");
        assert_eq!(
            refuses("1 0:1 0:1"),
            "usps, line 1, after feature 0: `0:1`; expected an index from 1 to 2"
        );
        assert_eq!(
            refuses("1 3:1"),
            "usps, line 1, before the first feature: `3:1`; expected an index from 0 to 2"
        );
        let whole = Limits { whole: true, ..limits };
        assert_eq!(
            check_with(&whole, b"1 0:1 1:0.5").unwrap_err(),
            "usps, line 1, after feature 0: `1:0.5`; expected a whole number from -1 to 1"
        );
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
        refuses("1 1", "usps, line 1, before the first feature: `1`; expected index:value");
        refuses(
            "1 0:1",
            "usps, line 1, before the first feature: `0:1`; expected an index from 1 to 3",
        );
        refuses(
            "1 4:1",
            "usps, line 1, before the first feature: `4:1`; expected an index from 1 to 3",
        );
        refuses("1 2:1 2:1", "usps, line 1, after feature 2: `2:1`; expected an index from 3 to 3");
        refuses(
            "1 1:1.01",
            "usps, line 1, before the first feature: `1:1.01`; expected a value from -1 to 1",
        );
        refuses(
            "1 1:NaN",
            "usps, line 1, before the first feature: `1:NaN`; expected a value from -1 to 1",
        );
        refuses(
            "1 1:x",
            "usps, line 1, before the first feature: `1:x`; expected a value from -1 to 1",
        );
    }
}
