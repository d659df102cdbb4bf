//! Claims: what an experiment is expected to show, written before it runs.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an experiment is expected to show: a figure of a paper, or a hypothesis. `graftwork table NAME
/// --claims` compares it with what was measured. It changes no result and no key; when it was written is
/// recorded with the run.
///
/// `at-least`, `at-most`, or `within` of `reported` say when it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Claim {
    /// The claim in a sentence.
    #[schemars(
        regex(pattern = r"^\S(.*\S)?$"),
        extend("patternErrorMessage" = "characters on one line, the first and the last no space")
    )]
    pub says: String,
    /// Where it stands: a paper and its section, an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The metric, a whole name or its end, as `graftwork table --metric` takes it.
    #[serde(default = "accuracy")]
    pub metric: String,
    /// The results that it is about, one for each seed.
    pub of: Results,
    /// Results that they are compared with, seed by seed; the claim is then about the difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub than: Option<Results>,
    /// How they are compared.
    #[serde(default)]
    pub by: Comparison,
    /// The figure that the source reports, in the units of the metric: 0.985 for an accuracy of 98.5 %, 0.005
    /// for half a point more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<f64>,
    /// It holds where the mean over seeds is at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// It holds where the mean over seeds is at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// It holds where the mean over seeds is no further than this from `reported`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub within: Option<f64>,
}

fn accuracy() -> String {
    "accuracy".to_owned()
}

impl Claim {
    /// The least and the largest mean with which it holds.
    pub fn bounds(&self) -> (f64, f64) {
        let around = self.reported.zip(self.within);
        let (low, high) = around
            .map_or((f64::NEG_INFINITY, f64::INFINITY), |(reported, within)| {
                (reported - within, reported + within)
            });
        (
            self.at_least.map_or(low, |least| least.max(low)),
            self.at_most.map_or(high, |most| most.min(high)),
        )
    }
}

/// The results of a stage in one combination of the sweep, one for each seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Results {
    /// The stage.
    pub stage: String,
    /// A value, or a label, for each axis of the sweep that the stage's result depends on: `where = {
    /// "thin.sparsity" = 0.9, method = "dann" }`.
    #[serde(rename = "where", default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend("additionalProperties" = {}))]
    pub at: IndexMap<String, Value>,
}

/// How two results are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// `of` − `than`.
    #[default]
    Difference,
    /// `of` / `than`.
    Ratio,
}
