//! `graftwork schema`.

use super::{Context, Outcome};
use crate::experiment;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

#[expect(clippy::unnecessary_wraps, reason = "all commands have one signature")]
pub(super) fn run(_args: &Args, _context: &Context) -> anyhow::Result<Outcome> {
    println!("{:#}", experiment::schema());
    Ok(Outcome::Fine)
}
