//! The prune stage: criteria, scope, target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Data;

/// Removes weights from a trained network; the removed weights stay exactly zero in every later stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Prune {
    /// The stage whose network is pruned.
    #[schemars(extend("x-names" = "stage"))]
    pub from: String,
    /// What decides which weights go.
    pub criterion: Criterion,
    /// Fraction of the prunable weights that are zero afterwards, in 0..1. Biases and normalisation are not prunable.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub sparsity: f64,
    /// Over what the fraction is taken.
    #[serde(default)]
    pub scope: Scope,
    /// Layers that keep all their weights, by name pattern; they do not count towards `sparsity`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-names" = "layer"))]
    pub exclude: Vec<String>,
    /// Data for criteria that look at activations or train; default: the data that `from` was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Sets what is left to its values after an early epoch of a stage that trained it (Frankle et al.
    /// 2020, arXiv 1912.05671), its normalisation statistics too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewind_to: Option<RewindTo>,
    /// Pins the seed of this stage, so that all seeds of the experiment share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// The point of a training that a network goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RewindTo {
    /// The stage that trained it: `pretrain`, `finetune` or `adapt`, of the same network.
    #[schemars(extend("x-names" = "stage-of-table"))]
    pub stage: String,
    /// After which of its epochs; 0: as it was before the first.
    pub epoch: u32,
}

/// Over what the sparsity is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Weights of all layers compete.
    #[default]
    Global,
    /// Every layer loses the same fraction.
    Layer,
}

/// What decides which weights go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Small weights go first (Han et al. 2015).
    Magnitude(Magnitude),
    /// Weights go at random: the control.
    Random(Random),
    /// Keeps the units and channels whose activations have the largest joint entropy.
    ///
    /// Gaussian model, greedy maximum-entropy sampling: a unit that the kept ones predict carries no
    /// entropy of its own and goes first. Whole units go, so the sparsity is met to within one unit.
    MaxEntropy(MaxEntropy),
    /// Removes the weights whose removal changes the layer's output least in the mean square,
    /// correcting the others (optimal brain surgeon: Hassibi & Stork 1993, Frantar & Alistarh 2022).
    MinMse(MinMse),
    /// Trains with an L1 penalty by proximal gradient steps, its weight steered so that the target
    /// sparsity is met, then trains what is left without it.
    SparseOpt(SparseOpt),
}

impl Criterion {
    /// Whether the criterion looks at data.
    pub fn needs_data(&self) -> bool {
        match self {
            Self::Magnitude(_) | Self::Random(_) => false,
            Self::MaxEntropy(_) | Self::MinMse(_) | Self::SparseOpt(_) => true,
        }
    }

    /// Whether a random draw (of weights or of calibration images) takes part.
    pub fn is_random(&self) -> bool {
        !matches!(self, Self::Magnitude(_))
    }

    /// The name as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Magnitude(_) => "magnitude",
            Self::Random(_) => "random",
            Self::MaxEntropy(_) => "max-entropy",
            Self::MinMse(_) => "min-mse",
            Self::SparseOpt(_) => "sparse-opt",
        }
    }
}

/// The `magnitude` criterion has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Magnitude {}

/// The `random` criterion has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Random {}

/// Settings of `max-entropy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MaxEntropy {
    /// Training images that the activations are taken from.
    #[schemars(range(min = 2))]
    pub calibration_samples: u32,
}

impl Default for MaxEntropy {
    fn default() -> Self {
        Self { calibration_samples: 2048 }
    }
}

/// Settings of `min-mse`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MinMse {
    /// How much of the Hessian of the output error is used.
    pub hessian: Hessian,
    /// Added to the Hessian's diagonal, as a fraction of the diagonal's mean.
    #[schemars(range(min = 0.0))]
    pub damping: f64,
    /// Training images that the Hessian is taken from.
    #[schemars(range(min = 1))]
    pub calibration_samples: u32,
}

impl Default for MinMse {
    fn default() -> Self {
        Self { hessian: Hessian::Full, damping: 0.01, calibration_samples: 2048 }
    }
}

/// How much of the Hessian `min-mse` uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hessian {
    /// The diagonal: score `½ w² H_qq`, no correction of the other weights (Wanda's score).
    Diag,
    /// All of it: exact optimal brain surgeon, one weight at a time, the others corrected.
    Full,
}

/// Settings of `sparse-opt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SparseOpt {
    /// Epochs of proximal gradient steps.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Epochs of masked training without penalty afterwards, which undo the shrinkage of the penalty.
    pub debias_epochs: u32,
    /// Learning rate of the proximal gradient steps; falls to zero by half a cosine.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Momentum of the gradient, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
}

impl Default for SparseOpt {
    fn default() -> Self {
        Self { epochs: 3, debias_epochs: 2, learning_rate: 0.05, momentum: 0.9 }
    }
}
