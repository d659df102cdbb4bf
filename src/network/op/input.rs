use serde::{Deserialize, Serialize};

use crate::network::Shape;

/// The example that the network is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Input {
    /// Its extents, without the batch.
    pub shape: Shape,
    /// Where the values are numbers of words: how many numbers there are; all are below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
}
