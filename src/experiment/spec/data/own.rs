//! What a user's own datasets have in common.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a domain can be called: a dot would part the name of a metric or a parameter.
pub(super) const DOMAIN: &str = "^[A-Za-z0-9_-]+$";
pub(super) const DOMAIN_WORDS: &str = "letters, digits, `_` and `-`";

/// What images become, whatever they are in their files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// Red, green and blue; three channels. What is transparent is taken as if it were not.
    #[default]
    Rgb,
    /// Luma of ITU-R 601; one channel.
    Grey,
}

impl Colour {
    /// Number of channels.
    pub fn channels(self) -> u32 {
        match self {
            Self::Rgb => 3,
            Self::Grey => 1,
        }
    }
}
