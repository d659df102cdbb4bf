use serde::{Deserialize, Serialize};

use super::{Param, divide, image, weight_and_bias};
use crate::network::Shape;

/// 2-d transposed convolution, which enlarges an image: the gradient of a convolution, taken as a layer.
///
/// # Shapes
/// - input: `[inputs, height, width]`
/// - output: `[outputs, height', width']` with
///   `height' = (height − 1) · stride − 2 · padding + kernel + output_padding`
/// - weight: `[inputs, outputs / groups, kernel, kernel]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConvTranspose2d {
    /// Input channels.
    pub inputs: u32,
    /// Output channels.
    pub outputs: u32,
    /// Height and width of the kernel.
    pub kernel: u32,
    /// Step of the kernel in the output.
    pub stride: u32,
    /// Rows and columns that are cut off on each side of the output.
    pub padding: u32,
    /// Rows and columns that are added at the output's end, below `stride`.
    pub output_padding: u32,
    /// Groups of channels that are convolved apart.
    pub groups: u32,
    /// Whether a bias is added.
    pub bias: bool,
}

impl ConvTranspose2d {
    /// Enlarges `kernel` times, without overlap, with a bias.
    pub fn new(inputs: u32, outputs: u32, kernel: u32) -> Self {
        Self {
            inputs,
            outputs,
            kernel,
            stride: kernel,
            padding: 0,
            output_padding: 0,
            groups: 1,
            bias: true,
        }
    }

    /// Whether every output channel is a function of one input channel.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.inputs && self.groups == self.outputs
    }

    pub(super) fn params(&self) -> Vec<Param> {
        let group_outputs = self.outputs / self.groups.max(1);
        let shape = vec![self.inputs, group_outputs, self.kernel, self.kernel];
        weight_and_bias(shape, self.outputs, self.bias)
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let [channels, height, width] = image(input)?;
        if channels != self.inputs {
            return Err(format!("it takes {} channels", self.inputs));
        }
        divide(self.groups, self.inputs, self.outputs)?;
        if self.stride == 0 {
            return Err("its stride is 0".to_owned());
        }
        if self.output_padding >= self.stride {
            return Err(format!(
                "its output padding of {} is not below its stride of {}",
                self.output_padding, self.stride
            ));
        }
        let extent = |extent: u32| {
            let reach = u64::from(extent.saturating_sub(1)) * u64::from(self.stride)
                + u64::from(self.kernel)
                + u64::from(self.output_padding);
            reach
                .checked_sub(2 * u64::from(self.padding))
                .filter(|extent| *extent > 0)
                .and_then(|extent| u32::try_from(extent).ok())
        };
        match (extent(height), extent(width)) {
            (Some(height), Some(width)) => Ok(vec![self.outputs, height, width]),
            _ => Err("its padding leaves nothing of the output".to_owned()),
        }
    }

    pub(super) fn macs(&self, input: &[u32]) -> u64 {
        let window = u64::from(self.outputs / self.groups) * u64::from(self.kernel).pow(2);
        super::count(input) * window
    }
}
