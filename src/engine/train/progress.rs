//! The progress of a training stage: what a resumed attempt needs to go on as if never interrupted.
//!
//! `progress.safetensors` in the draft holds the network (`network.<name>`), the optimizer's state
//! (`optimizer.<entry>.<name>`), an auxiliary network (`auxiliary.<name>`) and the best network so
//! far (`best.<name>`); where training changes masks also those (`mask.<name>`, `best-mask.<name>`). Its
//! header holds the epoch and the points recorded so far. It is written at the end of an epoch, at most every five seconds; in between the state of the last epoch's end is
//! kept as a copy in memory, so that a stop loses only the epoch that it interrupts. A model whose
//! epochs are longer than that is never copied.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use graftwork::protocol::{Job, Point, epoch_file};
use graftwork::recipe::StageKey;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};

use super::choice::History;
use super::optimizer::{AUXILIARY, Optimizer};
use crate::checkpoint::{self, CheckpointError};
use crate::model::Model;

const NETWORK: &str = "network.";
const MASK: &str = "mask.";
const BEST: &str = "best.";
const BEST_MASK: &str = "best-mask.";

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

/// A network at the end of an epoch: its values, and its masks where training changes them.
pub(super) struct Snapshot {
    values: IndexMap<String, Tensor>,
    /// One byte a weight, of the parameters that have a mask.
    masks: Option<IndexMap<String, Tensor>>,
}

impl Snapshot {
    /// Copies.
    pub(super) fn of(model: &Model, with_masks: bool) -> Self {
        let values = model.params().iter();
        let values = values
            .map(|(name, parameter)| (name.clone(), parameter.value.detach().copy()))
            .collect();
        Self { values, masks: with_masks.then(|| masks(model)) }
    }

    /// Gives the network its values and masks back.
    pub(super) fn restore(&self, model: &mut Model) {
        set_values(model, &self.values);
        let Some(masks) = &self.masks else { return };
        let device = model.device();
        for (name, parameter) in model.params_mut() {
            let mask = masks.get(name);
            parameter.mask = mask.map(|mask| mask.to_device(device).to_kind(Kind::Float));
        }
    }

    /// Takes a network's values and masks out of `tensors`, onto its device.
    fn take(
        tensors: &mut IndexMap<String, Tensor>,
        prefix: &str,
        mask_prefix: Option<&str>,
        model: &Model,
    ) -> Result<Self, String> {
        let values = take(tensors, prefix, model)?;
        let masks = mask_prefix.map(|prefix| {
            let found = model.params().iter().filter_map(|(name, parameter)| {
                let full = format!("{prefix}{name}");
                let mask = tensors.swap_remove(&full)?;
                let fits = mask.size() == parameter.value.size();
                Some(if fits { Ok((name.clone(), mask)) } else { Err(of_another_shape(&full)) })
            });
            found.collect::<Result<_, String>>()
        });
        Ok(Self { values, masks: masks.transpose()? })
    }
}

/// The masks of a network, one byte a weight.
fn masks(model: &Model) -> IndexMap<String, Tensor> {
    let masked = model.params().iter();
    let masks = masked.filter_map(|(name, parameter)| {
        Some((name.clone(), parameter.mask.as_ref()?.to_kind(Kind::Uint8)))
    });
    masks.collect()
}

fn of_another_shape(name: &str) -> String {
    format!("`{name}` is missing or of another shape")
}

/// What training changes, at the end of an epoch.
pub(super) struct State<'a> {
    pub model: &'a Model,
    /// Whether training changes the masks.
    pub with_masks: bool,
    pub auxiliary: Option<&'a Model>,
    pub optimizer: &'a Optimizer,
    pub best: Option<&'a Snapshot>,
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
        let shared = |prefix: &'static str, tensors: &IndexMap<String, Tensor>| {
            let tensors = tensors.iter();
            let named =
                tensors.map(|(name, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone()));
            named.collect::<Vec<_>>()
        };
        let mut tensors = of(NETWORK, self.model);
        if self.with_masks {
            tensors.extend(shared(MASK, &masks(self.model)));
        }
        tensors.extend(self.optimizer.state());
        tensors.extend(self.auxiliary.into_iter().flat_map(|model| of(AUXILIARY, model)));
        if let Some(best) = self.best {
            tensors.extend(shared(BEST, &best.values));
            tensors.extend(best.masks.iter().flat_map(|masks| shared(BEST_MASK, masks)));
        }
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
            // The best network and the masks are copies already, and never written to.
            let is_copy =
                |name: &str| [MASK, BEST, BEST_MASK].iter().any(|it| name.starts_with(it));
            for (_, tensor) in tensors.iter_mut().filter(|(name, _)| !is_copy(name)) {
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
pub(super) type Resumed = (Header, Option<Snapshot>);

/// Goes back to the saved progress of this stage; `None` when there is none.
///
/// - `with_masks`: whether its training changes the masks
///
/// # Errors
/// Why the file cannot be used; then nothing but the optimizer's state has changed.
pub(super) fn resume(
    job: &Job,
    model: &mut Model,
    with_masks: bool,
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
    let mask = with_masks.then_some(MASK);
    let network = Snapshot::take(&mut tensors, NETWORK, mask, model)?;
    let other = match auxiliary.as_deref() {
        Some(model) => Some(take(&mut tensors, AUXILIARY, model)?),
        None => None,
    };
    let has_best = tensors.keys().any(|name| name.starts_with(BEST));
    let best = has_best
        .then(|| Snapshot::take(&mut tensors, BEST, with_masks.then_some(BEST_MASK), model));
    let best = best.transpose()?;
    optimizer.restore(&mut tensors)?;
    if let Some((name, _)) = tensors.first() {
        return Err(format!("`{name}` belongs to nothing"));
    }
    network.restore(model);
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
        let value = value.ok_or_else(|| of_another_shape(&full))?;
        Ok((name.clone(), value.to_device(model.device())))
    });
    values.collect()
}

/// Gives a network other values.
fn set_values(model: &mut Model, values: &IndexMap<String, Tensor>) {
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
