//! What is known of each dataset: a static description, a file per dataset.

use std::path::{Path, PathBuf};

use super::fetch::Origins;
use super::{DatasetError, Images, Part, cifar, fashion_mnist, mnist, optdigits, usps};
use crate::experiment::spec::Data;

/// A dataset that graftwork knows.
#[derive(Debug)]
pub struct Entry {
    /// The name, as in experiment files.
    pub name: &'static str,
    /// What it is, in a line.
    pub title: &'static str,
    /// Shape of one image, `[channels, height, width]`.
    pub shape: [u32; 3],
    /// What the classes are, by label.
    pub class_names: &'static [&'static str],
    /// Images of the owner's training and test split; a distribution may hold fewer.
    pub whole: [usize; 2],
    /// Under which licence its owner gives it.
    pub licence: &'static str,
    /// What to cite.
    pub citation: &'static str,
    /// Raised when the same files would be read as other images; part of the digest.
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
    /// Reads the training and the test split; gets a path for each of `files`, none for an optional
    /// file that is absent.
    pub read: fn(&[Option<PathBuf>]) -> ReadSplits,
}

/// The training and the test split.
pub(super) type ReadSplits = Result<(Part, Part), DatasetError>;

/// A file of a distribution.
#[derive(Debug)]
pub(super) struct File {
    /// Names that it goes by; the first that is there is taken.
    pub names: &'static [&'static str],
    /// Whether the distribution can do without it. One optional file must be there, if any is listed.
    pub optional: bool,
}

impl File {
    pub(super) const fn needed(names: &'static [&'static str]) -> Self {
        Self { names, optional: false }
    }

    pub(super) const fn optional(names: &'static [&'static str]) -> Self {
        Self { names, optional: true }
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
pub fn catalogue() -> [&'static Entry; 6] {
    Data::NAMES.map(|name| entry(name).expect("a test reads every name of the language"))
}

/// The dataset of that name.
///
/// # Errors
/// [`DatasetError::Unknown`], with the nearest name.
pub fn entry(name: &str) -> Result<&'static Entry, DatasetError> {
    Ok(match name {
        "mnist" => &mnist::MNIST,
        "usps" => &usps::USPS,
        "optdigits" => &optdigits::OPTDIGITS,
        "fashion-mnist" => &fashion_mnist::FASHION_MNIST,
        "cifar10" => &cifar::CIFAR10,
        "cifar100" => &cifar::CIFAR100,
        _ => {
            let known = Data::NAMES.join(", ");
            return Err(DatasetError::Unknown { name: name.to_owned(), known });
        }
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

    pub(super) fn load(&self, folder: &Path) -> Result<Images, DatasetError> {
        let located = self.locate(folder).ok_or_else(|| DatasetError::NotFound {
            name: self.name.to_owned(),
            searched: vec![folder.to_owned()],
            incomplete: None,
        })?;
        let (train, test) = (located.distribution.read)(&located.paths)?;
        let pixels = self.shape.iter().product::<u32>() as usize;
        for part in [&train, &test] {
            assert!(
                part.pixels.len() == part.len() * pixels
                    && part.labels.iter().all(|&label| u32::from(label) < self.classes()),
                "the readers check shapes and labels"
            );
        }
        Ok(Images {
            name: self.name.to_owned(),
            shape: self.shape,
            classes: self.classes(),
            class_names: self.class_names.iter().map(ToString::to_string).collect(),
            train,
            test,
        })
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
    file.names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// The path of a file that the distribution cannot do without.
pub(super) fn needed(paths: &[Option<PathBuf>], index: usize) -> &Path {
    paths[index].as_deref().expect("a distribution is read only when its needed files are there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::spec::{Data, Dataset};

    #[test]
    fn the_catalogue_agrees_with_the_language() {
        let options = Dataset::default;
        let spec = [
            Data::Mnist(options()),
            Data::Usps(options()),
            Data::Optdigits(options()),
            Data::FashionMnist(options()),
            Data::Cifar10(options()),
            Data::Cifar100(options()),
        ];
        for (entry, data) in catalogue().into_iter().zip(spec) {
            assert_eq!(entry.name, data.name());
            assert_eq!(entry.shape, data.stored_shape(), "{}", entry.name);
            assert_eq!(entry.classes(), data.classes(), "{}", entry.name);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let message = entry("fashionmnist").unwrap_err().to_string();
        assert_eq!(
            message,
            "no dataset is called `fashionmnist` (did you mean `fashion-mnist`?); \
             there are: mnist, usps, optdigits, fashion-mnist, cifar10, cifar100"
        );
        assert!(!entry("xyz").unwrap_err().to_string().contains("did you mean"));
    }
}
