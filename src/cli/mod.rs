//! The command line: one file per command. It reads arguments and prints; the rooms decide.
//!
//! Standard output is data, standard error is talk. Exit codes: 0 fine, 1 findings, 2 usage or
//! configuration, 3 a stage failed, 130 interrupted.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this room is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "this room reads the environment and the clock for the others"
)]

mod adaptation;
mod check;
mod claims;
mod completions;
mod data;
mod diff;
mod export;
mod export_plan;
mod files;
mod init;
mod ledger;
mod log;
mod network;
mod pipe;
mod plan;
mod prepare;
mod progress;
mod query;
mod report;
mod run;
mod schema;
mod show;
mod stage;
mod status;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs declared experiments on neural networks: pretrain, prune, finetune, adapt.
#[derive(Debug, Parser)]
#[command(name = "graftwork", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    command: Command,
}

/// What every command is told.
#[derive(Debug, clap::Args)]
pub struct Context {
    /// Folder of the ledger and the checkpoints.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "GRAFTWORK_RESULTS",
        default_value = "results",
        help_heading = "Global options"
    )]
    pub results: PathBuf,
    /// Folder of the datasets; searched before the user data folder.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "GRAFTWORK_DATA",
        help_heading = "Global options"
    )]
    pub data: Option<PathBuf>,
    /// Writes JSON for programs instead of text for people.
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs what an experiment needs and nothing else
    Run(run::Args),
    /// Shows what a run would do, and why
    Plan(plan::Args),
    /// Says what tells two experiments apart, or two revisions of one
    Diff(diff::Args),
    /// Prints the resolved plan as JSON for other tools
    ExportPlan(export_plan::Args),
    /// Reports every fault of experiment files
    Check(check::Args),
    /// Answers an experiment as a table over seeds
    Table(table::Args),
    /// Shows at length what a stage measured
    Report(report::Args),
    /// Answers an SQL query on the ledger (read-only)
    Query(query::Args),
    /// Shows runs and the state of an experiment's stages
    Status(status::Args),
    /// Shows a stage's settings, attempts, metrics and log
    Log(log::Args),
    /// Writes a stage's network for PyTorch or ONNX
    Export(export::Args),
    /// Lists, fetches and describes datasets
    Data(data::Args),
    /// Shows a stage's network layer by layer
    Network(network::Args),
    /// Writes a commented experiment to start from
    Init(init::Args),
    /// Prints the JSON Schema of experiment files
    Schema(schema::Args),
    /// Prints the completions of a shell
    Completions(completions::Args),
    /// Maintains the ledger
    Ledger(ledger::Args),
}

/// How a command ended, when nothing went wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Fine,
    /// A check found faults, which have been printed.
    Findings,
    /// The experiment or the arguments are wrong, and it has been said how.
    Usage,
    /// A stage failed, and it has been said which.
    StageFailed,
    /// The user interrupted.
    Interrupted,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Fine => 0,
            Outcome::Findings => 1,
            Outcome::Usage => 2,
            Outcome::StageFailed => 3,
            Outcome::Interrupted => 130,
        })
    }
}

/// Parses the arguments, runs the command, and turns its outcome into the exit code.
pub fn main() -> ExitCode {
    let Cli { context, command } = Cli::parse();
    let outcome = pipe::until_closed(|| match command {
        Command::Run(args) => run::run(&args, &context),
        Command::Plan(args) => plan::run(&args, &context),
        Command::Diff(args) => diff::run(&args, &context),
        Command::ExportPlan(args) => export_plan::run(&args, &context),
        Command::Check(args) => check::run(&args, &context),
        Command::Table(args) => table::run(&args, &context),
        Command::Report(args) => report::run(&args, &context),
        Command::Query(args) => query::run(&args, &context),
        Command::Status(args) => status::run(&args, &context),
        Command::Log(args) => log::run(&args, &context),
        Command::Export(args) => export::run(&args, &context),
        Command::Data(args) => data::run(&args, &context),
        Command::Network(args) => network::run(&args, &context),
        Command::Init(args) => init::run(&args, &context),
        Command::Schema(args) => schema::run(&args, &context),
        Command::Completions(args) => completions::run(&args, &context),
        Command::Ledger(args) => ledger::run(&args, &context),
    });
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Outcome::Usage.into()
        }
    }
}
