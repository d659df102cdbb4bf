use serde::{Deserialize, Serialize};

use super::image;
use crate::network::Shape;

/// Resizes an image, channel by channel.
///
/// # Shapes
/// - input: `[channels, height, width]`
/// - output: `[channels, self.height, self.width]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Upsample2d {
    /// Height of the output.
    pub height: u32,
    /// Width of the output.
    pub width: u32,
    /// Where a new pixel's value comes from.
    pub mode: Interpolation,
}

/// Where a new pixel's value comes from. Pixels are areas, as in PyTorch with `align_corners=False`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// From the pixel that it falls into.
    Nearest,
    /// From the four around it.
    Bilinear,
}

impl Upsample2d {
    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let [channels, height, width] = image(input)?;
        if self.height == 0 || self.width == 0 || height == 0 || width == 0 {
            return Err("an image without pixels cannot be resized".to_owned());
        }
        Ok(vec![channels, self.height, self.width])
    }
}
