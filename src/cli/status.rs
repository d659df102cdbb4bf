//! `graftwork status`.

use std::collections::BTreeMap;
use std::fmt::Write;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::prepare::duration;
use super::{Context, Outcome, show};
use crate::ledger::{LastRun, RunRecord, StageState};
use crate::table;

/// Shows runs and the state of an experiment's stages.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of an experiment, or its file: shows every stage of its last run
    experiment: Option<String>,
    /// Runs that are listed, the latest first
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "experiment")]
    limit: u32,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let ledger = show::ledger(context)?;
    match &args.experiment {
        None => {
            let runs = ledger.runs(None, args.limit)?;
            if context.json {
                show::write_json(&json!(runs))?;
            } else {
                show::write(&list(&runs))?;
            }
        }
        Some(named) => {
            let last = show::last_run(&ledger, &show::experiment_name(named)?)?;
            if context.json {
                show::write_json(&stages_json(&last))?;
            } else {
                show::write(&stages(&last))?;
            }
        }
    }
    Ok(Outcome::Fine)
}

fn list(runs: &[RunRecord]) -> String {
    let header =
        ["run", "experiment", "started", "outcome", "stages", "done", "cached", "failed", "took"];
    let row = |run: &RunRecord| {
        vec![
            run.id.to_string(),
            run.experiment.clone(),
            show::time(run.started_ms),
            outcome(run).to_owned(),
            run.stages.to_string(),
            run.done.to_string(),
            run.cached.to_string(),
            run.failed.to_string(),
            took(run),
        ]
    };
    table::grid(&header, &runs.iter().map(row).collect::<Vec<_>>(), show::style())
}

fn outcome(run: &RunRecord) -> &str {
    match (&run.outcome, run.ended_ms) {
        (Some(outcome), _) => outcome,
        // The ledger cannot tell a run that goes on from one that was killed.
        (None, None) => "running, or killed",
        (None, Some(_)) => "ended",
    }
}

fn took(run: &RunRecord) -> String {
    run.ended_ms
        .map_or("–".to_owned(), |ended| duration((ended - run.started_ms) as f64 / 1000.0))
}

fn stages(last: &LastRun) -> String {
    let run = &last.run;
    let nodes = show::nodes(last);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &nodes {
        *counts.entry(node.record.state.as_str()).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut text = format!(
        "{}: run {}, started {}, {}, took {}\n{} trials, {} stages: {}\n\n",
        run.experiment,
        run.id,
        show::time(run.started_ms),
        outcome(run),
        took(run),
        last.trials.len(),
        nodes.len(),
        counts.join(", "),
    );
    let row = |node: &show::Node| {
        let seconds = match node.record.state {
            StageState::Done { seconds } => duration(seconds),
            _ => String::new(),
        };
        vec![
            node.stage.to_owned(),
            node.title(),
            node.seeds(),
            node.record.state.as_str().to_owned(),
            seconds,
            node.record.key.short(),
        ]
    };
    let header = ["stage", "settings", "seeds", "state", "took", "key"];
    let rows: Vec<Vec<String>> = nodes.iter().map(row).collect();
    text.push_str(&table::grid(&header, &rows, show::style()));
    for node in &nodes {
        if let StageState::Failed { error } = &node.record.state {
            let key = node.record.key.short();
            let _ =
                write!(text, "\n{} {key} failed: {error}\nsee `graftwork log {key}`\n", node.stage);
        }
    }
    text
}

fn stages_json(last: &LastRun) -> Value {
    let stages = show::nodes(last);
    let stages = stages.iter().map(|node| {
        let (seconds, error) = match &node.record.state {
            StageState::Done { seconds } => (Some(seconds), None),
            StageState::Failed { error } => (None, Some(error)),
            _ => (None, None),
        };
        let settings: IndexMap<_, _> = node.settings.clone();
        json!({
            "stage": node.stage,
            "kind": node.record.recipe.as_ref().map(|recipe| recipe.kind.as_str()),
            "key": node.record.key,
            "settings": settings,
            "seeds": node.seeds,
            "state": node.record.state.as_str(),
            "seconds": seconds,
            "error": error,
        })
    });
    json!({ "run": last.run, "stages": stages.collect::<Vec<_>>() })
}
