//! `graftwork completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Context, Outcome};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "all commands have one signature")]
pub(super) fn run(args: &Args, _context: &Context) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "graftwork", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Ok(Outcome::Fine)
}
