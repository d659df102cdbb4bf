//! Tables of numbers.

use std::collections::BTreeSet;
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use crate::dataset::DatasetError;
use crate::dataset::format::open;
use crate::experiment::spec::{Csv, TestRows};

/// A table in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Number of values in a row.
    pub features: usize,
    /// The training split; all rows where no column tells the splits.
    pub train: RowPart,
    /// The test split; empty where no column tells the splits.
    pub test: RowPart,
}

/// Rows of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowPart {
    /// The values, row by row.
    pub values: Vec<f32>,
    /// The class of each row.
    pub labels: Vec<u8>,
}

/// Reads a table.
///
/// # Errors
/// Columns that are not those that `options` has, a field that is not what its column needs, and a domain or
/// split without a row.
pub fn read(path: &Path, options: &Csv) -> Result<Rows, DatasetError> {
    let mut reader = ReaderBuilder::new()
        .delimiter(options.separator())
        .trim(Trim::All)
        .from_reader(open(path)?);
    let header = reader.headers().map_err(|error| malformed(path, &error))?;
    let header: Vec<String> =
        header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    let columns = Columns::new(path, &header, options)?;
    let features = columns.features.len();
    let mut rows = Rows { features, train: RowPart::default(), test: RowPart::default() };
    let mut domains = BTreeSet::new();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| malformed(path, &error))? {
        let row = Row { path, header: &header, record: &record };
        if let Some((column, domain)) = columns.domain
            && row.get(column) != domain
        {
            domains.insert(row.get(column).to_owned());
            continue;
        }
        let part = if columns.is_test(&row)? { &mut rows.test } else { &mut rows.train };
        for &column in &columns.features {
            part.values.push(row.number(column)?);
        }
        part.labels.push(row.class(columns.label, options)?);
    }
    if let Some((column, domain)) = columns.domain
        && rows.train.labels.is_empty()
        && rows.test.labels.is_empty()
    {
        let place = format!("column `{}`", header[column]);
        let there = some(domains.iter().map(String::as_str));
        let expected = format!("one of the values that it has: {there}");
        return Err(DatasetError::format(path, place, format!("no row has `{domain}`"), expected));
    }
    for (split, part) in [("train", &rows.train), ("test", &rows.test)] {
        if part.labels.is_empty() && (split == "train" || columns.split.is_some()) {
            let found = format!("no row of the {split} split");
            return Err(DatasetError::format(path, "rows", found, "at least one"));
        }
    }
    Ok(rows)
}

/// Which column is what.
struct Columns<'a> {
    label: usize,
    split: Option<usize>,
    domain: Option<(usize, &'a str)>,
    features: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn new(path: &Path, header: &[String], options: &'a Csv) -> Result<Self, DatasetError> {
        let place = "line 1";
        let mut named = BTreeSet::new();
        if let Some(twice) = header.iter().find(|name| !named.insert(name.as_str())) {
            let found = format!("two columns `{twice}`");
            return Err(DatasetError::format(path, place, found, "each name once"));
        }
        let find = |name: &str| {
            let found = header.iter().position(|column| column == name);
            found.ok_or_else(|| {
                let columns = some(header.iter().map(String::as_str));
                let expected = format!("one of its columns: {columns}");
                DatasetError::format(path, place, format!("no column `{name}`"), expected)
            })
        };
        let label = find(&options.label)?;
        let domain = options.domain.as_ref();
        let domain = domain
            .map(|domain| Ok::<_, DatasetError>((find(&domain.column)?, domain.value.as_str())))
            .transpose()?;
        let split = match &options.test {
            TestRows::Column(column) => Some(find(&column.name)?),
            TestRows::Drawn(_) => None,
        };
        let ignored = options.ignore.iter().map(|name| find(name));
        let mut others = ignored.collect::<Result<BTreeSet<usize>, _>>()?;
        others.extend([Some(label), split, domain.map(|(column, _)| column)].into_iter().flatten());
        let features: Vec<usize> =
            (0..header.len()).filter(|column| !others.contains(column)).collect();
        if features.len() != options.features as usize {
            let names = some(features.iter().map(|&column| header[column].as_str()));
            let found = format!("{} columns that no other key names: {names}", features.len());
            let expected = format!(
                "{}, as `features` says; name in `ignore` what is no feature",
                options.features
            );
            return Err(DatasetError::format(path, place, found, expected));
        }
        Ok(Self { label, split, domain, features })
    }

    fn is_test(&self, row: &Row<'_>) -> Result<bool, DatasetError> {
        let Some(column) = self.split else { return Ok(false) };
        match row.get(column) {
            "train" => Ok(false),
            "test" => Ok(true),
            _ => Err(row.wrong(column, "`train` or `test`")),
        }
    }
}

/// A line of the table.
struct Row<'a> {
    path: &'a Path,
    header: &'a [String],
    record: &'a StringRecord,
}

impl<'a> Row<'a> {
    fn get(&self, column: usize) -> &'a str {
        &self.record[column]
    }

    fn number(&self, column: usize) -> Result<f32, DatasetError> {
        let number: Option<f32> = self.get(column).parse().ok();
        number.filter(|number| number.is_finite()).ok_or_else(|| {
            self.wrong(column, "a finite number; leave the row out, or name the column in `ignore`")
        })
    }

    fn class(&self, column: usize, options: &Csv) -> Result<u8, DatasetError> {
        let name = self.get(column);
        let class = options.classes.iter().position(|class| class == name);
        class.map(|class| class as u8).ok_or_else(|| {
            let classes = some(options.classes.iter().map(String::as_str));
            self.wrong(column, &format!("one of `classes`: {classes}"))
        })
    }

    fn wrong(&self, column: usize, expected: &str) -> DatasetError {
        let line = self.record.position().map_or(0, csv::Position::line);
        let place = format!("line {line}, column `{}`", self.header[column]);
        DatasetError::format(self.path, place, format!("`{}`", self.get(column)), expected)
    }
}

fn malformed(path: &Path, error: &csv::Error) -> DatasetError {
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            let found = format!("{len} fields");
            let expected = format!("{expected_len}, like the first line");
            DatasetError::format(path, format!("line {line}"), found, expected)
        }
        ErrorKind::Utf8 { pos, .. } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            DatasetError::format(path, format!("line {line}"), "bytes that are no text", "UTF-8")
        }
        _ => DatasetError::Io {
            doing: "read",
            path: path.to_owned(),
            source: std::io::Error::other(error.to_string()),
        },
    }
}

/// The first of some names.
fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        1..=10 => names.join(", "),
        more => format!("{}, and {} more", names[..10].join(", "), more - 10),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::message;
    use super::*;

    const TABLE: &str = "\u{feff}id,kind, width,height,site\n\
                         1,a,1.5,-2,x\n\
                         2,b,3e2,4,y\n\
                         3,\"a\",5,6,x\n";

    /// What a text is read as, with settings that differ from the usual ones.
    fn check(text: &str, settings: &Value) -> Result<Rows, String> {
        let mut options = json!({
            "path": "x", "label": "kind", "classes": ["b", "a"], "features": 2, "ignore": ["id", "site"]
        });
        for (key, value) in settings.as_object().unwrap() {
            options[key] = value.clone();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, text).unwrap();
        let options = serde_json::from_value(options).unwrap();
        read(&path, &options).map_err(|error| message(&error, folder.path()))
    }

    fn part(values: &[f32], labels: &[u8]) -> RowPart {
        RowPart { values: values.to_vec(), labels: labels.to_vec() }
    }

    #[test]
    fn rows_are_the_columns_that_nothing_else_names() {
        let rows = check(TABLE, &json!({})).unwrap();
        assert_eq!(rows.features, 2);
        assert_eq!(rows.train, part(&[1.5, -2.0, 300.0, 4.0, 5.0, 6.0], &[1, 0, 1]));
        assert_eq!(rows.test, part(&[], &[]));
        let tabs = TABLE.replace(',', "\t");
        assert_eq!(check(&tabs, &json!({ "separator": "\t" })).unwrap(), rows);
    }

    #[test]
    fn a_column_tells_the_splits_and_one_the_domain() {
        let text =
            "kind,split,width,site,height\na,train,1,x,2\nb,test,3,x,4\na,val,no number,y,6\n";
        let settings = json!({
            "ignore": [], "test": { "column": { "name": "split" } }, "domain": { "column": "site", "value": "x" }
        });
        let rows = check(text, &settings).unwrap();
        assert_eq!(rows.train, part(&[1.0, 2.0], &[1]), "nobody reads the rows of another domain");
        assert_eq!(rows.test, part(&[3.0, 4.0], &[0]));
    }

    #[test]
    fn every_way_to_be_wrong_has_its_message() {
        #[track_caller]
        fn refuses(text: &str, settings: &Value, expected: &str) {
            assert_eq!(check(text, settings).unwrap_err(), expected);
        }
        let columns = "id, kind, width, height, site";
        refuses(
            TABLE,
            &json!({ "label": "class" }),
            &format!("x.csv, line 1: no column `class`; expected one of its columns: {columns}"),
        );
        refuses(
            TABLE,
            &json!({ "ignore": ["id"] }),
            "x.csv, line 1: 3 columns that no other key names: width, height, site; expected 2, as `features` \
             says; name in `ignore` what is no feature",
        );
        refuses(
            TABLE,
            &json!({ "classes": ["a", "c"] }),
            "x.csv, line 3, column `kind`: `b`; expected one of `classes`: a, c",
        );
        for wrong in ["", "wide", "NaN", "inf"] {
            refuses(
                &TABLE.replace("3e2", wrong),
                &json!({}),
                &format!(
                    "x.csv, line 3, column `width`: `{wrong}`; expected a finite number; leave the row out, or \
                     name the column in `ignore`"
                ),
            );
        }
        refuses(
            &TABLE.replace("3e2,", ""),
            &json!({}),
            "x.csv, line 3: 4 fields; expected 5, like the first line",
        );
        refuses(
            TABLE,
            &json!({ "ignore": ["id"], "domain": { "column": "site", "value": "z" } }),
            "x.csv, column `site`: no row has `z`; expected one of the values that it has: x, y",
        );
        refuses(
            TABLE,
            &json!({ "ignore": ["id"], "test": { "column": { "name": "site" } } }),
            "x.csv, line 2, column `site`: `x`; expected `train` or `test`",
        );
        refuses(
            &TABLE.replace(",x\n", ",train\n").replace(",y\n", ",train\n"),
            &json!({ "ignore": ["id"], "test": { "column": { "name": "site" } } }),
            "x.csv, rows: no row of the test split; expected at least one",
        );
        refuses(
            &TABLE.replace("height", "width"),
            &json!({}),
            "x.csv, line 1: two columns `width`; expected each name once",
        );
        refuses(
            "id,kind\n",
            &json!({ "features": 1, "ignore": [] }),
            "x.csv, rows: no row of the train split; expected at least one",
        );
    }
}
