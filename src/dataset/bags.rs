//! Datasets of texts as bags of words.

use crate::experiment::spec::Category;

/// Texts of several categories as counts of words, in memory, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bags {
    /// The owner's training split.
    pub train: Vec<Bag>,
    /// The owner's test split.
    pub test: Vec<Bag>,
}

/// A text as counts of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bag {
    /// The words that occur, each with how often; numbers of words rise.
    pub counts: Vec<(u32, u8)>,
    /// Its class.
    pub label: u8,
    /// What it is about.
    pub category: Category,
}

impl Bags {
    /// Those of one category, in their order.
    #[must_use]
    pub fn of_category(mut self, category: Category) -> Self {
        for part in [&mut self.train, &mut self.test] {
            part.retain(|bag| bag.category == category);
        }
        self
    }
}
