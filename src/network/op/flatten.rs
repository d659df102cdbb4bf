use serde::{Deserialize, Serialize};

/// All values of an example in one row, the last axis fastest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Flatten {}
