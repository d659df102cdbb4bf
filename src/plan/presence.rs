//! What the store has of a stage.

use crate::recipe::StageKey;

/// What the store has of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its checkpoint, whole.
    Cached,
    /// The checkpoint of another key that did the same to the same contents.
    Adoptable(StageKey),
    /// A checkpoint without a file that it has to have; the others are as they were committed.
    Incomplete,
    /// A checkpoint that is not what was committed.
    Damaged,
    /// A checkpoint that was made from another content of its inputs than they have now.
    Stale,
    /// Nothing.
    Missing,
}

impl Presence {
    /// Whether there is nothing that could be used, nor anything false.
    pub(super) fn is_gone(self) -> bool {
        matches!(self, Self::Adoptable(_) | Self::Incomplete | Self::Missing)
    }
}
