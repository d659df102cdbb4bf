//! Reports on one stage: a line for each layer, a line for each variant; means over seeds.
//!
//! [`prune`] shows what a pruning did, [`sensitivity`] how accuracy falls when one layer alone is pruned.
//! Pure, as the rest of the room: the caller brings the values.

pub mod prune;
pub mod sensitivity;
#[cfg(test)]
mod tests;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::build::Summary;
use super::data::number;
use super::{Style, grid, statistics};

/// What a cell without a value shows.
const DASH: &str = "–";

/// A report, for people and for programs.
pub trait Report {
    /// The report for people.
    fn text(&self, style: Style) -> String;

    /// The report for programs; fractions, where people read percent.
    fn json(&self) -> Value;

    /// Whether a result was made before all that is shown was measured.
    fn lacks_values(&self) -> bool {
        false
    }
}

/// The results of a stage that differ in their seeds alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// What tells it from the others, for people; empty where it is the only one.
    pub title: String,
    /// The same for programs: axis to value.
    pub settings: IndexMap<String, Value>,
    /// Its results, one for each checkpoint.
    pub results: Vec<Measured>,
}

/// What was measured of one result.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The key of the result.
    pub key: String,
    /// The seeds whose trials share it.
    pub seeds: Vec<u64>,
    /// Values by metric, each at its last step, in the order in which metrics were recorded.
    pub metrics: IndexMap<String, f64>,
    /// What `evaluate` stages measured of its latency: values by the stage's name and metric.
    pub latency: IndexMap<String, IndexMap<String, f64>>,
}

impl Variant {
    /// The values of a metric, one for each result that has it.
    fn values(&self, metric: &str) -> Vec<f64> {
        self.results.iter().filter_map(|result| result.metrics.get(metric).copied()).collect()
    }

    /// The names of all metrics, in the order in which they were recorded.
    fn metrics(&self) -> impl Iterator<Item = &str> {
        let mut seen = indexmap::IndexSet::new();
        for result in &self.results {
            seen.extend(result.metrics.keys().map(String::as_str));
        }
        seen.into_iter()
    }

    /// How many results there are, of which seeds: `mean ± standard deviation, n = 3 (seeds 0, 1, 2)`.
    fn seeds(&self) -> String {
        let mut seeds: Vec<u64> =
            self.results.iter().flat_map(|result| result.seeds.iter().copied()).collect();
        seeds.sort_unstable();
        let word = if seeds.len() == 1 { "seed" } else { "seeds" };
        let seeds = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        match self.results.len() {
            1 => format!("{word} {seeds}"),
            n => format!("mean ± standard deviation, n = {n} ({word} {seeds})"),
        }
    }

    /// Settings, seeds and keys, as every report has them for programs.
    fn json(&self) -> Map<String, Value> {
        let seeds: Vec<u64> =
            self.results.iter().flat_map(|result| result.seeds.iter().copied()).collect();
        let keys: Vec<&str> = self.results.iter().map(|result| result.key.as_str()).collect();
        Map::from_iter([
            ("settings".to_owned(), json!(self.settings)),
            ("seeds".to_owned(), json!(seeds)),
            ("keys".to_owned(), json!(keys)),
        ])
    }
}

/// A quantity that a sheet has a column of.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    /// The heading, with the unit.
    heading: String,
    /// The name for programs.
    name: String,
    form: Form,
}

impl Column {
    fn new(heading: &str, name: &str, form: Form) -> Self {
        Self { heading: heading.to_owned(), name: name.to_owned(), form }
    }
}

/// How the numbers of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Whole numbers.
    Count,
    /// Fractions, as percent with two decimals.
    Percent,
    /// Three significant digits.
    Significant,
    /// Two decimals.
    Times,
}

impl Form {
    fn value(self, value: f64) -> String {
        if !value.is_finite() {
            return value.to_string();
        }
        match self {
            Self::Count => format!("{value:.0}"),
            Self::Percent => format!("{:.2}", 100.0 * value),
            Self::Significant => significant(value),
            Self::Times => format!("{value:.2}"),
        }
    }

    /// The mean of values, with their deviation where they are not all the same, and their number where
    /// other cells of the row have more.
    fn cell(self, values: &[f64], most: usize) -> String {
        let Some(&first) = values.first() else { return DASH.to_owned() };
        let is_same = values.iter().all(|value| value.to_bits() == first.to_bits());
        let text = match statistics::deviation(values).filter(|_| !is_same) {
            Some(deviation) => {
                format!("{} ± {}", self.value(statistics::mean(values)), self.value(deviation))
            }
            None => self.value(first),
        };
        if values.len() == most { text } else { format!("{text} (n={})", values.len()) }
    }
}

/// Three significant digits; with an exponent where zeros would hide them.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor() as i32;
    if !(-3..6).contains(&exponent) {
        return format!("{value:.2e}");
    }
    format!("{value:.*}", (2 - exponent).max(0) as usize)
}

/// A table whose cells are values of several seeds.
#[derive(Debug, Clone, PartialEq)]
struct Sheet {
    /// What the rows are, as a heading.
    of: &'static str,
    columns: Vec<Column>,
    /// The name of each row, and for each column the values.
    rows: Vec<(String, Vec<Vec<f64>>)>,
}

impl Sheet {
    /// A sheet without the columns that nothing is known of.
    fn new(of: &'static str, columns: &[Column], rows: &[(String, Vec<Vec<f64>>)]) -> Self {
        let is_known = |at: usize| rows.iter().any(|(_, cells)| !cells[at].is_empty());
        let known: Vec<usize> = (0..columns.len()).filter(|&at| is_known(at)).collect();
        let rows = rows.iter().map(|(name, cells)| {
            (name.clone(), known.iter().map(|&at| cells[at].clone()).collect())
        });
        Self {
            of,
            rows: rows.collect(),
            columns: known.iter().map(|&at| columns[at].clone()).collect(),
        }
    }

    /// Whether anything is known of a quantity.
    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    fn text(&self, style: Style) -> String {
        // The only variant of an experiment without a sweep has no name.
        let is_named = self.rows.iter().any(|(name, _)| !name.is_empty());
        let heading = is_named.then_some(self.of).into_iter();
        let headings = self.columns.iter().map(|column| column.heading.as_str());
        let header: Vec<&str> = heading.chain(headings).collect();
        let rows = self.rows.iter().map(|(name, cells)| {
            let most = cells.iter().map(Vec::len).max().unwrap_or(0);
            let cells = self.columns.iter().zip(cells);
            let cells = cells.map(|(column, values)| column.form.cell(values, most));
            is_named.then(|| name.clone()).into_iter().chain(cells).collect()
        });
        grid(&header, &rows.collect::<Vec<Vec<String>>>(), style)
    }

    /// The cells of a row for programs: mean, deviation and number of the values.
    fn row_json(&self, at: usize) -> Map<String, Value> {
        let (_, cells) = &self.rows[at];
        let cells = self.columns.iter().zip(cells);
        cells.map(|(column, values)| (column.name.clone(), summary(values))).collect()
    }
}

fn summary(values: &[f64]) -> Value {
    match Summary::of(values) {
        None => Value::Null,
        Some(summary) => json!({
            "mean": number(summary.mean),
            "std": summary.deviation.map(number),
            "n": summary.n,
        }),
    }
}

/// A heading above the part of one variant.
fn title(what: &str, variant: &Variant) -> String {
    let name =
        if variant.title.is_empty() { String::new() } else { format!(", {}", variant.title) };
    format!("{what}{name}; {}", variant.seeds())
}
