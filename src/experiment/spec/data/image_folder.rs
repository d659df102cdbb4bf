//! A user's own images in folders, one for each class.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::own::{Colour, DOMAIN, DOMAIN_WORDS};
use super::{Augment, Normalize};

/// How a folder of images is read: `PATH/train/CLASS/…` is the training split, `PATH/test/CLASS/…` the
/// test split. All PNG and JPEG files below a class folder are read, in the order of their names; hidden
/// files and files of other kinds are passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder that has `train` and `test`, relative to the experiment file. Its content decides the
    /// result, its place does not.
    pub path: String,
    /// The class folders that are read; the order numbers the classes. Folders of other names are left out.
    #[schemars(length(min = 2, max = 256), extend("uniqueItems" = true))]
    pub classes: Vec<String>,
    /// Height and width to which all images are resized (bilinear, antialiased, as Pillow does).
    #[schemars(inner(range(min = 1, max = 4096)))]
    pub size: [u32; 2],
    /// Name of the domain in metrics and in domain-specific parameters: `image-folder-DOMAIN`. Two domains
    /// of one adaptation need different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = DOMAIN), extend("patternErrorMessage" = DOMAIN_WORDS))]
    pub domain: Option<String>,
    /// What images become, whatever they are in their files.
    #[serde(default)]
    pub colour: Colour,
    /// Images in a training batch. In `adapt`, images of each domain in a batch.
    #[serde(default = "ImageFolder::default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Random changes of training images, applied in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augment>,
    /// How pixels become numbers.
    #[serde(default)]
    pub normalize: Normalize,
    /// Share of the training split that becomes the validation split, in 0..1.
    #[serde(default = "ImageFolder::default_val_fraction")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_fraction: f64,
    /// Seed of the choice of validation images; the same in all stages, so that none trains on what another holds out.
    #[serde(default)]
    pub split_seed: u64,
    /// Trains on this many images of each class alone, drawn by the seed of the stage: the 5 of a class
    /// are among its 20. What is counted or normalised over the training split is so over all of it, and the
    /// validation split stays whole: a choice made on it, as `keep = "best"`, sees more labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub labels_per_class: Option<u32>,
}

impl ImageFolder {
    fn default_batch_size() -> u32 {
        64
    }

    fn default_val_fraction() -> f64 {
        0.1
    }

    /// Shape of one image, `[channels, height, width]`.
    pub fn shape(&self) -> [u32; 3] {
        [self.colour.channels(), self.size[0], self.size[1]]
    }
}
