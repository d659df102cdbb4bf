//! `graftwork report`.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value;

use super::table::{parse_filter, trials};
use super::{Context, Outcome, show};
use crate::experiment::spec::StageKind;
use crate::ledger::{LastRun, Ledger, StageRecord, StageState};
use crate::table;
use crate::table::report::prune::Report as Pruning;
use crate::table::report::sensitivity::Report as Sensitivity;
use crate::table::report::{Measured, Report, Variant};

/// Reports on a stage of an experiment's last run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    about: About,
}

#[derive(Debug, clap::Subcommand)]
enum About {
    /// Shows what a pruning did to each layer, to the size and to the latency
    Prune(Selection),
    /// Shows how accuracy falls when one layer alone is pruned
    Sensitivity(Selection),
}

/// Which results are reported on.
#[derive(Debug, clap::Args)]
struct Selection {
    /// The experiment file, or the name of the experiment
    #[arg(value_name = "FILE")]
    experiment: String,
    /// Name of the stage
    stage: String,
    /// Reports only on trials with this value on an axis; may be given several times
    #[arg(long = "where", value_name = "AXIS=VALUE", value_parser = parse_filter)]
    filters: Vec<(String, String)>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let (selection, kind) = match &args.about {
        About::Prune(selection) => (selection, StageKind::Prune),
        About::Sensitivity(selection) => (selection, StageKind::Sensitivity),
    };
    let mut found = selection.read(kind, context)?;
    let variants = std::mem::take(&mut found.variants);
    let report: Box<dyn Report> = match &args.about {
        About::Prune(_) => Box::new(Pruning::new(variants)),
        About::Sensitivity(_) => Box::new(Sensitivity::new(variants)),
    };
    let stage = &selection.stage;
    if context.json {
        show::write_json(&found.json(stage, report.json()))?;
    } else {
        show::write(&(found.heading(stage) + &report.text(show::style())))?;
    }
    found.tell_missing();
    if report.lacks_values() {
        eprintln!(
            "a result was made before all of this was measured; `{} --force {stage}` makes it again",
            found.command
        );
    }
    Ok(Outcome::Fine)
}

/// The results of a stage, and what is missing.
struct Found {
    experiment: String,
    variants: Vec<Variant>,
    /// For each variant or seed without a result, why.
    missing: Vec<String>,
    /// How to make what is missing.
    command: String,
}

impl Found {
    /// The text before a report.
    fn heading(&self, stage: &str) -> String {
        format!("{}: stage `{stage}`\n\n", self.experiment)
    }

    /// Says on standard error what is missing.
    fn tell_missing(&self) {
        for missing in &self.missing {
            eprintln!("{missing}");
        }
        if !self.missing.is_empty() {
            eprintln!("`{}` makes what is missing", self.command);
        }
    }

    /// What all reports have for programs, beside their own.
    fn json(&self, stage: &str, report: Value) -> Value {
        let mut object = serde_json::Map::from_iter([
            ("experiment".to_owned(), self.experiment.clone().into()),
            ("stage".to_owned(), stage.into()),
            ("missing".to_owned(), self.missing.clone().into()),
        ]);
        if let Value::Object(report) = report {
            object.extend(report);
        }
        object.into()
    }
}

impl Selection {
    /// Reads the results of the stage from the ledger.
    fn read(&self, kind: StageKind, context: &Context) -> anyhow::Result<Found> {
        let experiment = show::experiment_name(&self.experiment)?;
        let ledger = match show::ledger(context) {
            Ok(ledger) if self.is_new(&ledger, &experiment)? => anyhow::bail!(
                "`{experiment}` has not been run, so `{}` has no result; `{}` makes it",
                self.stage,
                self.command(&self.experiment)
            ),
            Ok(ledger) => ledger,
            Err(error) => return Err(error.into()),
        };
        let last = show::last_run(&ledger, &experiment)?;
        let command = self.command(&last.run.file);
        let last = self.filter(&ledger, last)?;
        self.check_kind(&last, kind)?;
        let found = self.found(&ledger, &last, experiment, command)?;
        if found.variants.is_empty() {
            anyhow::bail!(
                "stage `{}` has no result: {}; `{}` makes it",
                self.stage,
                found.missing.join("; "),
                found.command
            );
        }
        Ok(found)
    }

    /// Whether a file was named whose experiment the ledger does not know.
    fn is_new(&self, ledger: &Ledger, experiment: &str) -> anyhow::Result<bool> {
        let is_file = Path::new(&self.experiment).extension().is_some_and(|it| it == "toml");
        Ok(is_file && !ledger.experiments()?.iter().any(|known| known == experiment))
    }

    fn command(&self, file: &str) -> String {
        format!("graftwork run {file} --until {}", self.stage)
    }

    fn filter(&self, ledger: &Ledger, last: LastRun) -> anyhow::Result<LastRun> {
        let (all, _) = trials(ledger, &last.trials)?;
        let kept = table::matching(&all, &self.filters)?;
        let trials = last.trials.into_iter().zip(kept);
        let trials = trials.filter_map(|(trial, is_kept)| is_kept.then_some(trial)).collect();
        Ok(LastRun { trials, ..last })
    }

    fn check_kind(&self, last: &LastRun, kind: StageKind) -> anyhow::Result<()> {
        let mut of_kind: Vec<&str> = Vec::new();
        let mut own = None;
        for (name, record) in last.trials.iter().flat_map(|trial| &trial.stages) {
            let Some(recipe) = &record.recipe else { continue };
            if recipe.kind == kind && !of_kind.contains(&name.as_str()) {
                of_kind.push(name);
            }
            if *name == self.stage {
                own = Some(recipe.kind);
            }
        }
        let kind = kind.as_str();
        let there_are = match of_kind.as_slice() {
            [] => "there are none".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        match own {
            Some(own) if own.as_str() == kind => Ok(()),
            Some(own) => anyhow::bail!(
                "`{}` is of kind `{}`, and this reports on stages of kind `{kind}`; {there_are}",
                self.stage,
                own.as_str()
            ),
            None => {
                anyhow::bail!("there is no stage `{}`; of kind `{kind}` {there_are}", self.stage)
            }
        }
    }

    fn found(
        &self,
        ledger: &Ledger,
        last: &LastRun,
        experiment: String,
        command: String,
    ) -> anyhow::Result<Found> {
        let mut variants: IndexMap<String, Variant> = IndexMap::new();
        let mut missing = Vec::new();
        let latencies = latencies(ledger, last)?;
        for node in show::nodes(last).into_iter().filter(|node| node.stage == self.stage) {
            let Some(attempt) = node.record.good else {
                missing.push(self.why_missing(&node));
                continue;
            };
            let metrics = ledger.last_metrics_as_recorded(attempt)?;
            let key = node.record.key.to_string();
            let settings = node.settings.iter();
            let variant = variants.entry(node.title()).or_insert_with(|| Variant {
                title: node.title(),
                settings: settings.map(|(axis, it)| ((*axis).to_owned(), (*it).clone())).collect(),
                results: Vec::new(),
            });
            variant.results.push(Measured {
                latency: latencies.get(&key).cloned().unwrap_or_default(),
                key,
                seeds: node.seeds,
                metrics: metrics.into_iter().map(|it| (it.name, it.value)).collect(),
            });
        }
        Ok(Found { experiment, variants: variants.into_values().collect(), missing, command })
    }

    fn why_missing(&self, node: &show::Node<'_>) -> String {
        let word = if node.seeds.len() == 1 { "seed" } else { "seeds" };
        let mut which = vec![format!("{word} {}", node.seeds())];
        which.extend(Some(node.title()).filter(|title| !title.is_empty()));
        let why = match &node.record.state {
            StageState::Failed { error } => format!("failed: {error}"),
            state => state.as_str().to_owned(),
        };
        format!("`{}` ({}) {why}", self.stage, which.join("; "))
    }
}

/// Values of latency by the stage that measured them, by the key of what they are about.
type Latencies = IndexMap<String, IndexMap<String, IndexMap<String, f64>>>;

/// What `evaluate` stages measured of other stages' latency.
fn latencies(ledger: &Ledger, last: &LastRun) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    let evaluates = |record: &StageRecord| {
        let recipe = record.recipe.as_ref()?;
        let is_timed = recipe.kind == StageKind::Evaluate && recipe.spec.get("latency").is_some();
        is_timed.then(|| recipe.inputs.get("from").map(ToString::to_string)).flatten()
    };
    for (name, record) in last.trials.iter().flat_map(|trial| &trial.stages) {
        let (Some(about), Some(attempt)) = (evaluates(record), record.good) else { continue };
        let of_stage = latencies.entry(about).or_default();
        if of_stage.contains_key(name) {
            continue;
        }
        let metrics = ledger.last_metrics(attempt)?.into_iter();
        let metrics = metrics.filter(|it| it.name.starts_with("latency/"));
        of_stage.insert(name.clone(), metrics.map(|it| (it.name, it.value)).collect());
    }
    Ok(latencies)
}
