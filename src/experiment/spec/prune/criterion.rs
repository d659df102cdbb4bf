//! What decides which weights and units go: the criteria and their settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What decides which weights go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Small weights go first (Han et al. 2015).
    Magnitude(Magnitude),
    /// Weights go at random: the control.
    Random(Random),
    /// Weights go whose removal changes the loss least to first order, `|w · ∂L/∂w|` (Molchanov et al.
    /// 2019, arXiv 1906.10771).
    Taylor(Taylor),
    /// The connection sensitivity `|w · ∂L/∂w|` on one batch, meant for a network before its training
    /// (Lee et al. 2019, arXiv 1810.02340).
    Snip(Snip),
    /// Weights go whose removal keeps most of the gradient's norm, meant for a network before its training
    /// (Wang et al. 2020, arXiv 2002.07376).
    Grasp(Grasp),
    /// Synaptic flow: looks at no data and empties no layer, in many small rounds (Tanaka et al. 2020,
    /// arXiv 2006.05467).
    Synflow(Synflow),
    /// Magnitude that layers can be compared by: a weight's square as a share of the squares of its layer
    /// that are not smaller (Lee et al. 2021, arXiv 2010.07611).
    Lamp(Lamp),
    /// Keeps the units and channels that carry the most entropy: of their activations, jointly or each for
    /// itself, or of the network's predictions.
    ///
    /// Whole units go, so the sparsity is met to within one unit.
    MaxEntropy(MaxEntropy),
    /// Removes the weights whose removal changes the layer's output least in the mean square (or the loss on
    /// labels least: `target`), correcting the others (optimal brain surgeon: Hassibi & Stork 1993, Frantar & Alistarh 2022).
    MinMse(MinMse),
    /// Trains with an L1 penalty by proximal gradient steps (of whole units: a group lasso), its weight
    /// given or steered so that the target is met, then trains what is left without it.
    SparseOpt(SparseOpt),
    /// Ranks units by the scale `|γ|` of the batch-norm behind them, after a training with an L1 penalty on the
    /// scales by proximal steps (network slimming: Liu et al. 2017, arXiv 1708.06519). Whole units go; those
    /// without a batch-norm do not take part.
    Slimming(Slimming),
    /// Trains, and weights go that move towards zero: the score `−Σ w · ∂L/∂w` over the steps says how far a
    /// weight's own gradient drives it away from zero (movement pruning: Sanh et al. 2020, arXiv 2005.07683).
    /// What stays has the values that the training gave it.
    Movement(Movement),
}

impl Criterion {
    /// Whether the criterion looks at data.
    pub fn needs_data(&self) -> bool {
        match self {
            Self::Magnitude(_) | Self::Random(_) | Self::Synflow(_) | Self::Lamp(_) => false,
            Self::Slimming(_) => self.trains(),
            Self::Taylor(_)
            | Self::Snip(_)
            | Self::Grasp(_)
            | Self::MaxEntropy(_)
            | Self::MinMse(_)
            | Self::SparseOpt(_)
            | Self::Movement(_) => true,
        }
    }

    /// Whether the criterion looks at labels.
    pub fn needs_labels(&self) -> bool {
        match self {
            Self::Taylor(_) | Self::Snip(_) | Self::Grasp(_) => true,
            Self::MinMse(settings) => settings.target == MseTarget::Labels,
            _ => self.trains(),
        }
    }

    /// Whether the network is trained, so that it comes to be one of this stage's data.
    pub fn trains(&self) -> bool {
        match self {
            Self::SparseOpt(_) | Self::Movement(_) => true,
            Self::Slimming(settings) => settings.epochs > 0,
            _ => false,
        }
    }

    /// Whether it can take nothing less than whole units.
    pub fn is_of_units(&self) -> bool {
        match self {
            Self::MaxEntropy(settings) => !matches!(settings.variant, Entropy::Output(_)),
            Self::Slimming(_) => true,
            _ => false,
        }
    }

    /// Whether a random draw (of weights or of calibration images) takes part.
    pub fn is_random(&self) -> bool {
        match self {
            Self::Magnitude(_) | Self::Synflow(_) | Self::Lamp(_) => false,
            Self::Slimming(_) => self.trains(),
            _ => true,
        }
    }

    /// The name as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Magnitude(_) => "magnitude",
            Self::Random(_) => "random",
            Self::Taylor(_) => "taylor",
            Self::Snip(_) => "snip",
            Self::Grasp(_) => "grasp",
            Self::Synflow(_) => "synflow",
            Self::Lamp(_) => "lamp",
            Self::MaxEntropy(_) => "max-entropy",
            Self::MinMse(_) => "min-mse",
            Self::SparseOpt(_) => "sparse-opt",
            Self::Slimming(_) => "slimming",
            Self::Movement(_) => "movement",
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

/// Settings of `taylor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Taylor {
    /// Squares the scores, as the paper does; sums of them then weigh differently.
    pub squared: bool,
    /// Training images that the gradient is taken over.
    #[schemars(range(min = 1))]
    pub calibration_samples: u32,
}

impl Default for Taylor {
    fn default() -> Self {
        Self { squared: false, calibration_samples: 2048 }
    }
}

/// Settings of `snip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Snip {
    /// Training images of the batch that the gradient is taken over.
    #[schemars(range(min = 1))]
    pub calibration_samples: u32,
}

impl Default for Snip {
    fn default() -> Self {
        Self { calibration_samples: 128 }
    }
}

/// Settings of `grasp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Grasp {
    /// What logits are divided by before the loss.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub temperature: f64,
    /// Training images that gradient and Hessian are taken over.
    #[schemars(range(min = 1))]
    pub calibration_samples: u32,
}

impl Default for Grasp {
    fn default() -> Self {
        Self { temperature: 200.0, calibration_samples: 2048 }
    }
}

/// Settings of `synflow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Synflow {
    /// Rounds of scoring and masking; each keeps the same share of the weights that are left.
    #[schemars(range(min = 1))]
    pub rounds: u32,
}

impl Default for Synflow {
    fn default() -> Self {
        Self { rounds: 100 }
    }
}

/// The `lamp` criterion has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lamp {}

/// Settings of `max-entropy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MaxEntropy {
    /// Whose entropy.
    pub variant: Entropy,
    /// What readers get for units that go.
    pub correction: Correction,
    /// Training images that the activations are taken from.
    #[schemars(range(min = 2))]
    pub calibration_samples: u32,
}

impl Default for MaxEntropy {
    fn default() -> Self {
        Self {
            variant: Entropy::default(),
            correction: Correction::default(),
            calibration_samples: 2048,
        }
    }
}

/// What layers get for the units that they read and that go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// Nothing.
    #[default]
    None,
    /// What the units put out on average, in the bias or in the running mean behind it. Their output changes
    /// less in the mean square; the accuracy can fall all the same, where much goes.
    Mean,
    /// The least-squares weights on the units that stay, and the mean.
    LeastSquares,
}

/// Whose entropy `max-entropy` looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Entropy {
    /// The joint entropy of the activations under a Gaussian model, by greedy maximum-entropy sampling: a
    /// unit that the kept ones predict carries no entropy of its own and goes first.
    Joint(JointEntropy),
    /// The entropy of a histogram of each unit's activations (Luo & Wu 2017, arXiv 1706.05791).
    Activation(ActivationEntropy),
    /// The entropy of whether a unit is active.
    OnOff(OnOffEntropy),
    /// How much the entropy of the network's predictions falls without a unit; a pass over the images for
    /// each unit. Of single weights (`granularity = "weight"`) the same to first order. Measured to be
    /// destructive: an ablation.
    Output(OutputEntropy),
}

impl Default for Entropy {
    fn default() -> Self {
        Self::Joint(JointEntropy {})
    }
}

/// `joint` has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct JointEntropy {}

/// Settings of `activation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ActivationEntropy {
    /// Bins of the histogram.
    #[schemars(range(min = 2, max = 65536))]
    pub bins: u32,
    /// What the bins lie between.
    pub range: BinRange,
}

impl Default for ActivationEntropy {
    fn default() -> Self {
        Self { bins: 32, range: BinRange::Layer }
    }
}

/// What the bins of a histogram lie between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BinRange {
    /// The least and the largest activation of the layer.
    #[default]
    Layer,
    /// Those of each unit, as the paper has it: blind to scale, so that noise counts as much as a signal.
    Channel,
}

/// `on-off` has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OnOffEntropy {}

/// Settings of `output`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OutputEntropy {
    /// Which entropy of the predictions.
    pub of: PredictionEntropy,
    /// Of single weights: whether those go first that lower the entropy, and not those that change it least.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
}

/// An entropy of the predictions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PredictionEntropy {
    /// Of the mean prediction.
    #[default]
    Marginal,
    /// The mean of the entropies of all predictions.
    Conditional,
    /// The difference of the two: what a prediction tells of its image.
    MutualInformation,
}

/// Settings of `min-mse`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MinMse {
    /// What is to change least.
    pub target: MseTarget,
    /// How much of the Hessian of the output error is used.
    pub hessian: Hessian,
    /// Whether the weights that stay are corrected for those that go; default: where `hessian` is `full`
    /// or `blocked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<bool>,
    /// How whole units are chosen by what their readers put out.
    pub select: Select,
    /// What readers get for whole units that go.
    pub correction: Correction,
    /// Columns that `blocked` chooses from at a time.
    #[schemars(range(min = 1))]
    pub block_size: u32,
    /// Added to the Hessian's diagonal, as a fraction of the diagonal's mean.
    #[schemars(range(min = 0.0))]
    pub damping: f64,
    /// Training images that the Hessian is taken from.
    #[schemars(range(min = 1))]
    pub calibration_samples: u32,
}

impl Default for MinMse {
    fn default() -> Self {
        Self {
            target: MseTarget::default(),
            hessian: Hessian::Full,
            update: None,
            select: Select::default(),
            correction: Correction::LeastSquares,
            block_size: 128,
            damping: 0.01,
            calibration_samples: 2048,
        }
    }
}

/// What `min-mse` changes least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MseTarget {
    /// What each layer puts out: the network before it is pruned is the target, and no labels are looked at.
    #[default]
    #[serde(rename = "self")]
    Itself,
    /// The loss on labels, to second order: score `−g w + ½ w² H_qq` with the gradient of the cross-entropy
    /// (optimal brain damage, LeCun et al. 1990, with its first-order term). `H` is 1 with `hessian =
    /// "identity"`, and with `"diag"` the empirical Fisher information, the mean square of the gradients of
    /// single examples, each a pass of its own. Nothing is corrected. A negative score says that the loss falls.
    Labels,
}

/// How `min-mse` chooses whole units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Unit after unit goes, the one whose loss is least when all that stay are refitted (optimal brain
    /// surgeon in blocks).
    #[default]
    Elimination,
    /// Unit after unit goes, the one whose loss is least without refitting (Luo et al. 2017, arXiv 1707.06342).
    Thinet,
    /// The units that a LASSO on their contributions keeps longest (He et al. 2017, arXiv 1707.06168).
    Lasso,
}

/// How much of the Hessian `min-mse` uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hessian {
    /// None of it: score `½ w²`.
    Identity,
    /// The diagonal: score `½ w² H_qq`, no correction of the other weights (Wanda's score).
    Diag,
    /// All of it: exact optimal brain surgeon, one weight at a time, the others corrected.
    Full,
    /// All of it in a fixed order of columns, a block at a time: much quicker and less exact (`SparseGPT`:
    /// Frantar & Alistarh 2023, arXiv 2301.00774). Without densities of layers the diagonal's scores say
    /// how layers share the sparsity out.
    Blocked,
}

/// Settings of `sparse-opt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SparseOpt {
    /// What makes zeros after every step.
    pub method: SparseMethod,
    /// The weight of the penalty: what it leaves at zero goes, however much that is, so neither `sparsity`
    /// nor `budget` is stated. Default: steered until they are met.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub lambda: Option<f64>,
    /// What makes the steps.
    pub optimizer: SparseOptimizer,
    /// Epochs of steps that make zeros.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Epochs of masked training without penalty afterwards, which undo the shrinkage of the penalty.
    pub debias_epochs: u32,
    /// Learning rate of the steps; falls to zero by half a cosine. The default is SGD's: with `adam` it is
    /// stated.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Momentum of the gradient, in 0..1; Adam's `beta1`. While `fista` makes zeros it has its own, and this
    /// is that of debiasing.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// How much of a unit a step of `half-space` has to leave in the unit's own direction, in 0..1: the ε of
    /// its half-space. More of it makes more zeros.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub epsilon: f64,
}

impl Default for SparseOpt {
    fn default() -> Self {
        Self {
            method: SparseMethod::default(),
            lambda: None,
            optimizer: SparseOptimizer::default(),
            epochs: 3,
            debias_epochs: 2,
            learning_rate: 0.05,
            momentum: 0.9,
            epsilon: 0.0,
        }
    }
}

/// What makes zeros in sparse optimisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SparseMethod {
    /// A proximal step: all weights shrink by a threshold, the smallest to zero. Units shrink as groups (Yuan
    /// & Lin 2006).
    #[default]
    Proximal,
    /// Proximal steps that Nesterov's extrapolation accelerates, begun anew in each epoch (FISTA: Beck &
    /// Teboulle 2009, doi 10.1137/080716542).
    Fista,
    /// Proximal steps for half of the stage; then a unit is set to zero as soon as a step leaves the half-space
    /// that it points into, and stays there (Chen et al. 2020, arXiv 2009.12078). Of single weights: as soon as
    /// the sign changes (Chen et al. 2020, arXiv 2004.03639).
    HalfSpace,
    /// All but the largest are set to zero, more and more of them, and may come back with the next gradient
    /// (iterative hard thresholding: Blumensath & Davies 2009, arXiv 0805.0510).
    HardThreshold,
}

/// What makes the steps of sparse optimisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SparseOptimizer {
    /// Stochastic gradient descent with momentum.
    #[default]
    Sgd,
    /// Adam (Kingma & Ba 2015, arXiv 1412.6980), for single weights: a weight's threshold is divided by what
    /// its step is divided by, the root of its second moment, else the penalty would weigh most where
    /// gradients are large.
    Adam,
}

/// Settings of `slimming`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Slimming {
    /// Epochs of training with the penalty; 0 ranks the scales as they are and looks at no data.
    pub epochs: u32,
    /// The weight of the penalty on the scales.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// Learning rate of the training, by SGD; falls to zero by half a cosine.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Momentum of the gradient, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
}

impl Default for Slimming {
    fn default() -> Self {
        Self { epochs: 3, lambda: 1e-4, learning_rate: 0.05, momentum: 0.9 }
    }
}

/// Settings of `movement`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Movement {
    /// Epochs of training over which the scores are summed.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Learning rate of the training, by SGD; falls to zero by half a cosine.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// Momentum of the gradient, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
}

impl Default for Movement {
    fn default() -> Self {
        Self { epochs: 3, learning_rate: 0.05, momentum: 0.9 }
    }
}
