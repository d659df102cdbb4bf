use serde::{Deserialize, Serialize};

use super::windows;
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

impl MaxPool2d {
    /// Windows that do not overlap.
    pub fn new(kernel: u32) -> Self {
        Self { kernel, stride: kernel, padding: 0 }
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let &[channels, height, width] = input else {
            return Err("it takes channels, height and width".to_owned());
        };
        let extent = |extent| windows(extent, self.kernel, self.stride, self.padding, 1);
        match (extent(height), extent(width)) {
            (Some(height), Some(width)) => Ok(vec![channels, height, width]),
            _ => Err(format!("its {0}×{0} window does not fit", self.kernel)),
        }
    }
}
