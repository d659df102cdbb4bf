//! Datasets of texts: words, and their numbers.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::experiment::spec::{Group, Groups, Newsgroups};

/// Posts to newsgroups in memory, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// The owner's training split.
    pub train: Vec<Text>,
    /// The owner's test split.
    pub test: Vec<Text>,
}

/// A post to a newsgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What it says.
    pub text: String,
    /// Its class.
    pub label: u8,
    /// The newsgroup.
    pub group: Group,
}

impl Texts {
    /// Those of some groups, in their order, labelled with the class that each group is of.
    #[must_use]
    pub fn of_groups(mut self, groups: &Groups) -> Self {
        let labels: HashMap<Group, u8> = groups
            .classes()
            .into_iter()
            .zip(0..)
            .flat_map(|((_, groups), label)| groups.into_iter().map(move |group| (group, label)))
            .collect();
        for part in [&mut self.train, &mut self.test] {
            part.retain_mut(|text| match labels.get(&text.group) {
                Some(&label) => {
                    text.label = label;
                    true
                }
                None => false,
            });
        }
        self
    }
}

/// The numbers of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary(HashMap<String, u32>);

impl Vocabulary {
    /// Numbers the `most` most frequent words, equally frequent ones in the order of the alphabet.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>, most: u32) -> Self {
        let mut counts: HashMap<String, u64> = HashMap::new();
        for word in texts.into_iter().flat_map(words) {
            *counts.entry(word).or_default() += 1;
        }
        let mut words: Vec<(String, u64)> = counts.into_iter().collect();
        words.sort_unstable_by(|(one, often), (other, other_often)| {
            (Reverse(often), one).cmp(&(Reverse(other_often), other))
        });
        let numbered = words.into_iter().take(most as usize).zip(Newsgroups::FIRST_WORD..);
        Self(numbered.map(|((word, _), number)| (word, number)).collect())
    }

    /// Number of words that have a number of their own.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether every word is unknown.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers of the first `length` words of a text, filled up with [`Newsgroups::PADDING`].
    ///
    /// A text without a word is one unknown word, so that no example is all padding.
    pub fn encode(&self, text: &str, length: usize) -> Vec<u32> {
        let number = |word: String| self.0.get(&word).copied().unwrap_or(Newsgroups::UNKNOWN);
        let mut numbers: Vec<u32> = words(text).take(length).map(number).collect();
        if numbers.is_empty() {
            numbers.push(Newsgroups::UNKNOWN);
        }
        numbers.resize(length, Newsgroups::PADDING);
        numbers
    }
}

/// The words of a text: runs of letters and digits, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    let runs = text.split(|character: char| !character.is_alphanumeric());
    runs.filter(|run| !run.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::spec::{Pair, PairPart};

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        let words: Vec<String> = words("Re: The X11-server's 2nd  \u{dc}bung\n").collect();
        assert_eq!(words, ["re", "the", "x11", "server", "s", "2nd", "\u{fc}bung"]);
    }

    #[test]
    fn frequent_words_come_first_and_the_alphabet_decides_between_equals() {
        let vocabulary = Vocabulary::new(["b a c b", "B d a"], 3);
        assert_eq!(vocabulary.len(), 3);
        // b three times, a twice, c and d once: d has no number of its own.
        assert_eq!(vocabulary.encode("a b c d e", 7), [3, 2, 4, 1, 1, 0, 0]);
        assert_eq!(vocabulary.encode("a b c d e", 2), [3, 2]);
        assert_eq!(vocabulary.encode(" -- ", 3), [1, 0, 0], "never all padding");
        assert_eq!(Vocabulary::new(["d c b a"], 9).encode("a b c d", 4), [2, 3, 4, 5]);
    }

    #[test]
    fn a_smaller_vocabulary_keeps_the_numbers_of_its_words() {
        let texts = ["x y y z z z w w w w"];
        let [large, small] = [4, 2].map(|most| Vocabulary::new(texts, most));
        assert_eq!(large.encode("w z y x", 4), [2, 3, 4, 5]);
        assert_eq!(small.encode("w z y x", 4), [2, 3, 1, 1]);
    }

    #[test]
    fn groups_become_classes_and_the_others_are_left_out() {
        let text = |group| Text { text: String::new(), label: 9, group };
        let posts = vec![
            text(Group::SciSpace),
            text(Group::CompWindowsX),
            text(Group::RecAutos),
            text(Group::CompGraphics),
        ];
        let texts = Texts { train: posts.clone(), test: posts };
        let target = Groups::CompVsSci(Pair { part: PairPart::Target });
        let texts = texts.of_groups(&target);
        for part in [&texts.train, &texts.test] {
            let found: Vec<(Group, u8)> =
                part.iter().map(|text| (text.group, text.label)).collect();
            assert_eq!(found, [(Group::SciSpace, 1), (Group::CompWindowsX, 0)]);
        }
    }
}
