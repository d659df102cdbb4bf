//! The progress of a training stage: what a resumed attempt needs to go on as if never interrupted.
//!
//! `progress.safetensors` in the draft holds the network (`network.<name>`), the optimizer's state
//! (`optimizer.<entry>.<name>`), an auxiliary network (`auxiliary.<name>`) and the best network so
//! far (`best.<name>`); its header holds the epoch and the points recorded so far. It is written at
//! the end of an epoch, at most every five seconds; in between the state of the last epoch's end is
//! kept as a copy in memory, so that a stop loses only the epoch that it interrupts. A model whose
//! epochs are longer than that is never copied.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use graftwork::protocol::{Job, Point, epoch_file};
use graftwork::recipe::StageKey;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::choice::History;
use super::optimizer::{AUXILIARY, Optimizer};
use crate::checkpoint::{self, CheckpointError};
use crate::model::Model;

const NETWORK: &str = "network.";
const BEST: &str = "best.";

/// The least time between two writes.
const INTERVAL: Duration = Duration::from_secs(5);

/// The file's header.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Header {
    /// The stage; another's progress is none of ours.
    pub key: StageKey,
    /// Whole epochs done.
    pub epoch: u32,
    pub history: History,
    /// All points recorded so far.
    pub points: Vec<Point>,
}

/// What training changes, at the end of an epoch.
pub(super) struct State<'a> {
    pub model: &'a Model,
    pub auxiliary: Option<&'a Model>,
    pub optimizer: &'a Optimizer,
    pub best: Option<&'a IndexMap<String, Tensor>>,
}

impl State<'_> {
    /// Everything under the file's names, sharing memory with what training goes on changing.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let of = |prefix: &'static str, model: &Model| -> Vec<(String, Tensor)> {
            let values = model.params().iter();
            values
                .map(|(name, parameter)| (format!("{prefix}{name}"), parameter.value.detach()))
                .collect()
        };
        let mut tensors = of(NETWORK, self.model);
        tensors.extend(self.optimizer.state());
        tensors.extend(self.auxiliary.into_iter().flat_map(|model| of(AUXILIARY, model)));
        let best = self.best.into_iter().flatten();
        tensors.extend(best.map(|(name, value)| (format!("{BEST}{name}"), value.shallow_clone())));
        tensors
    }
}

/// Writes progress, not too often.
pub(super) struct Writer {
    path: PathBuf,
    written: Instant,
    /// The last epoch's end, where it is not on disk.
    unwritten: Option<(Vec<(String, Tensor)>, String)>,
}

/// Where a stage's progress lies.
fn path(draft: &Path) -> PathBuf {
    draft.join("progress.safetensors")
}

impl Writer {
    pub(super) fn new(draft: &Path) -> Self {
        Self { path: path(draft), written: Instant::now(), unwritten: None }
    }

    /// Takes the end of an epoch in.
    pub(super) fn keep(
        &mut self,
        state: &State<'_>,
        header: &Header,
    ) -> Result<(), CheckpointError> {
        let mut tensors = state.tensors();
        let due = self.written.elapsed() >= INTERVAL;
        if !due {
            // The best network is a copy already, and never written to.
            for (_, tensor) in tensors.iter_mut().filter(|(name, _)| !name.starts_with(BEST)) {
                *tensor = tensor.copy();
            }
        }
        let header = serde_json::to_string(header).expect("progress is plain JSON");
        self.unwritten = Some((tensors, header));
        if due { self.flush() } else { Ok(()) }
    }

    /// Writes what is not on disk.
    pub(super) fn flush(&mut self) -> Result<(), CheckpointError> {
        let Some((tensors, header)) = self.unwritten.take() else { return Ok(()) };
        let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        checkpoint::write_tensors(&self.path, tensors, &header)?;
        self.written = Instant::now();
        Ok(())
    }
}

/// What was read: the header, and the best network so far.
pub(super) type Resumed = (Header, Option<IndexMap<String, Tensor>>);

/// Goes back to the saved progress of this stage; `None` when there is none.
///
/// # Errors
/// Why the file cannot be used; then nothing but the optimizer's state has changed.
pub(super) fn resume(
    job: &Job,
    model: &mut Model,
    auxiliary: Option<&mut Model>,
    optimizer: &mut Optimizer,
) -> Result<Option<Resumed>, String> {
    let path = path(&job.draft);
    if !path.exists() {
        return Ok(None);
    }
    let (mut tensors, header) =
        checkpoint::read_tensors(&path).map_err(|error| error.to_string())?;
    let header: Header = serde_json::from_str(&header).map_err(|error| error.to_string())?;
    if header.key != job.key {
        return Err(format!("it belongs to stage {}", header.key.short()));
    }
    // Which epochs are to be kept may have changed since.
    let mut past = job.keep_epochs.range(..=header.epoch).map(|&epoch| epoch_file(epoch));
    if let Some(file) = past.find(|file| !job.draft.join(file).exists()) {
        return Err(format!("it is past an epoch whose `{file}` was not asked for"));
    }
    let network = take(&mut tensors, NETWORK, model)?;
    let other = match auxiliary.as_deref() {
        Some(model) => Some(take(&mut tensors, AUXILIARY, model)?),
        None => None,
    };
    let has_best = tensors.keys().any(|name| name.starts_with(BEST));
    let best = if has_best { Some(take(&mut tensors, BEST, model)?) } else { None };
    optimizer.restore(&mut tensors)?;
    if let Some((name, _)) = tensors.first() {
        return Err(format!("`{name}` belongs to nothing"));
    }
    set_values(model, &network);
    if let (Some(model), Some(values)) = (auxiliary, other) {
        set_values(model, &values);
    }
    Ok(Some((header, best)))
}

/// Takes a network's values out of `tensors`, onto its device.
fn take(
    tensors: &mut IndexMap<String, Tensor>,
    prefix: &str,
    model: &Model,
) -> Result<IndexMap<String, Tensor>, String> {
    let values = model.params().iter().map(|(name, parameter)| {
        let full = format!("{prefix}{name}");
        let value = tensors.swap_remove(&full);
        let value = value.filter(|value| value.size() == parameter.value.size());
        let value = value.ok_or_else(|| format!("`{full}` is missing or of another shape"))?;
        Ok((name.clone(), value.to_device(model.device())))
    });
    values.collect()
}

/// Gives a network other values.
pub(super) fn set_values(model: &mut Model, values: &IndexMap<String, Tensor>) {
    no_grad(|| {
        for (name, parameter) in model.params_mut() {
            parameter.value.copy_(&values[name]);
        }
    });
}

/// Deletes a stage's progress, once its checkpoint is there.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn discard(draft: &Path) -> Result<(), CheckpointError> {
    let path = path(draft);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CheckpointError::Io { path, error })
        }
        _ => Ok(()),
    }
}
