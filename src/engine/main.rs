//! The engine process. People start `graftwork`, which starts this.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use graftwork_engine::{device, worker};

/// The LibTorch executor of graftwork; `graftwork run` starts it.
#[derive(Debug, Parser)]
#[command(name = "graftwork-engine", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads requests from standard input and writes events to standard output, a JSON line each
    Worker {
        /// Where to compute: `auto`, `cpu`, `cuda:N`
        #[arg(long, default_value = "auto")]
        device: String,
        /// CPU threads of LibTorch
        #[arg(long, default_value_t = 1)]
        threads: u32,
    },
}

fn main() -> ExitCode {
    let Command::Worker { device: wanted, threads } = Cli::parse().command;
    let result = device::open(&wanted)
        .and_then(|device| worker::serve(device, threads).map_err(|error| error.to_string()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the process's last word; standard output is the protocol")]
fn report(error: &str) {
    eprintln!("graftwork-engine: {error}");
}
