//! Experiment files on the disk.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::experiment::{self, Checked, Faults, Files, LiesThere};

/// The files of this machine.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        // Reading a device or a pipe might never end.
        if std::fs::metadata(path)?.is_file() {
            std::fs::read_to_string(path)
        } else {
            Err(io::Error::other("it is no file"))
        }
    }

    fn identity(&self, path: &Path) -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }
}

/// An experiment's file as it was read.
pub(super) struct Read {
    /// The file's name, as messages show it.
    pub name: String,
    pub text: String,
    pub checked: Result<Checked, Faults>,
}

/// Reads and checks an experiment, and whether the files are there that its stages name.
pub(super) fn load(file: &Path, sets: &[String]) -> anyhow::Result<Read> {
    let name = file.display().to_string();
    let text = read(file)?;
    let folder = folder(file);
    let checked = experiment::load(&name, &text, sets, &Disk).and_then(|checked| {
        checked.look_beside(&|path| kind(&folder.join(path))).map(|()| checked)
    });
    Ok(Read { name, text, checked })
}

/// What lies at a path.
fn kind(path: &Path) -> LiesThere {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => LiesThere::Folder,
        Ok(metadata) if metadata.is_file() => LiesThere::File,
        _ => LiesThere::Nothing,
    }
}

/// The folder of an experiment's file, which paths in it are relative to.
pub(super) fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

/// The text of an experiment's file.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))
}
