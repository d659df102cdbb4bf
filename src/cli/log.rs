//! `graftwork log`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::prepare::duration;
use super::{Context, Outcome, show, stage};
use crate::ledger::{AttemptId, AttemptRecord, Ledger, MetricValue};
use crate::recipe::{Recipe, StageKey};
use crate::store::Store;
use crate::table;

/// Shows a stage's settings, attempts, metrics and log.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of a stage, or the first digits of its key
    stage: String,
    /// The experiment that the stage belongs to; default: the one that ran last
    #[arg(long, short, value_name = "NAME")]
    experiment: Option<String>,
    /// Last lines of the log that are shown; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 40)]
    lines: usize,
}

/// All that is known of a stage.
struct Story {
    key: StageKey,
    /// Experiments and the stage's names in them.
    names: Vec<(String, String)>,
    recipe: Option<Recipe>,
    attempts: Vec<AttemptRecord>,
    metrics: Vec<MetricValue>,
    /// The checkpoint's folder, where there is one.
    checkpoint: Option<PathBuf>,
    log: Option<(PathBuf, String)>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let ledger = show::ledger(context)?;
    let key = stage::find(&ledger, &args.stage, args.experiment.as_deref())?;
    let story = Story::read(&ledger, context, key)?;
    if context.json {
        show::write_json(&story.json())?;
    } else {
        show::write(&story.text(args.lines))?;
    }
    Ok(Outcome::Fine)
}

impl Story {
    fn read(ledger: &Ledger, context: &Context, key: StageKey) -> anyhow::Result<Self> {
        let attempts = ledger.attempts(&key)?;
        let done = |attempt: &&AttemptRecord| attempt.outcome.as_deref() == Some("done");
        // The values of the checkpoint; those of the last try where there is none.
        let measured = attempts.iter().rfind(done).or(attempts.last());
        let metrics = match measured {
            Some(attempt) => ledger.last_metrics(AttemptId(attempt.id))?,
            None => Vec::new(),
        };
        let store = Store::open(context.results.join("store"));
        let log = match store.log(&key)? {
            Some(path) => {
                let bytes = std::fs::read(&path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                Some((path, String::from_utf8_lossy(&bytes).into_owned()))
            }
            None => None,
        };
        Ok(Self {
            key,
            names: ledger.names(&key)?,
            recipe: ledger.recipe(&key)?,
            attempts,
            metrics,
            checkpoint: store.contains(&key).then(|| store.path(&key)),
            log,
        })
    }

    fn text(&self, lines: usize) -> String {
        let mut text = format!("{}\n", self.key);
        let kind = self.recipe.as_ref().map_or("", |recipe| recipe.kind.as_str());
        for (experiment, stage) in &self.names {
            let _ = writeln!(text, "stage       `{stage}` of {experiment}, {kind}");
        }
        if let Some(recipe) = &self.recipe {
            if let Some(seed) = recipe.seed {
                let _ = writeln!(text, "seed        {seed}");
            }
            for (role, input) in &recipe.inputs {
                let _ = writeln!(text, "{role:<11} {}", input.short());
            }
            let _ = writeln!(text, "settings    {}", indented(&recipe.spec));
        }
        let checkpoint = self.checkpoint.as_ref().map(|path| path.display().to_string());
        let _ = writeln!(text, "checkpoint  {}", checkpoint.as_deref().unwrap_or("none"));
        let style = show::style();
        if !self.attempts.is_empty() {
            let header = [
                "attempt",
                "experiment",
                "started",
                "took",
                "outcome",
                "device",
                "threads",
                "host",
            ];
            let rows: Vec<_> = self.attempts.iter().map(attempt_row).collect();
            let _ = write!(text, "\n{}", table::grid(&header, &rows, style));
        }
        if !self.metrics.is_empty() {
            let rows = self.metrics.iter().map(|metric| {
                vec![metric.name.clone(), metric.step.to_string(), metric.value.to_string()]
            });
            let rows: Vec<_> = rows.collect();
            let _ = write!(text, "\n{}", table::grid(&["metric", "step", "value"], &rows, style));
        }
        if let Some(error) = self.attempts.last().and_then(|attempt| attempt.error.as_ref()) {
            let _ = writeln!(text, "\nerror: {error}");
        }
        if let Some((path, log)) = &self.log {
            let all = log.lines().count();
            let skipped = if lines == 0 { 0 } else { all.saturating_sub(lines) };
            let note = match skipped {
                0 => String::new(),
                _ => format!(" (the last {} of {all} lines)", all - skipped),
            };
            let _ = writeln!(text, "\n{}{note}:", path.display());
            for line in log.lines().skip(skipped) {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }

    fn json(&self) -> Value {
        let names = self.names.iter();
        let names =
            names.map(|(experiment, stage)| json!({ "experiment": experiment, "stage": stage }));
        let metrics = self.metrics.iter().map(|metric| {
            let point = crate::protocol::Point {
                name: metric.name.clone(),
                step: metric.step,
                value: metric.value,
            };
            json!(point)
        });
        json!({
            "key": self.key,
            "names": names.collect::<Vec<_>>(),
            "recipe": self.recipe,
            "checkpoint": self.checkpoint,
            "attempts": self.attempts,
            "metrics": metrics.collect::<Vec<_>>(),
            "log": self.log.as_ref().map(|(path, text)| json!({ "path": path, "text": text })),
        })
    }
}

fn attempt_row(attempt: &AttemptRecord) -> Vec<String> {
    let took = |ended: i64| duration((ended - attempt.started_ms) as f64 / 1000.0);
    vec![
        attempt.id.to_string(),
        attempt.experiment.clone().unwrap_or_else(|| "(from the store)".to_owned()),
        show::time(attempt.started_ms),
        attempt.ended_ms.map_or("–".to_owned(), took),
        attempt.outcome.clone().unwrap_or_else(|| "under way".to_owned()),
        attempt.device.clone(),
        attempt.threads.to_string(),
        attempt.host.clone(),
    ]
}

/// Settings as JSON, each line below the first.
fn indented(spec: &Value) -> String {
    format!("{spec:#}").replace('\n', "\n            ")
}
