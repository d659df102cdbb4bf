use serde::{Deserialize, Serialize};

use super::{Param, count, divide, image, weight_and_bias, window_extents};
use crate::network::Shape;

/// 2-d convolution.
///
/// # Shapes
/// - input: `[inputs, height, width]`
/// - output: `[outputs, height', width']`
/// - weight: `[outputs, inputs / groups, kernel, kernel]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Conv2d {
    /// Input channels.
    pub inputs: u32,
    /// Output channels.
    pub outputs: u32,
    /// Height and width of the kernel.
    pub kernel: u32,
    /// Step of the kernel.
    pub stride: u32,
    /// Zeros added on each side.
    pub padding: u32,
    /// Distance between the kernel's points.
    pub dilation: u32,
    /// Groups of channels that are convolved apart.
    pub groups: u32,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv2d {
    /// A convolution with stride 1, no padding, one group, and a bias.
    pub fn new(inputs: u32, outputs: u32, kernel: u32) -> Self {
        Self { inputs, outputs, kernel, stride: 1, padding: 0, dilation: 1, groups: 1, bias: true }
    }

    /// Whether every output channel is a function of one input channel.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.inputs
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let group_inputs = self.inputs / self.groups.max(1);
        let shape = vec![self.outputs, group_inputs, self.kernel, self.kernel];
        weight_and_bias(shape, self.outputs, self.bias)
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let [channels, height, width] = image(input)?;
        if channels != self.inputs {
            return Err(format!("it takes {} channels", self.inputs));
        }
        divide(self.groups, self.inputs, self.outputs)?;
        let extents = [height, width];
        let [height, width] =
            window_extents(extents, self.kernel, self.stride, self.padding, self.dilation)
                .ok_or_else(|| format!("its {0}×{0} kernel does not fit", self.kernel))?;
        Ok(vec![self.outputs, height, width])
    }

    pub(super) fn macs(&self, output: &[u32]) -> u64 {
        let window = u64::from(self.inputs / self.groups) * u64::from(self.kernel).pow(2);
        count(output) * window
    }
}
