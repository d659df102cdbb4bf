//! Whether a checkpoint is what was committed, without reading it where nothing speaks against it.

use std::borrow::Cow;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Damage, MANIFEST, ROOM, Store, StoreError, at};
use crate::recipe::StageKey;

/// What is found in the place of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No checkpoint.
    Absent,
    /// The checkpoint that was committed, and the time of its manifest.
    Whole(SystemTime),
    /// A checkpoint of which a file is gone, or was not asked for when it was committed; the others are as
    /// they were committed.
    Incomplete,
    /// A checkpoint of which a file has another content than it was committed with.
    Damaged,
}

/// The files of a checkpoint whose change matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files<'a> {
    /// Those that it must have.
    pub needed: Vec<Cow<'a, str>>,
    /// Those that it may have.
    pub optional: Vec<&'a str>,
}

impl State {
    /// Whether the checkpoint that was committed is there.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

impl Store {
    /// Whether the checkpoint of a key is there as it was committed.
    ///
    /// A commit writes the manifest last, so that no file is younger than it. Where one is, or one of the
    /// `needed` is not there, all files are read and compared with the manifest; if nothing differs (they
    /// were touched, or copied in another order) the manifest is made the youngest again. Files that are
    /// `optional` are looked at where they are.
    ///
    /// # Errors
    /// If a file is there and cannot be read.
    pub fn state(&self, key: &StageKey, files: &Files<'_>) -> Result<State, StoreError> {
        // One buffer for all paths: a run with nothing to do asks this of all its stages.
        let folder = self.path(key);
        let mut path = PathBuf::with_capacity(folder.as_os_str().len() + ROOM);
        let mut look = |name: &str| {
            path.clone_from(&folder);
            path.push(name);
            look(&path)
        };
        let Some(committed) = look(MANIFEST)? else { return Ok(State::Absent) };
        let committed = modified(&committed);
        let (mut suspicious, mut lacking) = (false, false);
        for name in &files.needed {
            let file = look(name)?;
            lacking |= file.is_none();
            suspicious |= file.is_none_or(|file| modified(&file) > committed);
        }
        for name in &files.optional {
            suspicious |= look(name)?.is_some_and(|file| modified(&file) > committed);
        }
        if !suspicious {
            return Ok(State::Whole(committed));
        }
        match self.verify(key) {
            Ok(damage) if damage.is_empty() && !lacking => {}
            Ok(damage) if damage.iter().all(|it| matches!(it, Damage::Missing(_))) => {
                return Ok(State::Incomplete);
            }
            Ok(_) | Err(StoreError::Damaged { .. }) => return Ok(State::Damaged),
            Err(error) => return Err(error),
        }
        Ok(State::Whole(self.confirm(key)))
    }

    /// Makes the manifest of a checkpoint the youngest file, after it was found to be as it should;
    /// returns its new time.
    ///
    /// In a store that may only be read, the next look finds the same again: no harm is done.
    #[expect(clippy::disallowed_methods, reason = "the time of a file, not of a result")]
    pub fn confirm(&self, key: &StageKey) -> SystemTime {
        let now = SystemTime::now();
        let manifest = File::options().write(true).open(self.path(key).join(MANIFEST));
        let _ = manifest.and_then(|file| file.set_modified(now));
        now
    }
}

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{made, recipe, store, write};
    use super::*;

    fn files() -> Files<'static> {
        Files { needed: vec!["model.safetensors".into()], optional: vec!["masks.safetensors"] }
    }

    fn is_whole(state: State) -> bool {
        state.is_whole()
    }

    fn is_damaged(state: State) -> bool {
        state == State::Damaged
    }

    fn is_incomplete(state: State) -> bool {
        state == State::Incomplete
    }

    fn is_absent(state: State) -> bool {
        state == State::Absent
    }

    /// The state after something is done to a committed checkpoint.
    #[track_caller]
    fn check(act: impl FnOnce(&Path), expected: fn(State) -> bool) -> (tempfile::TempDir, Store) {
        let (folder, store) = store();
        let key = recipe(1).key();
        let draft = store.draft(&store.lock(&key).unwrap().unwrap()).unwrap();
        write(&draft, "model.safetensors", "weights");
        write(&draft, "masks.safetensors", "masks");
        draft.commit(&recipe(1), &made()).unwrap();
        assert!(store.state(&key, &files()).unwrap().is_whole());
        act(&store.path(&key));
        let state = store.state(&key, &files()).unwrap();
        assert!(expected(state), "{state:?}");
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
        check(|path| overwrite(&path.join("model.safetensors"), "WEIGHTS"), is_damaged);
        check(|path| overwrite(&path.join("masks.safetensors"), "MASKS"), is_damaged);
    }

    #[test]
    fn a_file_that_is_gone_is_noticed() {
        check(|path| fs::remove_file(path.join("model.safetensors")).unwrap(), is_incomplete);
        check(|path| fs::remove_file(path.join("manifest.json")).unwrap(), is_absent);
        check(|path| fs::remove_dir_all(path).unwrap(), is_absent);
    }

    #[test]
    fn a_file_that_was_not_asked_for_is_lacking_and_the_rest_is_whole() {
        let (_folder, store) = check(|_| {}, is_whole);
        let key = recipe(1).key();
        let mut files = files();
        files.needed.push("epoch-1.safetensors".into());
        assert_eq!(store.state(&key, &files).unwrap(), State::Incomplete);
        fs::write(store.path(&key).join("model.safetensors"), "WEIGHTS").unwrap();
        assert_eq!(store.state(&key, &files).unwrap(), State::Damaged);
    }

    #[test]
    fn a_file_that_was_changed_counts_more_than_one_that_is_gone() {
        let act = |path: &Path| {
            fs::remove_file(path.join("masks.safetensors")).unwrap();
            overwrite(&path.join("model.safetensors"), "WEIGHTS");
        };
        check(act, is_damaged);
    }

    #[test]
    fn a_touched_file_is_read_once_and_found_whole() {
        let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let (_folder, store) = check(
            |path| {
                let manifest = File::options().write(true).open(path.join(MANIFEST)).unwrap();
                manifest.set_modified(before).unwrap();
            },
            is_whole,
        );
        let manifest = fs::metadata(store.path(&recipe(1).key()).join(MANIFEST)).unwrap();
        assert!(manifest.modified().unwrap() > before, "it is the youngest again");
    }
}
