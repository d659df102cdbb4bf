//! `graftwork diff`.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde_json::json;

use super::prepare::{Planned, count};
use super::{Context, Outcome};
use crate::experiment::label;
use crate::plan::{Diff, Gone, Presence};
use crate::schedule;
use crate::store::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An experiment file, or FILE@REVISION: the file as it is in a revision of git
    a: String,
    /// Likewise; what A is compared with
    b: String,
    /// Changes a value of both: `thin.sparsity=0.8`, `seeds=[0]`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Says what tells two experiments apart; findings if they differ in meaning.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let (a, b) = (text(&args.a)?, text(&args.b)?);
    let planned = |name: &str, text: String| Planned::new(name, text, &args.sets, context);
    // Both are read, so that all faults are seen at once.
    let (Some(a), Some(b)) = (planned(&args.a, a), planned(&args.b, b)) else {
        return Ok(Outcome::Usage);
    };
    if a.outcome() != Outcome::Fine || b.outcome() != Outcome::Fine {
        return Ok(Outcome::Usage);
    }
    let diff = Diff::new(&a.plan, &b.plan);
    let to_run = to_run(&diff, &b, context)?;
    if context.json {
        let mut value = serde_json::to_value(&diff)?;
        value["to-run"] = json!(to_run);
        println!("{value:#}");
    } else if diff.equal {
        println!("no difference in meaning: {} in both", count(diff.all.both, "stage"));
    } else {
        print(args, &diff, to_run);
    }
    Ok(if diff.equal { Outcome::Fine } else { Outcome::Findings })
}

/// The text of a file, or of a file in a revision.
fn text(name: &str) -> anyhow::Result<String> {
    if Path::new(name).exists() || !name.contains('@') {
        return std::fs::read_to_string(name).with_context(|| format!("cannot read `{name}`"));
    }
    // A path may have an @ in it, and so may a revision (`HEAD@{1}`): what is a file is the path.
    let splits = || name.match_indices('@').map(|(at, _)| (&name[..at], &name[at + 1..]));
    let split = splits().find(|(path, _)| Path::new(path).is_file()).or_else(|| splits().next());
    let (path, revision) = split.context("a name with @ has a path and a revision")?;
    let file = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = Path::new(path).parent().filter(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new("."));
    let mut git = Command::new("git");
    git.current_dir(folder).args(["show", "--end-of-options"]).arg(format!("{revision}:./{file}"));
    let output = git.output().context("cannot start git, which keeps the revisions of a file")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("cannot read `{path}` at revision `{revision}`: {}", said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{name}` is no UTF-8"))
}

/// How many of the stages that only B has are not in the store; nothing where there is no store.
fn to_run(diff: &Diff, b: &Planned, context: &Context) -> anyhow::Result<Option<usize>> {
    let folder = context.results.join("store");
    if !folder.is_dir() {
        return Ok(None);
    }
    let presences = schedule::survey(&b.plan, &Store::open(folder))?;
    let is_lacking =
        |presence: &Presence| !matches!(presence, Presence::Cached | Presence::Adoptable(_));
    let nodes = b.plan.graph.node_weights().zip(&presences);
    let lacking =
        nodes.filter(|(node, presence)| diff.new.contains(&node.key) && is_lacking(presence));
    Ok(Some(lacking.count()))
}

fn print(args: &Args, diff: &Diff, to_run: Option<usize>) {
    println!("A: {}\nB: {}\n", args.a, args.b);
    for axis in &diff.axes {
        println!("{}", gone(axis, label));
    }
    for seeds in &diff.seeds {
        println!("{}", gone(seeds, u64::to_string));
    }
    for name in &diff.renamed {
        println!("stage {} is now called {}", name.old, name.new);
    }
    for (names, how) in [(&diff.removed, "only in A"), (&diff.added, "only in B")] {
        if !names.is_empty() {
            println!("stages {how}: {}", names.join(", "));
        }
    }
    for change in &diff.changes {
        println!("{change}");
    }
    println!();
    let widest = diff.stages.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let width = widest.max("distinct stages".len());
    println!("{:width$}  {:<8}  {:>5}  {:>6}  {:>6}", "stage", "kind", "both", "only A", "only B");
    let all = [("distinct stages".to_owned(), diff.all)];
    for (name, shares) in diff.stages.iter().chain(all.iter().map(|(name, all)| (name, all))) {
        let kind = shares.kind.map_or("", |kind| kind.as_str());
        let (both, a, b) = (shares.both, shares.only_a, shares.only_b);
        println!("{name:width$}  {kind:<8}  {both:>5}  {a:>6}  {b:>6}");
    }
    if let Some(to_run) = to_run.filter(|_| diff.all.only_b > 0) {
        println!("\nof those only in B, {to_run} are not in the store");
    }
}

/// `thin.sparsity: 0.5 went; 0.9, 0.95 came`
fn gone<T>(gone: &Gone<T>, show: impl Fn(&T) -> String) -> String {
    let list = |values: &[T]| values.iter().map(&show).collect::<Vec<_>>().join(", ");
    let parts = [(&gone.removed, "went"), (&gone.added, "came")];
    let parts = parts.iter().filter(|(values, _)| !values.is_empty());
    let parts: Vec<_> = parts.map(|(values, how)| format!("{} {how}", list(values))).collect();
    format!("{}: {}", gone.of, parts.join("; "))
}
