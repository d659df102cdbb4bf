//! The import stage: a network from a file made elsewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, Model};

/// Takes a network from a file that was made elsewhere: its parameters from a safetensors file, or all of
/// it from a `TorchScript` file.
///
/// Parameters are found by name: those that PyTorch's `state_dict` and torchvision have for such a network.
/// Other number formats become 32-bit floats. A `TorchScript` program can be trained, pruned by
/// single weights, taught by and measured; what needs its layers (its size in MACs, another number of
/// classes, adaptation) cannot be had of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Import {
    /// The file, relative to the experiment file. Its content decides the result, its place does not.
    pub file: String,
    /// The network that the parameters are for. Left out for a `TorchScript` file, which has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The images that it takes and the classes that it tells apart; it is measured on them.
    pub data: Data,
    /// Whether the file must have every parameter, and nothing else. Otherwise parameters that the file
    /// lacks, or has in another shape, get new initial values.
    #[serde(default = "Import::default_strict")]
    pub strict: bool,
    /// Pins the seed of new initial values, so that all seeds of the experiment share them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Import {
    fn default_strict() -> bool {
        true
    }
}
