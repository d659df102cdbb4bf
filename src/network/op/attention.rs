use serde::{Deserialize, Serialize};

use super::sequence::{of_words, steps};
use super::{Init, Param, ParamRole};
use crate::network::Shape;

/// Multi-head self-attention over the steps of a sequence (Vaswani et al. 2017,
/// <https://arxiv.org/abs/1706.03762>), with the names and initial values of PyTorch's
/// `MultiheadAttention`.
///
/// A second node that is read gives the numbers of the words that the steps are; no step then looks at
/// padding (number 0).
///
/// # Shapes
/// - input: `[steps, features]`, and `[steps]`
/// - output: `[steps, features]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Attention {
    /// Features of a step.
    pub features: u32,
    /// Heads.
    pub heads: u32,
    /// Values of a query, key or value of a head, where heads or features were removed; else the heads share
    /// out the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_width: Option<u32>,
}

impl Attention {
    /// Of so many features and heads, which share them out.
    pub fn new(features: u32, heads: u32) -> Self {
        Self { features, heads, head_width: None }
    }

    /// Values of a query, key or value of a head.
    pub fn width(&self) -> u32 {
        self.head_width.unwrap_or(self.features / self.heads.max(1))
    }

    /// Values of a query, key or value of all heads.
    pub fn inner(&self) -> u32 {
        self.width() * self.heads
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let (features, inner) = (self.features, self.inner());
        let zeros = Init::Constant(0.0);
        // Glorot's bound for the three projections as one matrix, as PyTorch has it.
        let extents = f64::from((features + 3 * inner).max(1));
        let glorot = Init::Uniform { bound: (6.0 / extents).sqrt() };
        let out = Init::fan_in(inner.into());
        let weight = |name, shape: [u32; 2], init| Param {
            name,
            shape: shape.into(),
            role: ParamRole::Other,
            init,
        };
        let bias =
            |name, rows| Param { name, shape: vec![rows], role: ParamRole::Bias, init: zeros };
        vec![
            weight("in_proj_weight", [3 * inner, features], glorot),
            bias("in_proj_bias", 3 * inner),
            weight("out_proj.weight", [features, inner], out),
            bias("out_proj.bias", features),
        ]
    }

    pub(super) fn output(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (input, words) = match inputs {
            [input] => (input, None),
            [input, words] => (input, Some(words)),
            _ => return Err(format!("it reads one or two nodes, not {}", inputs.len())),
        };
        let [count, features] = steps(input)?;
        if features != self.features {
            return Err(format!("it takes {} features a step", self.features));
        }
        let is_shared_out = self.head_width.is_some() || features.is_multiple_of(self.heads.max(1));
        if self.heads == 0 || !is_shared_out {
            return Err(format!(
                "{features} features cannot be shared out to {} heads",
                self.heads
            ));
        }
        match words {
            Some(words) if **words != [count] => Err(of_words(count)),
            _ => Ok(input.to_vec()),
        }
    }

    /// Multiply-accumulates: four projections of every step, and every step with every other twice.
    pub(super) fn operations(&self, output: &[u32]) -> u64 {
        let (count, features) = (u64::from(output[0]), u64::from(self.features));
        let inner = u64::from(self.inner());
        count * inner * (4 * features + 2 * count)
    }
}
