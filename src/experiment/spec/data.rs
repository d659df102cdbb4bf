//! Datasets by name and how a stage reads them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A dataset and how it is read.
///
/// The training split is the only one that training sees. `val` is carved from it by `split-seed`;
/// `test` is measured and never used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Data {
    /// MNIST: handwritten digits, 28×28 grey, 10 classes.
    Mnist(Dataset),
    /// USPS: digits from envelopes, 16×16 grey, 10 classes.
    Usps(Dataset),
    /// UCI optdigits: handwritten digits, 8×8 with 17 grey levels, 10 classes.
    Optdigits(Dataset),
    /// Fashion-MNIST: clothes, 28×28 grey, 10 classes.
    FashionMnist(Dataset),
    /// CIFAR-10: photographs, 32×32 colour, 10 classes.
    Cifar10(Dataset),
    /// CIFAR-100: photographs, 32×32 colour, 100 classes.
    Cifar100(Dataset),
}

impl Data {
    /// Every name that a file can use, in the order of the variants.
    pub const NAMES: [&'static str; 6] =
        ["mnist", "usps", "optdigits", "fashion-mnist", "cifar10", "cifar100"];

    /// The name of the domain that these images are, as in metric names and domain-specific
    /// parameters: the dataset's name, followed by its size where `size` changes it (`cifar100-16x16`).
    pub fn domain(&self) -> String {
        let [_, stored_height, stored_width] = self.stored_shape();
        match self.options().size {
            Some([height, width]) if [height, width] != [stored_height, stored_width] => {
                format!("{}-{height}x{width}", self.name())
            }
            _ => self.name().to_owned(),
        }
    }

    /// The dataset's name, as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mnist(_) => "mnist",
            Self::Usps(_) => "usps",
            Self::Optdigits(_) => "optdigits",
            Self::FashionMnist(_) => "fashion-mnist",
            Self::Cifar10(_) => "cifar10",
            Self::Cifar100(_) => "cifar100",
        }
    }

    /// How the dataset is read.
    pub fn options(&self) -> &Dataset {
        match self {
            Self::Mnist(options)
            | Self::Usps(options)
            | Self::Optdigits(options)
            | Self::FashionMnist(options)
            | Self::Cifar10(options)
            | Self::Cifar100(options) => options,
        }
    }

    /// Shape of one image, `[channels, height, width]`, as stored.
    pub fn stored_shape(&self) -> [u32; 3] {
        match self {
            Self::Mnist(_) | Self::FashionMnist(_) => [1, 28, 28],
            Self::Usps(_) => [1, 16, 16],
            Self::Optdigits(_) => [1, 8, 8],
            Self::Cifar10(_) | Self::Cifar100(_) => [3, 32, 32],
        }
    }

    /// Shape of one image, `[channels, height, width]`, after `size`.
    pub fn shape(&self) -> [u32; 3] {
        let [channels, height, width] = self.stored_shape();
        let [height, width] = self.options().size.unwrap_or([height, width]);
        [channels, height, width]
    }

    /// Number of classes.
    pub fn classes(&self) -> u32 {
        match self {
            Self::Cifar100(_) => 100,
            _ => 10,
        }
    }
}

/// How a dataset is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dataset {
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
}

impl Default for Dataset {
    fn default() -> Self {
        Self {
            batch_size: 128,
            augment: Vec::new(),
            normalize: Normalize::Symmetric,
            size: None,
            val_fraction: 0.1,
            split_seed: 0,
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

/// A part of a dataset.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What training sees.
    Train,
    /// Carved from the training split; what choices are made on.
    Val,
    /// What is reported, and never used for anything else.
    Test,
}

impl Split {
    /// The name as in the file and in metric names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}
