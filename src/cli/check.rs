//! `graftwork check`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::files::{self, Read};
use super::{Context, Outcome};
use crate::experiment::{Checked, Fault};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Experiment files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Checks as if the files said so: thin.sparsity=0.8, 'seeds=[0, 1]'
    ///
    /// The key starts with a stage's name and leaves out the kind, or is a path from the root of the
    /// file. The value is TOML; a bare word is a string. A key that is swept leaves the sweep.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Prints the experiment in one piece: with what it extends, variables written out, `--set`s applied
    #[arg(long)]
    resolved: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        !(args.resolved && context.json),
        "`--resolved` prints TOML; leave out `--json`"
    );
    let mut all: Vec<Fault> = Vec::new();
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for file in &args.files {
        let Read { name, checked, .. } = files::load(file, &args.sets)?;
        if !context.json {
            match &checked {
                Ok(checked) if args.resolved => println!("# {name}\n{}", checked.to_toml()),
                Ok(checked) => println!("{name}: {}", summary(checked)),
                Err(faults) => println!("{}\n", faults.render(coloured)),
            }
        }
        all.extend(checked.err().map(|faults| faults.0).unwrap_or_default());
    }
    if context.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(if all.is_empty() { Outcome::Fine } else { Outcome::Findings })
}

/// `fine: 4 stages, 18 trials (2 axes, 3 seeds)`
fn summary(checked: &Checked) -> String {
    let count = |count: usize, one: &str, many: &str| {
        format!("{count} {}", if count == 1 { one } else { many })
    };
    let experiment = &checked.experiment;
    format!(
        "fine: {}, {} ({}, {})",
        count(experiment.stage.len(), "stage", "stages"),
        count(checked.trial_count(), "trial", "trials"),
        count(experiment.sweep.axes().count(), "axis", "axes"),
        count(experiment.seeds.len(), "seed", "seeds"),
    )
}
