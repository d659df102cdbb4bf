//! Remembers the digests of files, so that a large file is read once.
//!
//! A file is the same file while its path, size, modification and change times and inode are. The
//! memory is one JSON file, replaced by a rename. Losing it, or an entry of it to another process
//! that saved at the same time, costs a second look at a file and nothing else; so whatever goes
//! wrong with it is passed over.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content;
use super::tree::Tree;

/// Digests of files, remembered in a file.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    files: BTreeMap<PathBuf, Remembered>,
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    mark: Mark,
    /// BLAKE3 of the content, in hexadecimal.
    blake3: String,
}

/// What changes when a file does. The change time notices a new content under an old modification
/// time, as `cp --preserve` makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: [i64; 2],
    changed: [i64; 2],
    device: u64,
    inode: u64,
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.size(),
            modified: [metadata.mtime(), metadata.mtime_nsec()],
            changed: [metadata.ctime(), metadata.ctime_nsec()],
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// The root's own mark, with the sizes and the youngest times of all that is in it.
    fn of_tree(root: &Path, tree: &Tree) -> io::Result<Self> {
        let own = Self { bytes: tree.len() as u64, ..Self::of(&root.metadata()?) };
        tree.metadata().try_fold(own, |whole, metadata| {
            let one = Self::of(&metadata?);
            Ok(Self {
                bytes: whole.bytes + one.bytes,
                modified: whole.modified.max(one.modified),
                changed: whole.changed.max(one.changed),
                ..whole
            })
        })
    }
}

impl Memory {
    /// What is remembered in a file; nothing if it is not there or damaged.
    pub fn load(path: &Path) -> Self {
        let files = std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { path: path.to_owned(), files, changed: false }
    }

    /// BLAKE3 of the file's content.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn digest(&mut self, path: &Path) -> io::Result<blake3::Hash> {
        // The path as it was given may be relative; what it leads to is what is remembered.
        let real = path.canonicalize()?;
        let mark = Mark::of(&real.metadata()?);
        if let Some(remembered) = self.files.get(&real)
            && remembered.mark == mark
            && let Ok(digest) = blake3::Hash::from_hex(&remembered.blake3)
        {
            return Ok(digest);
        }
        let digest = content(&real)?;
        // A file that changed under the reader's eyes is not remembered.
        if real.metadata().is_ok_and(|metadata| Mark::of(&metadata) == mark) {
            let blake3 = digest.to_hex().to_string();
            self.files.insert(real, Remembered { mark, blake3 });
            self.changed = true;
        }
        Ok(digest)
    }

    /// BLAKE3 of the names and contents of the files directly in a folder that end in `ending`.
    ///
    /// The folder has one entry in the memory: it is the same while its own mark is, and the number,
    /// the sizes and the youngest times of its files are. A file that is written or replaced becomes
    /// the youngest, and one that comes or goes changes the folder's own time.
    ///
    /// # Errors
    /// If the folder or a file cannot be read.
    pub fn digest_folder(&mut self, path: &Path, ending: &str) -> io::Result<blake3::Hash> {
        let real = path.canonicalize()?;
        let tree = Tree::directly_in(&real, ending)?;
        self.digest_of(real, &tree)
    }

    /// BLAKE3 of the names and contents of all files below a folder but hidden ones; see
    /// [`Self::digest_folder`] for when it is the same.
    ///
    /// # Errors
    /// If a folder or a file cannot be read.
    pub fn digest_tree(&mut self, path: &Path) -> io::Result<blake3::Hash> {
        let real = path.canonicalize()?;
        let tree = Tree::of(&real)?;
        self.digest_of(real, &tree)
    }

    fn digest_of(&mut self, real: PathBuf, tree: &Tree) -> io::Result<blake3::Hash> {
        let mark = Mark::of_tree(&real, tree)?;
        if let Some(remembered) = self.files.get(&real)
            && remembered.mark == mark
            && let Ok(digest) = blake3::Hash::from_hex(&remembered.blake3)
        {
            return Ok(digest);
        }
        let digest = tree.digest()?;
        if Mark::of_tree(&real, tree).is_ok_and(|now| now == mark) {
            let blake3 = digest.to_hex().to_string();
            self.files.insert(real, Remembered { mark, blake3 });
            self.changed = true;
        }
        Ok(digest)
    }

    /// Writes the memory if there is anything new in it.
    pub fn save(&mut self) {
        if std::mem::take(&mut self.changed) {
            // Forgets files that are gone, so that the memory does not grow for ever.
            self.files.retain(|path, _| path.exists());
            // A memory that cannot be written is a slow one, not a wrong one.
            let _ = self.write();
        }
    }

    fn write(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, &self.files)?;
        file.persist(&self.path)?;
        Ok(())
    }
}
