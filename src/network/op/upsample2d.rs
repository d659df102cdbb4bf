use serde::{Deserialize, Serialize};

use super::image;
use crate::experiment::spec::layers::Interpolation;
use crate::network::Shape;

/// Resizes an image, channel by channel. Pixels are areas, as in PyTorch with `align_corners=False`.
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

impl Upsample2d {
    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let [channels, height, width] = image(input)?;
        if self.height == 0 || self.width == 0 || height == 0 || width == 0 {
            return Err("an image without pixels cannot be resized".to_owned());
        }
        Ok(vec![channels, self.height, self.width])
    }
}
