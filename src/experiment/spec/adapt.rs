//! The adapt stage: unsupervised domain adaptation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Data;
use super::train::training_stage;

training_stage! {
    /// Adapts a network from a labelled source domain to an unlabelled target domain.
    ///
    /// The target's labels are never read except to measure the result on its test split.
    Adapt {
        /// The stage whose network is adapted.
        #[schemars(extend("x-names" = "stage"))]
        pub from: String,
        /// The labelled domain.
        pub source: Data,
        /// The domain whose training images are used without labels.
        pub target: Data,
        /// The adaptation method.
        pub method: Method,
        /// Layers that each domain has its own copy of, by name pattern; all others are shared.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(extend("x-names" = "layer"))]
        pub specific: Vec<String>,
        /// Sends both domains through the network as one batch, so that batch-norm mixes their statistics.
        #[serde(default)]
        pub joint_batches: bool,
        /// What `keep = "best"` goes by. All validators are recorded after every epoch.
        #[serde(default)]
        pub select: Validator,
    }
}

/// A score of a network after an epoch, high where it is good, that needs no label of the target.
///
/// All but the first are of the network's class probabilities for the target's validation split. They say
/// how sure the network is, not how right; which of them goes along with the accuracy differs from task to
/// task (Musgrave et al. 2022, <https://arxiv.org/abs/2208.07360>).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Validator {
    /// Accuracy on the source's validation split.
    #[default]
    SourceAccuracy,
    /// Minus the mean entropy of the probabilities, nats (Morerio et al. 2018).
    NegativeEntropy,
    /// The entropy of the mean probabilities minus their mean entropy, nats (Shi & Sha 2012).
    InformationMaximisation,
    /// The nuclear norm of the matrix of probabilities, by the number of examples (Cui et al. 2020).
    NuclearNorm,
    /// The mean entropy of each example's similarities to the others, nats (Saito et al. 2021).
    NeighbourhoodDensity,
}

impl Validator {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SourceAccuracy,
        Self::NegativeEntropy,
        Self::InformationMaximisation,
        Self::NuclearNorm,
        Self::NeighbourhoodDensity,
    ];

    /// The name as in the file, which for those of the target is also the metric's.
    pub fn name(self) -> &'static str {
        match self {
            Self::SourceAccuracy => "source-accuracy",
            Self::NegativeEntropy => "negative-entropy",
            Self::InformationMaximisation => "information-maximisation",
            Self::NuclearNorm => "nuclear-norm",
            Self::NeighbourhoodDensity => "neighbourhood-density",
        }
    }
}

/// The adaptation method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Trains on the source alone, for the same number of steps: the control.
    SourceOnly(SourceOnly),
    /// Domain-adversarial training by gradient reversal (Ganin et al. 2016).
    Dann(Dann),
    /// Matches the covariances of the logits (Deep CORAL, Sun & Saenko 2016).
    Coral(Coral),
    /// Matches features and softmax by the multi-kernel maximum mean discrepancy (DAN, Long et al. 2015).
    Mmd(Mmd),
    /// Minimises the class confusion of the target's predictions (MCC, Jin et al. 2020).
    Mcc(Mcc),
    /// Domain-adversarial training on features and predictions together (CDAN, Long et al. 2018).
    Cdan(Cdan),
    /// Matches features and softmax together by the joint maximum mean discrepancy (JAN, Long et al. 2017). Its
    /// settings are of the features' kernels, which are multiplied by one of the softmax with σ = 0.92.
    Jan(Mmd),
    /// Matches the means of the features (DDC, Tzeng et al. 2014).
    Ddc(Ddc),
    /// Minimises the entropy of the target's predictions (Grandvalet & Bengio 2005).
    Entropy(ConditionalEntropy),
    /// Trains on the source alone, and at the end gives batch-norm the statistics of the target's training
    /// examples (`AdaBN`, Li et al. 2018).
    Adabn(Adabn),
    /// Two classifiers disagree on the target as far as they can, the features as little as they can (MCD, Saito
    /// et al. 2018). The network keeps its own classifier; the second starts anew.
    Mcd(Mcd),
    /// Trains the features on the target so that a domain classifier takes them for those of the network as it
    /// came (ADDA, Tzeng et al. 2017). The last layer stays as it is.
    Adda(Adda),
    /// Minimises the entropy on the target by the scales and shifts of batch-norm alone, without the source
    /// (TENT, Wang et al. 2021).
    Tent(Tent),
    /// Makes the target's predictions sure and diverse, and likely by pseudo-labels of the nearest class centre,
    /// without the source (SHOT, Liang et al. 2020). The last layer stays as it is.
    Shot(Shot),
    /// Trains on perturbed target examples with the labels that the network gives them unperturbed, where it is
    /// sure (`FixMatch`, Sohn et al. 2020).
    PseudoLabels(PseudoLabels),
    /// Makes predictions for perturbed target examples agree with those of a mean of the networks so far
    /// (self-ensembling, French et al. 2018).
    MeanTeacher(MeanTeacher),
}

impl Method {
    /// Whether training by the method drives a score up, so that it says nothing about the network any more.
    ///
    /// The least entropy, of predictions that are all the same, has the greatest neighbourhood density, too.
    pub fn optimises(&self, validator: Validator) -> bool {
        match self {
            Self::Entropy(_) | Self::Tent(_) => validator != Validator::SourceAccuracy,
            Self::Mcc(_) | Self::Shot(_) | Self::PseudoLabels(_) => {
                !matches!(validator, Validator::SourceAccuracy | Validator::NeighbourhoodDensity)
            }
            _ => false,
        }
    }

    /// Whether it adds a term to the loss on the source's labels; the others have a loss of their own, or none.
    pub fn has_task_loss(&self) -> bool {
        !matches!(self, Self::Adda(_) | Self::Tent(_) | Self::Shot(_))
    }

    /// Whether each step sends a batch of both domains through the network, so that they may go as one.
    pub fn compares_batches(&self) -> bool {
        matches!(
            self,
            Self::Dann(_)
                | Self::Coral(_)
                | Self::Mmd(_)
                | Self::Mcc(_)
                | Self::Cdan(_)
                | Self::Jan(_)
                | Self::Ddc(_)
                | Self::Entropy(_)
        )
    }

    /// Whether it works by batch-norm alone.
    pub fn needs_batch_norm(&self) -> bool {
        matches!(self, Self::Adabn(_) | Self::Tent(_))
    }

    /// How it perturbs the target's examples, where it does.
    pub fn perturbation(&self) -> Option<&Perturbation> {
        match self {
            Self::PseudoLabels(settings) => Some(&settings.perturb),
            Self::MeanTeacher(settings) => Some(&settings.perturb),
            _ => None,
        }
    }

    /// The name as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SourceOnly(_) => "source-only",
            Self::Dann(_) => "dann",
            Self::Coral(_) => "coral",
            Self::Mmd(_) => "mmd",
            Self::Mcc(_) => "mcc",
            Self::Cdan(_) => "cdan",
            Self::Jan(_) => "jan",
            Self::Ddc(_) => "ddc",
            Self::Entropy(_) => "entropy",
            Self::Adabn(_) => "adabn",
            Self::Mcd(_) => "mcd",
            Self::Adda(_) => "adda",
            Self::Tent(_) => "tent",
            Self::Shot(_) => "shot",
            Self::PseudoLabels(_) => "pseudo-labels",
            Self::MeanTeacher(_) => "mean-teacher",
        }
    }
}

/// The `source-only` method has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SourceOnly {}

/// Settings of `dann`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dann {
    /// Largest factor λ on the reversed gradient.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// λ rises as `2 / (1 + e^(−gamma·p)) − 1` over the stage; 0 makes λ constant.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
    /// Units of the domain classifier's hidden layer.
    #[schemars(range(min = 1))]
    pub hidden: u32,
}

impl Default for Dann {
    fn default() -> Self {
        Self { lambda: 1.0, gamma: 10.0, hidden: 100 }
    }
}

/// Settings of `coral`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Coral {
    /// Weight of `‖C_s − C_t‖² / (4 d²)` at the end of the stage.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// The weight rises as `2 / (1 + e^(−gamma·p)) − 1` over the stage; 0 makes it constant.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
}

impl Default for Coral {
    fn default() -> Self {
        Self { weight: 1.0, gamma: 10.0 }
    }
}

/// Settings of `mmd` and `jan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Mmd {
    /// Weight of the discrepancy at the end of the stage.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// The weight rises as `2 / (1 + e^(−gamma·p)) − 1` over the stage; 0 makes it constant.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
    /// How the discrepancy is estimated from a batch.
    pub estimator: Estimator,
    /// What σ² is, before the multipliers.
    pub bandwidth: Bandwidth,
    /// Factors on σ², one Gaussian kernel `exp(−d²/(2σ²))` each; the kernels are averaged.
    #[schemars(
        length(min = 1),
        extend("items" = { "type": "number", "exclusiveMinimum": 0.0 })
    )]
    pub multipliers: Vec<f64>,
}

impl Default for Mmd {
    fn default() -> Self {
        Self {
            weight: 1.0,
            gamma: 10.0,
            estimator: Estimator::Unbiased,
            bandwidth: Bandwidth::MeanDistance,
            multipliers: vec![0.125, 0.25, 0.5, 1.0, 2.0],
        }
    }
}

/// How the maximum mean discrepancy is estimated (Gretton et al. 2012).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// V-statistic: never negative.
    Biased,
    /// U-statistic: may be negative.
    Unbiased,
    /// Means over pairs, linear in the batch.
    Linear,
}

/// What σ² of the kernels is, taken from the batch without gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bandwidth {
    /// Mean of all squared distances, the zeros of the diagonal included.
    MeanDistance,
    /// Median of the squared distances between different rows.
    MedianDistance,
}

/// Settings of `mcc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Mcc {
    /// What the target's logits are divided by before the softmax.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub temperature: f64,
    /// Weight of the class confusion at the end of the stage.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// The weight rises as `2 / (1 + e^(−gamma·p)) − 1` over the stage; 0 makes it constant.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
}

impl Default for Mcc {
    fn default() -> Self {
        Self { temperature: 2.5, weight: 1.0, gamma: 0.0 }
    }
}

/// Settings of `cdan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cdan {
    /// Weighs each row by `1 + e^(−H)`, H the entropy of its prediction (CDAN+E).
    pub entropy: bool,
    /// Largest factor λ on the reversed gradient.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// λ rises as `2 / (1 + e^(−gamma·p)) − 1` over the stage; 0 makes λ constant.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
    /// Units of the domain classifier's hidden layer.
    #[schemars(range(min = 1))]
    pub hidden: u32,
}

impl Default for Cdan {
    fn default() -> Self {
        Self { entropy: false, lambda: 1.0, gamma: 10.0, hidden: 100 }
    }
}

/// Settings of `ddc`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Ddc {
    /// Weight of `‖mean f(s) − mean f(t)‖` at the end of the stage.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// The weight rises as `2 / (1 + e^(−gamma·p)) − 1` over the stage; 0 makes it constant.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
}

impl Default for Ddc {
    fn default() -> Self {
        Self { weight: 0.25, gamma: 0.0 }
    }
}

/// Settings of `entropy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ConditionalEntropy {
    /// Weight of the mean entropy, in nats, at the end of the stage.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// The weight rises as `2 / (1 + e^(−gamma·p)) − 1` over the stage; 0 makes it constant.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
}

impl Default for ConditionalEntropy {
    fn default() -> Self {
        Self { weight: 0.1, gamma: 0.0 }
    }
}

/// The `adabn` method has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Adabn {}

/// Settings of `mcd`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Mcd {
    /// Updates of the features against the discrepancy in each step.
    #[schemars(range(min = 1))]
    pub feature_updates: u32,
}

impl Default for Mcd {
    fn default() -> Self {
        Self { feature_updates: 4 }
    }
}

/// Settings of `adda`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Adda {
    /// Units of the domain classifier's hidden layer.
    #[schemars(range(min = 1))]
    pub hidden: u32,
}

impl Default for Adda {
    fn default() -> Self {
        Self { hidden: 100 }
    }
}

/// The `tent` method has no settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tent {}

/// Settings of `shot`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Shot {
    /// Weight of the cross-entropy with the pseudo-labels, which are made anew before every epoch.
    #[schemars(range(min = 0.0))]
    pub pseudo_labels: f64,
}

impl Default for Shot {
    fn default() -> Self {
        Self { pseudo_labels: 0.3 }
    }
}

/// Settings of `pseudo-labels`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PseudoLabels {
    /// An example counts where its largest probability is at least this, in 0..=1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// Weight of the cross-entropy on the target.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// How the examples are perturbed that the labels are for.
    pub perturb: Perturbation,
}

impl Default for PseudoLabels {
    fn default() -> Self {
        Self { threshold: 0.95, weight: 1.0, perturb: Perturbation::default() }
    }
}

/// Settings of `mean-teacher`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MeanTeacher {
    /// Share of the mean that stays at a step; the rest is the network's, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub decay: f64,
    /// An example counts where the teacher's largest probability is at least this, in 0..=1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// Weight of the mean square difference of the probabilities.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// Weight, before the other, of the cross-entropy between the mean prediction of a batch and equal classes.
    #[schemars(range(min = 0.0))]
    pub balance: f64,
    /// How examples are perturbed, for the network and for the teacher each in its own way.
    pub perturb: Perturbation,
}

impl Default for MeanTeacher {
    fn default() -> Self {
        Self {
            decay: 0.99,
            threshold: 0.968,
            weight: 3.0,
            balance: 0.005,
            perturb: Perturbation::default(),
        }
    }
}

/// Random changes of examples that leave their class (French et al. 2018, section 4.1 on small images).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Perturbation {
    /// Of images: standard deviation of what is added to each value of the identity matrix that maps their
    /// places, which turns, stretches and shears them.
    #[schemars(range(min = 0.0))]
    pub deviation: f64,
    /// Of images: largest shift down or up, and left or right, pixels.
    #[schemars(range(min = 0.0))]
    pub shift: f64,
    /// Standard deviation of the noise that is added to each input value, once it is normalised.
    #[schemars(range(min = 0.0))]
    pub noise: f64,
}

impl Default for Perturbation {
    fn default() -> Self {
        Self { deviation: 0.1, shift: 2.0, noise: 0.1 }
    }
}
