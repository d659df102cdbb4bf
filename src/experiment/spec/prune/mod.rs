//! The prune stage: target, scope, granularity; its criteria are in `criterion`.

mod criterion;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Data;
pub use criterion::{
    ActivationEntropy, BinRange, Correction, Criterion, Entropy, Grasp, Hessian, JointEntropy,
    Lamp, Magnitude, MaxEntropy, MinMse, Movement, MseTarget, OnOffEntropy, OutputEntropy,
    PredictionEntropy, Random, Select, Slimming, Snip, SparseMethod, SparseOpt, SparseOptimizer,
    Synflow, Taylor,
};

/// Removes weights from a trained network; the removed weights stay exactly zero in every later stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Prune {
    /// The stage whose network is pruned.
    #[schemars(extend("x-names" = "stage"))]
    pub from: String,
    /// What decides which weights go.
    pub criterion: Criterion,
    /// Fraction of the prunable weights that are zero afterwards, in 0..1. Biases and normalisation are not
    /// prunable. One of `sparsity` and `budget` is needed, and both can be; neither where `sparse-opt` has a
    /// `lambda`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub sparsity: Option<f64>,
    /// What is left at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Over what the fraction is taken.
    #[serde(default)]
    pub scope: Scope,
    /// How layers share the sparsity out, in place of `scope`; the total is met to one weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<Allocation>,
    /// The fraction of a layer's weights (of its units, where whole units go) that stay at least, by layer
    /// pattern. Of the patterns that match a layer the one with the most characters besides `*` counts.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend(
        "x-names" = "layer",
        "additionalProperties" = { "type": "number", "minimum": 0.0, "maximum": 1.0 }
    ))]
    pub floors: IndexMap<String, f64>,
    /// Exactly this sparsity of a layer, by layer pattern as in `floors`; the other layers make up for
    /// the total.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(extend(
        "x-names" = "layer",
        "additionalProperties" = { "type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0 }
    ))]
    pub layer_sparsity: IndexMap<String, f64>,
    /// What goes as a whole; default: single weights, and units for `max-entropy` (of which only
    /// the variant `output` takes weights) and `slimming`. With a pattern such as `2:4` every layer has the
    /// pattern's sparsity, and `sparsity` states it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granularity: Option<Granularity>,
    /// Takes units out of the network that do nothing: those that nothing reads any more, and with `unit`
    /// all that go. What is left is an ordinary smaller network that computes the same. It happens last,
    /// after `rewind-to`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
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
    /// Sets what is left to fresh initial values, which no training with this seed starts from: the control
    /// of a lottery ticket's values (Frankle & Carbin 2019, arXiv 1803.03635).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reinitialise: bool,
    /// Puts the zeros of each layer at random places, as many as the criterion gives it: the control of a
    /// lottery ticket's mask. What is left has its values of `from`, or those that `rewind-to` or
    /// `reinitialise` give it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shuffle: bool,
    /// Pins the seed of this stage, so that all seeds of the experiment share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Prune {
    /// A stage that states nothing else; how much goes has to be added.
    pub fn new(from: &str, criterion: Criterion) -> Self {
        Self {
            from: from.to_owned(),
            criterion,
            sparsity: None,
            budget: None,
            scope: Scope::default(),
            allocation: None,
            floors: IndexMap::new(),
            layer_sparsity: IndexMap::new(),
            granularity: None,
            remove: false,
            exclude: Vec::new(),
            data: None,
            rewind_to: None,
            reinitialise: false,
            shuffle: false,
            seed: None,
        }
    }

    /// What goes as a whole.
    pub fn granularity(&self) -> Granularity {
        match (self.granularity, &self.criterion) {
            (Some(granularity), _) => granularity,
            (None, Criterion::MaxEntropy(_) | Criterion::Slimming(_)) => Granularity::Unit,
            (None, _) => Granularity::Weight,
        }
    }

    /// The weight of the penalty whose zeros go, where it takes the place of a target.
    pub fn lambda(&self) -> Option<f64> {
        match &self.criterion {
            Criterion::SparseOpt(settings) => settings.lambda,
            _ => None,
        }
    }

    /// Whether a random draw takes part in the result.
    pub fn is_random(&self) -> bool {
        let draws_data = |data: &Data| data.batching().labels_per_class.is_some();
        self.criterion.is_random()
            || self.reinitialise
            || self.shuffle
            || (self.criterion.needs_data() && self.data.as_ref().is_some_and(draws_data))
    }
}

/// What is left of a network at most: counts, where numbers up to 1 are fractions of what it has before. The fewest units go with which all that is stated holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Budget {
    /// Trainable parameters of the network without what goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub params: Option<f64>,
    /// Multiply-accumulates of convolutions and linear layers for one example, without what goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub macs: Option<f64>,
    /// Trainable parameters that are not zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub nonzeros: Option<f64>,
    /// Hidden units, channels and heads of the layers that are pruned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub channels: Option<f64>,
    /// Milliseconds that the network without what goes takes for one example, on one thread of the machine
    /// that runs the stage: the median of thirty. Always milliseconds, never a fraction. Another machine, or
    /// another hour of this one, can give another network; run with `--jobs 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub latency_ms: Option<f64>,
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
    /// Units compete with those of layers that are alike: made, normalised and read by the same kinds of
    /// layers (Fang et al. 2024, arXiv 2407.04616). Of each kind the same fraction goes.
    Isomorphic,
}

/// What goes as a whole.
///
/// A row of a weight is all that makes one output: a row of a linear layer, a filter of a convolution.
/// The weights of a pattern are consecutive along the row, of a convolution along its flattened axes,
/// the input's channels slowest. A last group that is not full keeps as many as a full one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// Single weights.
    #[default]
    Weight,
    /// Whole rows of weights, by the sum of their scores; the target is met to within one row.
    Row,
    /// Hidden units, channels, features and heads, with everything that makes, carries and reads them, in
    /// all layers that are tied together. The target is met to within one unit.
    Unit,
    /// One of every four consecutive weights stays.
    #[serde(rename = "1:4")]
    OneOfFour,
    /// Two of every four consecutive weights stay (Mishra et al. 2021, arXiv 2104.08378).
    #[serde(rename = "2:4")]
    TwoOfFour,
    /// Four of every eight consecutive weights stay.
    #[serde(rename = "4:8")]
    FourOfEight,
}

impl Granularity {
    /// How many of how many consecutive weights stay, where it is a pattern.
    pub fn pattern(self) -> Option<(usize, usize)> {
        match self {
            Self::Weight | Self::Row | Self::Unit => None,
            Self::OneOfFour => Some((1, 4)),
            Self::TwoOfFour => Some((2, 4)),
            Self::FourOfEight => Some((4, 8)),
        }
    }
}

/// How layers share a sparsity out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// Every layer the same density.
    Uniform,
    /// Densities in proportion to the sum of a weight's extents over their product (Erdős–Rényi kernel:
    /// Evci et al. 2020, arXiv 1911.11134); a layer that would be denser than whole stays whole.
    Erk,
    /// The densities that ranking all weights by `lamp` gives (Lee et al. 2021, arXiv 2010.07611).
    Lamp,
    /// The densities of least total loss by the criterion's own scores, each layer's loss as a share of
    /// what removing all of it would cost; with the corrections of `min-mse` of its output's energy.
    LossOptimal,
}
