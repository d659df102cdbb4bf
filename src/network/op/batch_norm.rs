use serde::{Deserialize, Serialize};

use super::{Init, Param, ParamRole, for_each_feature};
use crate::network::Shape;

/// Batch normalisation over the first axis of an example: channels of an image, or features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BatchNorm {
    /// Channels or features.
    pub features: u32,
    /// Added to the variance.
    pub epsilon: f64,
    /// Share of the new batch in the running statistics.
    pub momentum: f64,
}

impl BatchNorm {
    /// PyTorch's defaults.
    pub fn new(features: u32) -> Self {
        Self { features, epsilon: 1e-5, momentum: 0.1 }
    }

    pub(super) fn params(&self) -> Vec<Param> {
        vec![
            for_each_feature("weight", self.features, ParamRole::Scale, 1.0),
            for_each_feature("bias", self.features, ParamRole::Shift, 0.0),
            for_each_feature("running_mean", self.features, ParamRole::Statistic, 0.0),
            for_each_feature("running_var", self.features, ParamRole::Statistic, 1.0),
            Param {
                name: "num_batches_tracked",
                shape: Vec::new(),
                role: ParamRole::Counter,
                init: Init::Constant(0.0),
            },
        ]
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        match input.first() {
            Some(&features) if features == self.features => Ok(input.to_vec()),
            _ => Err(format!("it takes {} channels", self.features)),
        }
    }
}
