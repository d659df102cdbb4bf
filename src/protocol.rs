//! The messages between the orchestrator and an engine process: JSON, one message a line.
//!
//! The orchestrator writes [`Request`]s to the engine's standard input, the engine writes [`Event`]s
//! to its standard output; whatever else it has to say goes to the stage's log or to standard error.
//! An engine runs one stage at a time and stays alive between stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::experiment::spec::Stage;
use crate::recipe::StageKey;

/// From the orchestrator to the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Run a stage; answered by events that end with `done`, `stopped` or `failed`.
    Run(Box<Job>),
    /// Save progress at the next step and answer `stopped`.
    Stop {},
}

/// A stage to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Job {
    /// The key of its result.
    pub key: StageKey,
    /// The stage's name, for messages.
    pub name: String,
    /// The stage, with all defaults.
    pub stage: Stage,
    /// Seed of all random draws.
    pub seed: u64,
    /// Folders of the input checkpoints, by role.
    pub inputs: BTreeMap<String, PathBuf>,
    /// The folders of the datasets, by name, as `dataset::Library::find` found them.
    pub data: BTreeMap<String, PathBuf>,
    /// The folder that the stage writes into; progress of an interrupted attempt may lie there.
    pub draft: PathBuf,
    /// The folder of the experiment file; paths of the stage's files are relative to it.
    pub folder: PathBuf,
    /// Content digests of the stage's files, by the name that the stage gives them.
    pub files: BTreeMap<String, String>,
    /// Epochs after which the network is kept in an [`epoch_file`] beside the stage's result; 0: before
    /// the first.
    pub keep_epochs: BTreeSet<u32>,
    /// CPU threads to compute with, where not as many as the engine has: what is made again is made as it
    /// was, since sums are split among the threads and come out otherwise in the last bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}

/// The file of a checkpoint that holds the program of a network that is one; the values that it had when it
/// was made are no longer those of the network.
pub const PROGRAM_FILE: &str = "program.pt";

/// The file of a checkpoint that holds the network as it was after an epoch: `epoch-3.safetensors`.
pub fn epoch_file(epoch: u32) -> String {
    format!("epoch-{epoch}.safetensors")
}

/// The epoch whose network a file of a checkpoint holds, if it is such a file.
pub fn epoch_of_file(name: &str) -> Option<u32> {
    let epoch = name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.parse().ok()?;
    (epoch_file(epoch) == name).then_some(epoch)
}

/// From the engine to the orchestrator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The engine is up; sent once.
    Ready(Ready),
    /// How far the stage is.
    Progress(Progress),
    /// Measured values, in the order in which they were measured.
    Metrics(Vec<Point>),
    /// The stage is finished and its files are in the draft folder.
    Done {},
    /// The stage saved its progress and stopped, as it was asked to.
    Stopped {},
    /// The stage failed; the engine is ready for another.
    Failed {
        /// What went wrong and what to do, in one line.
        error: String,
    },
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ready {
    /// The engine's version.
    pub version: String,
    /// Version of the LibTorch that it is linked to.
    pub libtorch: String,
    /// The device that it computes on: `cpu`, `cuda:0`.
    pub device: String,
    /// CPU threads that LibTorch uses.
    pub threads: u32,
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Progress {
    /// Steps done, counting those of an earlier attempt that this one resumes.
    pub done: u64,
    /// Steps in all; may change while the stage runs.
    pub total: u64,
    /// What it is doing, for people: `epoch 3/10, loss 0.231`.
    pub note: String,
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Point {
    /// Name of the metric: `train/loss`, `mnist:test/accuracy`, `sparsity`.
    pub name: String,
    /// Epoch after which it was measured, 1-based; 0 before training, and for stages without epochs.
    pub step: u64,
    /// The value; not-a-number and infinities are written as texts, which JSON has no numbers for.
    #[serde(with = "any_float")]
    pub value: f64,
}

mod any_float {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else {
            serializer.collect_str(value)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(value) => Ok(value),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_an_epoch_is_known_by_its_name() {
        for epoch in [0, 3, u32::MAX] {
            assert_eq!(epoch_of_file(&epoch_file(epoch)), Some(epoch));
        }
        for name in ["epoch-03.safetensors", "epoch-+3.safetensors", "epoch-3", "model.safetensors"]
        {
            assert_eq!(epoch_of_file(name), None, "{name}");
        }
    }

    #[test]
    fn values_that_json_has_no_number_for_survive_the_line() {
        for value in [0.25, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let point = Point { name: "train/loss".to_owned(), step: 3, value };
            let line = serde_json::to_string(&point).unwrap();
            let read: Point = serde_json::from_str(&line).unwrap();
            assert_eq!(read.value.to_bits(), value.to_bits(), "{line}");
        }
    }
}
