//! 1-d convolution and pooling.

use serde::{Deserialize, Serialize};

use super::{Param, weight_and_bias, window_extents};
use crate::network::Shape;

/// 1-d convolution (cross-correlation, as everywhere).
///
/// # Shapes
/// - input: `[inputs, length]`
/// - weight: `[outputs, inputs, kernel]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Conv1d {
    /// Input channels.
    pub inputs: u32,
    /// Output channels.
    pub outputs: u32,
    /// Length of the kernel.
    pub kernel: u32,
    /// Step of the kernel.
    pub stride: u32,
    /// Zeros added at each end.
    pub padding: u32,
    /// Whether a bias is added.
    pub bias: bool,
}

/// 1-d max-pooling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MaxPool1d {
    /// Length of the window.
    pub kernel: u32,
    /// Step of the window.
    pub stride: u32,
}

impl Conv1d {
    /// With stride 1, without padding, with a bias.
    pub fn new(inputs: u32, outputs: u32, kernel: u32) -> Self {
        Self { inputs, outputs, kernel, stride: 1, padding: 0, bias: true }
    }

    pub(super) fn params(&self) -> Vec<Param> {
        weight_and_bias(vec![self.outputs, self.inputs, self.kernel], self.outputs, self.bias)
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let [channels, length] = signal(input)?;
        if channels != self.inputs {
            return Err(format!("it takes {} channels", self.inputs));
        }
        match window_extents([length], self.kernel, self.stride, self.padding, 1) {
            Some([length]) => Ok(vec![self.outputs, length]),
            None => Err(format!("its kernel of {} does not fit", self.kernel)),
        }
    }

    pub(super) fn macs(&self, output: &[u32]) -> u64 {
        super::count(output) * u64::from(self.inputs) * u64::from(self.kernel)
    }
}

impl MaxPool1d {
    /// Windows that do not overlap.
    pub fn new(kernel: u32) -> Self {
        Self { kernel, stride: kernel }
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let [channels, length] = signal(input)?;
        match window_extents([length], self.kernel, self.stride, 0, 1) {
            Some([length]) => Ok(vec![channels, length]),
            None => Err(format!("its window of {} does not fit", self.kernel)),
        }
    }
}

/// The extents of a signal.
fn signal(input: &[u32]) -> Result<[u32; 2], String> {
    input.try_into().map_err(|_| "it takes channels and a length".to_owned())
}
