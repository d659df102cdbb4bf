//! The command line of graftwork.

fn main() -> std::process::ExitCode {
    graftwork::cli::main()
}
