use serde::{Deserialize, Serialize};

use super::{Init, Param, ParamRole};
use crate::network::Shape;

/// Fully connected layer: `y = x Wᵀ + b`, over the last axis.
///
/// # Shapes
/// - input: `[…, inputs]`
/// - output: `[…, outputs]`
/// - weight: `[outputs, inputs]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Linear {
    /// Input features.
    pub inputs: u32,
    /// Output features.
    pub outputs: u32,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Linear {
    /// A layer with a bias.
    pub fn new(inputs: u32, outputs: u32) -> Self {
        Self { inputs, outputs, bias: true }
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let init = Init::fan_in(self.inputs.into());
        let shape = vec![self.outputs, self.inputs];
        let mut params = vec![Param { name: "weight", shape, role: ParamRole::Weight, init }];
        if self.bias {
            params.push(Param {
                name: "bias",
                shape: vec![self.outputs],
                role: ParamRole::Bias,
                init,
            });
        }
        params
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        match input {
            [rows @ .., features] if *features == self.inputs => {
                Ok([rows, &[self.outputs]].concat())
            }
            _ => Err(format!("it takes {} features", self.inputs)),
        }
    }
}
