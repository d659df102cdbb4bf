//! Operations that join several nodes into one.

use serde::{Deserialize, Serialize};

use super::has_axis;
use crate::network::{Extents, Shape};

/// Sum of nodes of one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Add {}

impl Add {
    pub(super) fn output(inputs: &[&[u32]]) -> Result<Shape, String> {
        let (first, others) = several(inputs)?;
        match others.iter().find(|other| **other != first) {
            None => Ok(first.to_vec()),
            Some(other) => {
                Err(format!("{} and {} cannot be added", Extents(first), Extents(other)))
            }
        }
    }
}

/// Product of two nodes: of one shape, or a value and its gate, which has one value where the other has
/// a whole axis (`[channels, 1, 1]`: squeeze-and-excitation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mul {}

impl Mul {
    pub(super) fn output(inputs: &[&[u32]]) -> Result<Shape, String> {
        let [value, gate] = inputs else {
            return Err(format!("it reads two nodes, not {}", inputs.len()));
        };
        let fits = value.len() == gate.len()
            && value.iter().zip(*gate).all(|(value, gate)| value == gate || *gate == 1);
        if fits {
            return Ok(value.to_vec());
        }
        Err(format!("{} is no gate for {}", Extents(gate), Extents(value)))
    }
}

/// Nodes beside each other along an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Concat {
    /// The axis of one example, from 0: 0 joins channels.
    pub axis: u32,
}

impl Concat {
    pub(super) fn output(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let (first, others) = several(inputs)?;
        let axis = has_axis(first, self.axis)?;
        let mut shape = first.to_vec();
        for other in others {
            let fits = other.len() == first.len()
                && (0..first.len()).all(|index| index == axis || other[index] == first[index]);
            if !fits {
                return Err(format!(
                    "{} and {} cannot be joined along axis {axis}",
                    Extents(first),
                    Extents(other)
                ));
            }
            shape[axis] =
                shape[axis].checked_add(other[axis]).ok_or("the joined axis is too long")?;
        }
        Ok(shape)
    }
}

fn several<'a>(inputs: &'a [&'a [u32]]) -> Result<(&'a [u32], &'a [&'a [u32]]), String> {
    match inputs {
        [first, others @ ..] if !others.is_empty() => Ok((first, others)),
        _ => Err(format!("it reads at least two nodes, not {}", inputs.len())),
    }
}
