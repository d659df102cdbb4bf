//! Checkpoints for other programs: safetensors with PyTorch's names, and ONNX.
//!
//! A checkpoint's `model.safetensors` holds the network in its header, so that it alone can be written in
//! any format, without LibTorch.

mod checkpoint;
mod onnx;

pub use checkpoint::{Checkpoint, Dtype, Tensor};

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What a checkpoint can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Parameters and buffers under PyTorch's names, for `load_state_dict`.
    Safetensors,
    /// The network with its parameters, for any runtime; opset 18.
    Onnx,
}

impl Format {
    /// The format that goes with a file's name.
    pub fn of(file_name: &str) -> Option<Self> {
        match file_name.rsplit_once('.')?.1 {
            "safetensors" => Some(Self::Safetensors),
            "onnx" => Some(Self::Onnx),
            _ => None,
        }
    }
}

/// Why a checkpoint cannot be written in another format.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The file system said no.
    #[error("cannot read {}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The stage leaves no network.
    #[error("there is no network in {}; stages of kind `command` leave files of their own", .folder.display())]
    NoNetwork {
        /// The stage's folder.
        folder: PathBuf,
    },
    /// The file is none that a stage leaves.
    #[error("{} is damaged: {reason}; delete its folder and run again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// What a program computes is not known layer by layer.
    #[error(
        "the network is a TorchScript program, whose layers are not known; export it with `--to NAME.safetensors` and load that into the program in Python: `load_state_dict(safetensors.torch.load_file(PATH))`"
    )]
    Program,
    /// Domains have layers of their own, and none was chosen.
    #[error("the network has layers of each domain's own; choose one with `--domain`: {}", .domains.join(", "))]
    NoDomain {
        /// The domains.
        domains: Vec<String>,
    },
    /// The network has no such domain.
    #[error("the network has no layers of a domain `{domain}`; its domains are: {}", list(.domains))]
    UnknownDomain {
        /// What was asked for.
        domain: String,
        /// The domains.
        domains: Vec<String>,
    },
}

fn list(domains: &[String]) -> String {
    if domains.is_empty() { "none".to_owned() } else { domains.join(", ") }
}

/// Writes a checkpoint in a format.
///
/// # Errors
/// For a checkpoint that [`Checkpoint::read`] has read, only if its tensors do not fit its network, or if the
/// network is a program and the format is ONNX.
pub fn write(checkpoint: &Checkpoint, format: Format) -> Result<Vec<u8>, ExportError> {
    match format {
        Format::Safetensors => checkpoint.to_safetensors(),
        Format::Onnx => onnx::write(checkpoint),
    }
}
