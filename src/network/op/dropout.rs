use serde::{Deserialize, Serialize};

/// Drops each value with a probability in training and scales the others up; passes all when evaluating.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dropout {
    /// Probability of a drop, in 0..1.
    pub p: f64,
}
