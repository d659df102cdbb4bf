//! What an attempt writes, until it becomes a checkpoint by one rename.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Digest, LOG, MANIFEST, Made, Manifest, RECIPE, Store, StoreError, at, names, sync};
use crate::recipe::{ActionKey, Recipe, StageKey};

/// The file of a draft that says what the attempt does.
const ACTION: &str = "action.txt";

/// A folder that an attempt writes into.
///
/// Dropping it leaves it where it is, so that the next attempt goes on from there.
#[derive(Debug)]
pub struct Draft {
    store: Store,
    key: StageKey,
    path: PathBuf,
    resumed: bool,
    replaces: bool,
}

impl Draft {
    pub(super) fn open(store: &Store, key: &StageKey) -> Result<Self, StoreError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = store.drafts(key);
        let olds = if is_new(&folder)? { Vec::new() } else { names(&folder)? };
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
        if resumed {
            resumed = names(&path)?.iter().any(|name| is_progress(name));
        } else {
            fs::create_dir(&path).map_err(at("create", &path))?;
        }
        Ok(Self { store: store.clone(), key: *key, path, resumed, replaces: false })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier attempt left progress here.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The draft for an attempt that does this action. What an attempt at another left here (its inputs had
    /// another content) is removed: going on from there would mix the two.
    ///
    /// # Errors
    /// If a file cannot be written or removed.
    pub fn for_action(mut self, action: Option<&ActionKey>) -> Result<Self, StoreError> {
        let Some(action) = action.map(ToString::to_string) else { return Ok(self) };
        let written = fs::read_to_string(self.path.join(ACTION)).ok();
        if written.as_ref() != Some(&action) {
            if written.is_some() {
                self = self.emptied()?;
            }
            self.write(ACTION, action.as_bytes())?;
        }
        Ok(self)
    }

    /// The draft without what an earlier attempt left in it.
    pub(super) fn emptied(self) -> Result<Self, StoreError> {
        for name in names(&self.path)? {
            remove(&self.path.join(name))?;
        }
        Ok(Self { resumed: false, ..self })
    }

    /// The draft of a checkpoint that takes the place of the one that is there.
    #[must_use]
    pub fn replacing(self) -> Self {
        Self { replaces: true, ..self }
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

    /// Writes a file, and returns when it has reached the disk.
    fn write_through(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let file = File::create(&path);
        let written = file.and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        written.map_err(at("write", &path))
    }

    /// Makes the draft the checkpoint of its key: whole, or not at all.
    ///
    /// Files whose name starts with `progress` served the next attempt and are left out; so is the action,
    /// which the manifest has.
    ///
    /// # Errors
    /// If a file cannot be written; the draft then stays a draft.
    pub fn commit(self, recipe: &Recipe, made: &Made) -> Result<Manifest, StoreError> {
        debug_assert_eq!(recipe.key(), self.key, "a draft is committed with its own recipe");
        let mut files = BTreeMap::new();
        for name in names(&self.path)? {
            let path = self.path.join(&name);
            if is_progress(&name) || name == ACTION {
                remove(&path)?;
            } else if ![MANIFEST, RECIPE].contains(&name.as_str()) {
                files.insert(name, digest_on_disk(&path)?);
            }
        }
        self.seal(files, recipe, made)
    }

    /// Adds recipe and manifest to files that are on the disk, and makes all of it the checkpoint.
    pub(super) fn seal(
        self,
        mut files: BTreeMap<String, Digest>,
        recipe: &Recipe,
        made: &Made,
    ) -> Result<Manifest, StoreError> {
        let text = pretty(recipe);
        self.write_through(RECIPE, &text)?;
        files.insert(RECIPE.to_owned(), Digest::of(&text));
        let manifest = Manifest { files, made: made.clone() };
        self.write_through(MANIFEST, &pretty(&manifest))?;
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
        if self.store.contains(&self.key) && !self.replaces {
            // Where locks do not reach, as on some network disks, another may have been faster: its
            // checkpoint may be in use already.
            remove(&self.path)?;
        } else {
            let old = self.set_aside(&target)?;
            fs::rename(&self.path, &target).map_err(at("rename", &self.path))?;
            sync(group)?;
            if let Some(old) = old {
                remove(&old)?;
                let _ = fs::remove_dir(self.store.root().join("replaced"));
            }
        }
        // The rest only tidies up. The folder of all drafts stays: the next stage needs it.
        let _ = fs::remove_dir(self.store.drafts(&self.key));
        let _ = fs::remove_dir_all(self.store.failed(&self.key));
        Ok(())
    }

    /// Moves what is in the checkpoint's place out of the way: one that is replaced, or what someone left
    /// who deleted a part of it. By a rename, so that a crash never leaves half of an old one there.
    fn set_aside(&self, target: &Path) -> Result<Option<PathBuf>, StoreError> {
        let folder = self.store.root().join("replaced");
        let old = folder.join(self.key.to_string());
        if !target.exists() {
            return Ok(None);
        }
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        if old.exists() {
            remove(&old)?;
        }
        match fs::rename(target, &old) {
            Ok(()) => Ok(Some(old)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("rename", target)(error)),
        }
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

pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(at("remove", path))
}

fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("recipes and manifests are plain JSON");
    text.push(b'\n');
    text
}

/// Makes a folder, and those around it; whether it was not there.
fn is_new(folder: &Path) -> Result<bool, StoreError> {
    let made = match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(folder),
        other => other,
    };
    made.map(|()| true).map_err(at("create", folder))
}

impl Digest {
    fn of(content: &[u8]) -> Self {
        let blake3 = blake3::hash(content).to_hex().to_string();
        Self { bytes: content.len() as u64, blake3 }
    }

    fn of_file(mut file: &File) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let bytes = io::copy(&mut file, &mut hasher)?;
        Ok(Self { bytes, blake3: hasher.finalize().to_hex().to_string() })
    }
}

pub(super) fn digest(path: &Path) -> Result<Digest, StoreError> {
    let file = File::open(path).map_err(at("read", path))?;
    Digest::of_file(&file).map_err(at("read", path))
}

/// The digest of a file, which has reached the disk when it is known.
fn digest_on_disk(path: &Path) -> Result<Digest, StoreError> {
    let file = File::open(path).map_err(at("read", path))?;
    let digest = Digest::of_file(&file).map_err(at("read", path))?;
    file.sync_all().map_err(at("write", path))?;
    Ok(digest)
}
