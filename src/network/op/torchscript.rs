//! A network that is a `TorchScript` program: what it computes is in the program, beside the checkpoint.

use serde::{Deserialize, Serialize};

use super::{Init, Param, ParamRole};
use crate::network::Shape;

/// What a whole program computes from the example and from all that it holds.
///
/// Nothing of its layers is known: no shapes between them, no multiply-accumulates, no dependencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TorchScript {
    /// Extents of what it puts out for one example.
    pub output: Shape,
}

/// A parameter or buffer of a program, under the name that PyTorch's `state_dict` has for it: that is
/// the node's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Held {
    /// Its extents; empty for a scalar.
    pub shape: Shape,
    /// What it is for.
    pub role: ParamRole,
}

impl Held {
    /// The one value, which has no name but the node's. It comes from the program: there is no draw.
    pub(super) fn params(&self) -> Vec<Param> {
        let init = Init::Constant(0.0);
        vec![Param { name: "", shape: self.shape.clone(), role: self.role, init }]
    }
}
