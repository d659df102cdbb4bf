//! `graftwork plan`.

use std::mem::ManuallyDrop;

use indexmap::IndexMap;
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::prepare::{ExperimentArgs, Past, Planned, Prepared, SelectionArgs, count, duration};
use super::show::style;
use super::{Context, Outcome};
use crate::experiment::label;
use crate::plan::{Counts, Durations, Estimate, Graph, History, Presence, Reason, Task, graph};

/// Reasons that are shown for a stage name; `--why` shows all.
const REASONS: usize = 3;

/// Columns of a text graph where standard output is no terminal.
const WIDTH: u16 = 80;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Shows every stage of this name with the reason why it runs or not
    #[arg(long, value_name = "STAGE")]
    why: Option<String>,
    /// Draws the graph of the stages and nothing else
    #[arg(long, value_name = "FORMAT", conflicts_with = "why")]
    graph: Option<Format>,
    /// With --graph: draws every distinct stage instead of the stages of a name as one
    #[arg(long, requires = "graph")]
    stages: bool,
    #[command(flatten)]
    selection: SelectionArgs,
}

/// What a graph is written in.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Lines and names, for a terminal
    Text,
    /// The language of Graphviz
    Dot,
    /// The language of Mermaid
    Mermaid,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    match args.graph {
        Some(format) => show_graph(args, format, context),
        None => show(&args.experiment, &args.selection, args.why.as_deref(), context),
    }
}

/// Draws the plan.
fn show_graph(args: &Args, format: Format, context: &Context) -> anyhow::Result<Outcome> {
    if context.json {
        anyhow::bail!("--graph has formats of its own; leave out --graph or --json");
    }
    let Some(prepared) = Prepared::new(&args.experiment, &args.selection.selection(), context)?
    else {
        return Ok(Outcome::Usage);
    };
    let plan = &prepared.plan;
    let is_cached = |node| prepared.is_cached(node);
    let graph = if args.stages {
        Graph::of_stages(plan, &is_cached, &label)
    } else {
        Graph::of_names(plan, &is_cached).with_axes(plan)
    };
    match format {
        Format::Text => {
            let width = style().width.unwrap_or(WIDTH);
            for line in graph::text(&graph, width.into()) {
                println!("{line}");
            }
        }
        Format::Dot => print!("{}", graph::dot(&graph, &prepared.checked.experiment.name)),
        Format::Mermaid => print!("{}", graph::mermaid(&graph)),
    }
    Ok(prepared.outcome())
}

/// Shows what a run would do, and why.
pub(super) fn show(
    args: &ExperimentArgs,
    selection: &SelectionArgs,
    why: Option<&str>,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let Some(prepared) = Prepared::new(args, &selection.selection(), context)? else {
        return Ok(Outcome::Usage);
    };
    // The process ends with the plan.
    let prepared = ManuallyDrop::new(prepared);
    let past = Past::open(&context.results)?;
    let name = &prepared.checked.experiment.name;
    // Where nothing is to be done, nothing has changed that the last run could tell.
    let previous = if prepared.todo.is_empty() { Vec::new() } else { past.previous(name)? };
    let history = History::new(previous);
    let made = |key: &_| past.made(key);
    let reasons = history.reasons(&prepared.plan, &prepared.presences, &prepared.todo, &made);
    let durations = past.durations_of(name)?;
    let survey = Survey { prepared: &prepared, durations, reasons };
    if let Some(stage) = why
        && !survey.names().contains_key(stage)
    {
        let names: Vec<_> = survey.names().into_keys().collect();
        anyhow::bail!("`{stage}` is no stage of {name}; there are: {}", names.join(", "));
    }
    match why {
        _ if context.json => println!("{:#}", survey.json(why)),
        Some(stage) => survey.explain(stage),
        None => survey.print(),
    }
    Ok(prepared.outcome())
}

/// A plan with the reason for every node.
struct Survey<'a> {
    prepared: &'a Prepared,
    durations: Durations,
    reasons: Vec<Reason>,
}

impl Survey<'_> {
    /// The nodes of each stage name, in the order of the file.
    fn names(&self) -> IndexMap<&str, Vec<NodeIndex>> {
        let plan = &self.prepared.plan;
        let mut names: IndexMap<&str, Vec<NodeIndex>> =
            plan.stage_names().into_iter().map(|name| (name, Vec::new())).collect();
        for node in plan.order() {
            for name in &plan.graph[node].names {
                if let Some(nodes) = names.get_mut(name.as_str()) {
                    nodes.push(node);
                }
            }
        }
        names
    }

    fn reason(&self, node: NodeIndex) -> &Reason {
        &self.reasons[node.index()]
    }

    /// The expected work of all stages to run; what is adopted costs nothing.
    fn work(&self) -> Estimate {
        let Prepared { planned, presences, todo, .. } = self.prepared;
        let is_adopted = |node: NodeIndex| {
            matches!(presences[node.index()], Presence::Adoptable(_))
                && todo.task(node) != Some(Task::Force)
        };
        let computed = todo.to_make().into_iter().filter(|&node| !is_adopted(node));
        self.durations.work(&planned.plan, computed.map(|node| (node, 1)))
    }

    fn print(&self) {
        let Planned { checked, plan, .. } = &self.prepared.planned;
        self.print_stages();
        println!();
        let Counts { trials, naive, distinct } = plan.counts();
        let todo = self.prepared.todo().len();
        println!(
            "{}: {} of {} in all, {distinct} distinct ({} saved by sharing)",
            checked.experiment.name,
            count(trials, "trial"),
            count(naive, "stage"),
            naive - distinct
        );
        let cached = self.prepared.cached();
        let rest = match distinct - todo - cached {
            0 => String::new(),
            rest => format!(", left out or not needed: {rest}"),
        };
        println!("to run: {todo}, cached: {cached}{rest}");
        if let Some(work) = told(&self.work(), true) {
            println!("expected: {work}");
        }
        if let Some(saved) = told(&self.durations.saved(plan), false) {
            println!("sharing saves: {saved}");
        }
    }

    /// A line for each stage name, the graph drawn on the left.
    fn print_stages(&self) {
        let names = self.names();
        let graph = Graph::of_names(&self.prepared.plan, &|node| self.prepared.is_cached(node));
        let rows = graph::rows(&graph);
        let length = |text: &str| text.chars().count();
        let widths =
            rows.iter().map(|row| length(&row.prefix) + length(&graph.boxes[row.shown].name));
        let width = widths.max().unwrap_or(0).max(5);
        println!("{:width$}  {:<8}  {:>5}  {:>6}  why", "stage", "kind", "run", "cached");
        for row in &rows {
            let shown = &graph.boxes[row.shown];
            let nodes = &names[shown.name.as_str()];
            let (run, cached) = self.prepared.tally(nodes);
            if let Some(above) = &row.above {
                println!("{above}");
            }
            let (name, kind) = (format!("{}{}", row.prefix, shown.name), shown.kind.as_str());
            let mut reasons = self.reasons_of(&shown.name, nodes).into_iter();
            let first = reasons.next().unwrap_or_default();
            println!("{name:width$}  {kind:<8}  {run:>5}  {cached:>6}  {first}");
            let indent = width + 27;
            reasons.for_each(|reason| println!("{:indent$}{reason}", row.below));
        }
    }

    /// The different reasons of some stages, each with the number that have it.
    fn reasons_of(&self, name: &str, nodes: &[NodeIndex]) -> Vec<String> {
        let mut counted: IndexMap<String, usize> = IndexMap::new();
        for &node in nodes {
            *counted.entry(self.reason(node).to_string()).or_default() += 1;
        }
        // What runs is what people look for.
        counted.sort_by_key(|reason, _| reason.starts_with("cached"));
        let several = counted.len() > 1;
        let reasons = counted.iter().take(REASONS).map(|(reason, count)| {
            if several { format!("{reason} ({count})") } else { reason.clone() }
        });
        let more = (counted.len() > REASONS)
            .then(|| format!("and {} more reasons: --why {name}", counted.len() - REASONS));
        reasons.chain(more).collect()
    }

    fn explain(&self, stage: &str) {
        for &node in &self.names()[stage] {
            let planned = &self.prepared.plan.graph[node];
            let title = self.prepared.plan.title(node, &label);
            let when = match self.reason(node) {
                Reason::Cached { made: Some(made) } => on(made.ended_ms),
                _ => String::new(),
            };
            println!("{}  {title}: {}{when}", planned.key.short(), self.reason(node));
        }
    }

    fn json(&self, only: Option<&str>) -> Value {
        let names =
            self.names().into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
        let plan = &self.prepared.plan;
        let stages = names.map(|(name, nodes)| {
            let kind = nodes.first().map(|&node| plan.graph[node].recipe.kind);
            let nodes = nodes.iter().map(|&node| self.node_json(node));
            json!({ "name": name, "kind": kind, "nodes": nodes.collect::<Vec<_>>() })
        });
        let stages: Vec<Value> = stages.collect();
        let Counts { trials, naive, distinct } = plan.counts();
        let (todo, cached) = (self.prepared.todo().len(), self.prepared.cached());
        json!({
            "experiment": self.prepared.checked.experiment.name,
            "trials": trials,
            "naive": naive,
            "distinct": distinct,
            "to-run": todo,
            "cached": cached,
            "left-out": distinct - todo - cached,
            "expected": self.work(),
            "saved": self.durations.saved(plan),
            "missing-data": plan.missing_data,
            "stages": stages,
        })
    }

    fn node_json(&self, node: NodeIndex) -> Value {
        let plan = &self.prepared.plan;
        let planned = &plan.graph[node];
        json!({
            "key": planned.key,
            "names": planned.names,
            "title": plan.title(node, &label),
            "settings": plan.settings(node),
            "seed": planned.recipe.seed,
            "trials": planned.trials.len(),
            "inputs": planned.recipe.inputs,
            "task": self.prepared.todo.task(node),
            "reason": self.reason(node),
            "expected-seconds": self.durations.of(planned),
        })
    }
}

/// Work in words, with what is not known of it if asked for; nothing where there is nothing to say.
fn told(work: &Estimate, with_unknown: bool) -> Option<String> {
    let known = (work.seconds > 0.0)
        .then(|| format!("{} of work, from past durations", duration(work.seconds)));
    let others: Vec<String> = work
        .unknown
        .iter()
        .map(|(kind, number)| count(*number, &format!("{} stage", kind.as_str())))
        .collect();
    let others = (!others.is_empty()).then(|| others.join(", "));
    match (known, others) {
        (None, Some(_)) if !with_unknown => None,
        (None, Some(others)) => {
            Some(format!("unknown, since none of these kinds has run here: {others}"))
        }
        (Some(known), Some(others)) => {
            let why = "which is unknown, since none of these kinds has run here";
            Some(format!("{known}, and that of {others}, {why}"))
        }
        (known, None) => known,
    }
}

/// A point in time as people here write it: ` on 2025-03-31 at 14:05`.
fn on(ms: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_millisecond(ms) else { return String::new() };
    let local = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    local.strftime(" on %Y-%m-%d at %H:%M").to_string()
}
