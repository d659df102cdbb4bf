//! How a stage trains: optimizer, schedule, loss, regularisation, choice of epoch.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Sparsify;

/// Declares a stage that trains: its own fields, followed by those that every training stage has.
///
/// serde's `flatten` would lose the place of every error, so the common fields are repeated by this
/// macro instead; [`Training`] is the view of them that the engine works with.
macro_rules! training_stage {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* pub $field:ident : $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Passes over the training data. In `adapt`, passes over the larger of the two domains.
            #[schemars(range(min = 0))]
            pub epochs: u32,
            /// The optimizer; default `sgd`.
            #[serde(default)]
            pub optimizer: super::Optimizer,
            /// How the learning rate changes over the stage; default `constant`.
            #[serde(default)]
            pub schedule: super::Schedule,
            /// The loss on labelled data; default `cross-entropy`.
            #[serde(default)]
            pub loss: super::Loss,
            /// Weight of the L1 penalty on the weights (biases and normalisation excepted).
            #[serde(default)]
            #[schemars(range(min = 0.0))]
            pub l1: f64,
            /// Gradients are scaled down so that their joint L2 norm is at most this.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(extend("exclusiveMinimum" = 0.0))]
            pub clip_norm: Option<f64>,
            /// Layers whose parameters stay as they are, by name pattern (`conv1`, `layer1.*`). Their
            /// batch-norm keeps its statistics.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            #[schemars(extend("x-names" = "layer"))]
            pub freeze: Vec<String>,
            /// Factors on the learning rate by layer pattern. Of the patterns that match a layer the one
            /// with the most characters besides `*` counts.
            #[serde(default, skip_serializing_if = "indexmap::IndexMap::is_empty")]
            #[schemars(extend(
                "x-names" = "layer",
                "additionalProperties" = { "type": "number", "minimum": 0.0 }
            ))]
            pub learning_rate_factors: indexmap::IndexMap<String, f64>,
            /// Ends the stage early by the loss on the validation split.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub early_stopping: Option<super::EarlyStopping>,
            /// Which epoch's network the stage keeps, chosen on the validation split unless it is the last; the
            /// metric `kept-epoch` says which.
            #[serde(default)]
            pub keep: super::Keep,
            /// Arithmetic of the forward and backward pass.
            #[serde(default)]
            pub precision: super::Precision,
            /// Masks weights while the stage trains; without it the masks stay as they are.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub sparsify: Option<super::Sparsify>,
            /// Pins the seed of this stage, so that all seeds of the experiment share it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub seed: Option<u64>,
        }

        impl $name {
            /// The settings that every training stage has.
            pub fn training(&self) -> super::Training {
                super::Training {
                    epochs: self.epochs,
                    optimizer: self.optimizer.clone(),
                    schedule: self.schedule.clone(),
                    loss: self.loss.clone(),
                    l1: self.l1,
                    clip_norm: self.clip_norm,
                    freeze: self.freeze.clone(),
                    learning_rate_factors: self.learning_rate_factors.clone(),
                    early_stopping: self.early_stopping.clone(),
                    keep: self.keep,
                    precision: self.precision,
                    sparsify: self.sparsify.clone(),
                }
            }
        }
    };
}
pub(super) use training_stage;

/// The settings that every training stage has, as the engine's training loop takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Passes over the training data.
    pub epochs: u32,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// How the learning rate changes over the stage.
    pub schedule: Schedule,
    /// The loss on labelled data.
    pub loss: Loss,
    /// Weight of the L1 penalty on the weights.
    pub l1: f64,
    /// Largest joint L2 norm of the gradients.
    pub clip_norm: Option<f64>,
    /// Patterns of layers that stay as they are.
    pub freeze: Vec<String>,
    /// Factors on the learning rate by layer pattern; the most exact one that matches counts.
    pub learning_rate_factors: IndexMap<String, f64>,
    /// Ends the stage early.
    pub early_stopping: Option<EarlyStopping>,
    /// Which epoch's network is kept.
    pub keep: Keep,
    /// Arithmetic of the forward and backward pass.
    pub precision: Precision,
    /// How masks change.
    pub sparsify: Option<Sparsify>,
}

/// The optimizer and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
    /// Adam (Kingma & Ba 2015); weight decay is added to the gradient.
    Adam(Adam),
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    AdamW(Adam),
    /// `RMSprop` (Tieleman & Hinton 2012), as in PyTorch.
    Rmsprop(RmsProp),
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Sgd(Sgd::default())
    }
}

impl Optimizer {
    /// The learning rate before the schedule and the factors of the layers.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.learning_rate,
            Self::Adam(adam) | Self::AdamW(adam) => adam.learning_rate,
            Self::Rmsprop(rmsprop) => rmsprop.learning_rate,
        }
    }
}

/// Settings of `sgd`; the update is PyTorch's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Sgd {
    /// Learning rate.
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// Momentum, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Weight decay, added to the gradient of every parameter.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.01, momentum: 0.9, weight_decay: 0.0, nesterov: false }
    }
}

/// Settings of `adam` and `adam-w`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Adam {
    /// Learning rate.
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// Decay of the first moment, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub beta1: f64,
    /// Decay of the second moment, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub beta2: f64,
    /// Added to the denominator.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub epsilon: f64,
    /// Weight decay.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// Settings of `rmsprop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RmsProp {
    /// Learning rate.
    #[schemars(range(min = 0.0))]
    pub learning_rate: f64,
    /// Decay of the mean square, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub alpha: f64,
    /// Momentum, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Added to the denominator.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub epsilon: f64,
    /// Weight decay, added to the gradient.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { learning_rate: 0.01, alpha: 0.99, momentum: 0.0, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// How the learning rate changes over the stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The same learning rate throughout.
    Constant(Warmup),
    /// Multiplied by `factor` every `every-epochs` epochs.
    Step(Step),
    /// Half a cosine from the learning rate to zero (Loshchilov & Hutter 2017), step by step.
    Cosine(Warmup),
    /// Up to the learning rate and down again (Smith 2018), step by step, as in PyTorch's `OneCycleLR`.
    OneCycle(OneCycle),
    /// `(1 + 10 p)^-0.75` with p the progress in 0..1 (Ganin et al. 2016), step by step.
    InverseDecay(Warmup),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant(Warmup::default())
    }
}

/// A linear rise of the learning rate at the start of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Warmup {
    /// Epochs during which the learning rate rises linearly from zero.
    #[schemars(range(min = 0.0))]
    pub warmup_epochs: f64,
}

/// Settings of the `step` schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// Epochs between two changes.
    #[schemars(range(min = 1))]
    pub every_epochs: u32,
    /// Factor at each change.
    #[serde(default = "Step::default_factor")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub factor: f64,
    /// Epochs during which the learning rate rises linearly from zero.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub warmup_epochs: f64,
}

impl Step {
    fn default_factor() -> f64 {
        0.1
    }
}

/// Settings of the `one-cycle` schedule, with PyTorch's defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OneCycle {
    /// Fraction of the steps during which the learning rate rises, in 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rise: f64,
    /// The first learning rate is the largest divided by this.
    #[schemars(range(min = 1.0))]
    pub start_divisor: f64,
    /// The last learning rate is the first divided by this.
    #[schemars(range(min = 1.0))]
    pub end_divisor: f64,
}

impl Default for OneCycle {
    fn default() -> Self {
        Self { rise: 0.3, start_divisor: 25.0, end_divisor: 1e4 }
    }
}

/// The loss on labelled data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Cross-entropy of the softmax of the logits.
    CrossEntropy(CrossEntropy),
    /// Mean square error between the logits and the one-hot labels.
    Mse(Mse),
    /// Knowledge distillation from a teacher (Hinton et al. 2015); only in `finetune` with `teacher`.
    Distillation(Distillation),
}

impl Default for Loss {
    fn default() -> Self {
        Self::CrossEntropy(CrossEntropy::default())
    }
}

/// Settings of the `cross-entropy` loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CrossEntropy {
    /// Share of the label's probability that is spread over all classes, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub label_smoothing: f64,
}

/// The `mse` loss has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mse {}

/// Settings of the `distillation` loss: `alpha · T² · KL(teacher ‖ student) + (1 − alpha) · cross-entropy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Distillation {
    /// Temperature T of both softmaxes.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub temperature: f64,
    /// Weight of the teacher's part, in 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { temperature: 4.0, alpha: 0.9 }
    }
}

/// The L2-SP penalty: `alpha/2 · ‖w − w⁰‖² + beta/2 · ‖w_new‖²`, w⁰ the starting weights, `w_new` a new head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct L2Sp {
    /// Weight of the distance to the starting weights.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Weight of the penalty on a new head.
    #[schemars(range(min = 0.0))]
    pub beta: f64,
}

impl Default for L2Sp {
    fn default() -> Self {
        Self { alpha: 0.01, beta: 0.01 }
    }
}

/// Ends a stage when the validation loss has not fallen for some epochs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EarlyStopping {
    /// Epochs without a lower validation loss after which the stage ends.
    #[schemars(range(min = 1))]
    pub patience: u32,
    /// A loss counts as lower when it is lower by more than this.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub min_delta: f64,
}

/// Which epoch's network a training stage keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The last epoch's.
    #[default]
    Last,
    /// The epoch with the highest validation accuracy, the first of equals.
    Best,
    /// The epoch with the lowest validation loss, the first of equals.
    LowestLoss,
}

/// Arithmetic of the forward and backward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    Fp32,
    /// bfloat16 where LibTorch's autocast allows it, on a GPU; parameters stay 32-bit.
    Bf16,
}
