//! Labels: the class of each example, or of each of its pixels.
//!
//! Stored as `[N]`, i64, or as masks, `[N, H, W]`, bytes; a batch has them as i64.

use tch::{Kind, Tensor};

/// In a mask: a pixel that has no class. It is neither trained on nor measured.
pub const IGNORED: u8 = 255;

/// `[N]`, i64.
pub(super) fn of_examples(classes: &[u8]) -> Tensor {
    Tensor::from_slice(classes).to_kind(Kind::Int64)
}

/// Whether these are masks.
pub(super) fn are_masks(labels: &Tensor) -> bool {
    labels.dim() > 1
}

/// As a batch has them.
pub(super) fn of_batch(stored: &Tensor) -> Tensor {
    stored.to_kind(Kind::Int64)
}
