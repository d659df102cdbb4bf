use serde::{Deserialize, Serialize};

/// `max(x, 0)`, value by value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Relu {}
