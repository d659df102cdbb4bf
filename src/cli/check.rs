//! `graftwork check`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Context, Outcome};
use crate::experiment::{self, Checked, Fault};

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
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let mut all: Vec<Fault> = Vec::new();
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for file in &args.files {
        let name = file.display().to_string();
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read `{name}`"))?;
        let folder = super::prepare::folder(file);
        let loaded = experiment::load(&name, &text, &args.sets).and_then(|checked| {
            checked.look_beside(&|path| folder.join(path).is_file()).map(|()| checked)
        });
        if !context.json {
            match &loaded {
                Ok(checked) => println!("{name}: {}", summary(checked)),
                Err(faults) => println!("{}\n", faults.render(coloured)),
            }
        }
        all.extend(loaded.err().map(|faults| faults.0).unwrap_or_default());
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
        count(checked.trials().len(), "trial", "trials"),
        count(experiment.sweep.axes().count(), "axis", "axes"),
        count(experiment.seeds.len(), "seed", "seeds"),
    )
}
