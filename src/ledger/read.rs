//! What the ledger answers to the planner, the tables and the status.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;
use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;

use super::write::digest;
use super::{AttemptId, Ledger, LedgerError, RunId, TrialRecord};
use crate::recipe::{Recipe, StageKey};

/// A trial of an experiment's last run, with the recipes that its stages had then.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviousTrial {
    /// Axis to value, in the order of the sweep.
    pub settings: IndexMap<String, Value>,
    /// The trial's seed.
    pub seed: u64,
    /// Key and recipe of its stages, by name.
    pub stages: BTreeMap<String, (StageKey, Recipe)>,
}

/// A run and how far it came.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunRecord {
    /// Its number.
    pub id: i64,
    /// Name of the experiment.
    pub experiment: String,
    /// The experiment file, as it was named.
    pub file: String,
    /// The command line.
    pub command: String,
    /// Name of the machine.
    pub host: String,
    /// Version of graftwork.
    pub version: String,
    /// Start, in milliseconds since 1970.
    pub started_ms: i64,
    /// End; absent while it runs, and for ever if it was killed.
    pub ended_ms: Option<i64>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Different stages in its plan; stages that share a result count once.
    pub stages: u64,
    /// Stages that it ran to the end.
    pub done: u64,
    /// Stages whose result was there already.
    pub cached: u64,
    /// Stages that failed, or whose process died.
    pub failed: u64,
}

/// An experiment's last run with all its trials.
#[derive(Debug, Clone, PartialEq)]
pub struct LastRun {
    /// The run.
    pub run: RunRecord,
    /// Its trials, in order.
    pub trials: Vec<TrialResult>,
}

/// A trial and the states of its stages.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialResult {
    /// Axis to value, in the order of the sweep.
    pub settings: IndexMap<String, Value>,
    /// The trial's seed.
    pub seed: u64,
    /// Its stages by name, in the order of the file.
    pub stages: IndexMap<String, StageRecord>,
}

/// A stage of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct StageRecord {
    /// The key of its result.
    pub key: StageKey,
    /// What decides its result; absent if an older graftwork wrote it in another form.
    pub recipe: Option<Recipe>,
    /// The last attempt, of whichever run, that made a checkpoint.
    pub good: Option<AttemptId>,
    /// How it fared in this run.
    pub state: StageState,
}

/// How a stage fared in a run.
#[derive(Debug, Clone, PartialEq)]
pub enum StageState {
    /// The run made its checkpoint.
    Done {
        /// Wall time, seconds.
        seconds: f64,
    },
    /// Its checkpoint was there already.
    Cached,
    /// It is being computed, or its process was killed.
    Running,
    /// It failed.
    Failed {
        /// What went wrong.
        error: String,
    },
    /// It saved its progress and stopped.
    Stopped,
    /// Its process died.
    Lost,
    /// The run did not come to it.
    NotRun,
}

impl StageState {
    /// The state in a word or two.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Cached => "cached",
            Self::Running => "running",
            Self::Failed { .. } => "failed",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
            Self::NotRun => "not run",
        }
    }
}

/// One execution of a stage.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AttemptRecord {
    /// Its number.
    pub id: i64,
    /// The run that it belonged to; absent if it was restored from the store.
    pub run: Option<i64>,
    /// The experiment of that run.
    pub experiment: Option<String>,
    /// The key of the result.
    pub key: String,
    /// The kind of stage.
    pub kind: String,
    /// The stage's name in that run.
    pub name: String,
    /// The device.
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
    /// End, in milliseconds since 1970.
    pub ended_ms: Option<i64>,
    /// `done`, `failed`, `stopped`, `lost`; absent while it is under way.
    pub outcome: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricValue {
    /// Name of the metric.
    pub name: String,
    /// Epoch, 1-based; 0 before training.
    pub step: u64,
    /// The value; may be not-a-number.
    pub value: f64,
}

const ATTEMPT: &str = "SELECT attempt.id, attempt.run, experiment.name, attempt.key, attempt.kind, \
     attempt.name, device, engine, libtorch, threads, attempt.host, attempt.started_ms, \
     attempt.ended_ms, attempt.outcome, attempt.error FROM attempt \
     LEFT JOIN run ON run.id = attempt.run LEFT JOIN experiment ON experiment.id = run.experiment";

const RUN: &str = "SELECT run.id, experiment.name, run.file, run.command, run.host, run.version, \
     run.started_ms, run.ended_ms, run.outcome, run.trial_set \
     FROM run JOIN experiment ON experiment.id = run.experiment";

impl Ledger {
    /// Names of all experiments, that of the latest run first.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn experiments(&self) -> Result<Vec<String>, LedgerError> {
        let sql = "SELECT name FROM experiment JOIN run ON run.experiment = experiment.id \
                   GROUP BY experiment.id ORDER BY max(run.id) DESC";
        self.list("list experiments", sql, [], |row| row.get(0))
    }

    /// The trials of an experiment's last run, each stage with its recipe of then.
    ///
    /// Ask before the trials of a new run are recorded. Empty for an experiment that never ran.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn previous(&self, experiment: &str) -> Result<Vec<PreviousTrial>, LedgerError> {
        let Some(run) = self.last_run_with_trials(experiment)? else { return Ok(Vec::new()) };
        let trials = self.trials_of(run.1)?;
        let previous = trials.into_iter().map(|(settings, seed, stages)| {
            let stages = stages.into_iter().filter_map(|(name, key, recipe)| {
                // A recipe that an older graftwork wrote in another form explains nothing.
                Some((name, (key, recipe?)))
            });
            PreviousTrial { settings, seed, stages: stages.collect() }
        });
        Ok(previous.collect())
    }

    /// Mean wall time of finished attempts in seconds, by kind of stage.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn durations(&self) -> Result<BTreeMap<String, f64>, LedgerError> {
        let sql = "SELECT kind, avg(ended_ms - started_ms) / 1000.0 FROM attempt \
                   WHERE outcome = 'done' AND run IS NOT NULL AND adopted IS NULL GROUP BY kind";
        let pairs = self.list("read durations", sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(pairs.into_iter().collect())
    }

    /// Mean wall time of an experiment's finished attempts in seconds, by kind and name of the stage.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn durations_of(
        &self,
        experiment: &str,
    ) -> Result<BTreeMap<(String, String), f64>, LedgerError> {
        let sql = "SELECT attempt.kind, attempt.name, avg(attempt.ended_ms - attempt.started_ms) / 1000.0 \
                   FROM attempt JOIN run ON run.id = attempt.run \
                   JOIN experiment ON experiment.id = run.experiment \
                   WHERE attempt.outcome = 'done' AND adopted IS NULL AND experiment.name = ? \
                   GROUP BY attempt.kind, attempt.name";
        let row = |row: &Row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?));
        Ok(self.list("read durations", sql, [experiment], row)?.into_iter().collect())
    }

    /// The experiment whose run made a checkpoint, and when that was done; unknown for checkpoints
    /// that were restored from the store.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn made_by(&self, key: &StageKey) -> Result<Option<(String, i64)>, LedgerError> {
        let sql = "SELECT experiment.name, attempt.ended_ms FROM attempt \
                   JOIN run ON run.id = attempt.run JOIN experiment ON experiment.id = run.experiment \
                   WHERE attempt.key = ? AND attempt.outcome = 'done' ORDER BY attempt.id DESC LIMIT 1";
        let read = || -> rusqlite::Result<Option<(String, i64)>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let row = |row: &Row| Ok((row.get(0)?, row.get(1)?));
            statement.query_row([key.to_string()], row).optional()
        };
        read().map_err(self.failed("read who made a checkpoint"))
    }

    /// The trials of an experiment's last run with the state of each stage.
    ///
    /// A stage that the run found cached has the attempt that made its checkpoint, whichever run that
    /// was. `None` for an experiment that never came as far as its trials.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn results(&self, experiment: &str) -> Result<Option<LastRun>, LedgerError> {
        let Some((run, trial_set)) = self.last_run_with_trials(experiment)? else {
            return Ok(None);
        };
        let attempts = self.attempts_by_key(trial_set)?;
        let trials = self.trials_of(trial_set)?.into_iter().map(|(settings, seed, stages)| {
            let stages = stages.into_iter().map(|(name, key, recipe)| {
                let attempts = attempts.get(&key.to_string()).map_or(&[][..], Vec::as_slice);
                let (good, state) = stage_state(attempts, run);
                (name, StageRecord { key, recipe, good, state })
            });
            TrialResult { settings, seed, stages: stages.collect() }
        });
        let trials: Vec<TrialResult> = trials.collect();
        let record = self.run_records("run.id = ?", &[&run.0])?.into_iter().next();
        let (record, _) = record.ok_or_else(|| self.strange("the run is gone"))?;
        let run = with_counts(record, &trials);
        Ok(Some(LastRun { run, trials }))
    }

    /// Whether the last run of an experiment had these trials, and all of their results are recorded.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn has_all(&self, experiment: &str, trials: &[TrialRecord]) -> Result<bool, LedgerError> {
        let Some((_, trial_set)) = self.last_run_with_trials(experiment)? else {
            return Ok(false);
        };
        // Seeks in indexes alone: a run with nothing to do asks this of all its stages.
        let sql = "SELECT EXISTS (SELECT 1 FROM trial_set WHERE id = ?1 AND digest = ?2) \
                   AND NOT EXISTS (SELECT 1 FROM trial_stage \
                     JOIN trial ON trial.id = trial_stage.trial WHERE trial.trial_set = ?1 \
                     AND NOT EXISTS (SELECT 1 FROM attempt \
                       WHERE attempt.key = trial_stage.key AND attempt.outcome = 'done'))";
        let digest = digest(trials);
        let has = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_row(params![trial_set, digest], |row| row.get(0))
        };
        has().map_err(self.failed("look for the trials of a run"))
    }

    /// The last runs, the latest first; of one experiment or of all.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn runs(
        &self,
        experiment: Option<&str>,
        limit: u32,
    ) -> Result<Vec<RunRecord>, LedgerError> {
        let filter = "?1 IS NULL OR experiment.name = ?1 ORDER BY run.id DESC LIMIT ?2";
        let runs = self.run_records(filter, &[&experiment, &limit])?;
        runs.into_iter().map(|(run, trial_set)| self.count(run, trial_set)).collect()
    }

    /// The metrics that each of these attempts has values of.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn metric_names(
        &self,
        attempts: &[AttemptId],
    ) -> Result<BTreeMap<AttemptId, BTreeSet<String>>, LedgerError> {
        // One seek per attempt and name, however many steps there are.
        let sql = "SELECT name FROM metric_name WHERE EXISTS \
                   (SELECT 1 FROM metric WHERE metric.attempt = ? AND metric.name = metric_name.id)";
        let read = || -> rusqlite::Result<BTreeMap<AttemptId, BTreeSet<String>>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut names = BTreeMap::new();
            for &attempt in attempts {
                let rows = statement.query_map([attempt.0], |row| row.get(0))?;
                names.insert(attempt, rows.collect::<rusqlite::Result<_>>()?);
            }
            Ok(names)
        };
        read().map_err(self.failed("list metrics"))
    }

    /// The values of a metric in an attempt by step, the first step first.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn series(&self, attempt: AttemptId, metric: &str) -> Result<Vec<(u64, f64)>, LedgerError> {
        let sql = "SELECT step, value FROM metric WHERE attempt = ? \
                   AND name = (SELECT id FROM metric_name WHERE name = ?) ORDER BY step";
        self.list("read a metric", sql, params![attempt.0, metric], |row| {
            Ok((row.get::<_, i64>(0)? as u64, number(row, 1)?))
        })
    }

    /// The value of every metric of an attempt at its last step.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn last_metrics(&self, attempt: AttemptId) -> Result<Vec<MetricValue>, LedgerError> {
        self.last_metrics_by("metric_name.name", attempt)
    }

    /// The same in the order in which the ledger first met the metrics: layers as their network has them.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn last_metrics_as_recorded(
        &self,
        attempt: AttemptId,
    ) -> Result<Vec<MetricValue>, LedgerError> {
        self.last_metrics_by("metric_name.id", attempt)
    }

    fn last_metrics_by(
        &self,
        order: &str,
        attempt: AttemptId,
    ) -> Result<Vec<MetricValue>, LedgerError> {
        // With max(), SQLite takes the other columns from the row that has the maximum.
        let sql = format!(
            "SELECT metric_name.name, max(step), value FROM metric \
             JOIN metric_name ON metric_name.id = metric.name \
             WHERE attempt = ? GROUP BY metric.name ORDER BY {order}"
        );
        self.list("read metrics", &sql, [attempt.0], |row| {
            let step = row.get::<_, i64>(1)? as u64;
            Ok(MetricValue { name: row.get(0)?, step, value: number(row, 2)? })
        })
    }

    /// All keys that begin with a text.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn keys(&self, prefix: &str) -> Result<Vec<StageKey>, LedgerError> {
        let sql = "SELECT key FROM recipe WHERE key >= ?1 AND key < ?1 || 'g' ORDER BY key";
        let keys = self.list("look up a key", sql, [prefix], |row| row.get::<_, String>(0))?;
        keys.into_iter().map(|key| self.key(&key)).collect()
    }

    /// What decides the result of a key.
    ///
    /// # Errors
    /// If SQLite cannot read, or the recipe was written in another form.
    pub fn recipe(&self, key: &StageKey) -> Result<Option<Recipe>, LedgerError> {
        let sql = "SELECT json FROM recipe WHERE key = ?";
        let rows =
            self.list("read a recipe", sql, [key.to_string()], |row| row.get::<_, String>(0))?;
        let parse = |json: String| {
            serde_json::from_str(&json).map_err(|error| self.strange(format!("recipe: {error}")))
        };
        rows.into_iter().next().map(parse).transpose()
    }

    /// All attempts at a key, the first one first.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn attempts(&self, key: &StageKey) -> Result<Vec<AttemptRecord>, LedgerError> {
        let sql = format!("{ATTEMPT} WHERE attempt.key = ? ORDER BY attempt.id");
        self.list("read attempts", &sql, [key.to_string()], |row| {
            Ok(AttemptRecord {
                id: row.get(0)?,
                run: row.get(1)?,
                experiment: row.get(2)?,
                key: row.get(3)?,
                kind: row.get(4)?,
                name: row.get(5)?,
                device: row.get(6)?,
                engine: row.get(7)?,
                libtorch: row.get(8)?,
                threads: row.get(9)?,
                host: row.get(10)?,
                started_ms: row.get(11)?,
                ended_ms: row.get(12)?,
                outcome: row.get(13)?,
                error: row.get(14)?,
            })
        })
    }

    /// The experiments and stage names under which a key was planned.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn names(&self, key: &StageKey) -> Result<Vec<(String, String)>, LedgerError> {
        let sql = "SELECT DISTINCT experiment.name, trial_stage.name FROM trial_stage \
                   JOIN trial ON trial.id = trial_stage.trial \
                   JOIN run ON run.trial_set = trial.trial_set \
                   JOIN experiment ON experiment.id = run.experiment \
                   WHERE trial_stage.key = ? ORDER BY 1, 2";
        let row = |row: &Row| Ok((row.get(0)?, row.get(1)?));
        self.list("read the names of a stage", sql, [key.to_string()], row)
    }

    pub(super) fn list<T>(
        &self,
        action: &'static str,
        sql: &str,
        values: impl rusqlite::Params,
        row: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        let read = || -> rusqlite::Result<Vec<T>> {
            self.connection.prepare_cached(sql)?.query_map(values, row)?.collect()
        };
        read().map_err(self.failed(action))
    }

    fn key(&self, text: &str) -> Result<StageKey, LedgerError> {
        text.parse().map_err(|error| self.strange(format!("{error}")))
    }

    /// When an attempt ended, in milliseconds since 1970.
    ///
    /// # Errors
    /// If SQLite cannot read.
    pub fn ended(&self, attempt: AttemptId) -> Result<Option<i64>, LedgerError> {
        let sql = "SELECT ended_ms FROM attempt WHERE id = ?";
        let rows = self.list("read when an attempt ended", sql, [attempt.0], |row| row.get(0))?;
        Ok(rows.into_iter().next().flatten())
    }

    /// The claims of an experiment's last run that came as far as its trials, each with the start of the first
    /// run that had it, in milliseconds since 1970.
    ///
    /// # Errors
    /// If SQLite cannot read, or what it reads are no claims.
    pub fn claims(&self, experiment: &str) -> Result<Vec<(Value, i64)>, LedgerError> {
        let Some((last, _)) = self.last_run_with_trials(experiment)? else { return Ok(Vec::new()) };
        let sql = "SELECT claim.value, min(earlier.started_ms) FROM run AS last \
                   JOIN json_each(last.claims) AS claim \
                   JOIN run AS earlier ON earlier.experiment = last.experiment \
                   JOIN json_each(earlier.claims) AS same ON same.value = claim.value \
                   WHERE last.id = ? GROUP BY claim.key ORDER BY claim.key";
        let row = |row: &Row| Ok((row.get::<_, String>(0)?, row.get(1)?));
        let claims = self.list("read claims", sql, [last.0], row)?.into_iter();
        let parse = |(text, since): (String, i64)| {
            let claim = serde_json::from_str(&text);
            Ok((claim.map_err(|error| self.strange(format!("the claim {text}: {error}")))?, since))
        };
        claims.map(parse).collect()
    }

    fn last_run_with_trials(&self, experiment: &str) -> Result<Option<(RunId, i64)>, LedgerError> {
        let sql = "SELECT run.id, run.trial_set FROM run \
                   JOIN experiment ON experiment.id = run.experiment \
                   WHERE experiment.name = ? AND run.trial_set IS NOT NULL \
                   ORDER BY run.id DESC LIMIT 1";
        let row = |row: &Row| Ok((RunId(row.get(0)?), row.get(1)?));
        Ok(self.list("find the last run", sql, [experiment], row)?.into_iter().next())
    }

    /// Settings, seed and stages (name, key, recipe) of every trial of a set.
    #[expect(clippy::type_complexity, reason = "both callers take it apart at once")]
    fn trials_of(
        &self,
        trial_set: i64,
    ) -> Result<
        Vec<(IndexMap<String, Value>, u64, Vec<(String, StageKey, Option<Recipe>)>)>,
        LedgerError,
    > {
        let recipes = "SELECT DISTINCT recipe.key, recipe.json FROM recipe \
                       JOIN trial_stage ON trial_stage.key = recipe.key \
                       JOIN trial ON trial.id = trial_stage.trial WHERE trial.trial_set = ?";
        let recipes = self.list("read recipes", recipes, [trial_set], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        // A recipe that an older graftwork wrote in another form is none.
        let recipes: HashMap<String, Recipe> = recipes
            .into_iter()
            .filter_map(|(key, json)| Some((key, serde_json::from_str(&json).ok()?)))
            .collect();
        let sql = "SELECT trial.id, trial.settings, trial.seed, trial_stage.name, trial_stage.key \
                   FROM trial JOIN trial_stage ON trial_stage.trial = trial.id \
                   WHERE trial.trial_set = ? ORDER BY trial.id, trial_stage.position";
        let rows = self.list("read trials", sql, [trial_set], |row| {
            let text = |index| row.get::<_, String>(index);
            Ok((row.get::<_, i64>(0)?, text(1)?, row.get::<_, i64>(2)? as u64, text(3)?, text(4)?))
        })?;
        let mut trials = Vec::new();
        let mut current = None;
        for (trial, settings, seed, name, key) in rows {
            let recipe = recipes.get(&key).cloned();
            let key = self.key(&key)?;
            if current != Some(trial) {
                let settings = serde_json::from_str(&settings)
                    .map_err(|error| self.strange(format!("settings of a trial: {error}")))?;
                trials.push((settings, seed, Vec::new()));
                current = Some(trial);
            }
            if let Some((_, _, stages)) = trials.last_mut() {
                stages.push((name, key, recipe));
            }
        }
        Ok(trials)
    }

    fn attempts_by_key(
        &self,
        trial_set: i64,
    ) -> Result<HashMap<String, Vec<BriefAttempt>>, LedgerError> {
        let sql = "SELECT key, id, run, outcome, error, started_ms, ended_ms FROM attempt \
                   WHERE key IN (SELECT trial_stage.key FROM trial_stage \
                   JOIN trial ON trial.id = trial_stage.trial WHERE trial.trial_set = ?) ORDER BY id";
        let rows = self.list("read attempts", sql, [trial_set], |row| {
            let (started, ended): (i64, Option<i64>) = (row.get(5)?, row.get(6)?);
            let attempt = BriefAttempt {
                id: AttemptId(row.get(1)?),
                run: row.get(2)?,
                outcome: row.get(3)?,
                error: row.get(4)?,
                seconds: ended.map_or(0.0, |ended| (ended - started) as f64 / 1000.0),
            };
            Ok((row.get::<_, String>(0)?, attempt))
        })?;
        let mut attempts: HashMap<String, Vec<BriefAttempt>> = HashMap::new();
        for (key, attempt) in rows {
            attempts.entry(key).or_default().push(attempt);
        }
        Ok(attempts)
    }

    /// Runs without their counts, each with the number of its set of trials.
    fn run_records(
        &self,
        filter: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<(RunRecord, Option<i64>)>, LedgerError> {
        let sql = format!("{RUN} WHERE {filter}");
        self.list("list runs", &sql, values, |row| {
            let record = RunRecord {
                id: row.get(0)?,
                experiment: row.get(1)?,
                file: row.get(2)?,
                command: row.get(3)?,
                host: row.get(4)?,
                version: row.get(5)?,
                started_ms: row.get(6)?,
                ended_ms: row.get(7)?,
                outcome: row.get(8)?,
                stages: 0,
                done: 0,
                cached: 0,
                failed: 0,
            };
            Ok((record, row.get::<_, Option<i64>>(9)?))
        })
    }

    fn count(&self, run: RunRecord, trial_set: Option<i64>) -> Result<RunRecord, LedgerError> {
        let attempted = "SELECT count(DISTINCT key) FILTER (WHERE outcome = 'done'), \
                         count(DISTINCT key) FILTER (WHERE outcome IN ('failed', 'lost') AND NOT EXISTS \
                         (SELECT 1 FROM attempt AS again WHERE again.run = attempt.run \
                          AND again.key = attempt.key AND again.outcome = 'done')) \
                         FROM attempt WHERE run = ?";
        let pair = |row: &Row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64));
        let (done, failed) = self
            .list("count attempts", attempted, [run.id], pair)?
            .into_iter()
            .next()
            .unwrap_or_default();
        // Cached: not attempted by this run, and made by another before this one ended.
        let planned = "WITH planned AS (SELECT DISTINCT trial_stage.key AS key FROM trial_stage \
                       JOIN trial ON trial.id = trial_stage.trial WHERE trial.trial_set = ?1) \
                       SELECT count(*), count(*) FILTER (WHERE \
                       NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.key = planned.key AND run = ?2) \
                       AND EXISTS (SELECT 1 FROM attempt WHERE attempt.key = planned.key \
                       AND outcome = 'done' AND (?3 IS NULL OR ended_ms IS NULL OR ended_ms <= ?3))) \
                       FROM planned";
        let values = params![trial_set, run.id, run.ended_ms];
        let (stages, cached) = self
            .list("count stages", planned, values, pair)?
            .into_iter()
            .next()
            .unwrap_or_default();
        Ok(RunRecord { stages, done, cached, failed, ..run })
    }
}

/// The counts of a run whose stages are known.
fn with_counts(run: RunRecord, trials: &[TrialResult]) -> RunRecord {
    let stages = trials.iter().flat_map(|trial| trial.stages.values());
    let states: HashMap<StageKey, &StageState> =
        stages.map(|stage| (stage.key, &stage.state)).collect();
    let count =
        |is: fn(&StageState) -> bool| states.values().filter(|state| is(state)).count() as u64;
    RunRecord {
        stages: states.len() as u64,
        done: count(|state| matches!(state, StageState::Done { .. })),
        cached: count(|state| *state == StageState::Cached),
        failed: count(|state| matches!(state, StageState::Failed { .. } | StageState::Lost)),
        ..run
    }
}

struct BriefAttempt {
    id: AttemptId,
    run: Option<i64>,
    outcome: Option<String>,
    error: Option<String>,
    seconds: f64,
}

/// The attempt that made a stage's checkpoint, and how the stage fared in a run.
fn stage_state(attempts: &[BriefAttempt], run: RunId) -> (Option<AttemptId>, StageState) {
    let good = attempts.iter().rfind(|attempt| attempt.outcome.as_deref() == Some("done"));
    let own = attempts.iter().rfind(|attempt| attempt.run == Some(run.0));
    let state = match own {
        Some(own) => match own.outcome.as_deref() {
            Some("done") => StageState::Done { seconds: own.seconds },
            Some("failed") => StageState::Failed { error: own.error.clone().unwrap_or_default() },
            Some("stopped") => StageState::Stopped,
            Some(_) => StageState::Lost,
            None => StageState::Running,
        },
        None if good.is_some() => StageState::Cached,
        // Another run is at it.
        None if attempts.last().is_some_and(|attempt| attempt.outcome.is_none()) => {
            StageState::Running
        }
        None => StageState::NotRun,
    };
    (good.map(|attempt| attempt.id), state)
}

/// A value of a metric: NULL is not-a-number.
fn number(row: &Row, index: usize) -> rusqlite::Result<f64> {
    Ok(row.get::<_, Option<f64>>(index)?.unwrap_or(f64::NAN))
}
