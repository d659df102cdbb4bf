//! What the commands that read results share: the ledger, the terminal, times.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

use anyhow::Context as _;
use indexmap::IndexMap;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::Context;
use super::files::{self, Disk};
use super::prepare::ledger_path;
use crate::experiment::{self, label};
use crate::ledger::{LastRun, Ledger, LedgerError};
use crate::table::Style;

/// The ledger of the results folder.
pub(super) fn ledger(context: &Context) -> Result<Ledger, LedgerError> {
    Ledger::open_read_only(&ledger_path(&context.results))
}

/// Writes to standard output. Whoever reads it may have had enough (`| head`): that is no error.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Writes a JSON value to standard output.
pub(super) fn write_json(value: &Value) -> anyhow::Result<()> {
    write(&format!("{value:#}\n"))
}

/// What standard output can show.
pub(super) fn style() -> Style {
    if !std::io::stdout().is_terminal() {
        return Style::default();
    }
    let plain = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let bold = !plain("NO_COLOR") && !dumb;
    Style { width: comfy_table::Table::new().width(), bold }
}

/// A point in time, as the clock on the wall shows it.
pub(super) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => {
            time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        Err(_) => format!("{ms} ms"),
    }
}

/// The name of an experiment: as it is, or from its file.
pub(super) fn experiment_name(named: &str) -> anyhow::Result<String> {
    if Path::new(named).extension().is_none_or(|extension| extension != "toml") {
        return Ok(named.to_owned());
    }
    let text = files::read(Path::new(named))?;
    let name = experiment::name(named, &text, &Disk);
    name.with_context(|| format!("`{named}` has no `name`; `graftwork check` tells more"))
}

/// An experiment's last run.
pub(super) fn last_run(ledger: &Ledger, experiment: &str) -> anyhow::Result<LastRun> {
    if let Some(last) = ledger.results(experiment)? {
        return Ok(last);
    }
    let known = ledger.experiments()?;
    if known.iter().any(|name| name == experiment) {
        anyhow::bail!("no run of `{experiment}` came as far as its trials");
    }
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, experiment), name))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    let meant = near.map_or(String::new(), |(_, name)| format!("did you mean `{name}`? "));
    let path = ledger.path().display();
    anyhow::bail!(
        "no experiment `{experiment}` in `{path}`; {meant}there are: {}",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    );
}

/// The results of an experiment that are one stage's: equal keys are one.
pub(super) struct Node<'a> {
    pub(super) stage: &'a str,
    pub(super) record: &'a crate::ledger::StageRecord,
    /// The settings that all its trials share, of those that differ between trials.
    pub(super) settings: IndexMap<&'a str, &'a Value>,
    pub(super) seeds: Vec<u64>,
}

impl Node<'_> {
    /// Its settings as text: `criterion magnitude, sparsity 0.9`.
    pub(super) fn title(&self) -> String {
        let pairs = self.settings.iter().map(|(axis, value)| {
            format!("{} {}", axis.rsplit('.').next().unwrap_or(axis), label(value))
        });
        pairs.collect::<Vec<_>>().join(", ")
    }

    /// Its seeds as text.
    pub(super) fn seeds(&self) -> String {
        self.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The different results of a run, stage by stage.
pub(super) fn nodes(last: &LastRun) -> Vec<Node<'_>> {
    let mut nodes: IndexMap<(&str, String), Node> = IndexMap::new();
    let mut order: Vec<&str> = Vec::new();
    for trial in &last.trials {
        for (stage, record) in &trial.stages {
            if !order.contains(&stage.as_str()) {
                order.push(stage);
            }
            let settings = || trial.settings.iter().map(|(axis, value)| (axis.as_str(), value));
            let node = nodes.entry((stage, record.key.to_string())).or_insert_with(|| Node {
                stage,
                record,
                settings: settings().collect(),
                seeds: Vec::new(),
            });
            node.settings.retain(|axis, value| trial.settings.get(*axis) == Some(value));
            if !node.seeds.contains(&trial.seed) {
                node.seeds.push(trial.seed);
            }
        }
    }
    let varies = |axis: &str| {
        let mut values = last.trials.iter().map(|trial| trial.settings.get(axis));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let mut nodes: Vec<Node> = nodes.into_values().collect();
    for node in &mut nodes {
        node.settings.retain(|axis, _| varies(axis));
    }
    nodes.sort_by_key(|node| order.iter().position(|stage| *stage == node.stage));
    nodes
}
