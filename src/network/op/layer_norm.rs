use serde::{Deserialize, Serialize};

use super::{Param, ParamRole, for_each_feature};
use crate::network::Shape;

/// Layer normalisation over the last axis of an example (Ba et al. 2016).
///
/// # Shapes
/// - input and output: `[…, features]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LayerNorm {
    /// Features.
    pub features: u32,
    /// Added to the variance.
    pub epsilon: f64,
    /// Features that were removed: each counts as a zero in the mean and the variance.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub zeros: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl LayerNorm {
    /// PyTorch's defaults.
    pub fn new(features: u32) -> Self {
        Self { features, epsilon: 1e-5, zeros: 0 }
    }

    pub(super) fn params(&self) -> Vec<Param> {
        vec![
            for_each_feature("weight", self.features, ParamRole::Scale, 1.0),
            for_each_feature("bias", self.features, ParamRole::Shift, 0.0),
        ]
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        match input.last() {
            Some(&features) if features == self.features => Ok(input.to_vec()),
            _ => Err(format!("it takes {} features", self.features)),
        }
    }
}
