//! `graftwork data`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::dataset::{
    self, DatasetError, Entry, Found, Kind, Library, Loaded, Progress, Receipt, Via,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows every dataset, whether it is on this machine, and where
    List,
    /// Gets datasets from where they can be had, and says what it did
    Fetch {
        /// Datasets to get
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// How to get them; without it, the first way that works
        #[arg(long, value_name = "WAY")]
        from: Option<From>,
    },
    /// Describes a dataset: counts, classes, digest, licence
    Info {
        /// The dataset
        name: String,
    },
    /// Prints the folder of a dataset
    Path {
        /// The dataset
        name: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// A file of a pip package
    Pip,
    /// Its owner's files, checked against their SHA-256
    Url,
    /// A package of the operating system: tells the command
    System,
    /// Its owner's git repository: tells the command
    Git,
}

impl From {
    fn via(self) -> Via {
        match self {
            Self::Pip => Via::Pip,
            Self::Url => Via::Url,
            Self::System => Via::System,
            Self::Git => Via::Git,
        }
    }
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::List => list(context),
        Command::Fetch { names, from } => fetch(names, from.map(From::via), context),
        Command::Info { name } => info(name, context),
        Command::Path { name } => path(name, context),
    }
}

/// The datasets on this machine; digests are remembered in the user's cache folder.
pub(super) fn library(context: &Context) -> Library {
    Library::new(context.data.as_deref(), &user_data_folder()).remember_in(&digests())
}

/// Where digests of files are remembered.
pub(super) fn digests() -> PathBuf {
    user_folder("XDG_CACHE_HOME", ".cache").join("digests.json")
}

/// Where datasets are fetched to, unless `--data` names another folder.
pub(super) fn user_data_folder() -> PathBuf {
    user_folder("XDG_DATA_HOME", ".local/share")
}

fn user_folder(variable: &str, below_home: &str) -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = folder(variable).map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(folder("HOME")?).join(below_home)));
    base.unwrap_or_else(std::env::temp_dir).join("graftwork")
}

// list

fn list(context: &Context) -> anyhow::Result<Outcome> {
    let library = library(context);
    let rows: Vec<Row> =
        dataset::catalogue().into_iter().map(|entry| Row::of(entry, &library)).collect();
    if context.json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        for row in &rows {
            row.print();
        }
    }
    let damaged = rows.iter().any(|row| matches!(row.state, State::Damaged(_)));
    Ok(if damaged { Outcome::Findings } else { Outcome::Fine })
}

struct Row {
    entry: &'static Entry,
    state: State,
}

enum State {
    Here { found: Found, train: usize, test: usize },
    Absent,
    Damaged(DatasetError),
}

impl Row {
    fn of(entry: &'static Entry, library: &Library) -> Self {
        let look = || -> Result<State, DatasetError> {
            let found = library.find(entry.name)?;
            let [train, test] = dataset::load(entry.name, &found.folder)?.len();
            Ok(State::Here { found, train, test })
        };
        let state = match look() {
            Ok(state) => state,
            Err(DatasetError::NotFound { .. }) => State::Absent,
            Err(error) => State::Damaged(error),
        };
        Self { entry, state }
    }

    fn print(&self) {
        let name = self.entry.name;
        match &self.state {
            State::Here { found, train, test } => {
                let (train, test) = (grouped(*train), grouped(*test));
                println!("{name:14} {train:>7} train {test:>7} test   {}", found.folder.display());
                println!("{:14} {}", "", found.source);
            }
            State::Absent => println!("{name:14} not here; run: graftwork data fetch {name}"),
            State::Damaged(error) => println!("{name:14} damaged: {error}"),
        }
    }

    fn json(&self) -> Value {
        let name = self.entry.name;
        match &self.state {
            State::Here { found, train, test } => json!({
                "name": name,
                "found": true,
                "folder": found.folder,
                "source": found.source,
                "digest": found.digest,
                "train": train,
                "test": test,
            }),
            State::Absent => json!({ "name": name, "found": false }),
            State::Damaged(error) => {
                json!({ "name": name, "found": true, "error": error.to_string() })
            }
        }
    }
}

// fetch

fn fetch(names: &[String], via: Option<Via>, context: &Context) -> anyhow::Result<Outcome> {
    // A typing error in the last name shall not cost the download of the first.
    for name in names {
        dataset::entry(name)?;
    }
    let library = library(context);
    let to = context.data.clone().unwrap_or_else(user_data_folder);
    let mut receipts = Vec::new();
    for name in names {
        let there = if via.is_none() { library.find(name).ok() } else { None };
        let receipt = match there {
            Some(found) => Done::Here(found),
            None => Done::Fetched(fetch_one(name, &to, via)?),
        };
        if !context.json {
            receipt.print();
        }
        receipts.push(receipt.json()?);
    }
    if context.json {
        println!("{}", serde_json::to_string_pretty(&receipts)?);
    }
    Ok(Outcome::Fine)
}

fn fetch_one(name: &str, to: &Path, via: Option<Via>) -> anyhow::Result<Receipt> {
    let terminal = std::io::stderr().is_terminal();
    let mut bar: Option<(String, ProgressBar)> = None;
    let mut show = |progress: Progress<'_>| {
        if bar.as_ref().is_none_or(|(what, _)| what != progress.what) {
            if !terminal {
                eprintln!("{name}: getting {}", progress.what);
            }
            bar = Some((progress.what.to_owned(), progress_bar(&progress)));
        }
        if let Some((_, bar)) = &bar {
            bar.set_position(progress.done);
        }
    };
    let receipt = dataset::fetch(name, to, via, &mut show)?;
    if let Some((_, bar)) = bar {
        bar.finish_and_clear();
    }
    Ok(receipt)
}

fn progress_bar(progress: &Progress<'_>) -> ProgressBar {
    let (bar, template) = match progress.total {
        Some(total) => (
            ProgressBar::new(total),
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    if progress.total.is_none() {
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
    }
    let style = ProgressStyle::with_template(template).expect("the template is legal");
    bar.with_style(style).with_message(progress.what.to_owned())
}

enum Done {
    Here(Found),
    Fetched(Receipt),
}

impl Done {
    fn print(&self) {
        match self {
            Self::Here(found) => println!(
                "{}: already in {} ({}); nothing was fetched",
                found.name,
                found.folder.display(),
                found.source
            ),
            Self::Fetched(receipt) => {
                for reason in &receipt.failed {
                    println!("{}: did not work: {reason}", receipt.name);
                }
                for file in &receipt.files {
                    let verb = if file.kept { "kept" } else { "fetched" };
                    println!("{}: {verb} {}", receipt.name, file.path.display());
                    println!("    from {}", file.from);
                    println!("    {} bytes, SHA-256 {}", grouped(file.bytes as usize), file.sha256);
                }
            }
        }
    }

    fn json(&self) -> serde_json::Result<Value> {
        match self {
            Self::Here(found) => {
                Ok(json!({ "name": found.name, "via": null, "folder": found.folder, "files": [] }))
            }
            Self::Fetched(receipt) => serde_json::to_value(receipt),
        }
    }
}

// info and path

fn info(name: &str, context: &Context) -> anyhow::Result<Outcome> {
    let entry = dataset::entry(name)?;
    let found = library(context).find(name)?;
    let loaded = dataset::load(name, &found.folder)?;
    if context.json {
        let text = serde_json::to_string_pretty(&describe_as_json(entry, &found, &loaded))?;
        println!("{text}");
    } else {
        describe(entry, &found, &loaded);
    }
    Ok(Outcome::Fine)
}

fn describe(entry: &Entry, found: &Found, loaded: &Loaded) {
    let files: Vec<_> = found.files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    println!("{}: {}", entry.name, entry.title);
    println!("  found as  {}", found.source);
    println!("  folder    {}", found.folder.display());
    println!("  files     {}", files.join(", "));
    println!("  digest    BLAKE3 {}", found.digest);
    println!("  {}", examples(entry.kind));
    let [train, test] = loaded.len();
    println!(
        "  splits    train {}, test {}; val is carved from train by a stage's val-fraction and split-seed",
        share(train, entry.whole[0]),
        share(test, entry.whole[1])
    );
    println!("  licence   {}", entry.licence);
    println!("  cite      {}", entry.citation);
    println!("  classes   {}", entry.classes());
    let [train, test] = loaded.labels().map(|labels| dataset::balance(&labels, entry.classes()));
    if entry.classes() > 20 {
        println!("            {} in train, {} in test", span(&train), span(&test));
        return;
    }
    let width = entry.class_names.iter().map(|name| name.len()).max().unwrap_or(0).max(12);
    println!("            {:>2} {:width$} {:>7} {:>7}", "", "", "train", "test");
    for (label, name) in entry.class_names.iter().enumerate() {
        let (train, test) = (grouped(train[label]), grouped(test[label]));
        println!("            {label:>2} {name:width$} {train:>7} {test:>7}");
    }
}

/// What the examples are, as a line of the description.
fn examples(kind: Kind) -> String {
    match kind {
        Kind::Images { shape: [channels, height, width] } => {
            let colour = if channels == 1 { "grey" } else { "colour" };
            format!(
                "images    {height}×{width} {colour}, [{channels}, {height}, {width}], bytes 0 to 255"
            )
        }
        Kind::Recordings { rate } => {
            format!("sound     one channel, 16 bits, {} samples a second", grouped(rate as usize))
        }
        Kind::Bags { words } => format!("texts     counts of {} words", grouped(words as usize)),
        Kind::Texts => "texts     as they are; a stage numbers their words".to_owned(),
    }
}

/// How many examples a split has, and how many the owner's where those are others.
fn share(here: usize, whole: usize) -> String {
    let text = grouped(here);
    if here == whole { text } else { format!("{text} (the owner's has {})", grouped(whole)) }
}

/// How many examples the classes have, in a few words.
fn span(counts: &[usize]) -> String {
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most} each"),
        (Some(least), _) => format!("{least} each"),
        _ => "none".to_owned(),
    }
}

fn describe_as_json(entry: &Entry, found: &Found, loaded: &Loaded) -> Value {
    let split = |labels: &[u8], whole: usize| {
        let balance = dataset::balance(labels, entry.classes());
        json!({ "examples": labels.len(), "owner-examples": whole, "balance": balance })
    };
    let [train, test] = loaded.labels();
    let mut value = json!({
        "name": entry.name,
        "title": entry.title,
        "source": found.source,
        "folder": found.folder,
        "files": found.files,
        "digest": found.digest,
        "class-names": entry.class_names,
        "splits": {
            "train": split(&train, entry.whole[0]),
            "test": split(&test, entry.whole[1]),
        },
        "licence": entry.licence,
        "citation": entry.citation,
    });
    let (kind, key, detail) = match entry.kind {
        Kind::Images { shape } => ("images", "shape", json!(shape)),
        Kind::Recordings { rate } => ("recordings", "rate", json!(rate)),
        Kind::Bags { words } => ("bags-of-words", "words", json!(words)),
        Kind::Texts => ("texts", "words", Value::Null),
    };
    value["kind"] = json!(kind);
    value[key] = detail;
    value
}

fn path(name: &str, context: &Context) -> anyhow::Result<Outcome> {
    let found = library(context).find(name)?;
    if context.json {
        println!("{}", json!({ "name": found.name, "folder": found.folder }));
    } else {
        println!("{}", found.folder.display());
    }
    Ok(Outcome::Fine)
}

/// `60000` as `60,000`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let numbers = [0, 999, 1000, 60_000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "60,000", "1,234,567"]);
    }

    #[test]
    fn a_subset_is_told() {
        assert_eq!(share(10_000, 10_000), "10,000");
        assert_eq!(share(15_000, 50_000), "15,000 (the owner's has 50,000)");
    }

    #[test]
    fn a_balance_is_told_in_a_few_words() {
        assert_eq!(span(&[150, 150]), "150 each");
        assert_eq!(span(&[3, 9, 4]), "3 to 9 each");
    }
}
