//! Finds datasets in the data folders.

use std::path::{Path, PathBuf};

use super::entry::Located;
use super::{DatasetError, Entry, entry};
use crate::digest::Memory;

/// The folders in which datasets are looked for.
///
/// The order: the folder that the user named, the user data folder, the folder of a system package.
/// In each, a dataset lies in a folder of its name, in the folder of its owner's archive, or directly.
#[derive(Debug, Clone)]
pub struct Library {
    roots: Vec<PathBuf>,
    memory: PathBuf,
}

/// A dataset that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The dataset's name.
    pub name: String,
    /// The folder of its files; [`super::load`] reads it.
    pub folder: PathBuf,
    /// BLAKE3 of the content of the files that are read, in hexadecimal; what the files are called
    /// and where they lie does not enter.
    pub digest: String,
    /// Which distribution it is, for people.
    pub source: String,
    /// The files that are read.
    pub files: Vec<PathBuf>,
}

impl Library {
    /// A library over the folder that the user named, if any, and the user data folder.
    ///
    /// Digests are remembered in `digests.json` in the user data folder; see [`Self::remember_in`].
    pub fn new(explicit: Option<&Path>, user: &Path) -> Self {
        let roots = explicit.into_iter().chain([user]).map(Path::to_owned).collect();
        Self { roots, memory: user.join("digests.json") }
    }

    /// Remembers digests in the file `path` instead. It is a cache: it can be deleted at any time.
    #[must_use]
    pub fn remember_in(self, path: &Path) -> Self {
        Self { memory: path.to_owned(), ..self }
    }

    /// Finds a dataset and digests its files, reading only those that changed since the last time.
    ///
    /// # Errors
    /// An unknown name, a dataset that is nowhere, or a file that cannot be read.
    pub fn find(&self, name: &str) -> Result<Found, DatasetError> {
        let entry = entry(name)?;
        let (folder, located) = self.locate(entry)?;
        let mut memory = Memory::load(&self.memory);
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {}", entry.name, entry.revision).as_bytes());
        for path in &located.paths {
            // An absent optional file is not the same as none being listed.
            let digest = path.as_deref().map(|path| digest(&mut memory, path)).transpose()?;
            hasher.update(digest.map_or([0; 32], |digest| *digest.as_bytes()).as_slice());
        }
        memory.save();
        Ok(Found {
            name: entry.name.to_owned(),
            folder,
            digest: hasher.finalize().to_hex().to_string(),
            source: located.source(),
            files: located.paths.into_iter().flatten().collect(),
        })
    }

    /// The best distribution of the first data folder that has any.
    fn locate(&self, entry: &Entry) -> Result<(PathBuf, Located), DatasetError> {
        let places: Vec<_> = self.roots.iter().map(|root| places(entry, root)).collect();
        let system = entry.system.map(PathBuf::from);
        for folders in places.iter().map(Vec::as_slice).chain([system.as_slice()]) {
            let best = folders
                .iter()
                .filter_map(|folder| Some((folder, entry.locate(folder)?)))
                .min_by_key(|(_, located)| rank(entry, located));
            if let Some((folder, located)) = best {
                return Ok((folder.clone(), located));
            }
        }
        let incomplete = places.iter().flatten().find_map(|folder| {
            let (has, lacks) = entry.incomplete(folder)?;
            Some(format!("{} has {has} but not {}", folder.display(), lacks.join(", ")))
        });
        let searched = self.roots.iter().cloned().chain(system).collect();
        Err(DatasetError::NotFound { name: entry.name.to_owned(), searched, incomplete })
    }
}

/// What of a folder is digested: what is read.
const RECORDINGS: &str = ".wav";

fn digest(memory: &mut Memory, path: &Path) -> Result<blake3::Hash, DatasetError> {
    let failed = |source| DatasetError::Io { doing: "read", path: path.to_owned(), source };
    let digest =
        if path.is_dir() { memory.digest_folder(path, RECORDINGS) } else { memory.digest(path) };
    digest.map_err(failed)
}

/// The folders below `root` in which the dataset may lie.
fn places(entry: &Entry, root: &Path) -> Vec<PathBuf> {
    let own = root.join(entry.name);
    let mut places = vec![own.clone()];
    places.extend(entry.folders.iter().flat_map(|folder| [own.join(folder), root.join(folder)]));
    // Fashion-MNIST's files are called like MNIST's: a folder of that name is Fashion-MNIST's alone,
    // and any other folder of such files is MNIST's.
    let named = root.file_name().and_then(|name| name.to_str());
    if named == Some(entry.name) || entry.named && named != Some("fashion-mnist") {
        places.push(root.to_owned());
    }
    places
}

fn rank(entry: &Entry, located: &Located) -> usize {
    entry
        .distributions
        .iter()
        .position(|distribution| std::ptr::eq(distribution, located.distribution))
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A user data folder and an explicit one, with a small CIFAR-100 wherever `at` says.
    struct Folders(tempfile::TempDir);

    impl Folders {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn cifar100(&self, at: &str, pixel: u8) -> PathBuf {
            let folder = self.0.path().join(at);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("train.bin"), vec![pixel; 3074]).unwrap();
            fs::write(folder.join("test.bin"), vec![0; 3074]).unwrap();
            folder
        }

        fn library(&self) -> Library {
            Library::new(Some(&self.0.path().join("explicit")), &self.0.path().join("user"))
        }
    }

    #[test]
    fn a_dataset_is_found_in_each_kind_of_place_and_the_named_folder_wins() {
        let folders = Folders::new();
        let error = folders.library().find("cifar100").unwrap_err().to_string();
        assert!(error.contains("run `graftwork data fetch cifar100`"), "{error}");
        assert!(error.contains("/explicit nor in ") && error.contains("/user;"), "{error}");
        // Each is preferred to those before it.
        for at in [
            "user",
            "user/cifar100",
            "explicit",
            "explicit/cifar-100-binary",
            "explicit/cifar100/cifar-100-binary",
            "explicit/cifar100",
        ] {
            let folder = folders.cifar100(at, 1);
            let found = folders.library().find("cifar100").unwrap();
            assert_eq!(found.folder, folder);
            assert_eq!(found.files, [folder.join("train.bin"), folder.join("test.bin")]);
        }
    }

    #[test]
    fn the_digest_is_that_of_the_content() {
        let folders = Folders::new();
        let digest = || folders.library().find("cifar100").unwrap().digest;
        folders.cifar100("user", 1);
        let first = digest();
        folders.cifar100("explicit/cifar100", 1);
        assert_eq!(digest(), first, "the same content elsewhere");
        folders.cifar100("explicit/cifar100", 2);
        assert_ne!(digest(), first, "another content of the same size at the same place");
    }

    #[test]
    fn a_content_with_an_old_time_is_noticed() {
        let folders = Folders::new();
        let folder = folders.cifar100("user", 1);
        let first = folders.library().find("cifar100").unwrap().digest;
        let path = folder.join("train.bin");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, vec![3; 3074]).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_ne!(folders.library().find("cifar100").unwrap().digest, first);
    }

    #[test]
    fn a_folder_of_recordings_has_one_digest_and_one_place_in_the_memory() {
        let folders = Folders::new();
        let folder = folders.0.path().join("user/fsdd/recordings");
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, content: &str| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(folder.join(name), content).unwrap();
        };
        let digest = || folders.library().find("fsdd").unwrap().digest;
        write("1_theo_0.wav", "one");
        write("1_theo_5.wav", "two");
        let first = digest();
        assert_eq!(digest(), first);
        let memory = fs::read_to_string(folders.0.path().join("user/digests.json")).unwrap();
        assert_eq!(memory.matches("blake3").count(), 1);
        write("notes.txt", "nobody reads this");
        assert_eq!(digest(), first);
        write("1_theo_0.wav", "One");
        let other = digest();
        assert_ne!(other, first, "another content of the same size");
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::rename(folder.join("1_theo_5.wav"), folder.join("2_theo_5.wav")).unwrap();
        assert_ne!(digest(), other, "the names tell the labels");
        fs::rename(folder.join("2_theo_5.wav"), folder.join("1_theo_5.wav")).unwrap();
        write("1_theo_0.wav", "one");
        assert_eq!(digest(), first, "the first content again");
    }

    #[test]
    fn a_damaged_or_unwritable_memory_only_costs_time() {
        let folders = Folders::new();
        folders.cifar100("user", 1);
        let memory = folders.0.path().join("user/digests.json");
        let first = folders.library().find("cifar100").unwrap();
        assert!(fs::read_to_string(&memory).unwrap().contains("train.bin"));
        for damage in ["", "{", "[]", "{\"a\": 1}"] {
            fs::write(&memory, damage).unwrap();
            assert_eq!(folders.library().find("cifar100").unwrap(), first);
        }
        // A digest that is no digest is not believed either.
        let text = fs::read_to_string(&memory).unwrap();
        fs::write(&memory, text.replace("\"blake3\": \"", "\"blake3\": \"zz")).unwrap();
        assert_eq!(folders.library().find("cifar100").unwrap(), first);
        let nowhere = folders.library().remember_in(Path::new("/proc/none/digests.json"));
        assert_eq!(nowhere.find("cifar100").unwrap(), first);
    }

    #[test]
    fn a_remembered_file_is_not_read_again() {
        let folders = Folders::new();
        folders.cifar100("user", 1);
        let first = folders.library().find("cifar100").unwrap();
        let memory = folders.0.path().join("user/digests.json");
        let text = fs::read_to_string(&memory).unwrap();
        let real = blake3::hash(&[1; 3074]).to_hex().to_string();
        assert!(text.contains(&real));
        fs::write(&memory, text.replace(&real, &"0".repeat(64))).unwrap();
        assert_ne!(folders.library().find("cifar100").unwrap().digest, first.digest);
    }

    #[test]
    fn missing_files_of_a_half_complete_dataset_are_named() {
        let folders = Folders::new();
        let folder = folders.cifar100("user/cifar100", 1);
        fs::remove_file(folder.join("test.bin")).unwrap();
        let error = folders.library().find("cifar100").unwrap_err().to_string();
        let text = format!("({} has train.bin but not test.bin)", folder.display());
        assert!(error.contains(&text), "{error}");
    }

    #[test]
    fn fashion_mnist_is_never_taken_for_mnist() {
        let root = tempfile::tempdir().unwrap();
        let files = |folder: &Path| {
            fs::create_dir_all(folder).unwrap();
            for file in super::super::mnist::OFFICIAL {
                fs::write(folder.join(file.names[0]), "").unwrap();
            }
        };
        let nowhere = root.path().join("nowhere");
        let own = root.path().join("fashion-mnist");
        files(&own);
        // As `--data …/fashion-mnist` and as `--data …` one folder up.
        for explicit in [own.as_path(), root.path()] {
            let library = Library::new(Some(explicit), &nowhere);
            assert_eq!(library.find("fashion-mnist").unwrap().folder, own);
            assert!(library.find("mnist").is_err());
        }
        files(root.path());
        let library = Library::new(Some(root.path()), &nowhere);
        assert_eq!(library.find("mnist").unwrap().folder, root.path());
        assert_eq!(library.find("fashion-mnist").unwrap().folder, own);
    }
}
