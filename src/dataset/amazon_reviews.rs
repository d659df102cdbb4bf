//! Amazon reviews: counts of words and of pairs of words, in four categories, good or bad.
//!
//! Blitzer, Dredze and Pereira 2007, "Biographies, Bollywood, Boom-boxes and Blenders"; the 5,000
//! most frequent words and pairs of words of Chen et al. 2012 (<https://arxiv.org/abs/1206.4683>), in
//! the files of Ganin et al. 2016 (<https://arxiv.org/abs/1505.07818>).

use std::path::PathBuf;

use super::entry::{Distribution, Entry, File, Read, needed};
use super::fetch::{Origins, Remote};
use super::format::libsvm;
use super::{Bag, DatasetError, Kind};
use crate::experiment::spec::{AmazonReviews, Category};

macro_rules! remote {
    ($file:literal, $sha256:literal) => {
        Remote {
            urls: &[concat!(
                "https://raw.githubusercontent.com/GRAAL-Research/domain_adversarial_neural_network/master/data/",
                $file
            )],
            sha256: $sha256,
            members: &[],
        }
    };
}

pub(super) static AMAZON_REVIEWS: Entry = Entry {
    name: "amazon-reviews",
    title: "Amazon reviews of books, films, electronics and things for the kitchen, as counts of words",
    kind: Kind::Bags { words: AmazonReviews::WORDS },
    class_names: &["bad", "good"],
    whole: [8000, 19_677],
    licence: "none stated by its owner",
    citation: "Blitzer, Dredze, Pereira 2007, \"Biographies, Bollywood, boom-boxes and blenders: domain \
               adaptation for sentiment classification\", ACL; prepared as in Ganin et al. 2016, JMLR 17",
    revision: 1,
    folders: &["data"],
    named: true,
    system: None,
    origins: Origins {
        pip: None,
        #[rustfmt::skip]
        urls: &[
            remote!("books_train.svmlight", "317f9a2ec34b81de770b63a84d8c5cc2dc16bd0be6e079d2ff5b5bad5213ea19"),
            remote!("books_test.svmlight", "fe4605c7dcf0e0a9410fd2a32f247caaf9abb352cc6e4c3e0f400853163ad9c4"),
            remote!("dvd_train.svmlight", "95f602aa08bf6b55758f7b0b18df3882fe30acb11987ee60b6b4bb3c44cba733"),
            remote!("dvd_test.svmlight", "4fe1b1a15010f78d8d0c49fe362d35fd4677463a45f1ac02a9f410ae1e638060"),
            remote!("electronics_train.svmlight", "7d0061f03ff3827e4f8036b051b5e5828fddc0cd115aa5b212cd28d624dc14e4"),
            remote!("electronics_test.svmlight", "641783bc941839c3a111d3488a1b7e3bd820a61ec14a129e7429b47703aa961d"),
            remote!("kitchen_train.svmlight", "a70b5ebfe1413e0e16280360905f5c3b64389c435cd20c0165dc9d7f293b31b5"),
            remote!("kitchen_test.svmlight", "e1502b97a824eb12314be4447394fa736fecb781c0724e6529cd6733ac7ff6d8"),
        ],
        system: None,
        repository: None,
    },
    distributions: &[Distribution {
        what: "training and test split of each category, svmlight text",
        files: &[
            File::needed(&["books_train.svmlight"]),
            File::needed(&["books_test.svmlight"]),
            File::needed(&["dvd_train.svmlight"]),
            File::needed(&["dvd_test.svmlight"]),
            File::needed(&["electronics_train.svmlight"]),
            File::needed(&["electronics_test.svmlight"]),
            File::needed(&["kitchen_train.svmlight"]),
            File::needed(&["kitchen_test.svmlight"]),
        ],
        read: Read::Bags(read),
    }],
};

const LIMITS: libsvm::Limits = libsvm::Limits {
    first: 0,
    features: AmazonReviews::WORDS as usize,
    values: [0.0, 255.0],
    whole: true,
    labels: &[-1, 1],
    labels_in_words: "-1 or 1",
};

fn read(paths: &[Option<PathBuf>]) -> Result<(Vec<Bag>, Vec<Bag>), DatasetError> {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (index, category) in Category::ALL.into_iter().enumerate() {
        for (part, place) in [(&mut train, 2 * index), (&mut test, 2 * index + 1)] {
            let examples = libsvm::read(needed(paths, place), &LIMITS)?.into_iter();
            part.extend(examples.map(|example| Bag {
                counts:
                    example.features.into_iter().map(|(word, count)| (word, count as u8)).collect(),
                label: u8::from(example.label == 1),
                category,
            }));
        }
    }
    Ok((train, test))
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::file;
    use super::super::load;
    use super::*;

    #[test]
    fn a_file_is_a_category_and_a_split() {
        let folder = tempfile::tempdir().unwrap();
        for (index, category) in Category::ALL.into_iter().enumerate() {
            let name = category.as_str();
            let train = format!("1 {index}:3 4999:1\n-1 7:2\n");
            file(&folder, &format!("{name}_train.svmlight"), train.as_bytes());
            file(&folder, &format!("{name}_test.svmlight"), format!("-1 {index}:1\n").as_bytes());
        }
        let bags = load("amazon-reviews", folder.path()).unwrap().bags().unwrap();
        assert_eq!((bags.train.len(), bags.test.len()), (8, 4));
        let dvd = bags.of_category(Category::Dvd);
        let bag = |label, counts: &[(u32, u8)]| Bag {
            counts: counts.into(),
            label,
            category: Category::Dvd,
        };
        assert_eq!(dvd.train, [bag(1, &[(1, 3), (4999, 1)]), bag(0, &[(7, 2)])]);
        assert_eq!(dvd.test, [bag(0, &[(1, 1)])]);

        file(&folder, "dvd_test.svmlight", b"1 5000:1\n");
        let error = load("amazon-reviews", folder.path()).unwrap_err().to_string();
        assert!(error.contains("dvd_test.svmlight, line 1, before the first feature"), "{error}");
        assert!(error.contains("`5000:1`; expected an index from 0 to 4999"), "{error}");
    }
}
