//! `graftwork export-plan`.

use super::prepare::{ExperimentArgs, Planned};
use super::{Context, Outcome};
use crate::plan::export;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    experiment: ExperimentArgs,
}

/// The document is JSON whether or not `--json` says so.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let Some(planned) = Planned::new(&args.experiment.file, &args.experiment.sets, context)? else {
        return Ok(Outcome::Usage);
    };
    let document = export(&planned.plan, &planned.checked.experiment.name);
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(planned.outcome())
}
