//! `graftwork ledger`.

use serde_json::json;

use super::prepare::ledger_path;
use super::{Context, Outcome, show};
use crate::ledger::Ledger;

/// Maintains the ledger.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Restores settings, lineage and metrics of every checkpoint in the store
    ///
    /// Works on a ledger that is there, and makes one where there is none. Which runs and trials there
    /// were is not in the store: `graftwork run FILE` records them anew and finds all cached.
    Rebuild {},
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    match args.command {
        Command::Rebuild {} => rebuild(context),
    }
}

fn rebuild(context: &Context) -> anyhow::Result<Outcome> {
    let store = context.results.join("store");
    anyhow::ensure!(
        store.is_dir(),
        "no checkpoints in `{}`; name the results folder with --results",
        store.display()
    );
    let path = ledger_path(&context.results);
    let rebuilt = Ledger::open(&path)?.rebuild(&store)?;
    for (folder, reason) in &rebuilt.skipped {
        eprintln!("warning: `{}` left out: {reason}", folder.display());
    }
    if context.json {
        let skipped = rebuilt.skipped.iter();
        let skipped = skipped.map(|(folder, reason)| json!({ "folder": folder, "reason": reason }));
        show::write_json(&json!({
            "ledger": path,
            "restored": rebuilt.restored,
            "known": rebuilt.known,
            "points": rebuilt.points,
            "skipped": skipped.collect::<Vec<_>>(),
        }))?;
    } else {
        show::write(&format!(
            "{}: {} checkpoints restored with {} values, {} known already, {} left out\n",
            path.display(),
            rebuilt.restored,
            rebuilt.points,
            rebuilt.known,
            rebuilt.skipped.len()
        ))?;
    }
    Ok(if rebuilt.skipped.is_empty() { Outcome::Fine } else { Outcome::Findings })
}
