//! A dataset in memory, of whichever kind it is.

use super::{Bags, Images, Recordings, Texts};

/// What the examples of a dataset are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Images.
    Images {
        /// Shape of one image, `[channels, height, width]`.
        shape: [u32; 3],
    },
    /// Recordings of sound, of one channel.
    Recordings {
        /// Samples a second.
        rate: u32,
    },
    /// Texts as counts of words.
    Bags {
        /// Words that are counted.
        words: u32,
    },
    /// Texts.
    Texts,
}

/// A whole dataset in memory, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// Images.
    Images(Images),
    /// Recordings of sound.
    Recordings(Recordings),
    /// Texts as counts of words.
    Bags(Bags),
    /// Texts.
    Texts(Texts),
}

impl Loaded {
    /// The labels of the examples of the owner's training split, and of those of the test split.
    pub fn labels(&self) -> [Vec<u8>; 2] {
        macro_rules! of {
            ($dataset:ident) => {
                [&$dataset.train, &$dataset.test]
                    .map(|part| part.iter().map(|example| example.label).collect())
            };
        }
        match self {
            Self::Images(images) => [&images.train, &images.test].map(|part| part.labels.clone()),
            Self::Recordings(recordings) => of!(recordings),
            Self::Bags(bags) => of!(bags),
            Self::Texts(texts) => of!(texts),
        }
    }

    /// Number of examples in the owner's training and test split.
    pub fn len(&self) -> [usize; 2] {
        match self {
            Self::Images(images) => [images.train.len(), images.test.len()],
            Self::Recordings(recordings) => [recordings.train.len(), recordings.test.len()],
            Self::Bags(bags) => [bags.train.len(), bags.test.len()],
            Self::Texts(texts) => [texts.train.len(), texts.test.len()],
        }
    }

    /// Whether there is no example at all.
    pub fn is_empty(&self) -> bool {
        self.len() == [0, 0]
    }

    /// The images, where the dataset has images.
    pub fn images(self) -> Option<Images> {
        match self {
            Self::Images(images) => Some(images),
            Self::Recordings(_) | Self::Bags(_) | Self::Texts(_) => None,
        }
    }

    /// The recordings, where the dataset has recordings.
    pub fn recordings(self) -> Option<Recordings> {
        match self {
            Self::Recordings(recordings) => Some(recordings),
            Self::Images(_) | Self::Bags(_) | Self::Texts(_) => None,
        }
    }

    /// The bags of words, where the dataset has bags of words.
    pub fn bags(self) -> Option<Bags> {
        match self {
            Self::Bags(bags) => Some(bags),
            Self::Images(_) | Self::Recordings(_) | Self::Texts(_) => None,
        }
    }

    /// The texts, where the dataset has texts.
    pub fn texts(self) -> Option<Texts> {
        match self {
            Self::Texts(texts) => Some(texts),
            Self::Images(_) | Self::Recordings(_) | Self::Bags(_) => None,
        }
    }
}

/// How many of these labels each of `classes` classes has; every label is below it.
pub fn balance(labels: &[u8], classes: u32) -> Vec<usize> {
    let mut counts = vec![0; classes as usize];
    for &label in labels {
        counts[usize::from(label)] += 1;
    }
    counts
}
