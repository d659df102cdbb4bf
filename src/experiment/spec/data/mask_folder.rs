//! A user's own images, each with a mask.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::own::{Colour, DOMAIN, DOMAIN_WORDS};
use super::{Augment, Normalize};

/// How a folder of images with masks is read: each `PATH/train/images/NAME` (PNG or JPEG) has the mask
/// `PATH/train/masks/NAME.png`, and so below `PATH/test`; folders in between are part of the name. A
/// pixel of a mask is the number of its class, or 255 where it has none: it is then neither trained on nor
/// measured. A mask is a PNG of one channel, or with a palette, whose colours mean nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MaskFolder {
    /// The folder that has `train` and `test`, relative to the experiment file. Its content decides the
    /// result, its place does not.
    pub path: String,
    /// The classes that pixels have, in the order of their numbers, which start at 0.
    #[schemars(length(min = 2, max = 255), extend("uniqueItems" = true))]
    pub classes: Vec<String>,
    /// Height and width to which images (bilinear, antialiased, as Pillow does) and masks (nearest pixel)
    /// are resized.
    #[schemars(inner(range(min = 1, max = 4096)))]
    pub size: [u32; 2],
    /// Name of the domain in metrics: `mask-folder-DOMAIN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DOMAIN), extend("patternErrorMessage" = DOMAIN_WORDS))]
    pub domain: Option<String>,
    /// What images become, whatever they are in their files.
    #[serde(default)]
    pub colour: Colour,
    /// Images in a training batch.
    #[serde(default = "MaskFolder::default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Random changes of training images, applied in this order, to image and mask alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augment>,
    /// How pixels become numbers.
    #[serde(default)]
    pub normalize: Normalize,
    /// Share of the training split that becomes the validation split, in 0..1.
    #[serde(default = "MaskFolder::default_val_fraction")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_fraction: f64,
    /// Seed of the choice of validation images; the same in all stages, so that none trains on what another holds out.
    #[serde(default)]
    pub split_seed: u64,
}

impl MaskFolder {
    /// A pixel of a mask that has no class.
    pub const IGNORED: u8 = 255;

    fn default_batch_size() -> u32 {
        16
    }

    fn default_val_fraction() -> f64 {
        0.1
    }

    /// Shape of one image, `[channels, height, width]`.
    pub fn shape(&self) -> [u32; 3] {
        [self.colour.channels(), self.size[0], self.size[1]]
    }
}
