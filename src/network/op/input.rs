use serde::{Deserialize, Serialize};

use crate::network::Shape;

/// The example that the network is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Input {
    /// Its extents, without the batch.
    pub shape: Shape,
}
