//! 2-d pooling: windows that slide over each channel, or a grid of windows that cover it.

use serde::{Deserialize, Serialize};

use super::{image, window_extents};
use crate::network::Shape;

/// 2-d max-pooling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MaxPool2d {
    /// Height and width of the window.
    pub kernel: u32,
    /// Step of the window.
    pub stride: u32,
    /// Values of −∞ added on each side.
    pub padding: u32,
}

/// 2-d average-pooling; padding counts as zeros, as in PyTorch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AvgPool2d {
    /// Height and width of the window.
    pub kernel: u32,
    /// Step of the window.
    pub stride: u32,
    /// Zeros added on each side.
    pub padding: u32,
}

/// Averages over a grid of windows that cover the image, whatever its size; windows overlap where it does
/// not divide, and repeat values where the image is smaller than the grid.
///
/// # Shapes
/// - input: `[channels, height, width]`
/// - output: `[channels, self.height, self.width]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdaptiveAvgPool2d {
    /// Rows of the grid.
    pub height: u32,
    /// Columns of the grid.
    pub width: u32,
}

macro_rules! sliding {
    ($($pool:ident),*) => {$(
        impl $pool {
            /// Windows that do not overlap.
            pub fn new(kernel: u32) -> Self {
                Self { kernel, stride: kernel, padding: 0 }
            }

            pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
                slide(input, self.kernel, self.stride, self.padding)
            }
        }
    )*};
}
sliding!(MaxPool2d, AvgPool2d);

impl AdaptiveAvgPool2d {
    /// One average of each channel: global average-pooling.
    pub fn global() -> Self {
        Self { height: 1, width: 1 }
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let [channels, ..] = image(input)?;
        if self.height == 0 || self.width == 0 {
            return Err("its grid has no windows".to_owned());
        }
        Ok(vec![channels, self.height, self.width])
    }
}

fn slide(input: &[u32], kernel: u32, stride: u32, padding: u32) -> Result<Shape, String> {
    let [channels, height, width] = image(input)?;
    // LibTorch refuses windows that could lie in the padding alone.
    if padding > kernel / 2 {
        return Err(format!(
            "its padding of {padding} is more than half of its {kernel}×{kernel} window"
        ));
    }
    let [height, width] = window_extents([height, width], kernel, stride, padding, 1)
        .ok_or_else(|| format!("its {kernel}×{kernel} window does not fit"))?;
    Ok(vec![channels, height, width])
}
