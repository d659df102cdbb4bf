//! Sequences: steps, each with the same features.

use serde::{Deserialize, Serialize};

use super::image;
use crate::experiment::spec::StepPooling;
use crate::network::Shape;

/// The columns of an image as the steps of a sequence, left to right.
///
/// # Shapes
/// - input: `[channels, height, width]`
/// - output: `[width, channels · height]`, the rows of a channel beside each other
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Columns {}

/// Exchanges the two axes: `[steps, features]` for `[channels, length]`, and back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Transpose {}

/// One vector of a sequence.
///
/// A second node that is read gives the numbers of the words that the steps are; steps of padding
/// (number 0) then do not count. They stand at the end.
///
/// # Shapes
/// - input: `[steps, features]`, and `[steps]`
/// - output: `[features]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PoolSteps {
    /// What of the steps is taken.
    pub how: StepPooling,
}

/// Adds a vector for each place of a sequence, which is trained.
///
/// # Shapes
/// - input and output: `[steps, features]`
/// - weight: `[steps, features]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Positions {
    /// Steps.
    pub steps: u32,
    /// Features of a step.
    pub features: u32,
}

impl Columns {
    pub(super) fn output(input: &[u32]) -> Result<Shape, String> {
        let [channels, height, width] = image(input)?;
        let features = channels.checked_mul(height).ok_or("its columns have too many values")?;
        Ok(vec![width, features])
    }
}

impl Transpose {
    pub(super) fn output(input: &[u32]) -> Result<Shape, String> {
        let [one, other] = steps(input)?;
        Ok(vec![other, one])
    }
}

impl PoolSteps {
    pub(super) fn output(inputs: &[&[u32]]) -> Result<Shape, String> {
        let (input, words) = match inputs {
            [input] => (input, None),
            [input, words] => (input, Some(words)),
            _ => return Err(format!("it reads one or two nodes, not {}", inputs.len())),
        };
        let [count, features] = steps(input)?;
        match words {
            Some(words) if **words != [count] => Err(of_words(count)),
            _ => Ok(vec![features]),
        }
    }
}

impl Positions {
    pub(super) fn params(&self) -> Vec<super::Param> {
        vec![super::Param {
            name: "weight",
            shape: vec![self.steps, self.features],
            role: super::ParamRole::Other,
            init: super::Init::Normal { std: 0.02 },
        }]
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        match *input {
            [steps, features] if [steps, features] == [self.steps, self.features] => {
                Ok(input.to_vec())
            }
            _ => Err(format!("it takes {} steps of {} features", self.steps, self.features)),
        }
    }
}

/// The extents of a sequence.
pub(super) fn steps(input: &[u32]) -> Result<[u32; 2], String> {
    input.try_into().map_err(|_| "it takes steps and features".to_owned())
}

/// Why the second node that is read does not fit a sequence.
pub(super) fn of_words(count: u32) -> String {
    format!("the second node that it reads must be the numbers of {count} words")
}
