use serde::{Deserialize, Serialize};

use super::{Init, Param, ParamRole};
use crate::network::Shape;

/// A vector for each number of a word.
///
/// It starts from normal values of deviation 0.1, not PyTorch's 1: of those the rare words would keep
/// what is noise to all others.
///
/// # Shapes
/// - input: `[length]`, numbers below `rows`
/// - output: `[length, features]`
/// - weight: `[rows, features]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Embedding {
    /// Numbers that there are.
    pub rows: u32,
    /// Values of a vector.
    pub features: u32,
}

impl Embedding {
    pub(super) fn params(&self) -> Vec<Param> {
        vec![Param {
            name: "weight",
            shape: vec![self.rows, self.features],
            role: ParamRole::Other,
            init: Init::Normal { std: 0.1 },
        }]
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        match input {
            [length] => Ok(vec![*length, self.features]),
            _ => Err("it takes the numbers of words in a row".to_owned()),
        }
    }
}
