//! Which checkpoint has an action's result, and how a key gets it without computing.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Lock, MANIFEST, Made, Manifest, RECIPE, Store, StoreError, at};
use crate::recipe::{ActionKey, Recipe, StageKey};

impl Store {
    /// The key whose checkpoint has the result of an action, as it was recorded last.
    ///
    /// The checkpoint itself may be gone or damaged by now: ask for its [`Store::state`].
    pub fn find_action(&self, action: &ActionKey) -> Option<StageKey> {
        fs::read_link(self.action_path(action)).ok()?.to_str()?.parse().ok()
    }

    /// Records that the checkpoint of a key has the result of an action.
    ///
    /// It is a symbolic link whose target is the key: one system call makes it whole or not at all, and
    /// one reads it. A lost link costs a computation and nothing else, so it is not forced to the disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn record_action(&self, action: &ActionKey, key: &StageKey) -> Result<(), StoreError> {
        let path = self.action_path(action);
        let target = key.to_string();
        let made = match symlink(&target, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(&path);
                fs::create_dir_all(folder).map_err(at("create", folder))?;
                symlink(&target, &path)
            }
            other => other,
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => replace(&target, &path),
            other => other.map_err(at("write", &path)),
        }
    }

    /// Makes the checkpoint of another key, which has the same action, that of a lock's key too; the files
    /// are shared.
    ///
    /// # Errors
    /// If the other checkpoint cannot be read or this one not be written.
    pub fn adopt(
        &self,
        lock: &Lock,
        other: &StageKey,
        recipe: &Recipe,
        action: &ActionKey,
    ) -> Result<Manifest, StoreError> {
        let manifest = self.manifest(other)?;
        let draft = self.draft(lock)?.emptied()?.replacing();
        let mut files = manifest.files;
        files.remove(RECIPE);
        for name in files.keys() {
            share(&self.path(other).join(name), &draft.path().join(name))?;
        }
        let adopted = Some(manifest.made.adopted.unwrap_or(*other));
        let made = Made { adopted, action: Some(action.clone()), ..manifest.made };
        draft.seal(files, recipe, &made)
    }

    fn action_path(&self, action: &ActionKey) -> PathBuf {
        let name = action.to_string();
        self.root.join("actions").join(&name[..2]).join(name)
    }
}

/// Puts another link in the place of one; whoever reads meanwhile sees the one or the other.
fn replace(target: &str, path: &Path) -> Result<(), StoreError> {
    if fs::read_link(path).is_ok_and(|old| old.to_str() == Some(target)) {
        return Ok(());
    }
    let new = path.with_extension(std::process::id().to_string());
    let _ = fs::remove_file(&new);
    symlink(target, &new).map_err(at("write", &new))?;
    fs::rename(&new, path).map_err(at("rename", &new))
}

/// One file under two names where the file system can, else a copy.
fn share(from: &Path, to: &Path) -> Result<(), StoreError> {
    debug_assert!(!from.ends_with(MANIFEST), "each checkpoint has its own manifest");
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(drop))
        .map_err(at("read or link", from))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Files;
    use super::super::tests::{made, recipe, store, write};
    use super::*;
    use crate::recipe::Content;

    fn action(digest: &str) -> ActionKey {
        recipe(1).action(&BTreeMap::from([("from".to_owned(), Content::of([("m", digest)]))]))
    }

    #[test]
    fn an_action_is_found_under_the_key_that_had_it_last() {
        let (_folder, store) = store();
        assert_eq!(store.find_action(&action("a")), None);
        for epochs in [1, 1, 2] {
            store.record_action(&action("a"), &recipe(epochs).key()).unwrap();
            assert_eq!(store.find_action(&action("a")), Some(recipe(epochs).key()));
        }
        assert_eq!(store.find_action(&action("b")), None);
        assert_eq!(store.keys().unwrap(), []);
    }

    #[test]
    fn an_adopted_checkpoint_is_whole_and_outlives_the_other() {
        let (_folder, store) = store();
        let (one, other) = (recipe(1), recipe(2));
        let draft = store.draft(&store.lock(&one.key()).unwrap().unwrap()).unwrap();
        write(&draft, "model.safetensors", "weights");
        let original = draft.commit(&one, &made()).unwrap();

        let lock = store.lock(&other.key()).unwrap().unwrap();
        write(&store.draft(&lock).unwrap(), "progress.json", "left by an attempt that was killed");
        let adopted = store.adopt(&lock, &one.key(), &other, &action("a")).unwrap();
        let expected = Made { adopted: Some(one.key()), action: Some(action("a")), ..made() };
        assert_eq!(adopted.made, expected);
        assert_eq!(adopted.content(|_| true), original.content(|_| true));
        assert_eq!(store.recipe(&other.key()).unwrap(), other);

        fs::remove_dir_all(store.path(&one.key())).unwrap();
        assert_eq!(store.verify(&other.key()).unwrap(), []);
        let files = Files { needed: vec!["model.safetensors".into()], optional: Vec::new() };
        assert!(store.state(&other.key(), &files).unwrap().is_whole());
        let model = store.path(&other.key()).join("model.safetensors");
        assert_eq!(fs::read_to_string(model).unwrap(), "weights");
        assert!(!store.path(&other.key()).join("progress.json").exists());
    }

    #[test]
    fn progress_made_from_another_content_is_not_gone_on_from() {
        let (_folder, store) = store();
        let lock = store.lock(&recipe(1).key()).unwrap().unwrap();
        let draft = |digest| store.draft(&lock).unwrap().for_action(Some(&action(digest))).unwrap();
        write(&draft("a"), "progress.json", "epoch 3");
        assert!(draft("a").is_resumed());
        assert!(!draft("b").is_resumed());
        let last = draft("b");
        assert!(!last.path().join("progress.json").exists());
        let manifest = last.commit(&recipe(1), &made()).unwrap();
        assert_eq!(manifest.files.into_keys().collect::<Vec<_>>(), ["recipe.json"]);
    }

    #[test]
    fn what_was_adopted_twice_names_the_checkpoint_that_was_computed() {
        let (_folder, store) = store();
        let draft = store.draft(&store.lock(&recipe(1).key()).unwrap().unwrap()).unwrap();
        draft.commit(&recipe(1), &made()).unwrap();
        for epochs in [2, 3] {
            let lock = store.lock(&recipe(epochs).key()).unwrap().unwrap();
            let from = recipe(epochs - 1).key();
            let manifest = store.adopt(&lock, &from, &recipe(epochs), &action("a")).unwrap();
            assert_eq!(manifest.made.adopted, Some(recipe(1).key()));
        }
    }
}
