//! The sensitivity stage: each layer pruned alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Criterion, Data};

/// Measures how accuracy falls when each layer alone is pruned; it leaves measures and no network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sensitivity {
    /// The stage whose network is looked at.
    #[schemars(extend("x-names" = "stage"))]
    pub from: String,
    /// What decides which weights of a layer go: a criterion that looks at single weights and does not
    /// train, so not `max-entropy`, `slimming`, `sparse-opt` or `movement`.
    pub criterion: Criterion,
    /// Fractions of the layer's weights that are zero, in 0..1; accuracy is measured at each.
    #[serde(default = "Sensitivity::default_sparsities")]
    #[schemars(
        length(min = 1),
        extend(
            "items" = { "type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0 },
            "uniqueItems" = true
        )
    )]
    pub sparsities: Vec<f64>,
    /// The data. The criterion looks at its training split, accuracy is measured on its validation split:
    /// what is chosen by it is not chosen on test data.
    pub data: Data,
    /// Layers that are not looked at, by name pattern.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-names" = "layer"))]
    pub exclude: Vec<String>,
}

impl Sensitivity {
    fn default_sparsities() -> Vec<f64> {
        vec![0.5, 0.8, 0.9]
    }
}
