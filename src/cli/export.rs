//! `graftwork export`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{Context, Outcome, show, stage};
use crate::export::{self, Checkpoint, Format};
use crate::store::Store;

/// Writes the network that a stage left for other programs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of a stage, or the first digits of its key
    stage: String,
    /// The file to write: `NAME.safetensors` for PyTorch's `load_state_dict`, `NAME.onnx` for any runtime
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The experiment that the stage belongs to; default: the one that ran last
    #[arg(long, short, value_name = "NAME")]
    experiment: Option<String>,
    /// The domain whose own layers are taken, in a network that was adapted with `specific`
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Outcome> {
    let name = args.to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(format) = Format::of(&name) else {
        anyhow::bail!("--to cannot be `{}`: end it in .safetensors or .onnx", args.to.display());
    };
    let ledger = show::ledger(context)?;
    let key = stage::find(&ledger, &args.stage, args.experiment.as_deref())?;
    let store = Store::open(context.results.join("store"));
    if !store.contains(&key) {
        anyhow::bail!(
            "`{}` ({}) has no checkpoint; run its experiment first",
            args.stage,
            key.short()
        );
    }
    let checkpoint = Checkpoint::read(&store.path(&key), args.domain.as_deref())?;
    let bytes = export::write(&checkpoint, format)?;
    whole_or_not(&args.to, &bytes)?;
    let params = checkpoint.network.param_count();
    if context.json {
        show::write_json(&json!({
            "file": args.to,
            "key": key.to_string(),
            "arch": checkpoint.network.arch,
            "params": params,
            "bytes": bytes.len(),
        }))?;
    } else {
        show::write(&format!(
            "{}: {} with {params} parameters, {} bytes\n",
            args.to.display(),
            checkpoint.network.arch,
            bytes.len()
        ))?;
    }
    Ok(Outcome::Fine)
}

/// Writes a file beside its place first, so that one of that name stays until the new one is whole.
fn whole_or_not(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    // As other files: what the user's mask lets through. Temporary files are private otherwise.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let write = || {
        let mut file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).with_context(|| format!("cannot write `{}`", path.display()))
}
