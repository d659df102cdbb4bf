//! `graftwork table`.

use std::collections::{BTreeSet, HashMap};

use indexmap::IndexMap;
use serde::Deserialize as _;
use serde_json::Value;

use super::{Context, Outcome, adaptation, claims, show};
use crate::experiment::label;
use crate::experiment::spec::Data;
use crate::ledger::{AttemptId, Ledger, StageRecord, StageState, TrialResult};
use crate::table::{self, Coordinate, Direction, Reduce, Request, Stage, State, Style, Trial};

/// Answers an experiment as a table over seeds.
///
/// Shows the trials of the experiment's last run: mean ± sample standard deviation over seeds, the best
/// in bold. Nothing else is averaged: an axis of the sweep that is named neither as rows nor as columns
/// joins the rows. `stage`, `metric` and `seed` are axes too.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(super) struct Args {
    /// Name of the experiment, or its file
    experiment: String,
    /// Stages; default: those that no other stage reads
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    stage: Vec<String>,
    /// Metrics, whole names or their ends: `val/loss`; default: `accuracy`, of masks `mean-iou`, on the test split
    #[arg(long, value_name = "METRIC", value_delimiter = ',')]
    metric: Vec<String>,
    /// Axes that make the rows
    #[arg(long, value_name = "AXIS", value_delimiter = ',')]
    rows: Vec<String>,
    /// Axes that make the columns; default: the sweep's last
    #[arg(long, value_name = "AXIS", value_delimiter = ',')]
    cols: Vec<String>,
    /// Shows only trials with this value on an axis; may be given several times
    #[arg(long = "where", value_name = "AXIS=VALUE", value_parser = parse_filter)]
    filters: Vec<(String, String)>,
    /// Adds the difference to this row or column, paired by seed
    #[arg(long, value_name = "LABEL")]
    baseline: Option<String>,
    /// Which step of a metric counts
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Which::Last)]
    reduce: Which,
    /// Low values are good
    #[arg(long, conflicts_with = "higher_is_better")]
    lower_is_better: bool,
    /// High values are good
    #[arg(long)]
    higher_is_better: bool,
    /// Shows the file's claims in place of a table: what was measured, the figure of the source, the verdict
    #[arg(long, conflicts_with_all = ["stage", "metric", "rows", "cols", "filters", "baseline"])]
    claims: bool,
    /// Shows each adaptation beside training on the source alone and training on the target's labels
    #[arg(long, conflicts_with_all = ["claims", "stage", "metric", "rows", "cols", "filters", "baseline"])]
    adaptation: bool,
    /// Form of the table
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "Examples:
  graftwork table digits
  graftwork table digits --stage tuned --rows criterion --cols sparsity --baseline magnitude
  graftwork table digits --metric val/loss --reduce best --format markdown
  graftwork table digits --metric accuracy,nonzero-params --where sparsity=0.9
  graftwork table lottery-mnist --claims
  graftwork table adapt-digits --adaptation";

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Which {
    /// The last step
    Last,
    /// The best step, where it is known whether high or low is good
    Best,
    /// The smallest value
    Min,
    /// The largest value
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For documents
    Markdown,
    /// One line per cell; accuracies are fractions
    Csv,
    /// One object per cell, with every value
    Json,
}

impl Format {
    /// Writes whichever form of something this is to standard output.
    pub(super) fn write(
        self,
        text: impl FnOnce(Style) -> String,
        markdown: impl FnOnce() -> String,
        csv: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> anyhow::Result<()> {
        match self {
            Self::Text => show::write(&text(show::style()))?,
            Self::Markdown => show::write(&markdown())?,
            Self::Csv => show::write(&csv())?,
            Self::Json => show::write_json(&json())?,
        }
        Ok(())
    }
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let format = if context.json { Format::Json } else { args.format };
    if args.claims {
        return claims::run(&args.experiment, format, context);
    }
    if args.adaptation {
        return adaptation::run(&args.experiment, format, context);
    }
    let ledger = show::ledger(context)?;
    let experiment = show::experiment_name(&args.experiment)?;
    let last = show::last_run(&ledger, &experiment)?;
    let (trials, makers) = trials(&ledger, &last.trials)?;
    let request = request(args, experiment);
    let selection = table::select(&trials, &request)?;
    let mut series = HashMap::new();
    for (key, metric) in selection.wanted() {
        let Some(maker) = makers.get(key) else { continue };
        series.insert((key.to_owned(), metric.to_owned()), ledger.series(*maker, metric)?);
    }
    let mut table = selection.fill(&series);
    match claims::judged(&ledger, &table.experiment, &trials, &makers) {
        Ok(claims) => {
            table.notes.extend(claims.counts().map(|counts| format!("{counts}; see --claims")));
        }
        // The table itself is as good without.
        Err(error) => table.notes.push(format!("its claims cannot be judged: {error:#}")),
    }
    format.write(
        |style| table.to_text(style),
        || table.to_markdown(),
        || table.to_csv(),
        || table.to_json(),
    )?;
    Ok(Outcome::Fine)
}

pub(super) fn parse_filter(text: &str) -> Result<(String, String), String> {
    let (axis, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is no filter; write AXIS=VALUE, as in sparsity=0.9"))?;
    Ok((axis.to_owned(), value.to_owned()))
}

fn request(args: &Args, experiment: String) -> Request {
    Request {
        experiment,
        stages: args.stage.clone(),
        metrics: args.metric.clone(),
        rows: args.rows.clone(),
        cols: args.cols.clone(),
        filters: args.filters.clone(),
        baseline: args.baseline.clone(),
        reduce: match args.reduce {
            Which::Last => Reduce::Last,
            Which::Best => Reduce::Best,
            Which::Min => Reduce::Min,
            Which::Max => Reduce::Max,
        },
        better: match (args.lower_is_better, args.higher_is_better) {
            (true, _) => Some(Direction::Lower),
            (_, true) => Some(Direction::Higher),
            _ => None,
        },
    }
}

/// The trials as the table takes them, and the attempt that made each checkpoint, by its key.
pub(super) fn trials(
    ledger: &Ledger,
    results: &[TrialResult],
) -> anyhow::Result<(Vec<Trial>, HashMap<String, AttemptId>)> {
    let records = || results.iter().flat_map(|trial| trial.stages.values());
    let attempts: BTreeSet<AttemptId> = records().filter_map(|record| record.good).collect();
    let metrics = ledger.metric_names(&attempts.into_iter().collect::<Vec<_>>())?;
    let stage = |record: &StageRecord| Stage {
        key: record.key.to_string(),
        inputs: record
            .recipe
            .iter()
            .flat_map(|recipe| recipe.inputs.values())
            .map(ToString::to_string)
            .collect(),
        dataset: record.recipe.as_ref().and_then(|recipe| dataset(&recipe.spec)),
        state: match (&record.good, &record.state) {
            (Some(_), _) => State::Measured,
            (None, StageState::Failed { error }) => State::Failed(error.clone()),
            (None, StageState::Lost) => State::Failed("its process died".to_owned()),
            (None, _) => State::Absent,
        },
        metrics: record.good.and_then(|attempt| metrics.get(&attempt)).cloned().unwrap_or_default(),
    };
    let trials = results.iter().map(|trial| Trial {
        settings: trial
            .settings
            .iter()
            .map(|(axis, value)| {
                (axis.clone(), Coordinate { label: label(value), value: value.clone() })
            })
            .collect::<IndexMap<_, _>>(),
        seed: trial.seed,
        stages: trial.stages.iter().map(|(name, record)| (name.clone(), stage(record))).collect(),
    });
    let makers = records().filter_map(|record| Some((record.key.to_string(), record.good?)));
    Ok((trials.collect(), makers.collect()))
}

/// The domain that a stage is about: the one that it adapts to, otherwise the one that it reads.
fn dataset(spec: &Value) -> Option<String> {
    let domain = |key: &str| Some(Data::deserialize(spec.get(key)?).ok()?.domain());
    domain("target").or_else(|| domain("data"))
}
