//! What a run writes as it goes.

use indexmap::IndexMap;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::Value;

use super::{AttemptId, Ledger, LedgerError, RunId, param};
use crate::protocol::Point;
use crate::recipe::{Recipe, StageKey};

/// Points in one transaction, at most.
const BATCH: usize = 1000;

/// A run that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Name of the experiment.
    pub experiment: String,
    /// The experiment file, as it was named.
    pub file: String,
    /// Its text.
    pub source: String,
    /// The command line.
    pub command: String,
    /// Name of the machine.
    pub host: String,
    /// Version of graftwork.
    pub version: String,
    /// The claims of the experiment's file.
    pub claims: Vec<Value>,
    /// Start, in milliseconds since 1970.
    pub started_ms: i64,
}

/// A trial of a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TrialRecord {
    /// Axis to value, in the order of the sweep.
    pub settings: IndexMap<String, Value>,
    /// The trial's seed.
    pub seed: u64,
    /// Its stages by name with the keys of their results, in the order of the file.
    pub stages: Vec<(String, StageKey)>,
}

/// What the ledger calls a set of trials: settings, seeds, stage names and keys.
pub(super) fn digest(trials: &[TrialRecord]) -> String {
    let text = serde_json::to_vec(trials).expect("trials are plain JSON");
    blake3::hash(&text).to_hex().to_string()
}

/// An attempt that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttempt {
    /// The run that it belongs to.
    pub run: RunId,
    /// The key of the result.
    pub key: StageKey,
    /// The kind of stage: `pretrain`.
    pub kind: String,
    /// The stage's name.
    pub name: String,
    /// The device: `cpu`, `cuda:0`.
    pub device: String,
    /// Version of the engine.
    pub engine: String,
    /// Version of LibTorch.
    pub libtorch: String,
    /// CPU threads of the engine.
    pub threads: u32,
    /// Name of the machine.
    pub host: String,
    /// Start, in milliseconds since 1970.
    pub started_ms: i64,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Its checkpoint is in the store.
    Done,
    /// It said what went wrong.
    Failed,
    /// It saved its progress and stopped, as it was asked to.
    Stopped,
    /// Its process died without a word.
    Lost,
}

impl AttemptOutcome {
    /// The word in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
        }
    }
}

impl Ledger {
    /// Records that a run begins.
    ///
    /// # Errors
    /// If SQLite cannot write.
    pub fn begin_run(&mut self, run: &NewRun) -> Result<RunId, LedgerError> {
        let failed = self.failed("record a run");
        let begin = |transaction: &Transaction| -> rusqlite::Result<i64> {
            let experiment = experiment_id(transaction, &run.experiment)?;
            let digest = blake3::hash(run.source.as_bytes()).to_hex();
            let claims =
                (!run.claims.is_empty()).then(|| Value::from(run.claims.clone()).to_string());
            transaction
                .prepare_cached("INSERT OR IGNORE INTO source (digest, text) VALUES (?, ?)")?
                .execute(params![digest.as_str(), run.source])?;
            transaction
                .prepare_cached(
                    "INSERT INTO run \
                     (experiment, file, source, command, host, version, claims, started_ms) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                )?
                .insert(params![
                    experiment,
                    run.file,
                    digest.as_str(),
                    run.command,
                    run.host,
                    run.version,
                    claims,
                    run.started_ms
                ])
        };
        self.write(begin).map(RunId).map_err(failed)
    }

    /// Records how a run ended.
    ///
    /// # Errors
    /// If SQLite cannot write.
    pub fn end_run(&mut self, run: RunId, outcome: &str, ended_ms: i64) -> Result<(), LedgerError> {
        let failed = self.failed("record the end of a run");
        let end = |transaction: &Transaction| {
            transaction
                .prepare_cached("UPDATE run SET outcome = ?, ended_ms = ? WHERE id = ?")?
                .execute(params![outcome, ended_ms, run.0])
        };
        self.write(end).map(drop).map_err(failed)
    }

    /// Records the trials of a run, and of every recipe its settings and inputs.
    ///
    /// Trials that an earlier run has recorded in just the same way are shared with it.
    ///
    /// # Errors
    /// If SQLite cannot write.
    pub fn record_trials(
        &mut self,
        run: RunId,
        trials: &[TrialRecord],
        recipes: &[Recipe],
    ) -> Result<(), LedgerError> {
        let failed = self.failed("record the trials of a run");
        let digest = digest(trials);
        let record = |transaction: &Transaction| -> rusqlite::Result<()> {
            let known = "SELECT id FROM trial_set WHERE digest = ?";
            let known: Option<i64> = transaction
                .prepare_cached(known)?
                .query_row([digest.as_str()], |row| row.get(0))
                .optional()?;
            let trial_set = if let Some(id) = known {
                id
            } else {
                insert_recipes(transaction, recipes)?;
                insert_trials(transaction, digest.as_str(), trials)?
            };
            transaction
                .prepare_cached("UPDATE run SET trial_set = ? WHERE id = ?")?
                .execute([trial_set, run.0])?;
            Ok(())
        };
        self.write(record).map_err(failed)
    }

    /// Records that a stage begins to run.
    ///
    /// Whoever begins an attempt holds the lock of its key, so an earlier attempt that has no end yet
    /// belongs to a process that died: it is recorded as lost.
    ///
    /// # Errors
    /// If SQLite cannot write.
    pub fn begin_attempt(&mut self, attempt: &NewAttempt) -> Result<AttemptId, LedgerError> {
        let failed = self.failed("record an attempt");
        let begin = |transaction: &Transaction| {
            let key = attempt.key.to_string();
            transaction
                .prepare_cached(
                    "UPDATE attempt SET outcome = 'lost', error = 'its process died without a word' \
                     WHERE key = ? AND outcome IS NULL",
                )?
                .execute([&key])?;
            transaction
                .prepare_cached(
                    "INSERT INTO attempt (run, key, kind, name, device, engine, libtorch, threads, \
                     host, started_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                )?
                .insert(params![
                    attempt.run.0,
                    key,
                    attempt.kind,
                    attempt.name,
                    attempt.device,
                    attempt.engine,
                    attempt.libtorch,
                    attempt.threads,
                    attempt.host,
                    attempt.started_ms
                ])
        };
        self.write(begin).map(AttemptId).map_err(failed)
    }

    /// Records measured values, up to 1,000 in one transaction.
    ///
    /// A value for a step that already has one replaces it.
    ///
    /// # Errors
    /// If SQLite cannot write; whole batches may have been written before.
    pub fn record_points(
        &mut self,
        attempt: AttemptId,
        points: &[Point],
    ) -> Result<(), LedgerError> {
        let failed = self.failed("record metrics");
        for batch in points.chunks(BATCH) {
            let mut names = std::mem::take(&mut self.metric_names);
            let record = |transaction: &Transaction| -> rusqlite::Result<()> {
                insert_points(transaction, &mut names, attempt.0, batch)
            };
            let recorded = self.write(record);
            // Names that a failed transaction had made do not exist, so none is remembered then.
            if recorded.is_ok() {
                self.metric_names = names;
            }
            recorded.map_err(&failed)?;
        }
        Ok(())
    }

    /// Records how an attempt ended.
    ///
    /// # Errors
    /// If SQLite cannot write.
    pub fn end_attempt(
        &mut self,
        attempt: AttemptId,
        outcome: AttemptOutcome,
        error: Option<&str>,
        ended_ms: i64,
    ) -> Result<(), LedgerError> {
        let failed = self.failed("record the end of an attempt");
        let end = |transaction: &Transaction| {
            transaction
                .prepare_cached(
                    "UPDATE attempt SET outcome = ?, error = ?, ended_ms = ? WHERE id = ?",
                )?
                .execute(params![outcome.as_str(), error, ended_ms, attempt.0])
        };
        self.write(end).map(drop).map_err(failed)
    }

    /// Does all of it or nothing.
    pub(super) fn write<T>(
        &mut self,
        act: impl FnOnce(&Transaction) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // A transaction that begins by reading and then wants to write fails at once when another
        // writer came between, whatever the busy timeout says; this kind waits at its begin.
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = act(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

fn experiment_id(transaction: &Transaction, name: &str) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO experiment (name) VALUES (?)")?
        .execute([name])?;
    transaction
        .prepare_cached("SELECT id FROM experiment WHERE name = ?")?
        .query_row([name], |row| row.get(0))
}

/// Records recipes with their settings and inputs; those that are known stay as they are.
pub(super) fn insert_recipes(
    transaction: &Transaction,
    recipes: &[Recipe],
) -> rusqlite::Result<()> {
    let mut insert_recipe = transaction.prepare_cached(
        "INSERT OR IGNORE INTO recipe (key, kind, revision, seed, json) VALUES (?, ?, ?, ?, ?)",
    )?;
    let mut insert_param = transaction
        .prepare_cached("INSERT OR REPLACE INTO param (key, path, value) VALUES (?, ?, ?)")?;
    let mut insert_input = transaction
        .prepare_cached("INSERT OR REPLACE INTO lineage (key, role, input) VALUES (?, ?, ?)")?;
    for recipe in recipes {
        let key = recipe.key().to_string();
        let json = serde_json::to_string(recipe).expect("a recipe is plain JSON");
        let seed = recipe.seed.map(|seed| seed as i64);
        let new = insert_recipe.execute(params![
            key,
            recipe.kind.as_str(),
            recipe.revision,
            seed,
            json
        ])?;
        if new == 0 {
            continue;
        }
        for (path, value) in param::flatten(&recipe.spec) {
            insert_param.execute(params![key, path, value])?;
        }
        for (role, input) in &recipe.inputs {
            insert_input.execute(params![key, role, input.to_string()])?;
        }
    }
    Ok(())
}

fn insert_trials(
    transaction: &Transaction,
    digest: &str,
    trials: &[TrialRecord],
) -> rusqlite::Result<i64> {
    let trial_set = transaction
        .prepare_cached("INSERT INTO trial_set (digest) VALUES (?)")?
        .insert([digest])?;
    let mut insert_trial = transaction
        .prepare_cached("INSERT INTO trial (trial_set, settings, seed) VALUES (?, ?, ?)")?;
    let mut insert_stage = transaction.prepare_cached(
        "INSERT INTO trial_stage (trial, position, name, key) VALUES (?, ?, ?, ?)",
    )?;
    for trial in trials {
        let settings = serde_json::to_string(&trial.settings).expect("settings are plain JSON");
        let id = insert_trial.insert(params![trial_set, settings, trial.seed as i64])?;
        for (position, (name, key)) in trial.stages.iter().enumerate() {
            insert_stage.execute(params![id, position as i64, name, key.to_string()])?;
        }
    }
    Ok(trial_set)
}

pub(super) fn insert_points(
    transaction: &Transaction,
    names: &mut std::collections::HashMap<String, i64>,
    attempt: i64,
    points: &[Point],
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO metric (attempt, name, step, value) VALUES (?, ?, ?, ?)",
    )?;
    for point in points {
        let name = if let Some(&id) = names.get(&point.name) {
            id
        } else {
            let id = name_id(transaction, &point.name)?;
            names.insert(point.name.clone(), id);
            id
        };
        // SQLite has no NaN: a bound NaN becomes NULL, and NULL is read as NaN.
        insert.execute(params![attempt, name, point.step as i64, point.value])?;
    }
    Ok(())
}

fn name_id(transaction: &Transaction, name: &str) -> rusqlite::Result<i64> {
    let parts = MetricParts::of(name);
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO metric_name (name, dataset, split, what) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![name, parts.dataset, parts.split, parts.what])?;
    transaction
        .prepare_cached("SELECT id FROM metric_name WHERE name = ?")?
        .query_row([name], |row| row.get(0))
}

/// A metric's name, `[[<dataset>:]<split>/]<what>`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct MetricParts<'a> {
    dataset: Option<&'a str>,
    split: Option<&'a str>,
    what: &'a str,
}

impl<'a> MetricParts<'a> {
    fn of(name: &'a str) -> Self {
        let Some((scope, what)) = name.rsplit_once('/') else {
            return Self { dataset: None, split: None, what: name };
        };
        match scope.rsplit_once(':') {
            Some((dataset, split)) => Self { dataset: Some(dataset), split: Some(split), what },
            None => Self { dataset: None, split: Some(scope), what },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_come_apart() {
        let parts = |dataset, split, what| MetricParts { dataset, split, what };
        assert_eq!(
            MetricParts::of("fashion-mnist:test/accuracy"),
            parts(Some("fashion-mnist"), Some("test"), "accuracy")
        );
        assert_eq!(MetricParts::of("train/loss"), parts(None, Some("train"), "loss"));
        assert_eq!(MetricParts::of("params"), parts(None, None, "params"));
    }
}
