use serde::{Deserialize, Serialize};

use super::has_axis;
use crate::network::Shape;

/// A run of values along an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slice {
    /// The axis of one example, from 0: 0 takes channels.
    pub axis: u32,
    /// The first index that is taken.
    pub from: u32,
    /// The first index that is not taken any more.
    pub to: u32,
}

impl Slice {
    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let axis = has_axis(input, self.axis)?;
        if self.from >= self.to || self.to > input[axis] {
            return Err(format!(
                "{}..{} is no part of {} values along axis {axis}",
                self.from, self.to, input[axis]
            ));
        }
        let mut shape = input.to_vec();
        shape[axis] = self.to - self.from;
        Ok(shape)
    }
}
