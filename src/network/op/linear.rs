use serde::{Deserialize, Serialize};

use super::{Param, weight_and_bias};
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
        weight_and_bias(vec![self.outputs, self.inputs], self.outputs, self.bias)
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
