//! Scenes with a mask: digits put onto photographs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Augment, Normalize};

/// How scenes are made of two datasets: each is a photograph with a digit on it, and its mask says of
/// every pixel whether it is background (class 0) or belongs to the digit `d` (class `d + 1`).
///
/// Both splits are made of the same splits of the two datasets, so that no digit and no photograph of
/// the test split is ever trained on. A photograph is used once. Digits are used in turn where there are
/// fewer than scenes; then a validation scene can have a digit that is trained on, on another photograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DigitsOnPhotographs {
    /// Scenes in a training batch.
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Whose digits are put onto the photographs.
    pub digits: Digits,
    /// Which photographs they are put onto.
    pub photographs: Photographs,
    /// Height and width of a scene, to which its photograph is resized (bilinear).
    #[schemars(inner(range(min = 8, max = 1024)))]
    pub size: [u32; 2],
    /// Smallest and largest side of the square that holds a digit, as a share of the scene's shorter
    /// side; drawn anew for each scene, as is its place.
    #[schemars(inner(range(min = 0.1, max = 1.0)))]
    pub digit_size: [f64; 2],
    /// Scenes of the training split, of which `val-fraction` becomes the validation split.
    #[schemars(range(min = 1))]
    pub scenes: u32,
    /// Scenes of the test split.
    #[schemars(range(min = 1))]
    pub test_scenes: u32,
    /// Seed of the scenes: which photograph each digit gets, its size, place and colour.
    pub scene_seed: u64,
    /// Random changes of training scenes, applied in this order, to image and mask alike.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Augment>,
    /// How pixels become numbers.
    pub normalize: Normalize,
    /// Share of the training split that becomes the validation split, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_fraction: f64,
    /// Seed of the choice of validation scenes; the same in all stages, so that none trains on what another holds out.
    pub split_seed: u64,
}

impl Default for DigitsOnPhotographs {
    fn default() -> Self {
        Self {
            batch_size: 32,
            digits: Digits::Mnist,
            photographs: Photographs::Cifar10,
            size: [96, 96],
            digit_size: [0.75, 1.0],
            scenes: 2000,
            test_scenes: 1000,
            scene_seed: 0,
            augment: Vec::new(),
            normalize: Normalize::Symmetric,
            val_fraction: 0.1,
            split_seed: 0,
        }
    }
}

impl DigitsOnPhotographs {
    /// Background, and the ten digits.
    pub const CLASSES: u32 = 11;

    /// The two datasets, as part of a domain's name, where they are not those that are meant by default.
    pub(super) fn part(&self) -> Option<String> {
        let names = [self.digits.as_str(), self.photographs.as_str()];
        (names != ["mnist", "cifar10"]).then(|| names.join("-"))
    }
}

/// A dataset of digits that are brighter than their background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Digits {
    /// MNIST.
    Mnist,
    /// USPS.
    Usps,
    /// UCI optdigits.
    Optdigits,
}

impl Digits {
    /// The dataset's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::Usps => "usps",
            Self::Optdigits => "optdigits",
        }
    }
}

/// A dataset of photographs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Photographs {
    /// CIFAR-10.
    Cifar10,
    /// CIFAR-100.
    Cifar100,
}

impl Photographs {
    /// The dataset's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
        }
    }
}
