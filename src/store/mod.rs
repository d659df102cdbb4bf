//! Checkpoints on disk, whole or absent.
//!
//! ```text
//! <store>/<2 digits>/<key>/   a checkpoint: recipe.json, model.safetensors, metrics.jsonl, log.txt, manifest.json, …
//! <store>/actions/<2 digits>/<action>   a link whose target is the key that an action's result is found under
//! <store>/drafts/<key>/<n>/   what an attempt has written so far; kept, so that the next one resumes
//! <store>/failed/<key>/       the log of the last attempt that failed
//! <store>/replaced/<key>/      a checkpoint whose successor is being put in its place
//! <store>/locks/<key>         held while a process computes the key
//! ```
//!
//! A checkpoint appears by one rename after all of it has reached the disk, and its files are never
//! written again; one that was damaged, or is made anew by force, is replaced as a whole. Only the holder
//! of a key's [`Lock`] writes a draft of it.

mod action;
mod draft;
mod lock;
mod state;

pub use draft::Draft;
pub use lock::Lock;
pub use state::{Files, State};

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::recipe::{ActionKey, Content, Recipe, StageKey};

const MANIFEST: &str = "manifest.json";
const RECIPE: &str = "recipe.json";
const LOG: &str = "log.txt";
/// What was measured on the way, in the checkpoint of every stage.
pub const METRICS: &str = "metrics.jsonl";
/// Bytes of the name of a file in a checkpoint, most of the time.
const ROOM: usize = 32;

/// The folder of all checkpoints.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// What lies in a checkpoint and how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// Every file except the manifest itself, by name.
    pub files: BTreeMap<String, Digest>,
    /// How it was made.
    pub made: Made,
}

impl Manifest {
    /// What a reader of this checkpoint sees of it: of its files those that it looks at, but never how they
    /// came about (the recipe, the log).
    pub fn content(&self, is_seen: impl Fn(&str) -> bool) -> Content {
        let is_seen = |name: &str| name != RECIPE && name != LOG && is_seen(name);
        let files = self.files.iter().filter(|(name, _)| is_seen(name));
        Content::of(files.map(|(name, digest)| (name.as_str(), digest.blake3.as_str())))
    }
}

/// Size and content of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Digest {
    /// Size.
    pub bytes: u64,
    /// BLAKE3 hash of the content, in hexadecimal digits.
    pub blake3: String,
}

/// How a checkpoint was made; none of it enters the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Made {
    /// The experiment whose run made it.
    pub experiment: String,
    /// The stage's name there.
    pub name: String,
    /// The device: `cpu`, `cuda:0`.
    pub device: String,
    /// CPU threads of the engine.
    pub threads: u32,
    /// Version of the engine.
    pub engine: String,
    /// Version of LibTorch.
    pub libtorch: String,
    /// The machine.
    pub host: String,
    /// When the last attempt started, in milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: i64,
    /// What was done to which contents; nothing for a stage without inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionKey>,
    /// The checkpoint that it was taken from, if nothing was computed: its inputs had the same content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<StageKey>,
}

/// A difference between a checkpoint and its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The file is gone.
    Missing(String),
    /// The file has another size or content.
    Changed(String),
}

/// What went wrong with a file of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder could not be read or written.
    #[error("cannot {doing} `{}`: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file of a checkpoint is not what graftwork writes.
    #[error("`{}` is damaged: {error}; delete its folder and run the experiment again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

/// Turns an I/O error into one that says what was tried and where.
fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |error| StoreError::Io { doing, path: path.to_owned(), error }
}

impl Store {
    /// The store in a folder, which need not exist yet; nothing is written before a key is locked.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the checkpoint is there; one look at the file system.
    pub fn contains(&self, key: &StageKey) -> bool {
        self.path(key).join(MANIFEST).exists()
    }

    /// The folder of a checkpoint, whether it is there or not.
    pub fn path(&self, key: &StageKey) -> PathBuf {
        let name = key.to_string();
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + name.len() + ROOM);
        path.extend([self.root.as_path(), Path::new(&name[..2]), Path::new(&name)]);
        path
    }

    /// The manifest of a checkpoint.
    ///
    /// # Errors
    /// If the checkpoint is not there or its manifest is damaged.
    pub fn manifest(&self, key: &StageKey) -> Result<Manifest, StoreError> {
        read_json(&self.path(key).join(MANIFEST))
    }

    /// The recipe of a checkpoint.
    ///
    /// # Errors
    /// If the checkpoint is not there or its recipe is damaged.
    pub fn recipe(&self, key: &StageKey) -> Result<Recipe, StoreError> {
        read_json(&self.path(key).join(RECIPE))
    }

    /// Reads a checkpoint whole and compares it with its manifest.
    ///
    /// # Errors
    /// If the manifest or a file cannot be read.
    pub fn verify(&self, key: &StageKey) -> Result<Vec<Damage>, StoreError> {
        let mut damage = Vec::new();
        for (name, expected) in self.manifest(key)?.files {
            let path = self.path(key).join(&name);
            if !path.exists() {
                damage.push(Damage::Missing(name));
            } else if draft::digest(&path)? != expected {
                damage.push(Damage::Changed(name));
            }
        }
        Ok(damage)
    }

    /// The keys of all checkpoints, ascending.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn keys(&self) -> Result<Vec<StageKey>, StoreError> {
        let mut keys: Vec<StageKey> = Vec::new();
        for group in names(&self.root)? {
            if group.len() == 2 {
                let inside = names(&self.root.join(group))?;
                keys.extend(inside.iter().filter_map(|name| name.parse::<StageKey>().ok()));
            }
        }
        keys.retain(|key| self.contains(key));
        keys.sort();
        Ok(keys)
    }

    /// The log of a stage: of the attempt in progress, else of its checkpoint, else of the last failure.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn log(&self, key: &StageKey) -> Result<Option<PathBuf>, StoreError> {
        let drafts = self.drafts(key);
        let drafts = names(&drafts)?.into_iter().map(|name| drafts.join(name));
        let places = drafts.chain([self.path(key), self.failed(key)]);
        Ok(places.map(|folder| folder.join(LOG)).find(|log| log.exists()))
    }

    /// Takes the right to compute a key; none if another process has it.
    ///
    /// # Errors
    /// If the lock file cannot be created.
    pub fn lock(&self, key: &StageKey) -> Result<Option<Lock>, StoreError> {
        Lock::take(&self.root.join("locks"), key)
    }

    /// The folder that an attempt writes into, with what an interrupted one left there.
    ///
    /// It is renamed each time: an engine that outlived its orchestrator holds an old path, and cannot
    /// write into what its successor is working on.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn draft(&self, lock: &Lock) -> Result<Draft, StoreError> {
        Draft::open(self, lock.key())
    }

    fn drafts(&self, key: &StageKey) -> PathBuf {
        self.root.join("drafts").join(key.to_string())
    }

    fn failed(&self, key: &StageKey) -> PathBuf {
        self.root.join("failed").join(key.to_string())
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, StoreError> {
    let text = fs::read(path).map_err(at("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|error| StoreError::Damaged { path: path.to_owned(), error })
}

/// The names in a folder, ascending; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at("read", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(at("read", folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Makes what was written reach the disk; a folder's own entries too.
fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(at("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn recipe(epochs: u32) -> Recipe {
        Recipe {
            kind: crate::experiment::spec::StageKind::Pretrain,
            revision: 1,
            spec: serde_json::json!({ "epochs": epochs }).into(),
            seed: Some(0),
            inputs: BTreeMap::new(),
            data: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    pub(super) fn made() -> Made {
        Made { experiment: "digits".to_owned(), ended_ms: 5, ..Made::default() }
    }

    pub(super) fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store"));
        (folder, store)
    }

    pub(super) fn write(draft: &Draft, name: &str, text: &str) {
        fs::write(draft.path().join(name), text).unwrap();
    }

    #[test]
    fn a_checkpoint_is_there_after_the_commit_and_not_before() {
        let (_folder, store) = store();
        let (recipe, key) = (recipe(1), recipe(1).key());
        assert!(!store.contains(&key));
        let lock = store.lock(&key).unwrap().unwrap();
        let draft = store.draft(&lock).unwrap();
        write(&draft, "model.safetensors", "weights");
        write(&draft, "log.txt", "epoch 1\n");
        assert!(!store.contains(&key));
        let manifest = draft.commit(&recipe, &made()).unwrap();
        assert!(store.contains(&key));
        assert_eq!(store.manifest(&key).unwrap(), manifest);
        assert_eq!(store.recipe(&key).unwrap(), recipe);
        assert_eq!(store.keys().unwrap(), [key]);
        let files: Vec<_> = manifest.files.keys().map(String::as_str).collect();
        assert_eq!(files, ["log.txt", "model.safetensors", "recipe.json"]);
        assert_eq!(store.verify(&key).unwrap(), []);
        assert_eq!(store.log(&key).unwrap(), Some(store.path(&key).join("log.txt")));
        assert_eq!(names(&store.root().join("drafts")).unwrap(), [""; 0]);
    }

    #[test]
    fn a_tampered_checkpoint_is_noticed() {
        let (_folder, store) = store();
        let key = recipe(1).key();
        let draft = store.draft(&store.lock(&key).unwrap().unwrap()).unwrap();
        write(&draft, "model.safetensors", "weights");
        write(&draft, "masks.safetensors", "masks");
        draft.commit(&recipe(1), &made()).unwrap();
        fs::write(store.path(&key).join("model.safetensors"), "other..").unwrap();
        fs::remove_file(store.path(&key).join("masks.safetensors")).unwrap();
        let expected = [
            Damage::Missing("masks.safetensors".to_owned()),
            Damage::Changed("model.safetensors".to_owned()),
        ];
        assert_eq!(store.verify(&key).unwrap(), expected);
    }

    #[test]
    fn the_next_attempt_finds_the_progress_and_an_old_engine_loses_its_path() {
        let (_folder, store) = store();
        let key = recipe(1).key();
        let lock = store.lock(&key).unwrap().unwrap();
        let first = store.draft(&lock).unwrap();
        write(&first, "progress.safetensors", "epoch 3");
        let second = store.draft(&lock).unwrap();
        assert_eq!(
            fs::read_to_string(second.path().join("progress.safetensors")).unwrap(),
            "epoch 3"
        );
        assert!(fs::write(first.path().join("progress.safetensors"), "epoch 4").is_err());
        assert_eq!(names(&store.drafts(&key)).unwrap().len(), 1);
    }

    #[test]
    fn progress_is_not_part_of_the_checkpoint() {
        let (_folder, store) = store();
        let key = recipe(1).key();
        let draft = store.draft(&store.lock(&key).unwrap().unwrap()).unwrap();
        write(&draft, "progress.safetensors", "optimizer");
        write(&draft, "progress.json", "{}");
        draft.commit(&recipe(1), &made()).unwrap();
        assert_eq!(names(&store.path(&key)).unwrap(), ["manifest.json", "recipe.json"]);
    }

    #[test]
    fn the_log_of_a_failure_stays_until_the_stage_is_done() {
        let (_folder, store) = store();
        let key = recipe(1).key();
        let lock = store.lock(&key).unwrap().unwrap();
        let draft = store.draft(&lock).unwrap();
        write(&draft, "log.txt", "loss is NaN\n");
        write(&draft, "progress.json", "{}");
        draft.fail(false).unwrap();
        let log = store.log(&key).unwrap().unwrap();
        assert_eq!(fs::read_to_string(log).unwrap(), "loss is NaN\n");
        let draft = store.draft(&lock).unwrap();
        assert!(!draft.is_resumed());
        draft.commit(&recipe(1), &made()).unwrap();
        assert_eq!(store.log(&key).unwrap(), None);
    }

    #[test]
    fn a_key_is_locked_by_one_at_a_time() {
        let (_folder, store) = store();
        let key = recipe(1).key();
        let lock = store.lock(&key).unwrap();
        assert!(lock.is_some());
        assert!(store.lock(&key).unwrap().is_none());
        assert!(store.lock(&recipe(2).key()).unwrap().is_some());
        drop(lock);
        assert!(store.lock(&key).unwrap().is_some());
        assert_eq!(names(&store.root().join("locks")).unwrap(), [""; 0]);
    }

    #[test]
    fn a_store_that_is_only_read_leaves_no_trace() {
        let (folder, store) = store();
        assert!(!store.contains(&recipe(1).key()));
        assert_eq!(store.keys().unwrap(), []);
        assert_eq!(store.log(&recipe(1).key()).unwrap(), None);
        assert_eq!(names(folder.path()).unwrap(), [""; 0]);
    }
}
