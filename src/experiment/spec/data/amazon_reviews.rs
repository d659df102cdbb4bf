//! How reviews as bags of words are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the Amazon reviews are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AmazonReviews {
    /// Reviews in a training batch. In `adapt`, reviews of each domain in a batch.
    #[serde(default = "AmazonReviews::default_batch_size")]
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// What is reviewed. Categories are domains.
    pub category: Category,
    /// What a network gets of how often a word occurs.
    #[serde(default)]
    pub weights: Weights,
    /// Share of the training split that becomes the validation split, in 0..1.
    #[serde(default = "AmazonReviews::default_val_fraction")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_fraction: f64,
    /// Seed of the choice of validation reviews; the same in all stages, so that none trains on what another holds out.
    #[serde(default)]
    pub split_seed: u64,
    /// Trains on this many reviews of each class alone, drawn by the seed of the stage: the 5 of a class
    /// are among its 20. What is counted or normalised over the training split is so over all of it, and the
    /// validation split stays whole: a choice made on it, as `keep = "best"`, sees more labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub labels_per_class: Option<u32>,
}

impl AmazonReviews {
    /// Words and pairs of words that are counted.
    pub const WORDS: u32 = 5000;

    /// The reviews of a category, read in the usual way.
    pub fn new(category: Category) -> Self {
        Self {
            batch_size: Self::default_batch_size(),
            category,
            weights: Weights::default(),
            val_fraction: Self::default_val_fraction(),
            split_seed: 0,
            labels_per_class: None,
        }
    }

    fn default_batch_size() -> u32 {
        64
    }

    fn default_val_fraction() -> f64 {
        0.1
    }
}

/// A kind of products.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Books.
    Books,
    /// Films on DVD.
    Dvd,
    /// Electronics.
    Electronics,
    /// Things for the kitchen.
    Kitchen,
}

impl Category {
    /// All of them, in the order of the names.
    pub const ALL: [Self; 4] = [Self::Books, Self::Dvd, Self::Electronics, Self::Kitchen];

    /// The name as in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Books => "books",
            Self::Dvd => "dvd",
            Self::Electronics => "electronics",
            Self::Kitchen => "kitchen",
        }
    }
}

/// What a network gets of how often a word occurs in a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// The count, as Ganin et al. 2016 (arXiv 1505.07818) have it.
    #[default]
    Counts,
    /// 1 where the word occurs.
    Binary,
    /// The natural logarithm of 1 plus the count.
    Log,
}
