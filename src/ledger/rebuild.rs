//! The ledger from the store: every checkpoint says what it is and what was measured.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Transaction, params};
use serde_json::Value;

use super::write::{insert_points, insert_recipes};
use super::{Ledger, LedgerError, RunId};
use crate::protocol::Point;
use crate::recipe::Recipe;

/// What a rebuild found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Checkpoints that the ledger did not know and now knows.
    pub restored: u64,
    /// Checkpoints that it knew already.
    pub known: u64,
    /// Values of the restored checkpoints.
    pub points: u64,
    /// Folders that are no whole checkpoint, each with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

impl Ledger {
    /// Restores attempts, settings, lineage and metrics of every checkpoint in a store.
    ///
    /// What the ledger knows already stays as it is. Runs and trials are not in the store and are not
    /// invented: the next `graftwork run` of an experiment records them, and finds all cached.
    ///
    /// # Errors
    /// If the store cannot be listed or SQLite cannot write.
    pub fn rebuild(&mut self, store: &Path) -> Result<Rebuilt, LedgerError> {
        let mut rebuilt = Rebuilt::default();
        for folder in checkpoints(store)? {
            let checkpoint = match Checkpoint::read(&folder) {
                Ok(checkpoint) => checkpoint,
                Err(reason) => {
                    rebuilt.skipped.push((folder, reason));
                    continue;
                }
            };
            if self.restore(&checkpoint)? {
                rebuilt.restored += 1;
                rebuilt.points += checkpoint.points.len() as u64;
            } else {
                rebuilt.known += 1;
            }
        }
        Ok(rebuilt)
    }

    /// Records that a run took the result in a checkpoint's folder for its own stage of this name.
    ///
    /// # Errors
    /// If the checkpoint is not whole or SQLite cannot write.
    pub fn record_adoption(
        &mut self,
        run: RunId,
        name: &str,
        folder: &Path,
    ) -> Result<(), LedgerError> {
        let checkpoint = Checkpoint::read(folder).map_err(|reason| {
            self.strange(format!("the checkpoint in `{}`: {reason}", folder.display()))
        })?;
        let failed = self.failed("record an adopted result");
        let mut names = self.metric_names.clone();
        let record = |transaction: &Transaction| -> rusqlite::Result<()> {
            checkpoint.insert(transaction, &mut names, Some((run, name)))
        };
        self.write(record).map_err(failed)?;
        self.metric_names = names;
        Ok(())
    }

    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<bool, LedgerError> {
        let failed = self.failed("restore a checkpoint");
        let mut names = self.metric_names.clone();
        let key = checkpoint.recipe.key().to_string();
        let restore = |transaction: &Transaction| -> rusqlite::Result<bool> {
            insert_recipes(transaction, std::slice::from_ref(&checkpoint.recipe))?;
            let known = "SELECT EXISTS (SELECT 1 FROM attempt WHERE key = ? AND outcome = 'done')";
            if transaction.prepare_cached(known)?.query_row([&key], |row| row.get(0))? {
                return Ok(false);
            }
            checkpoint.insert(transaction, &mut names, None)?;
            Ok(true)
        };
        let restored = self.write(restore).map_err(failed)?;
        self.metric_names = names;
        Ok(restored)
    }
}

/// What a checkpoint folder says of itself.
struct Checkpoint {
    recipe: Recipe,
    points: Vec<Point>,
    manifest: Value,
}

impl Checkpoint {
    /// Records how the checkpoint was made as an attempt: of a run that adopted it, with the name that
    /// its stage has there, or of none.
    fn insert(
        &self,
        transaction: &Transaction,
        names: &mut HashMap<String, i64>,
        adopter: Option<(RunId, &str)>,
    ) -> rusqlite::Result<()> {
        let text = |field: &str| find(&self.manifest, field).and_then(Value::as_str).unwrap_or("");
        let time = |fields: [&str; 2]| {
            fields.iter().find_map(|field| find(&self.manifest, field)).and_then(Value::as_i64)
        };
        let ended = time(["ended-ms", "ended"]);
        let started = time(["started-ms", "started"]).or(ended).unwrap_or(0);
        let attempt = transaction
            .prepare_cached(
                "INSERT INTO attempt (run, key, kind, name, device, engine, libtorch, threads, \
                 host, started_ms, ended_ms, outcome, adopted) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'done', ?)",
            )?
            .insert(params![
                adopter.map(|(run, _)| run.0),
                self.recipe.key().to_string(),
                self.recipe.kind.as_str(),
                adopter.map_or(text("name"), |(_, name)| name),
                text("device"),
                text("engine"),
                text("libtorch"),
                find(&self.manifest, "threads").and_then(Value::as_i64).unwrap_or(0),
                text("host"),
                started,
                ended,
                find(&self.manifest, "adopted").and_then(Value::as_str),
            ])?;
        insert_points(transaction, names, attempt, &self.points)
    }

    fn read(folder: &Path) -> Result<Self, String> {
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name))
                .map_err(|error| format!("cannot read `{name}`: {error}"))
        };
        let recipe: Recipe = serde_json::from_str(&read("recipe.json")?)
            .map_err(|error| format!("`recipe.json` is no recipe: {error}"))?;
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.as_deref() != Some(&recipe.key().to_string()) {
            return Err(format!("its recipe has the key {}", recipe.key().short()));
        }
        let manifest = serde_json::from_str(&read("manifest.json")?)
            .map_err(|error| format!("`manifest.json` is damaged: {error}"))?;
        let points = read("metrics.jsonl")?
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| {
                serde_json::from_str(line)
                    .map_err(|error| format!("line {} of `metrics.jsonl`: {error}", index + 1))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { recipe, points, manifest })
    }
}

/// A field of the manifest, whatever case its name is written in, at the top or one level down.
fn find<'a>(manifest: &'a Value, field: &str) -> Option<&'a Value> {
    let fields = manifest.as_object()?;
    let wanted = |name: &str| name.replace('_', "-") == field;
    fields.iter().find(|(name, _)| wanted(name)).map(|(_, value)| value).or_else(|| {
        let below = fields.values().filter_map(Value::as_object).flatten();
        below
            .filter(|(name, value)| wanted(name) && !value.is_object())
            .map(|(_, value)| value)
            .next()
    })
}

/// The folders `<store>/<2 hex>/<key>`, in order.
fn checkpoints(store: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let mut folders = Vec::new();
    for group in sorted(store)? {
        if is_hex(&group, 2) {
            folders.extend(sorted(&group)?.into_iter().filter(|folder| is_hex(folder, 64)));
        }
    }
    Ok(folders)
}

fn is_hex(path: &Path, length: usize) -> bool {
    path.is_dir()
        && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.len() == length && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let mut paths = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    list().map_err(|source| LedgerError::Io { path: folder.to_owned(), source })
}
