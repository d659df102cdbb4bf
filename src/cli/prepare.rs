//! What `run` and `plan` do first: file to plan, and what of it is in the store.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use petgraph::graph::NodeIndex;

use super::data::{digests, library};
use super::files::{self, Read, folder};
use super::{Context, Outcome};
use crate::dataset::{DatasetError, Found};
use crate::digest::Files;
use crate::experiment::{Checked, Faults, Trial};
use crate::ledger::{Ledger, LedgerError};
use crate::plan::{
    self, Digests, Durations, Made, Plan, Presence, Previous, Selection, Task, Todo,
};
use crate::recipe::StageKey;
use crate::schedule::{self, queue};
use crate::store::Store;

/// The arguments that say what the experiment is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ExperimentArgs {
    /// The experiment file
    pub file: PathBuf,
    /// Changes a value of the file: `thin.sparsity=0.8`, `seeds=[0]`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// The arguments that say which part of it is meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct SelectionArgs {
    /// Only stages of this name and what they need; may be given several times
    #[arg(long, value_name = "STAGE")]
    until: Vec<String>,
    /// Nothing but what matches: `moved`, `t*`, `thin.sparsity=0.9`, `seed=0`; may be given several times
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Makes stages of this name anew, even where they are there; may be given several times
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
}

impl SelectionArgs {
    pub(super) fn selection(&self) -> Selection {
        let Self { until, only, force } = self.clone();
        Selection { until, only, force }
    }
}

/// An experiment and its plan, before anybody looks at what has been run.
pub(super) struct Planned {
    /// The text of the file; where it extends others, that of all in one piece.
    pub text: String,
    pub checked: Checked,
    pub plan: Plan,
    /// Folders of the datasets by name.
    pub folders: BTreeMap<String, PathBuf>,
    /// Why datasets are missing.
    pub missing: Vec<DatasetError>,
}

impl Planned {
    /// Reads and plans an experiment; none if the file has faults, which have been printed.
    pub(super) fn new(
        file: &Path,
        sets: &[String],
        context: &Context,
    ) -> anyhow::Result<Option<Self>> {
        let planned = Self::read(file, sets, context)?;
        Ok(planned.map_err(|faults| eprintln!("{faults}")).ok())
    }

    /// Reads and plans an experiment, or says what faults it has.
    pub(super) fn read(
        file: &Path,
        sets: &[String],
        context: &Context,
    ) -> anyhow::Result<Result<Self, Faults>> {
        let Read { text, checked, .. } = files::load(file, sets)?;
        let checked = match checked {
            Ok(checked) => checked,
            Err(faults) => return Ok(Err(faults)),
        };
        let text = if checked.bases > 0 { checked.to_toml() } else { text };
        let trials = checked.trials();
        let files = files(&trials, folder(file))?;
        let library = library(context);
        let found: BTreeMap<String, Result<Found, DatasetError>> = datasets(&trials)
            .into_iter()
            .map(|name| (name.to_owned(), library.find(name)))
            .collect();
        let digest = |name: &str| Some(found.get(name)?.as_ref().ok()?.digest.clone());
        let digests = Digests { data: &digest, files: &|path| files.get(path).cloned() };
        let plan = plan::plan(&trials, digests);
        let mut folders = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, found) in found {
            match found {
                Ok(found) => drop(folders.insert(name, found.folder)),
                Err(error) if plan.missing_data.contains(&name) => missing.push(error),
                Err(_) => {}
            }
        }
        Ok(Ok(Self { text, checked, plan, folders, missing }))
    }

    /// Says which datasets are missing, and ends a command that only shows.
    pub(super) fn outcome(&self) -> Outcome {
        for error in &self.missing {
            eprintln!("error: {error}");
        }
        if self.missing.is_empty() { Outcome::Fine } else { Outcome::Usage }
    }
}

/// A planned experiment, and what is to be done for it.
pub(super) struct Prepared {
    pub planned: Planned,
    pub store: Store,
    /// What the store has of each stage, by index.
    pub presences: Vec<Presence>,
    /// What is to be done.
    pub todo: Todo,
}

impl Deref for Prepared {
    type Target = Planned;

    fn deref(&self) -> &Planned {
        &self.planned
    }
}

impl Prepared {
    /// Reads and plans an experiment; none if the file has faults, which have been printed.
    pub(super) fn new(
        args: &ExperimentArgs,
        selection: &Selection,
        context: &Context,
    ) -> anyhow::Result<Option<Self>> {
        let Some(planned) = Planned::new(&args.file, &args.sets, context)? else { return Ok(None) };
        let store = Store::open(context.results.join("store"));
        let presences = schedule::survey(&planned.plan, &store)?;
        // Asked only where a checkpoint is gone, so that a run with nothing to do opens no ledger for it.
        let past: OnceCell<Option<Past>> = OnceCell::new();
        let known = |key: &StageKey| {
            let past = past.get_or_init(|| Past::open(&context.results).ok());
            past.as_ref().is_some_and(|past| past.made(key).is_some())
        };
        let todo = plan::select(&planned.plan, &presences, &known, selection)?;
        Ok(Some(Self { planned, store, presences, todo }))
    }

    pub(super) fn is_cached(&self, node: NodeIndex) -> bool {
        self.presences[node.index()] == Presence::Cached
            && self.todo.task(node) != Some(Task::Force)
    }

    /// How many stages are there and not forced.
    pub(super) fn cached(&self) -> usize {
        self.plan.order().filter(|&node| self.is_cached(node)).count()
    }

    /// How many of these stages are to be made, and how many are there.
    pub(super) fn tally(&self, nodes: &[NodeIndex]) -> (usize, usize) {
        let is_made = |node| self.todo.task(node).is_some_and(|task| task != Task::Check);
        let made = nodes.iter().filter(|&&node| is_made(node)).count();
        (made, nodes.iter().filter(|&&node| self.is_cached(node)).count())
    }

    /// The stages that are not there as they should be, each after its inputs.
    pub(super) fn todo(&self) -> Vec<NodeIndex> {
        self.todo.to_make()
    }

    /// How many of these stages can run at once.
    pub(super) fn width(&self, todo: &[NodeIndex]) -> usize {
        let inputs = |node| self.plan.inputs(node).into_values().collect();
        queue::width(todo.iter().map(|&node| (node, inputs(node))))
    }
}

/// The datasets that the stages of these trials read.
fn datasets(trials: &[Trial]) -> BTreeSet<&'static str> {
    let stages = trials.iter().flat_map(|trial| trial.stages.values());
    stages.flat_map(|stage| stage.data()).flat_map(|(_, data)| data.datasets()).collect()
}

/// Content digests of the files and folders that the stages of these trials name.
fn files(trials: &[Trial], folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let stages = trials.iter().flat_map(|trial| trial.stages.values());
    let paths: BTreeSet<&str> =
        stages.flat_map(|stage| stage.files()).map(|(_, beside)| beside.path).collect();
    let mut known = Files::remembered_in(&digests());
    let mut files = BTreeMap::new();
    for path in paths {
        let digest = known.digest(&folder.join(path));
        let digest =
            digest.with_context(|| format!("cannot read `{}`", folder.join(path).display()))?;
        files.insert(path.to_owned(), digest);
    }
    Ok(files)
}

/// The file of the ledger.
pub(super) fn ledger_path(results: &Path) -> PathBuf {
    results.join("ledger.sqlite")
}

/// The ledger for reading; none where nothing has been recorded yet.
pub(super) fn open_ledger(results: &Path) -> Result<Option<Ledger>, LedgerError> {
    match Ledger::open_read_only(&ledger_path(results)) {
        Err(LedgerError::Absent { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// What the ledger says of an experiment's past; nothing where there is no ledger.
pub(super) struct Past {
    ledger: Option<Ledger>,
    /// Mean duration by kind of stage, seconds.
    pub durations: BTreeMap<String, f64>,
}

impl Past {
    pub(super) fn open(results: &Path) -> anyhow::Result<Self> {
        let Some(ledger) = open_ledger(results)? else {
            return Ok(Self { ledger: None, durations: BTreeMap::new() });
        };
        let durations = ledger.durations()?;
        Ok(Self { ledger: Some(ledger), durations })
    }

    /// How long the stages of an experiment took.
    pub(super) fn durations_of(&self, experiment: &str) -> anyhow::Result<Durations> {
        let by_name = self.ledger.as_ref().map(|ledger| ledger.durations_of(experiment));
        let by_name = by_name.transpose()?.unwrap_or_default();
        Ok(Durations { by_name, by_kind: self.durations.clone() })
    }

    pub(super) fn previous(&self, experiment: &str) -> anyhow::Result<Vec<Previous>> {
        let Some(ledger) = &self.ledger else { return Ok(Vec::new()) };
        let trials = ledger.previous(experiment)?.into_iter();
        Ok(trials
            .map(|trial| Previous {
                settings: trial.settings,
                seed: trial.seed,
                stages: trial.stages,
            })
            .collect())
    }

    pub(super) fn made(&self, key: &StageKey) -> Option<Made> {
        // A ledger that cannot answer explains nothing; the plan does not depend on it.
        let (experiment, ended_ms) = self.ledger.as_ref()?.made_by(key).ok()??;
        Some(Made { experiment, ended_ms })
    }
}

/// The name of this machine.
pub(super) fn host() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = read.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

/// A number of things: `1 trial`, `3 trials`.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A duration as people say it: `7.3 s`, `4 min 10 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 if seconds < 10.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_to_read() {
        let shown = [0.04, 9.96, 12.4, 59.7, 250.0, 7500.0].map(duration);
        assert_eq!(shown, ["0.0 s", "10.0 s", "12 s", "1 min 0 s", "4 min 10 s", "2 h 5 min"]);
    }
}
