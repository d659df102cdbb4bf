//! What an attempt writes, until it becomes a checkpoint by one rename.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Digest, LOG, MANIFEST, Made, Manifest, RECIPE, Store, StoreError, at, names, sync};
use crate::recipe::{Recipe, StageKey};

/// A folder that an attempt writes into.
///
/// Dropping it leaves it where it is, so that the next attempt goes on from there.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    key: StageKey,
    path: PathBuf,
    resumed: bool,
}

impl Draft {
    pub(super) fn open(store: &Store, key: &StageKey) -> Result<Self, StoreError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = store.drafts(key);
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        let olds = names(&folder)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // A dead process may have had this process' number, and its draft may still be there.
        let mut name = format!("{}-{count}", std::process::id());
        while olds.contains(&name) {
            name.push('-');
        }
        let path = folder.join(name);
        let mut resumed = false;
        // There is one old draft at most, unless someone put another there.
        for old in olds {
            let old = folder.join(old);
            if resumed {
                fs::remove_dir_all(&old).map_err(at("remove", &old))?;
            } else {
                fs::rename(&old, &path).map_err(at("rename", &old))?;
                resumed = true;
            }
        }
        if !resumed {
            fs::create_dir(&path).map_err(at("create", &path))?;
        }
        let resumed = names(&path)?.iter().any(|name| is_progress(name));
        Ok(Self { store: store.clone(), key: *key, path, resumed })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier attempt left progress here.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Adds a line to the stage's log.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn log(&self, line: &str) -> Result<(), StoreError> {
        let path = self.path.join(LOG);
        let log = File::options().create(true).append(true).open(&path);
        log.and_then(|mut log| writeln!(log, "{line}")).map_err(at("write", &path))
    }

    /// Writes a file of the checkpoint.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.path.join(name);
        fs::write(&path, content).map_err(at("write", &path))
    }

    /// Makes the draft the checkpoint of its key: whole, or not at all.
    ///
    /// Files whose name starts with `progress` served the next attempt and are left out.
    ///
    /// # Errors
    /// If a file cannot be written; the draft then stays a draft.
    pub fn commit(self, recipe: &Recipe, made: &Made) -> Result<Manifest, StoreError> {
        debug_assert_eq!(recipe.key(), self.key, "a draft is committed with its own recipe");
        for name in names(&self.path)?.iter().filter(|name| is_progress(name)) {
            remove(&self.path.join(name))?;
        }
        self.write(RECIPE, &pretty(recipe))?;
        let mut files = BTreeMap::new();
        for name in names(&self.path)?.into_iter().filter(|name| name != MANIFEST) {
            let path = self.path.join(&name);
            files.insert(name, digest(&path)?);
            sync(&path)?;
        }
        let manifest = Manifest { files, made: made.clone() };
        self.write(MANIFEST, &pretty(&manifest))?;
        sync(&self.path.join(MANIFEST))?;
        sync(&self.path)?;
        self.publish()?;
        Ok(manifest)
    }

    fn publish(&self) -> Result<(), StoreError> {
        let target = self.store.path(&self.key);
        let group = target.parent().unwrap_or(&target);
        if !group.exists() {
            fs::create_dir_all(group).map_err(at("create", group))?;
            sync(self.store.root())?;
        }
        if self.store.contains(&self.key) {
            // Where locks do not reach, as on some network disks, another may have been faster: its
            // checkpoint may be in use already.
            remove(&self.path)?;
        } else {
            // What is there without a manifest is no checkpoint: someone deleted a part of it.
            if target.exists() {
                remove(&target)?;
            }
            fs::rename(&self.path, &target).map_err(at("rename", &self.path))?;
            sync(group)?;
        }
        // The rest only tidies up.
        let _ = fs::remove_dir(self.store.drafts(&self.key));
        let _ = fs::remove_dir(self.store.root().join("drafts"));
        let _ = fs::remove_dir_all(self.store.failed(&self.key));
        Ok(())
    }

    /// Keeps the log of a failed attempt where [`Store::log`] finds it. With `keep_progress` the next
    /// attempt goes on from the progress, otherwise it starts anew.
    ///
    /// # Errors
    /// If the log cannot be moved.
    pub fn fail(self, keep_progress: bool) -> Result<(), StoreError> {
        let folder = self.store.failed(&self.key);
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        let (from, to) = (self.path.join(LOG), folder.join(LOG));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(at("rename", &from))?,
        }
        if !keep_progress {
            remove(&self.store.drafts(&self.key))?;
        }
        Ok(())
    }
}

fn is_progress(name: &str) -> bool {
    name.starts_with("progress")
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(at("remove", path))
}

fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("recipes and manifests are plain JSON");
    text.push(b'\n');
    text
}

pub(super) fn digest(path: &Path) -> Result<Digest, StoreError> {
    let mut file = File::open(path).map_err(at("read", path))?;
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(&mut file, &mut hasher).map_err(at("read", path))?;
    Ok(Digest { bytes, blake3: hasher.finalize().to_hex().to_string() })
}
