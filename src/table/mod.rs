//! Results to tables: group by settings, pivot, mean ± sample standard deviation over seeds.
//!
//! ```text
//! Trials ─select(Request)→ Selection ─fill(values)→ Table → text | Markdown | CSV | JSON
//! ```
//!
//! [`select`] decides which stages, metrics and axes are shown and says which values it needs; the
//! caller fetches them. Nothing is averaged silently: a cell holds seeds and nothing else, axes that
//! are asked for neither as rows nor as columns join the rows, and a checkpoint that several seeds
//! share counts once. [`report`] shows one stage at length, [`claims`] what became of an experiment's claims,
//! [`adaptation`] what adaptations gain. Pure: no file, no database, no clock.

pub mod adaptation;
mod build;
pub mod claims;
mod data;
mod layout;
mod markdown;
mod metric;
mod number;
pub mod report;
mod select;
mod statistics;
mod text;

pub use build::{Cell, Delta, Reading, Summary, Table};
pub use layout::Axis;
pub use metric::{Direction, Reduce};
pub use select::{Selection, matching, select};
pub use text::{Style, grid};

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::Value;

/// A setting of a trial on one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Coordinate {
    /// How tables show it: `min-mse`, `0.9`.
    pub label: String,
    /// The value as in the file.
    pub value: Value,
}

/// A trial: one combination of the sweep with one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The sweep's axes in the order of the file, each with this trial's setting.
    pub settings: IndexMap<String, Coordinate>,
    /// The trial's seed.
    pub seed: u64,
    /// Its stages by name, in the order of the file.
    pub stages: IndexMap<String, Stage>,
}

/// A stage of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The key of its result.
    pub key: String,
    /// Keys of the results that it reads.
    pub inputs: Vec<String>,
    /// The dataset that the stage is about: what it trains on or measures, or adapts to.
    pub dataset: Option<String>,
    /// Whether there are values.
    pub state: State,
    /// Names of the metrics that it has values of.
    pub metrics: BTreeSet<String>,
}

/// Whether a stage has values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has.
    Measured,
    /// It failed with this error.
    Failed(String),
    /// It was not run, or not to its end.
    Absent,
}

/// What a table is asked to show. Empty lists leave the choice to [`select`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Name of the experiment, for the caption.
    pub experiment: String,
    /// Stages; by default those that no other stage reads.
    pub stages: Vec<String>,
    /// Metrics, whole names or their ends (`accuracy`, `val/loss`); by default the test accuracy.
    pub metrics: Vec<String>,
    /// Axes whose combinations are the rows.
    pub rows: Vec<String>,
    /// Axes whose combinations are the columns.
    pub cols: Vec<String>,
    /// Only trials with this label on this axis.
    pub filters: Vec<(String, String)>,
    /// The label, or `axis=label`, that others are compared with, seed by seed.
    pub baseline: Option<String>,
    /// Which value of a series counts.
    pub reduce: Reduce,
    /// Whether high or low values are good, where the metric's name does not tell.
    pub better: Option<Direction>,
}

/// Why a table cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A name that is none of the legal ones.
    #[error("there is no {what} `{name}`; {}there are: {}", suggestion(name, known), known.join(", "))]
    Unknown {
        /// What the name should be of: `stage`, `axis`.
        what: &'static str,
        /// The name.
        name: String,
        /// The legal ones.
        known: Vec<String>,
    },
    /// A metric that a stage has no values of.
    #[error(
        "{} no metric `{metric}`; {}there are: {}",
        has_no(stages),
        suggestion(metric, known),
        known.join(", ")
    )]
    NoMetric {
        /// The stages that were asked for.
        stages: Vec<String>,
        /// The metric, as asked for.
        metric: String,
        /// The metrics that the stages have.
        known: Vec<String>,
    },
    /// A label that several axes have.
    #[error("`{label}` is a value of several axes: {}; write AXIS={label}", axes.join(", "))]
    Ambiguous {
        /// The label.
        label: String,
        /// The axes.
        axes: Vec<String>,
    },
    /// An axis that is asked for as rows and as columns.
    #[error("axis `{0}` is asked for twice; an axis is shown as rows or as columns")]
    Twice(String),
    /// `best` of a metric whose good direction is unknown.
    #[error(
        "whether high or low values of `{0}` are good is not known, so it has no best step; \
         use --reduce min or max, or add --lower-is-better or --higher-is-better"
    )]
    NoDirection(String),
    /// There is nothing to show.
    #[error("no trial has {0}")]
    Empty(String),
}

fn has_no(stages: &[String]) -> String {
    let names: Vec<_> = stages.iter().map(|stage| format!("`{stage}`")).collect();
    match names.as_slice() {
        [one] => format!("stage {one} has"),
        many => format!("stages {} have", many.join(", ")),
    }
}

/// `did you mean …? ` where a legal name, or the end of one, is near.
fn suggestion(name: &str, known: &[String]) -> String {
    // A number is not a misspelling of another.
    if name.parse::<f64>().is_ok() {
        return String::new();
    }
    let ends = |whole: &'static [char], name: &str| -> Vec<String> {
        let starts = name.match_indices(whole).map(|(at, _)| at + 1);
        std::iter::once(0).chain(starts).map(|at| name[at..].to_owned()).collect()
    };
    let distance = |candidate: &String| {
        let ends = ends(&['.', '/', ':'], candidate).into_iter();
        let ends = ends.map(|end| (strsim::damerau_levenshtein(name, &end), end.chars().count()));
        ends.filter(|(distance, length)| *distance <= 2 && distance < length).min()
    };
    let near = known.iter().filter_map(|candidate| Some((distance(candidate)?, candidate))).min();
    near.map_or(String::new(), |(_, candidate)| format!("did you mean `{candidate}`? "))
}

#[cfg(test)]
mod tests;
