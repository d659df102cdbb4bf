//! Content digests of files and folders: what a file says, never where it lies.
//!
//! A large file is read once: its digest is remembered ([`Memory`]). A small one is read every time,
//! which costs no more than the memory would and leaves no doubt. Comments of Python programs are left
//! out where they certainly mean nothing ([`meaning`]). A folder is the names and contents of all files below
//! it but hidden ones, and is remembered as one.

mod memory;
mod python;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use memory::Memory;
pub use python::meaning;
use tree::Tree;

/// Files up to this size are always read.
const SMALL: u64 = 1 << 20;

/// The digests of files that experiments name.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    /// Loaded when the first large file is met.
    memory: Option<Memory>,
}

impl Files {
    /// The digests of large files are remembered in the file `path`, a cache that can be deleted.
    pub fn remembered_in(path: &Path) -> Self {
        Self { path: path.to_owned(), memory: None }
    }

    /// The digest of a file or folder in hexadecimal: BLAKE3 of its content, of a small Python program
    /// that of its [`meaning`].
    ///
    /// # Errors
    /// If the file, or one of the folder, cannot be read.
    pub fn digest(&mut self, path: &Path) -> io::Result<String> {
        let metadata = fs::metadata(path)?;
        if metadata.is_file() && metadata.len() <= SMALL {
            return small(path);
        }
        let memory = self.memory.get_or_insert_with(|| Memory::load(&self.path));
        let digest =
            if metadata.is_dir() { memory.digest_tree(path)? } else { memory.digest(path)? };
        memory.save();
        Ok(digest.to_hex().to_string())
    }
}

/// The digest of a file or folder as [`Files::digest`] gives it, remembering nothing.
///
/// # Errors
/// If the file, or one of the folder, cannot be read.
pub fn digest(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Ok(Tree::of(path)?.digest()?.to_hex().to_string());
    }
    if metadata.len() <= SMALL {
        return small(path);
    }
    Ok(content(path)?.to_hex().to_string())
}

/// BLAKE3 of a file's content.
fn content(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path)?)?;
    Ok(hasher.finalize())
}

/// Whether a file or folder, which messages call `name`, still has the digest that a run was planned with:
/// it may have been edited while the stage that reads it waited for its turn, and is then not the one in
/// its key.
///
/// # Errors
/// What is wrong, in a line.
pub fn is_as_planned(path: &Path, name: &str, planned: Option<&String>) -> Result<(), String> {
    let now = digest(path).map_err(|error| format!("cannot read `{name}`: {error}"))?;
    if planned == Some(&now) {
        return Ok(());
    }
    Err(format!("`{name}` changed after the run was planned; run again"))
}

fn small(path: &Path) -> io::Result<String> {
    let content = fs::read(path)?;
    let is_python = path.extension().is_some_and(|extension| extension == "py");
    let digest = if is_python { blake3::hash(&meaning(&content)) } else { blake3::hash(&content) };
    Ok(digest.to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::remembered_in(&folder.path().join("digests.json"));
        (folder, files)
    }

    #[test]
    fn a_small_file_is_its_content_whatever_its_name_and_is_not_remembered() {
        let (folder, mut files) = folder();
        let [one, other] = ["one.txt", "other.sh"].map(|name| folder.path().join(name));
        fs::write(&one, "# a\necho 1\n").unwrap();
        fs::write(&other, "# a\necho 1\n").unwrap();
        let first = files.digest(&one).unwrap();
        assert_eq!(files.digest(&other).unwrap(), first);
        fs::write(&one, "# b\necho 1\n").unwrap();
        assert_ne!(files.digest(&one).unwrap(), first, "only Python's comments are known");
        assert!(!folder.path().join("digests.json").exists());
    }

    #[test]
    fn a_large_file_is_remembered_and_noticed_when_it_changes() {
        let (folder, mut files) = folder();
        let path = folder.path().join("weights.bin");
        fs::write(&path, vec![1; 2 << 20]).unwrap();
        let first = files.digest(&path).unwrap();
        assert_eq!(first, blake3::hash(&vec![1; 2 << 20]).to_hex().to_string());
        assert!(folder.path().join("digests.json").exists());
        assert_eq!(files.digest(&path).unwrap(), first);
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, vec![2; 2 << 20]).unwrap();
        assert_ne!(files.digest(&path).unwrap(), first);
    }

    #[test]
    fn a_comment_of_a_python_program_changes_nothing_and_its_code_does() {
        let (folder, mut files) = folder();
        let path = folder.path().join("fit.py");
        let mut digest = |text: &str| {
            fs::write(&path, text).unwrap();
            files.digest(&path).unwrap()
        };
        let first = digest("import sys\n\nx = 1\nprint(x)\n");
        assert_eq!(digest("import sys\n\n# one\nx = 1  \n\n    # two\nprint(x)\n"), first);
        assert_ne!(digest("import sys\n\nx = 2\nprint(x)\n"), first);
    }

    #[test]
    fn a_folder_has_one_digest_is_remembered_as_one_and_noticed_when_anything_in_it_changes() {
        let (folder, mut files) = folder();
        let root = folder.path().join("photos");
        fs::create_dir_all(root.join("train/cat")).unwrap();
        fs::write(root.join("train/cat/a.png"), "one").unwrap();
        let mut now = || {
            let remembered = files.digest(&root).unwrap();
            assert_eq!(remembered, digest(&root).unwrap());
            // The clock of a file system may tick slowly.
            std::thread::sleep(std::time::Duration::from_millis(20));
            remembered
        };
        let first = now();
        assert_eq!(now(), first);
        fs::write(root.join("train/cat/a.png"), "two").unwrap();
        let second = now();
        assert_ne!(second, first);
        fs::write(root.join("train/cat/b.png"), "").unwrap();
        assert_ne!(now(), second);
        fs::remove_file(root.join("train/cat/b.png")).unwrap();
        assert_eq!(now(), second);
        fs::rename(root.join("train/cat"), root.join("train/dog")).unwrap();
        assert_ne!(now(), second);
        let memory = fs::read_to_string(folder.path().join("digests.json")).unwrap();
        assert_eq!(memory.matches("blake3").count(), 1);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let (folder, mut files) = folder();
        assert!(files.digest(&folder.path().join("none")).is_err());
    }
}
