//! What is known of each dataset: a static description, a file per dataset.

use std::path::{Path, PathBuf};

use super::fetch::Origins;
use super::{
    Bag, Bags, DatasetError, Images, Kind, Loaded, Part, Recording, Recordings, Text, Texts,
    amazon_reviews, cifar, fashion_mnist, fsdd, mnist, newsgroups, optdigits, usps,
};

/// A dataset that graftwork knows.
#[derive(Debug)]
pub struct Entry {
    /// The name, as in experiment files.
    pub name: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    /// What its examples are.
    pub kind: Kind,
    /// What the classes are, by label.
    pub class_names: &'static [&'static str],
    /// Examples of the owner's training and test split; a distribution may hold fewer.
    pub whole: [usize; 2],
    /// Under which licence its owner gives it.
    pub licence: &'static str,
    /// What to cite.
    pub citation: &'static str,
    /// Raised when the same files would be read as other examples; part of the digest.
    pub(super) revision: u32,
    /// Folders in which the owner's archive unpacks itself.
    pub(super) folders: &'static [&'static str],
    /// Whether the files' names say which dataset they are, so that they may lie among others.
    pub(super) named: bool,
    /// Where a system package puts it.
    pub(super) system: Option<&'static str>,
    /// Where it can be had.
    pub(super) origins: Origins,
    /// As what it can be found, the best first.
    pub(super) distributions: &'static [Distribution],
}

/// A set of files that a dataset can be read from.
#[derive(Debug)]
pub(super) struct Distribution {
    /// What it is, for people.
    pub what: &'static str,
    pub files: &'static [File],
    pub read: Read,
}

/// Reads the training and the test split; gets a path for each file of the distribution, none for an
/// optional file that is absent.
type ReadWith<T> = fn(&[Option<PathBuf>]) -> Result<(T, T), DatasetError>;

/// How the examples are read, by what they are.
#[derive(Debug)]
pub(super) enum Read {
    Images(ReadWith<Part>),
    Recordings(ReadWith<Vec<Recording>>),
    Bags(ReadWith<Vec<Bag>>),
    Texts(ReadWith<Vec<Text>>),
}

/// The training and the test split of images.
pub(super) type ReadSplits = Result<(Part, Part), DatasetError>;

/// A file of a distribution, or a folder that is read as one.
#[derive(Debug)]
pub(super) struct File {
    /// Names that it goes by; the first that is there is taken.
    pub names: &'static [&'static str],
    /// Whether the distribution can do without it. One optional file must be there, if any is listed.
    pub optional: bool,
    /// Whether it is a folder.
    pub is_folder: bool,
}

impl File {
    pub(super) const fn needed(names: &'static [&'static str]) -> Self {
        Self { names, optional: false, is_folder: false }
    }

    pub(super) const fn optional(names: &'static [&'static str]) -> Self {
        Self { names, optional: true, is_folder: false }
    }

    pub(super) const fn folder(names: &'static [&'static str]) -> Self {
        Self { names, optional: false, is_folder: true }
    }
}

/// A distribution whose files are there.
#[derive(Debug)]
pub(super) struct Located {
    pub distribution: &'static Distribution,
    pub paths: Vec<Option<PathBuf>>,
}

impl Located {
    /// What was found, for people: which distribution, and how much of it where that varies.
    pub(super) fn source(&self) -> String {
        let optional = |file: &&File| file.optional;
        let all = self.distribution.files.iter().filter(optional).count();
        let found: Vec<_> = self
            .distribution
            .files
            .iter()
            .zip(&self.paths)
            .filter(|(file, path)| file.optional && path.is_some())
            .map(|(file, _)| file.names[0])
            .collect();
        let what = self.distribution.what;
        if found.len() == all {
            return what.to_owned();
        }
        format!("{what}, {} of {all} training files ({})", found.len(), found.join(", "))
    }
}

/// Every dataset, in the order of the language.
pub fn catalogue() -> [&'static Entry; 9] {
    [
        &mnist::MNIST,
        &usps::USPS,
        &optdigits::OPTDIGITS,
        &fashion_mnist::FASHION_MNIST,
        &cifar::CIFAR10,
        &cifar::CIFAR100,
        &fsdd::FSDD,
        &amazon_reviews::AMAZON_REVIEWS,
        &newsgroups::NEWSGROUPS,
    ]
}

/// The dataset of that name.
///
/// # Errors
/// [`DatasetError::Unknown`], with the nearest name.
pub fn entry(name: &str) -> Result<&'static Entry, DatasetError> {
    let mut all = catalogue().into_iter();
    all.find(|entry| entry.name == name).ok_or_else(|| DatasetError::Unknown {
        name: name.to_owned(),
        known: catalogue().map(|entry| entry.name).join(", "),
    })
}

impl Entry {
    /// Number of classes.
    pub fn classes(&self) -> u32 {
        self.class_names.len() as u32
    }

    /// The best distribution whose files lie in `folder` itself.
    pub(super) fn locate(&self, folder: &Path) -> Option<Located> {
        self.distributions.iter().find_map(|distribution| locate(distribution, folder))
    }

    /// Names of the files that a half-complete distribution in `folder` lacks, and of one it has.
    pub(super) fn incomplete(&self, folder: &Path) -> Option<(&'static str, Vec<&'static str>)> {
        self.distributions.iter().find_map(|distribution| {
            let (there, absent): (Vec<_>, Vec<_>) =
                distribution.files.iter().partition(|file| path_of(file, folder).is_some());
            let has = there.first()?.names[0];
            let lacks: Vec<_> =
                absent.iter().filter(|file| !file.optional).map(|file| file.names[0]).collect();
            (!lacks.is_empty()).then_some((has, lacks))
        })
    }

    pub(super) fn load(&self, folder: &Path) -> Result<Loaded, DatasetError> {
        let located = self.locate(folder).ok_or_else(|| DatasetError::NotFound {
            name: self.name.to_owned(),
            searched: vec![folder.to_owned()],
            incomplete: None,
        })?;
        let paths = &located.paths;
        let loaded = match (&located.distribution.read, self.kind) {
            (Read::Images(read), Kind::Images { shape }) => {
                let (train, test) = read(paths)?;
                Loaded::Images(self.images(shape, train, test))
            }
            (Read::Recordings(read), _) => {
                let (train, test) = read(paths)?;
                Loaded::Recordings(Recordings { train, test })
            }
            (Read::Bags(read), _) => {
                let (train, test) = read(paths)?;
                Loaded::Bags(Bags { train, test })
            }
            (Read::Texts(read), _) => {
                let (train, test) = read(paths)?;
                Loaded::Texts(Texts { train, test })
            }
            (Read::Images(_), kind) => unreachable!("{} is of the kind {kind:?}", self.name),
        };
        let is_class = |&label: &u8| u32::from(label) < self.classes();
        assert!(loaded.labels().iter().flatten().all(is_class), "the readers check labels");
        Ok(loaded)
    }

    fn images(&self, shape: [u32; 3], train: Part, test: Part) -> Images {
        let pixels = shape.iter().product::<u32>() as usize;
        for part in [&train, &test] {
            assert_eq!(part.pixels.len(), part.len() * pixels, "the readers check shapes");
        }
        Images {
            name: self.name.to_owned(),
            shape,
            classes: self.classes(),
            class_names: self.class_names.iter().map(ToString::to_string).collect(),
            train,
            test,
        }
    }
}

fn locate(distribution: &'static Distribution, folder: &Path) -> Option<Located> {
    let paths: Vec<_> = distribution.files.iter().map(|file| path_of(file, folder)).collect();
    let mut files = distribution.files.iter().zip(&paths);
    if !files.all(|(file, path)| file.optional || path.is_some()) {
        return None;
    }
    let mut optional =
        distribution.files.iter().zip(&paths).filter(|(file, _)| file.optional).peekable();
    if optional.peek().is_some() && !optional.any(|(_, path)| path.is_some()) {
        return None;
    }
    Some(Located { distribution, paths })
}

fn path_of(file: &File, folder: &Path) -> Option<PathBuf> {
    let is_there = |path: &PathBuf| if file.is_folder { path.is_dir() } else { path.is_file() };
    file.names.iter().map(|name| folder.join(name)).find(is_there)
}

/// The path of a file that the distribution cannot do without.
pub(super) fn needed(paths: &[Option<PathBuf>], index: usize) -> &Path {
    paths[index].as_deref().expect("a distribution is read only when its needed files are there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::spec::{AmazonReviews, Category, Content, Data, Fsdd, Group};

    #[test]
    fn the_catalogue_agrees_with_the_language() {
        for entry in catalogue() {
            let options = match entry.name {
                "amazon-reviews" => serde_json::json!({ "category": "books" }),
                _ => serde_json::json!({}),
            };
            let data: Data =
                serde_json::from_value(serde_json::json!({ entry.name: options })).unwrap();
            assert_eq!(entry.name, data.name());
            assert_eq!(entry.classes(), data.classes(), "{}", entry.name);
            let kind = match data.content() {
                Content::Images(_, shape) => Kind::Images { shape },
                Content::Recordings(_) => Kind::Recordings { rate: Fsdd::RATE },
                Content::Bags(_) => Kind::Bags { words: AmazonReviews::WORDS },
                Content::Texts(_) => Kind::Texts,
                other => panic!("the catalogue has no such dataset: {other:?}"),
            };
            assert_eq!(entry.kind, kind, "{}", entry.name);
            for distribution in entry.distributions {
                let agrees = match distribution.read {
                    Read::Images(_) => matches!(kind, Kind::Images { .. }),
                    Read::Recordings(_) => matches!(kind, Kind::Recordings { .. }),
                    Read::Bags(_) => matches!(kind, Kind::Bags { .. }),
                    Read::Texts(_) => matches!(kind, Kind::Texts),
                };
                assert!(agrees, "{}: {}", entry.name, distribution.what);
            }
        }
        assert_eq!(entry("newsgroups").unwrap().class_names, Group::ALL.map(Group::as_str));
        assert_eq!(
            Category::ALL.len() * 2,
            amazon_reviews::AMAZON_REVIEWS.distributions[0].files.len()
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let message = entry("fashionmnist").unwrap_err().to_string();
        assert_eq!(
            message,
            "no dataset is called `fashionmnist` (did you mean `fashion-mnist`?); \
             there are: mnist, usps, optdigits, fashion-mnist, cifar10, cifar100, \
             fsdd, amazon-reviews, newsgroups"
        );
        assert!(!entry("xyz").unwrap_err().to_string().contains("did you mean"));
    }
}
