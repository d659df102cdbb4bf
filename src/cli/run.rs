//! `graftwork run`.

use std::collections::{BTreeMap, HashMap};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use petgraph::graph::NodeIndex;
use serde_json::json;

use super::files::folder;
use super::prepare::{
    ExperimentArgs, Past, Prepared, SelectionArgs, count, duration, host, ledger_path, open_ledger,
};
use super::{Context, Outcome, claims, progress};
use crate::experiment::label;
use crate::experiment::spec::StageKind;
use crate::ledger::{Ledger, NewRun, RunId, TrialRecord};
use crate::schedule::{self, Launch, Layout, Local, Policy, Signal, Summary, Work};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Stages that run at once [default: one a core; one on a GPU]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: Option<u32>,
    /// Where to compute: auto, cpu, cuda:N; auto is the first GPU if there is one that LibTorch can use
    #[arg(long, default_value = "auto", value_parser = device)]
    device: String,
    /// Tries a stage that fails this many times more
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// Stops at the first failure; running stages save their progress
    #[arg(long)]
    fail_fast: bool,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Shows what would run, and why, and runs nothing
    #[arg(long)]
    dry_run: bool,
}

fn device(text: &str) -> Result<String, String> {
    let number = text.strip_prefix("cuda:");
    if matches!(text, "auto" | "cpu") || number.is_some_and(|number| number.parse::<u8>().is_ok()) {
        return Ok(text.to_owned());
    }
    Err("a device is auto, cpu or cuda:N, as in cuda:0".to_owned())
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    if args.dry_run {
        return super::plan::show(&args.experiment, &args.selection, None, context);
    }
    let started = Instant::now();
    let Some(prepared) = Prepared::new(&args.experiment, &args.selection.selection(), context)?
    else {
        return Ok(Outcome::Usage);
    };
    // The process ends with the run: to free 10,000 stages one by one is a tenth of one with nothing to do.
    let prepared = ManuallyDrop::new(prepared);
    if !prepared.missing.is_empty() {
        for error in &prepared.missing {
            eprintln!("error: {error}");
        }
        return Ok(Outcome::Usage);
    }
    let todo = prepared.todo();
    if todo.is_empty() {
        return nothing_to_do(args, &prepared, context);
    }
    let needs_engine = |&node: &NodeIndex| prepared.plan.graph[node].stage.needs_engine();
    let engine = if todo.iter().any(needs_engine) { Some(engine()?) } else { None };
    let past = Past::open(&context.results)?;
    let device = if args.device == "auto" && !has_card() { "cpu" } else { args.device.as_str() };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map(|jobs| jobs as usize);
    let Layout { slots, threads } = schedule::layout(device, jobs, prepared.width(&todo), cores);

    let mut ledger = Ledger::open(&ledger_path(&context.results))?;
    let run = begin(&mut ledger, args, &prepared)?;
    let expected = |kind: StageKind| expected(&past.durations, kind);
    let (sender, inbox) = mpsc::channel();
    let interrupts = sender.clone();
    ctrlc::set_handler(move || drop(interrupts.send(Signal::Interrupt)))
        .context("cannot listen for Ctrl-C")?;
    if !context.json {
        let cached = prepared.cached();
        let name = &prepared.checked.experiment.name;
        let stages = count(todo.len(), "stage");
        if engine.is_some() {
            eprintln!(
                "{name}: {stages} to run, {cached} cached; {} on {}, {} each",
                count(slots, "worker"),
                if device == "auto" { "the GPU, if LibTorch has its CUDA part" } else { device },
                count(threads, "thread")
            );
        } else {
            eprintln!("{name}: {stages} to run, {cached} cached; {slots} at once");
        }
    }
    let summary = {
        let launch = engine.map(|engine| Launch::worker(engine, device, threads));
        let mut executor = Local::new(launch, slots, sender);
        let seconds: HashMap<NodeIndex, f64> = todo
            .iter()
            .map(|&node| (node, expected(prepared.plan.graph[node].recipe.kind)))
            .collect();
        let mut observer = progress::observer(&prepared.plan, &todo, &seconds, context.json);
        let work = Work {
            plan: &prepared.plan,
            todo: &prepared.todo,
            store: &prepared.store,
            data: &prepared.folders,
            folder: folder(&args.experiment.file),
            run,
            experiment: &prepared.checked.experiment.name,
            host: &host(),
            duration: &expected,
            policy: Policy { retries: args.retries, fail_fast: args.fail_fast },
        };
        schedule::run(&work, &mut executor, &inbox, &mut ledger, observer.as_mut())
    };
    let outcome = outcome(&summary);
    adopt_unknown(&mut ledger, &prepared)?;
    ledger.end_run(run, word(outcome), now_ms())?;
    report(&prepared, &summary, context, started.elapsed().as_secs_f64());
    Ok(outcome)
}

/// Everything is in the store: records that this experiment has these results, if that is news.
fn nothing_to_do(args: &Args, prepared: &Prepared, context: &Context) -> anyhow::Result<Outcome> {
    if !is_recorded(prepared, &context.results)? {
        let mut ledger = Ledger::open(&ledger_path(&context.results))?;
        let run = begin(&mut ledger, args, prepared)?;
        adopt_unknown(&mut ledger, prepared)?;
        ledger.end_run(run, "done", now_ms())?;
    }
    let counts = prepared.plan.counts();
    let cached = prepared.cached();
    if context.json {
        let finished = json!({ "done": 0, "adopted": 0, "cached": cached, "failed": [] });
        println!("{}", json!({ "finished": finished }));
        return Ok(Outcome::Fine);
    }
    let name = &prepared.checked.experiment.name;
    let trials = count(counts.trials, "trial");
    if cached == counts.distinct {
        let stages = count(cached, "stage");
        eprintln!("{name}: nothing to do, all {stages} of {trials} are cached");
    } else {
        let stages = count(counts.distinct, "stage");
        eprintln!(
            "{name}: nothing to do, {cached} of {stages} of {trials} are cached and no other is asked for"
        );
    }
    Ok(Outcome::Fine)
}

/// Whether the experiment's last run has just these trials and claims, and the ledger knows all results.
fn is_recorded(prepared: &Prepared, results: &Path) -> anyhow::Result<bool> {
    let Some(ledger) = open_ledger(results)? else { return Ok(false) };
    let name = &prepared.checked.experiment.name;
    let claims = ledger.claims(name)?.into_iter().map(|(claim, _)| claim);
    Ok(claims.eq(claims::written(prepared)) && ledger.has_all(name, &trial_records(prepared))?)
}

/// Records the run and what each of its trials consists of.
fn begin(ledger: &mut Ledger, args: &Args, prepared: &Prepared) -> anyhow::Result<RunId> {
    let command: Vec<String> =
        std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let run = ledger.begin_run(&NewRun {
        experiment: prepared.checked.experiment.name.clone(),
        file: args.experiment.file.display().to_string(),
        source: prepared.text.clone(),
        command: command.join(" "),
        host: host(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        claims: claims::written(prepared),
        started_ms: now_ms(),
    })?;
    let graph = &prepared.plan.graph;
    let recipes: Vec<_> = graph.node_weights().map(|node| node.recipe.clone()).collect();
    ledger.record_trials(run, &trial_records(prepared), &recipes)?;
    Ok(run)
}

fn trial_records(prepared: &Prepared) -> Vec<TrialRecord> {
    let key = |node: NodeIndex| prepared.plan.graph[node].key;
    let trials = prepared.plan.trials.iter().map(|trial| TrialRecord {
        settings: trial.settings.clone(),
        seed: trial.seed,
        stages: trial.stages.iter().map(|(name, &node)| (name.clone(), key(node))).collect(),
    });
    trials.collect()
}

/// Reads the metrics of checkpoints that the ledger has not seen made: a lost ledger, a copied store,
/// or a process that was killed between the two.
fn adopt_unknown(ledger: &mut Ledger, prepared: &Prepared) -> anyhow::Result<()> {
    let Some(last) = ledger.results(&prepared.checked.experiment.name)? else { return Ok(()) };
    let stages = last.trials.iter().flat_map(|trial| trial.stages.values());
    let mut unknown = stages.filter(|stage| stage.good.is_none());
    if unknown.any(|stage| prepared.store.contains(&stage.key)) {
        ledger.rebuild(prepared.store.root())?;
    }
    Ok(())
}

/// The engine's program: what the user names, else beside this one, else on the path.
fn engine() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("GRAFTWORK_ENGINE").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        anyhow::ensure!(
            named.exists(),
            "GRAFTWORK_ENGINE names `{}`, which does not exist",
            named.display()
        );
        return Ok(named);
    }
    let name = format!("graftwork-engine{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = beside.into_iter().chain(std::env::split_paths(&path)).collect();
    let engine = folders.iter().map(|folder| folder.join(&name)).find(|engine| engine.is_file());
    engine.with_context(|| {
        let beside = folders.first().map(|folder| folder.display().to_string());
        format!(
            "`{name}` is neither in `{}` nor on the path; build it with `make build`, or name it in GRAFTWORK_ENGINE",
            beside.unwrap_or_default()
        )
    })
}

/// Whether there is an NVIDIA card. Whether LibTorch can use it, the engine finds out when it starts.
fn has_card() -> bool {
    ["/proc/driver/nvidia/version", "/dev/nvidia0"].iter().any(|sign| Path::new(sign).exists())
}

/// How long a stage of a kind is expected to take, seconds; from the past, else in rough proportion.
pub(super) fn expected(durations: &BTreeMap<String, f64>, kind: StageKind) -> f64 {
    let guess = match kind {
        StageKind::Pretrain => 10.0,
        StageKind::Finetune | StageKind::Adapt => 5.0,
        StageKind::Prune | StageKind::Sensitivity => 2.0,
        StageKind::Evaluate | StageKind::Import | StageKind::Command => 1.0,
    };
    durations.get(kind.as_str()).copied().unwrap_or(guess)
}

fn outcome(summary: &Summary) -> Outcome {
    if summary.interrupted {
        Outcome::Interrupted
    } else if summary.failed.is_empty() && summary.trouble.is_none() {
        Outcome::Fine
    } else {
        Outcome::StageFailed
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Interrupted => "interrupted",
        Outcome::Fine => "done",
        _ => "failed",
    }
}

fn report(prepared: &Prepared, summary: &Summary, context: &Context, seconds: f64) {
    let remade = summary.done.iter().filter(|&&node| prepared.is_cached(node)).count();
    let cached = prepared.cached() - remade + summary.taken.len();
    let name = &prepared.checked.experiment.name;
    let title = |node| prepared.plan.title(node, &label);
    if context.json {
        let failed = summary.failed.iter().map(|failure| {
            let key = prepared.plan.graph[failure.node].key;
            json!({ "key": key, "title": title(failure.node), "error": failure.error })
        });
        let finished = json!({
            "done": summary.done.len(),
            "adopted": summary.adopted.len(),
            "cached": cached,
            "failed": failed.collect::<Vec<_>>(),
            "skipped": summary.skipped.len(),
            "left": summary.left.len(),
            "interrupted": summary.interrupted,
            "trouble": summary.trouble,
            "seconds": seconds,
        });
        println!("{}", json!({ "finished": finished }));
        return;
    }
    let mut parts = vec![format!("{} done", summary.done.len()), format!("{cached} cached")];
    let counts = [
        (summary.adopted.len(), "adopted"),
        (summary.failed.len(), "failed"),
        (summary.skipped.len(), "skipped"),
        (summary.left.len(), "left for the next run"),
    ];
    parts.extend(
        counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}")),
    );
    eprintln!("{name}: {} in {}", parts.join(", "), duration(seconds));
    for failure in &summary.failed {
        let key = prepared.plan.graph[failure.node].key.short();
        eprintln!("  {} failed: {}", title(failure.node), failure.error);
        eprintln!("    its log: graftwork log {key}");
    }
    if let Some(trouble) = &summary.trouble {
        eprintln!("error: {trouble}; `graftwork ledger rebuild` restores them from the store");
    }
    let results = context.results.display();
    eprintln!("results: {results}/ledger.sqlite, checkpoints: {results}/store");
    if summary.interrupted {
        eprintln!("next: the same command goes on where this one stopped");
    } else {
        let experiment = &prepared.checked.experiment;
        let adapts = experiment.stage.values().any(|stage| stage.kind() == StageKind::Adapt);
        let views =
            [("", true), (" --adaptation", adapts), (" --claims", !experiment.claim.is_empty())];
        let views = views.into_iter().filter(|(_, has)| *has);
        let commands: Vec<String> =
            views.map(|(view, _)| format!("graftwork table {name}{view}")).collect();
        eprintln!("next: {}", commands.join(", "));
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
