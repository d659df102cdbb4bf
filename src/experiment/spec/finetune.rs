//! What a `finetune` stage can do besides training all layers alike: rates by depth, thawing, penalties,
//! low-rank updates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How learning rates fall with the depth of a layer.
///
/// The last layer (a new head, and of a network that adds scores of several resolutions all heads) has depth
/// 0, what it reads depth 1, and so on, on the longest way to the output. Layers are convolutions, linear,
/// recurrent and attention layers and embeddings; normalisation has the depth of the layer that it follows.
/// The log has the rate of each layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LayerRates {
    /// Discriminative fine-tuning (Howard & Ruder 2018, arXiv 1801.06146): `rate / factor^depth`.
    Discriminative(Discriminative),
    /// Layer-wise decay (Bao et al. 2022, arXiv 2106.08254, and timm): `rate · factor^depth`.
    Decay(LayerDecay),
    /// One factor for all layers but the heads.
    Backbone(Backbone),
}

/// Settings of `discriminative`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Discriminative {
    /// The rate of a layer, divided by that of the layer that it reads.
    #[schemars(range(min = 1.0))]
    pub factor: f64,
}

impl Default for Discriminative {
    fn default() -> Self {
        Self { factor: 2.6 }
    }
}

/// Settings of `decay`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LayerDecay {
    /// The rate of a layer, divided by that of a layer that reads it.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub factor: f64,
}

impl Default for LayerDecay {
    fn default() -> Self {
        Self { factor: 0.75 }
    }
}

/// Settings of `backbone`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Backbone {
    /// Factor on the learning rate of all layers but the heads.
    #[schemars(range(min = 0.0))]
    pub factor: f64,
}

impl Default for Backbone {
    fn default() -> Self {
        Self { factor: 0.1 }
    }
}

impl LayerRates {
    /// The factor on the learning rate of a layer.
    ///
    /// - depth: of the layer, as [`crate::network::Network::depths`] has it
    /// - `is_head`: whether it makes class scores
    pub fn factor(&self, depth: u32, is_head: bool) -> f64 {
        match self {
            Self::Discriminative(settings) => settings.factor.powf(-f64::from(depth)),
            Self::Decay(settings) => settings.factor.powf(f64::from(depth)),
            Self::Backbone(settings) => {
                if is_head {
                    1.0
                } else {
                    settings.factor
                }
            }
        }
    }
}

/// When the layers below the head begin to train. Until then they stay as they are, with the statistics of their
/// batch-norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unfreeze {
    /// Never: the head alone is trained (linear probing).
    Never(Never),
    /// All together after some epochs in which the head alone is trained (Kumar et al. 2022, arXiv 2202.10054;
    /// fastai's `fine_tune` with one epoch).
    AtOnce(AtOnce),
    /// From the last layer down, one depth after the other (Howard & Ruder 2018, arXiv 1801.06146). Depth is as
    /// in `layer-rates`; one whose layers are all frozen is skipped.
    Gradual(GradualUnfreezing),
}

/// Settings of `never`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Never {}

/// Settings of `at-once`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AtOnce {
    /// Epochs in which the head alone is trained.
    #[schemars(range(min = 1))]
    pub after_epochs: u32,
}

impl Default for AtOnce {
    fn default() -> Self {
        Self { after_epochs: 1 }
    }
}

/// Settings of `gradual`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct GradualUnfreezing {
    /// Epochs from one depth to the next.
    #[schemars(range(min = 1))]
    pub every_epochs: u32,
}

impl Default for GradualUnfreezing {
    fn default() -> Self {
        Self { every_epochs: 1 }
    }
}

/// Low-rank updates in place of the weights (Hu et al. 2022, arXiv 2106.09685): `W = W⁰ + (alpha / rank) · B A`.
///
/// A (uniform, as peft has it) and B (zero at first) are trained, besides a new head; all else stays as it is,
/// biases and batch-norm among it. What is masked stays zero. The network that the stage leaves has W as its
/// weight and is like any other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Lora {
    /// Rank of the update: A is `[rank, inputs]` and B `[outputs, rank]`, where a point of a convolution's kernel
    /// on a channel is an input.
    #[schemars(range(min = 1))]
    pub rank: u32,
    /// Strength of the update, divided by the rank.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub alpha: f64,
    /// Share of the inputs of A that are dropped at random in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// The layers, by name pattern: linear layers and ungrouped convolutions; all other layers, and a new head,
    /// are passed over.
    #[schemars(length(min = 1), extend("x-names" = "layer"))]
    pub layers: Vec<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self { rank: 8, alpha: 8.0, dropout: 0.0, layers: vec!["*".to_owned()] }
    }
}

/// The DELTA penalty (Li et al. 2019, arXiv 1901.09229) with equal weights of the channels:
/// `alpha/2 · Σ ‖F − F⁰‖² + beta/2 · ‖w_new‖²`.
///
/// F is what a layer puts out for a batch and F⁰ what it put out at the start, in evaluation. The square norm is
/// a sum over channels and a mean over examples and places: `TLlib`'s 0.01 for a sum over a batch of 48 is about
/// 0.5 here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Delta {
    /// Weight of the distance to what the layers put out at the start.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Weight of the penalty on a new head.
    #[schemars(range(min = 0.0))]
    pub beta: f64,
    /// The layers, by name pattern: linear layers and convolutions; all other layers, and the heads, are passed
    /// over.
    #[schemars(length(min = 1), extend("x-names" = "layer"))]
    pub layers: Vec<String>,
}

impl Default for Delta {
    fn default() -> Self {
        Self { alpha: 0.1, beta: 0.01, layers: vec!["*".to_owned()] }
    }
}

/// Batch spectral shrinkage (Chen et al. 2019): `eta · Σ σ²` over the `k` smallest singular values of a batch's
/// features, which the head reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Bss {
    /// Weight of the penalty.
    #[schemars(range(min = 0.0))]
    pub eta: f64,
    /// Number of singular values, or all where a batch has fewer.
    #[schemars(range(min = 1))]
    pub k: u32,
}

impl Default for Bss {
    fn default() -> Self {
        Self { eta: 1e-3, k: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rates: &LayerRates, expected: [f64; 4]) {
        for (depth, expected) in (0..).zip(expected) {
            let found = 0.01 * rates.factor(depth, depth == 0);
            assert!((found - expected).abs() < 5e-7, "{rates:?}, depth {depth}: {found}");
        }
    }

    /// Of `discriminative` as in `ULMFiT`, whose rates of four groups from 0.01 are 0.01, 0.003846, 0.001479 and
    /// 0.000569; of `decay` as timm's `param_groups_layer_decay`, whose scale is `decay^(last − layer)`.
    #[test]
    fn rates_fall_with_depth() {
        check(
            &LayerRates::Discriminative(Discriminative::default()),
            [0.01, 0.003_846, 0.001_479, 0.000_569],
        );
        check(&LayerRates::Decay(LayerDecay::default()), [0.01, 0.0075, 0.005_625, 0.004_218_75]);
        check(&LayerRates::Backbone(Backbone::default()), [0.01, 0.001, 0.001, 0.001]);
    }
}
