//! What the store has of a stage.

use crate::recipe::StageKey;

/// What the store has of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its checkpoint, whole.
    Cached,
    /// The checkpoint of another key that did the same to the same contents.
    Adoptable(StageKey),
    /// A checkpoint that is not what was committed.
    Damaged,
    /// A checkpoint that was made from another content of its inputs than they have now.
    Stale,
    /// Nothing.
    Missing,
}
