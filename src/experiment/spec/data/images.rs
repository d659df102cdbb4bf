//! How images are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a dataset of images is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImageOptions {
    /// Images in a training batch. In `adapt`, images of each domain in a batch.
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Random changes of training images, applied in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augment>,
    /// How pixels become numbers.
    pub normalize: Normalize,
    /// Height and width to which images are resized (bilinear). A network that was trained on
    /// another size then gets them resized once more, to that size.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(inner(range(min = 1, max = 4096)))]
    pub size: Option<[u32; 2]>,
    /// Share of the training split that becomes the validation split, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_fraction: f64,
    /// Seed of the choice of validation images; the same in all stages, so that none trains on what another holds out.
    pub split_seed: u64,
    /// Trains on this many images of each class alone, drawn by the seed of the stage: the 5 of a class
    /// are among its 20. What is counted or normalised over the training split is so over all of it, and the
    /// validation split stays whole: a choice made on it, as `keep = "best"`, sees more labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub labels_per_class: Option<u32>,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            batch_size: 128,
            augment: Vec::new(),
            normalize: Normalize::Symmetric,
            size: None,
            val_fraction: 0.1,
            split_seed: 0,
            labels_per_class: None,
        }
    }
}

/// A random change of a training image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Pads with black and cuts out the old size at a random place.
    RandomCrop(RandomCrop),
    /// Mirrors left and right.
    HorizontalFlip(HorizontalFlip),
    /// Turns, stretches, shears and shifts; what comes in at an edge is black.
    RandomAffine(RandomAffine),
}

/// Settings of `random-crop`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RandomCrop {
    /// Pixels of padding on each side.
    #[schemars(range(min = 1, max = 64))]
    pub padding: u32,
}

/// Settings of `horizontal-flip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct HorizontalFlip {
    /// Probability of a flip, in 0..=1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: f64,
}

impl Default for HorizontalFlip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

/// Settings of `random-affine` (French et al. 2018, section 4.1 on small images).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RandomAffine {
    /// Standard deviation of what is added to each value of the identity matrix that maps the places of an image.
    #[schemars(range(min = 0.0))]
    pub deviation: f64,
    /// Largest shift down or up, and left or right, pixels.
    #[schemars(range(min = 0.0))]
    pub shift: f64,
}

impl Default for RandomAffine {
    fn default() -> Self {
        Self { deviation: 0.1, shift: 2.0 }
    }
}

/// How pixels (0..=255) become numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalize {
    /// `x / 255`, in 0..=1.
    Unit,
    /// `x / 127.5 − 1`, in −1..=1.
    #[default]
    Symmetric,
    /// `(x − mean) / std` per channel over the training split.
    Standard,
}
