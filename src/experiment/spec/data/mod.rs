//! Datasets by name and how a stage reads them.

mod amazon_reviews;
mod csv;
mod fsdd;
mod image_folder;
mod images;
mod mask_folder;
mod newsgroups;
mod own;
mod scenes;

pub use amazon_reviews::{AmazonReviews, Category, Weights};
pub use csv::{Csv, RowDomain, RowNormalize, TestColumn, TestDrawn, TestRows};
pub use fsdd::{Features, Fsdd, LogMel, MelNormalize, Raw, Speaker};
pub use image_folder::ImageFolder;
pub use images::{Augment, HorizontalFlip, ImageOptions, Normalize, RandomAffine, RandomCrop};
pub use mask_folder::MaskFolder;
pub use newsgroups::{AllGroups, Class, Group, Groups, Newsgroups, OnlyGroups, Pair, PairPart};
pub use own::Colour;
pub use scenes::{Digits, DigitsOnPhotographs, Photographs};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::network::Task;

/// A dataset and how it is read.
///
/// The training split is the only one that training sees. `val` is carved from it by `split-seed`;
/// `test` is measured and never used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Data {
    /// MNIST: handwritten digits, 28×28 grey, 10 classes.
    Mnist(ImageOptions),
    /// USPS: digits from envelopes, 16×16 grey, 10 classes.
    Usps(ImageOptions),
    /// UCI optdigits: handwritten digits, 8×8 with 17 grey levels, 10 classes.
    Optdigits(ImageOptions),
    /// Fashion-MNIST: clothes, 28×28 grey, 10 classes.
    FashionMnist(ImageOptions),
    /// CIFAR-10: photographs, 32×32 colour, 10 classes.
    Cifar10(ImageOptions),
    /// CIFAR-100: photographs, 32×32 colour, 100 classes.
    Cifar100(ImageOptions),
    /// Free Spoken Digit Dataset: recordings of six speakers, 8 kHz, 10 classes.
    Fsdd(Fsdd),
    /// Amazon reviews: counts of 5,000 words and pairs of words, four kinds of products, 2 classes.
    AmazonReviews(AmazonReviews),
    /// 20 Newsgroups: posts as sequences of words, 20 classes or fewer.
    Newsgroups(Newsgroups),
    /// MNIST digits on CIFAR-10 photographs, with the class of every pixel: 11 classes.
    DigitsOnPhotographs(DigitsOnPhotographs),
    /// Your own images, a folder for each class.
    ImageFolder(ImageFolder),
    /// Your own images, each with a mask that has the class of every pixel.
    MaskFolder(MaskFolder),
    /// Your own table of numbers, a row for each example.
    Csv(Box<Csv>),
}

/// What the examples of a dataset are, with how they are read.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// Images, and their shape as stored, `[channels, height, width]`.
    Images(&'a ImageOptions, [u32; 3]),
    /// Recordings of speech.
    Recordings(&'a Fsdd),
    /// Texts as bags of words.
    Bags(&'a AmazonReviews),
    /// Texts as sequences of words.
    Texts(&'a Newsgroups),
    /// Images made of two datasets, with the class of every pixel.
    Scenes(&'a DigitsOnPhotographs),
    /// Images of a folder.
    Folder(&'a ImageFolder),
    /// Images of a folder, with the class of every pixel.
    Masks(&'a MaskFolder),
    /// Rows of a table.
    Rows(&'a Csv),
}

/// A file or folder that a stage reads and the user keeps beside the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside<'a> {
    /// Its path, relative to the experiment file.
    pub path: &'a str,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// The settings that every dataset has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batching {
    /// Examples in a training batch.
    pub batch_size: u32,
    /// Share of the training split that becomes the validation split, in 0..1.
    pub val_fraction: f64,
    /// Seed of the choice of validation examples.
    pub split_seed: u64,
    /// Training examples of each class, where they are not all.
    pub labels_per_class: Option<u32>,
}

impl Data {
    /// Every name that a file can use, in the order of the variants.
    pub const NAMES: [&'static str; 13] = [
        "mnist",
        "usps",
        "optdigits",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "fsdd",
        "amazon-reviews",
        "newsgroups",
        "digits-on-photographs",
        "image-folder",
        "mask-folder",
        "csv",
    ];

    /// The name of the domain that these examples are, as in metric names and domain-specific
    /// parameters: the dataset's name, followed by what is taken of it where that is not all: the size
    /// of images (`cifar100-16x16`), speakers (`fsdd-jackson`), products (`amazon-reviews-books`),
    /// groups (`newsgroups-comp-vs-sci-source`), the datasets that scenes are made of
    /// (`digits-on-photographs-usps-cifar10`), what a user calls it (`image-folder-webcam`).
    pub fn domain(&self) -> String {
        let part = match self.content() {
            Content::Images(options, [_, stored_height, stored_width]) => options
                .size
                .filter(|size| *size != [stored_height, stored_width])
                .map(|[height, width]| format!("{height}x{width}")),
            Content::Recordings(options) => options.part(),
            Content::Bags(options) => Some(options.category.as_str().to_owned()),
            Content::Texts(options) => options.groups.part(),
            Content::Scenes(options) => options.part(),
            Content::Folder(options) => options.domain.clone(),
            Content::Masks(options) => options.domain.clone(),
            Content::Rows(options) => options.part(),
        };
        part.map_or(self.name().to_owned(), |part| format!("{}-{part}", self.name()))
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
            Self::Fsdd(_) => "fsdd",
            Self::AmazonReviews(_) => "amazon-reviews",
            Self::Newsgroups(_) => "newsgroups",
            Self::DigitsOnPhotographs(_) => "digits-on-photographs",
            Self::ImageFolder(_) => "image-folder",
            Self::MaskFolder(_) => "mask-folder",
            Self::Csv(_) => "csv",
        }
    }

    /// What the examples are, and how they are read.
    pub fn content(&self) -> Content<'_> {
        match self {
            Self::Mnist(options) | Self::FashionMnist(options) => {
                Content::Images(options, [1, 28, 28])
            }
            Self::Usps(options) => Content::Images(options, [1, 16, 16]),
            Self::Optdigits(options) => Content::Images(options, [1, 8, 8]),
            Self::Cifar10(options) | Self::Cifar100(options) => {
                Content::Images(options, [3, 32, 32])
            }
            Self::Fsdd(options) => Content::Recordings(options),
            Self::AmazonReviews(options) => Content::Bags(options),
            Self::Newsgroups(options) => Content::Texts(options),
            Self::DigitsOnPhotographs(options) => Content::Scenes(options),
            Self::ImageFolder(options) => Content::Folder(options),
            Self::MaskFolder(options) => Content::Masks(options),
            Self::Csv(options) => Content::Rows(options),
        }
    }

    /// What an example is, for people, in the plural.
    pub fn what(&self) -> &'static str {
        match self.content() {
            Content::Images(..) | Content::Folder(_) | Content::Masks(_) => "images",
            Content::Recordings(_) => "recordings",
            Content::Bags(_) => "bags of words",
            Content::Texts(_) => "texts",
            Content::Scenes(_) => "scenes",
            Content::Rows(_) => "rows",
        }
    }

    /// The settings that every dataset has.
    pub fn batching(&self) -> Batching {
        macro_rules! of {
            ($options:ident) => {
                of!($options, $options.labels_per_class)
            };
            ($options:ident, $labels_per_class:expr) => {
                Batching {
                    batch_size: $options.batch_size,
                    val_fraction: $options.val_fraction,
                    split_seed: $options.split_seed,
                    labels_per_class: $labels_per_class,
                }
            };
        }
        match self.content() {
            Content::Images(options, _) => of!(options),
            Content::Recordings(options) => of!(options),
            Content::Bags(options) => of!(options),
            Content::Texts(options) => of!(options),
            // An example with a mask has no class of its own.
            Content::Scenes(options) => of!(options, None),
            Content::Folder(options) => of!(options),
            Content::Masks(options) => of!(options, None),
            Content::Rows(options) => of!(options),
        }
    }

    /// Shape of one example as a network gets it.
    ///
    /// - images and scenes: `[channels, height, width]`, after `size`
    /// - recordings: `[1, mels, frames]`, or `[1, samples]` where they are raw
    /// - bags of words: `[words]`
    /// - texts: `[length]`, the numbers of words
    /// - rows: `[features]`
    pub fn shape(&self) -> Vec<u32> {
        match self.content() {
            Content::Images(options, [channels, height, width]) => {
                let [height, width] = options.size.unwrap_or([height, width]);
                vec![channels, height, width]
            }
            Content::Recordings(options) => options.shape(),
            Content::Bags(_) => vec![AmazonReviews::WORDS],
            Content::Texts(options) => vec![options.length],
            Content::Scenes(options) => vec![3, options.size[0], options.size[1]],
            Content::Folder(options) => options.shape().into(),
            Content::Masks(options) => options.shape().into(),
            Content::Rows(options) => vec![options.features],
        }
    }

    /// Where the examples are numbers of words: how many numbers there are; all are below it.
    pub fn tokens(&self) -> Option<u32> {
        match self.content() {
            Content::Texts(options) => Some(options.tokens()),
            _ => None,
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> u32 {
        match self {
            Self::Cifar100(_) => 100,
            Self::Newsgroups(options) => options.groups.classes().len() as u32,
            Self::AmazonReviews(_) => 2,
            Self::DigitsOnPhotographs(_) => DigitsOnPhotographs::CLASSES,
            Self::ImageFolder(options) => options.classes.len() as u32,
            Self::MaskFolder(options) => options.classes.len() as u32,
            Self::Csv(options) => options.classes.len() as u32,
            Self::Mnist(_)
            | Self::Usps(_)
            | Self::Optdigits(_)
            | Self::FashionMnist(_)
            | Self::Cifar10(_)
            | Self::Fsdd(_) => 10,
        }
    }

    /// What a network is to tell of an example.
    pub fn task(&self) -> Task {
        match self.content() {
            Content::Scenes(_) | Content::Masks(_) => Task::Segmentation,
            Content::Images(..)
            | Content::Folder(_)
            | Content::Recordings(_)
            | Content::Bags(_)
            | Content::Texts(_)
            | Content::Rows(_) => Task::Classification,
        }
    }

    /// Random changes of training examples.
    pub fn augment(&self) -> &[Augment] {
        match self.content() {
            Content::Images(options, _) => &options.augment,
            Content::Scenes(options) => &options.augment,
            Content::Folder(options) => &options.augment,
            Content::Masks(options) => &options.augment,
            Content::Recordings(_) | Content::Bags(_) | Content::Texts(_) | Content::Rows(_) => &[],
        }
    }

    /// Names of the datasets whose files it reads: its own, or those that it is made of; none where it is
    /// a user's own.
    pub fn datasets(&self) -> Vec<&'static str> {
        match self.content() {
            Content::Scenes(options) => {
                vec![options.digits.as_str(), options.photographs.as_str()]
            }
            _ if self.beside().is_some() => Vec::new(),
            _ => vec![self.name()],
        }
    }

    /// Where it lies beside the experiment, if it is a user's own.
    pub fn beside(&self) -> Option<Beside<'_>> {
        let (path, is_folder) = match self {
            Self::ImageFolder(options) => (&options.path, true),
            Self::MaskFolder(options) => (&options.path, true),
            Self::Csv(options) => (&options.path, false),
            _ => return None,
        };
        Some(Beside { path, is_folder })
    }
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
