//! A user's own table of numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a table in a text file is read: its first line names the columns, every other line is an example,
/// and every column that no other key names is a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Csv {
    /// The file, relative to the experiment file; it may be packed by gzip or bzip2. Its content decides the
    /// result, its place does not.
    pub path: String,
    /// The column that has the class.
    pub label: String,
    /// The values of that column; the order numbers the classes.
    #[schemars(length(min = 2, max = 256), extend("uniqueItems" = true))]
    pub classes: Vec<String>,
    /// Number of features: of the columns that no other key names.
    #[schemars(range(min = 1, max = 65_536))]
    pub features: u32,
    /// Columns that are no features: names, comments, dates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub ignore: Vec<String>,
    /// Which rows are read, where the file has several domains; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<RowDomain>,
    /// Which rows are the test split.
    #[serde(default)]
    pub test: TestRows,
    /// What stands between the fields of a line, one character.
    #[serde(default = "Csv::default_separator")]
    #[schemars(
        regex(pattern = "^[ -~\t]$"),
        extend("patternErrorMessage" = "one character of ASCII")
    )]
    pub separator: String,
    /// Rows in a training batch. In `adapt`, rows of each domain in a batch.
    #[serde(default = "Csv::default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// How values become a network's input.
    #[serde(default)]
    pub normalize: RowNormalize,
    /// Share of the training split that becomes the validation split, in 0..1.
    #[serde(default = "Csv::default_val_fraction")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_fraction: f64,
    /// Seed of the choice of validation rows, and of test rows where they are drawn; the same in all stages,
    /// so that none trains on what another holds out.
    #[serde(default)]
    pub split_seed: u64,
    /// Trains on this many rows of each class alone, drawn by the seed of the stage: the 5 of a class
    /// are among its 20. What is counted or normalised over the training split is so over all of it, and the
    /// validation split stays whole: a choice made on it, as `keep = "best"`, sees more labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub labels_per_class: Option<u32>,
}

impl Csv {
    fn default_separator() -> String {
        ",".to_owned()
    }

    fn default_batch_size() -> u32 {
        64
    }

    fn default_val_fraction() -> f64 {
        0.1
    }

    /// What stands between the fields of a line.
    pub fn separator(&self) -> u8 {
        self.separator.bytes().next().unwrap_or(b',')
    }

    /// The rows that are read, as part of a domain's name, where they are not all.
    pub(super) fn part(&self) -> Option<String> {
        // A dot would part the name of a parameter, and a slash that of a metric.
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        let name = |letter: char| if legal(letter) { letter } else { '-' };
        self.domain.as_ref().map(|domain| domain.value.chars().map(name).collect())
    }
}

/// The rows of one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RowDomain {
    /// The column that tells the domain.
    pub column: String,
    /// What it has in the rows that are read. It names the domain in metrics: `csv-VALUE`.
    pub value: String,
}

/// Which rows are the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TestRows {
    /// As a column says, which has `train` or `test` in each row.
    Column(TestColumn),
    /// A share of the rows, drawn by `split-seed`.
    Drawn(TestDrawn),
}

impl Default for TestRows {
    fn default() -> Self {
        Self::Drawn(TestDrawn::default())
    }
}

/// Settings of `column`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TestColumn {
    /// The column.
    pub name: String,
}

/// Settings of `drawn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TestDrawn {
    /// Share of the rows, in 0..1; at least one row.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub fraction: f64,
}

impl Default for TestDrawn {
    fn default() -> Self {
        Self { fraction: 0.2 }
    }
}

/// How the values of a column become numbers of a usual size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RowNormalize {
    /// `(x − mean) / std` per column over the training split.
    #[default]
    Standard,
    /// As they are.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_named_without_what_parts_names() {
        let mut csv: Csv = serde_json::from_value(serde_json::json!({
            "path": "a.csv", "label": "y", "classes": ["0", "1"], "features": 2
        }))
        .unwrap();
        assert_eq!(csv.part(), None);
        let domain = |value: &str| RowDomain { column: "site".to_owned(), value: value.to_owned() };
        csv.domain = Some(domain("St. Gallen/2"));
        assert_eq!(csv.part().as_deref(), Some("St--Gallen-2"));
        assert_eq!(csv.separator(), b',');
    }
}
