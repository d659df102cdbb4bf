//! `graftwork diff`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::json;
use tempfile::TempDir;

use super::files::folder;
use super::prepare::{Planned, count};
use super::{Context, Outcome};
use crate::experiment::{Faults, label};
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
    let (a, b) = (Side::find(&args.a)?, Side::find(&args.b)?);
    // Both are read, so that all faults are seen at once.
    let (Some(a), Some(b)) = (a.plan(&args.sets, context)?, b.plan(&args.sets, context)?) else {
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

/// A file to compare.
struct Side {
    file: PathBuf,
    /// The revision, and the folder that all its files were copied into: what the file extends and what
    /// its stages name belongs to the revision, too.
    copy: Option<(String, TempDir)>,
}

impl Side {
    /// A file, or a file in a revision.
    fn find(name: &str) -> anyhow::Result<Self> {
        if Path::new(name).exists() || !name.contains('@') {
            return Ok(Self { file: PathBuf::from(name), copy: None });
        }
        // A path may have an @ in it, and so may a revision (`HEAD@{1}`): what is a file is the path.
        let splits = || name.match_indices('@').map(|(at, _)| (&name[..at], &name[at + 1..]));
        let split = splits().find(|(path, _)| Path::new(path).is_file());
        let split = split.or_else(|| splits().next());
        let (path, revision) = split.context("a name with @ has a path and a revision")?;
        let folder = folder(Path::new(path));
        anyhow::ensure!(folder.is_dir(), "`{name}`: there is no folder `{}`", folder.display());
        let copy = copy_of(revision, folder)
            .with_context(|| format!("cannot read `{path}` at revision `{revision}`"))?;
        let inside = git(folder, &["rev-parse", "--show-prefix"])?;
        let inside = String::from_utf8_lossy(&inside).trim_end().to_owned();
        let file = Path::new(path).file_name().unwrap_or_default();
        let file = copy.path().join(inside).join(file);
        anyhow::ensure!(file.is_file(), "revision `{revision}` has no file `{path}`");
        Ok(Self { file, copy: Some((revision.to_owned(), copy)) })
    }

    /// Reads and plans the file; none if it has faults, which have been printed.
    fn plan(&self, sets: &[String], context: &Context) -> anyhow::Result<Option<Planned>> {
        let planned = Planned::read(&self.file, sets, context)?;
        let print = |faults: Faults| eprintln!("{}", self.as_named(&faults.to_string()));
        Ok(planned.map_err(print).ok())
    }

    /// What is said of files, with those of a revision as git names them: `HEAD:digits.toml`.
    fn as_named(&self, said: &str) -> String {
        let Some((revision, copy)) = &self.copy else { return said.to_owned() };
        said.replace(&format!("{}/", copy.path().display()), &format!("{revision}:"))
    }
}

/// A copy of all files of a revision.
fn copy_of(revision: &str, folder: &Path) -> anyhow::Result<TempDir> {
    let top = git(folder, &["rev-parse", "--show-toplevel"])?;
    let top = PathBuf::from(String::from_utf8_lossy(&top).trim_end());
    // A name of a commit, so that nothing in it is taken for an option.
    let commit = format!("{revision}^{{commit}}");
    let commit = git(folder, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]);
    let commit = commit.ok().context("git knows no such revision")?;
    let commit = String::from_utf8_lossy(&commit).trim_end().to_owned();
    let copy = tempfile::tempdir().context("cannot make a folder")?;
    let archive = copy.path().join(".graftwork.tar");
    git(&top, &["archive", "--format=tar", "-o", &archive.to_string_lossy(), &commit])?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(copy.path());
    let output = tar.output().context("cannot start tar, which unpacks a revision")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(copy)
}

fn git(folder: &Path, args: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("git").current_dir(folder).args(args).output();
    let output = output.context("cannot start git, which keeps the revisions of a file")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "git {}: {}", args[0], said.trim());
    Ok(output.stdout)
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
    let differences = differences(diff);
    for line in &differences {
        println!("{line}");
    }
    if !differences.is_empty() {
        println!();
    }
    let widest = diff.stages.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let width = widest.max("distinct stages".len());
    println!("{:width$}  {:<8}  {:>5}  {:>6}  {:>6}", "stage", "kind", "both", "only A", "only B");
    let all = [("distinct stages".to_owned(), diff.all), ("trials".to_owned(), diff.trials)];
    for (name, shares) in diff.stages.iter().chain(all.iter().map(|(name, all)| (name, all))) {
        let kind = shares.kind.map_or("", |kind| kind.as_str());
        let (both, a, b) = (shares.both, shares.only_a, shares.only_b);
        println!("{name:width$}  {kind:<8}  {both:>5}  {a:>6}  {b:>6}");
    }
    if let Some(to_run) = to_run.filter(|_| diff.all.only_b > 0) {
        println!("\nstages of B alone that are not in the store: {to_run}");
    }
}

/// A line for whatever differs in what the files say.
fn differences(diff: &Diff) -> Vec<String> {
    let axes = diff.axes.iter().map(|axis| gone(axis, label));
    let seeds = diff.seeds.iter().map(|seeds| gone(seeds, u64::to_string));
    let renamed = diff.renamed.iter();
    let renamed = renamed.map(|name| format!("stage {} is now called {}", name.old, name.new));
    let one_sided = [(&diff.removed, "only in A"), (&diff.added, "only in B")].into_iter();
    let one_sided = one_sided
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, how)| format!("stages {how}: {}", names.join(", ")));
    let changes = diff.changes.iter().map(ToString::to_string);
    axes.chain(seeds).chain(renamed).chain(one_sided).chain(changes).collect()
}

/// `thin.sparsity: 0.5 went; 0.9, 0.95 came`
fn gone<T>(gone: &Gone<T>, show: impl Fn(&T) -> String) -> String {
    let list = |values: &[T]| values.iter().map(&show).collect::<Vec<_>>().join(", ");
    let parts = [(&gone.removed, "went"), (&gone.added, "came")];
    let parts = parts.iter().filter(|(values, _)| !values.is_empty());
    let parts: Vec<_> = parts.map(|(values, how)| format!("{} {how}", list(values))).collect();
    format!("{}: {}", gone.of, parts.join("; "))
}
