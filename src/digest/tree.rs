//! Files of a folder, taken together.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::content;

/// A folder and files of it that are digested as one.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// Relative to the root, in the order of their bytes.
    files: Vec<PathBuf>,
    /// The folders in which they lie, the root among them, relative to it.
    folders: Vec<PathBuf>,
}

impl Tree {
    /// All files below a folder, except hidden ones and what lies in hidden folders. Links are followed.
    ///
    /// # Errors
    /// If a folder cannot be read, or a link leads nowhere or back up.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
        let walk = WalkDir::new(root).follow_links(true).into_iter();
        let walk = walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name()));
        let mut tree = Self { root: root.to_owned(), files: Vec::new(), folders: Vec::new() };
        for entry in walk {
            let entry = entry?;
            let below = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_owned();
            if entry.file_type().is_dir() { &mut tree.folders } else { &mut tree.files }
                .push(below);
        }
        tree.files.sort_unstable_by(|one, other| bytes(one).cmp(bytes(other)));
        Ok(tree)
    }

    /// The files directly in a folder that end so.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn directly_in(root: &Path, ending: &str) -> io::Result<Self> {
        let names = std::fs::read_dir(root)?.map(|entry| Ok(PathBuf::from(entry?.file_name())));
        let mut files = names.collect::<io::Result<Vec<_>>>()?;
        files.retain(|name| bytes(name).ends_with(ending.as_bytes()));
        files.sort_unstable();
        Ok(Self { root: root.to_owned(), files, folders: vec![PathBuf::new()] })
    }

    /// BLAKE3 of names and contents.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(super) fn digest(&self) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        for file in &self.files {
            let name = bytes(file);
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name);
            let path = self.root.join(file);
            let content = content(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            hasher.update(content.as_bytes());
        }
        Ok(hasher.finalize())
    }

    /// Number of files.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// What the system says of each file and folder.
    pub(super) fn metadata(&self) -> impl Iterator<Item = io::Result<Metadata>> {
        self.files.iter().chain(&self.folders).map(|path| self.root.join(path).metadata())
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, name: &str, content: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn digest(root: &Path) -> String {
        Tree::of(root).unwrap().digest().unwrap().to_hex().to_string()
    }

    #[test]
    fn names_and_contents_count_and_hidden_files_and_places_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "deep/other"].map(|name| folder.path().join(name));
        for root in [&one, &other] {
            write(root, "a/x", "1");
            write(root, "a.b", "2");
            write(root, "c/d/e", "3");
        }
        let first = digest(&one);
        assert_eq!(digest(&other), first, "elsewhere");
        write(&other, ".cache/x", "4");
        write(&other, "a/.hidden", "4");
        fs::create_dir(other.join("empty")).unwrap();
        assert_eq!(digest(&other), first);
        write(&other, "c/d/e", "4");
        assert_ne!(digest(&other), first, "another content");
        write(&other, "c/d/e", "3");
        fs::rename(other.join("c"), other.join("C")).unwrap();
        assert_ne!(digest(&other), first, "another name");
        fs::rename(other.join("C"), other.join("c")).unwrap();
        assert_eq!(digest(&other), first);
    }

    #[test]
    fn a_link_counts_as_what_it_leads_to_and_one_that_leads_nowhere_or_up_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        write(&root, "a/x", "1");
        write(folder.path(), "elsewhere/x", "1");
        let link = root.join("b");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        let linked = digest(&root);
        fs::remove_file(&link).unwrap();
        write(&root, "b/x", "1");
        assert_eq!(digest(&root), linked);
        fs::remove_dir_all(&link).unwrap();
        for wrong in [folder.path().join("nowhere"), folder.path().to_owned()] {
            std::os::unix::fs::symlink(wrong, &link).unwrap();
            assert!(Tree::of(&root).is_err());
            fs::remove_file(&link).unwrap();
        }
    }
}
