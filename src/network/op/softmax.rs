use serde::{Deserialize, Serialize};

use crate::network::Shape;

/// `eˣ`, divided by its sum along an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Softmax {
    /// The axis of one example, from 0: 0 is over channels.
    pub axis: u32,
}

impl Softmax {
    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        super::has_axis(input, self.axis)?;
        Ok(input.to_vec())
    }
}
