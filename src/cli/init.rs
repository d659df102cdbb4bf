//! `graftwork init`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{Context, Outcome};

/// The file that is written; `NAME` stands for the experiment's name.
const TEMPLATE: &str = include_str!("init.toml");

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write
    #[arg(default_value = "experiment.toml")]
    file: PathBuf,
}

pub(super) fn run(args: &Args, _context: &Context) -> anyhow::Result<Outcome> {
    let file = args.file.display();
    let mut new = match File::create_new(&args.file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("`{file}` is there already and stays as it is; name another file")
        }
        other => other.with_context(|| format!("cannot write `{file}`"))?,
    };
    let name = name(&args.file);
    if let Err(error) = new.write_all(TEMPLATE.replace("NAME", &name).as_bytes()) {
        // Half a file would be worse than none.
        let _ = fs::remove_file(&args.file);
        return Err(error).with_context(|| format!("cannot write `{file}`"));
    }
    eprintln!("wrote `{file}`; next: graftwork data fetch mnist optdigits && graftwork run {file}");
    Ok(Outcome::Fine)
}

/// The experiment's name: that of the file, with what a name cannot have left out.
fn name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let legal = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let name: String = stem.chars().filter(legal).collect();
    let name = name.trim_start_matches(['.', '_', '-']);
    if name.is_empty() { "experiment".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_name_can_be() {
        let named = ["digits.toml", "a/b/-my study.v2.toml", "été.toml", "…"].map(Path::new);
        assert_eq!(named.map(name), ["digits", "mystudy.v2", "t", "experiment"]);
    }
}
