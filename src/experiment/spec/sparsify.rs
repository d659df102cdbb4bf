//! Sparse training: masks that change while a stage trains.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scope;

/// How masks change while a stage trains. Masks that are there at its start count towards the sparsity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sparsify {
    /// Small weights go bit by bit, many at first and few at the end, along a cubic (Zhu & Gupta 2017,
    /// arXiv 1710.01878); masks only grow.
    Gradual(Gradual),
    /// Sparse from the start: from time to time the smallest weights give way to those with the largest
    /// gradient (`RigL`: Evci et al. 2020, arXiv 1911.11134).
    Rigl(Exchange),
    /// The same with random weights in place of those with the largest gradient (Mocanu et al. 2018,
    /// arXiv 1707.04780).
    Set(Exchange),
}

impl Sparsify {
    /// The name as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gradual(_) => "gradual",
            Self::Rigl(_) => "rigl",
            Self::Set(_) => "set",
        }
    }

    /// Patterns of layers that keep all their weights.
    pub fn exclude(&self) -> &[String] {
        match self {
            Self::Gradual(gradual) => &gradual.exclude,
            Self::Rigl(exchange) | Self::Set(exchange) => &exchange.exclude,
        }
    }
}

/// Settings of `gradual`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Gradual {
    /// Fraction of the weights that are zero from `until-epoch` on, in 0..1. Biases, normalisation and frozen
    /// layers do not count.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub sparsity: f64,
    /// After how many epochs the sparsity begins to rise.
    #[serde(default)]
    pub from_epoch: u32,
    /// After how many epochs it is reached. The kept epoch and early stopping are chosen from there on.
    #[schemars(range(min = 1))]
    pub until_epoch: u32,
    /// Optimizer steps between two changes of the masks.
    #[serde(default = "default_every_steps")]
    #[schemars(range(min = 1))]
    pub every_steps: u32,
    /// Over what the fraction is taken.
    #[serde(default)]
    pub scope: Scope,
    /// How layers share the sparsity out, in place of `scope`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<Densities>,
    /// Layers that keep all their weights, by name pattern; they do not count towards `sparsity`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-names" = "layer"))]
    pub exclude: Vec<String>,
}

/// Settings of `rigl` and `set`. The number of zeros of each layer stays the same to one weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Exchange {
    /// Fraction of the weights that are zero, in 0..1. The first ones are drawn at random, after those that
    /// are masked already; biases, normalisation and frozen layers do not count.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub sparsity: f64,
    /// How layers share the sparsity out.
    #[serde(default)]
    pub allocation: Densities,
    /// Optimizer steps between two exchanges, each of which takes the place of a step.
    #[serde(default = "default_every_steps")]
    #[schemars(range(min = 1))]
    pub every_steps: u32,
    /// The fraction of the training after which no weight is exchanged any more, in 0..=1.
    #[serde(default = "Exchange::default_until")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub until: f64,
    /// The fraction of a layer's weights that is exchanged at first, in 0..=1; it falls to zero along half a
    /// cosine.
    #[serde(default = "Exchange::default_drop_fraction")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub drop_fraction: f64,
    /// Layers that keep all their weights, by name pattern; they do not count towards `sparsity`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-names" = "layer"))]
    pub exclude: Vec<String>,
}

fn default_every_steps() -> u32 {
    100
}

impl Exchange {
    fn default_until() -> f64 {
        0.75
    }

    fn default_drop_fraction() -> f64 {
        0.3
    }
}

/// How layers share a sparsity out without looking at their weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Densities {
    /// Every layer the same density.
    Uniform,
    /// Densities in proportion to the sum of a weight's extents over their product (Erdős–Rényi kernel);
    /// a layer that would be denser than whole stays whole.
    #[default]
    Erk,
}
