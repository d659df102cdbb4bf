//! Whether a checkpoint is what was committed, without reading it where nothing speaks against it.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::{MANIFEST, Store, StoreError, at};
use crate::recipe::StageKey;

/// What is found in the place of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No checkpoint.
    Absent,
    /// The checkpoint that was committed.
    Whole,
    /// A checkpoint of which a file is gone or has another content than it was committed with.
    Damaged,
}

impl Store {
    /// Whether the checkpoint of a key is there as it was committed.
    ///
    /// A commit writes the manifest last, so that no file is younger than it. Where one is, or one of the
    /// `needed` is not there, all files are read and compared with the manifest; if nothing differs (they
    /// were touched, or copied in another order) the manifest is made the youngest again. Files that may
    /// be there or not, such as masks, are looked at where they are.
    ///
    /// # Errors
    /// If a file is there and cannot be read.
    pub fn state(&self, key: &StageKey, needed: &[&str]) -> Result<State, StoreError> {
        let folder = self.path(key);
        let manifest = folder.join(MANIFEST);
        let Some(committed) = look(&manifest)? else { return Ok(State::Absent) };
        let committed = modified(&committed);
        let mut suspicious = false;
        for name in needed {
            let file = look(&folder.join(name))?;
            suspicious |= file.is_none_or(|file| modified(&file) > committed);
        }
        for name in OPTIONAL {
            suspicious |= look(&folder.join(name))?.is_some_and(|file| modified(&file) > committed);
        }
        if !suspicious {
            return Ok(State::Whole);
        }
        match self.verify(key) {
            Ok(damage) if damage.is_empty() => {}
            Ok(_) | Err(StoreError::Damaged { .. }) => return Ok(State::Damaged),
            Err(error) => return Err(error),
        }
        // In a store that may only be read, the next look reads again: no harm is done.
        let _ = File::options().write(true).open(&manifest).and_then(|file| touch(&file));
        Ok(State::Whole)
    }
}

/// Files that a checkpoint may have and whose change matters.
const OPTIONAL: [&str; 1] = ["masks.safetensors"];

fn look(path: &Path) -> Result<Option<Metadata>, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("look at", path)(error)),
    }
}

/// A system without modification times cannot raise suspicion.
fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

#[expect(clippy::disallowed_methods, reason = "the time of a file, not of a result")]
fn touch(file: &File) -> io::Result<()> {
    file.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{made, recipe, store, write};
    use super::*;

    const NEEDED: [&str; 1] = ["model.safetensors"];

    /// The state after something is done to a committed checkpoint.
    #[track_caller]
    fn check(act: impl FnOnce(&Path), expected: State) -> (tempfile::TempDir, Store) {
        let (folder, store) = store();
        let key = recipe(1).key();
        let draft = store.draft(&store.lock(&key).unwrap().unwrap()).unwrap();
        write(&draft, "model.safetensors", "weights");
        write(&draft, "masks.safetensors", "masks");
        draft.commit(&recipe(1), &made()).unwrap();
        assert_eq!(store.state(&key, &NEEDED).unwrap(), State::Whole);
        act(&store.path(&key));
        assert_eq!(store.state(&key, &NEEDED).unwrap(), expected);
        (folder, store)
    }

    fn later(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        let time = file.metadata().unwrap().modified().unwrap() + Duration::from_secs(5);
        file.set_modified(time).unwrap();
    }

    fn overwrite(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        later(path);
    }

    #[test]
    fn a_file_that_was_overwritten_with_as_many_bytes_is_noticed() {
        check(|path| overwrite(&path.join("model.safetensors"), "WEIGHTS"), State::Damaged);
        check(|path| overwrite(&path.join("masks.safetensors"), "MASKS"), State::Damaged);
    }

    #[test]
    fn a_file_that_is_gone_is_noticed() {
        check(|path| fs::remove_file(path.join("model.safetensors")).unwrap(), State::Damaged);
        check(|path| fs::remove_file(path.join("manifest.json")).unwrap(), State::Absent);
        check(|path| fs::remove_dir_all(path).unwrap(), State::Absent);
    }

    #[test]
    fn a_touched_file_is_read_once_and_found_whole() {
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let (_folder, store) = check(
            |path| {
                let manifest = File::options().write(true).open(path.join(MANIFEST)).unwrap();
                manifest.set_modified(before).unwrap();
            },
            State::Whole,
        );
        let manifest = fs::metadata(store.path(&recipe(1).key()).join(MANIFEST)).unwrap();
        assert!(manifest.modified().unwrap() > before, "it is the youngest again");
    }
}
