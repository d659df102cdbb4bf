//! The stage kinds, one file each: reads a job, works, leaves a checkpoint in the draft folder.

mod adapt;
mod evaluate;
mod finetune;
mod import;
mod pretrain;
mod prune;
mod sensitivity;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use graftwork::digest;
use graftwork::experiment::spec::{Data, Split, Stage};
use graftwork::protocol::{Event, Job, Point, Progress};
use tch::Device;
use thiserror::Error;

use crate::checkpoint::{self, CheckpointError};
use crate::data::{self, Places, Set, Splits};
use crate::model::Model;
use crate::prune::connected::connected;
use crate::train;

/// Why a stage failed. Each message is one line that says what to do.
#[derive(Debug, Error)]
pub enum StageError {
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A dataset cannot be read.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// A file of the draft cannot be written.
    #[error("cannot write {}: {error}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Training went astray.
    #[error(
        "{what} became {value} at step {step} (epoch {epoch}); lower the learning rate or clip gradients with `clip-norm`"
    )]
    Diverged {
        /// What was not finite: `the loss`.
        what: String,
        /// Its value: `NaN`, `inf`.
        value: f64,
        /// The optimizer step, 0-based, counted from the start of the stage.
        step: u64,
        /// The epoch, 1-based.
        epoch: u32,
    },
    /// A setting does not fit the network or the data; what the check of the file cannot see.
    #[error("{0}")]
    Unfit(String),
}

/// How a stage ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its checkpoint is in the draft folder.
    Done,
    /// It was asked to stop and saved its progress.
    Stopped,
}

/// What a stage works with.
pub struct Context<'a> {
    /// What to do.
    pub job: &'a Job,
    /// Where to compute.
    pub device: Device,
    /// Where measured values and progress go.
    pub recorder: &'a mut Recorder<'a>,
    /// Set when the stage shall save its progress and stop.
    pub stop: &'a AtomicBool,
}

impl Context<'_> {
    /// Whether the stage shall save its progress and stop.
    pub fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Loads the checkpoint of an input.
    ///
    /// # Errors
    /// As [`checkpoint::load`].
    pub fn input(&self, role: &str) -> Result<Model, StageError> {
        Ok(checkpoint::load(self.input_folder(role)?, self.device)?)
    }

    /// Loads the network that an input had after an epoch of its training.
    ///
    /// # Errors
    /// As [`checkpoint::load_epoch`].
    pub fn input_at(&self, role: &str, epoch: u32) -> Result<Model, StageError> {
        Ok(checkpoint::load_epoch(self.input_folder(role)?, epoch, self.device)?)
    }

    fn input_folder(&self, role: &str) -> Result<&Path, StageError> {
        let folder = self.job.inputs.get(role).map(PathBuf::as_path);
        folder.ok_or_else(|| StageError::Unfit(format!("the job has no input `{role}`")))
    }

    /// Reads a dataset as a network with that input takes it; the stage's seed draws `labels-per-class`.
    ///
    /// # Errors
    /// As [`data::open`]; and a user's own data that is not what the run was planned with.
    pub fn open(&self, data: &Data, input: &[u32]) -> Result<Splits, StageError> {
        if let Some(beside) = data.beside() {
            for (name, _) in self.job.stage.files().into_iter().filter(|(_, it)| *it == beside) {
                self.is_as_planned(name, beside.path)?;
            }
        }
        let places = Places { datasets: &self.job.data, beside: &self.job.folder };
        let splits = data::open(data, places, input, self.device)?;
        Ok(splits.with_few_labels(data, self.job.seed)?)
    }

    /// Checks that a file or folder beside the experiment still is what is in the stage's key.
    ///
    /// # Errors
    /// That it is not.
    fn is_as_planned(&self, name: &str, path: &str) -> Result<(), StageError> {
        let planned = self.job.files.get(name);
        digest::is_as_planned(&self.job.folder.join(path), path, planned).map_err(StageError::Unfit)
    }

    /// Measures the test split of a dataset after an epoch: `<dataset>:test/accuracy`, `/loss` and others.
    pub fn measure(&mut self, model: &Model, test: &Set, dataset: &str, epoch: u32) {
        let measured = train::evaluate(model, test, model.domain_for(dataset));
        let points = measured.named(dataset, Split::Test.as_str()).into_iter();
        let points = points.map(|(name, value)| point(name, u64::from(epoch), value));
        self.recorder.record(points.collect());
    }

    /// Measures the validation and the test split of a stage that does not train on them: accuracy and loss.
    ///
    /// What has been measured at this step already is left out.
    pub fn measure_held_out(&mut self, model: &Model, splits: &Splits, step: u64) {
        let domain = model.domain_for(&splits.name);
        let held_out = [(Split::Val, &splits.val), (Split::Test, &splits.test)];
        let mut points = Vec::new();
        for (split, set) in held_out.into_iter().filter(|(_, set)| !set.is_empty()) {
            let measured = train::evaluate(model, set, domain).named(&splits.name, split.as_str());
            points.extend(measured.into_iter().map(|(name, value)| point(name, step, value)));
        }
        let known = self.recorder.points();
        points.retain(|new| !known.iter().any(|old| (&old.name, old.step) == (&new.name, step)));
        self.recorder.record(points);
    }

    /// Writes all measured values of a stage that leaves no network.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish_measured(&mut self) -> Result<Ended, StageError> {
        self.recorder.write(&self.job.draft)?;
        Ok(Ended::Done)
    }

    /// Saves a stage's network, measures its size and sparsity, and writes all measured values.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(&mut self, model: &Model, step: u64) -> Result<Ended, StageError> {
        checkpoint::save(&self.job.draft, model)?;
        let counts = model.counts().map_err(|error| StageError::Unfit(error.to_string()))?;
        let mut points = vec![
            point("params", step, counts.params as f64),
            point("nonzero-params", step, counts.nonzero_params as f64),
            point("sparsity", step, counts.sparsity()),
        ];
        if model.params().values().any(|parameter| parameter.mask.is_some()) {
            points.extend(connected(model).map(|share| point("connected", step, share)));
        }
        points.extend(counts.macs.map(|macs| point("macs", step, macs as f64)));
        points.push(point("size-bytes", step, checkpoint::size(&self.job.draft)? as f64));
        self.recorder.record(points);
        self.recorder.write(&self.job.draft)?;
        // Last, so that a stage that is killed in between has something to resume from.
        train::discard_progress(&self.job.draft)?;
        Ok(Ended::Done)
    }
}

/// A measured value.
pub fn point(name: impl Into<String>, step: u64, value: f64) -> Point {
    Point { name: name.into(), step, value }
}

/// Takes what a stage measures and says, and sends it on.
pub struct Recorder<'a> {
    send: &'a mut dyn FnMut(Event),
    log: File,
    points: Vec<Point>,
}

impl<'a> Recorder<'a> {
    /// A recorder whose log is `log.txt` in the draft folder; the log of an earlier attempt goes on.
    ///
    /// # Errors
    /// [`StageError::Write`].
    pub fn new(draft: &Path, send: &'a mut dyn FnMut(Event)) -> Result<Self, StageError> {
        let path = draft.join("log.txt");
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|error| StageError::Write { path, error })?;
        Ok(Self { send, log, points: Vec::new() })
    }

    /// Records measured values and sends them.
    pub fn record(&mut self, points: Vec<Point>) {
        self.points.extend_from_slice(&points);
        (self.send)(Event::Metrics(points));
    }

    /// All values measured so far, those of a resumed attempt included.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Starts with the values that an interrupted attempt measured, and sends them again, so that
    /// this attempt's series are whole.
    pub fn restore(&mut self, points: Vec<Point>) {
        self.points.clear();
        self.record(points);
    }

    /// Says how far the stage is.
    pub fn progress(&mut self, done: u64, total: u64, note: impl Into<String>) {
        (self.send)(Event::Progress(Progress { done, total, note: note.into() }));
    }

    /// Writes a line into the stage's log.
    pub fn log(&mut self, line: &str) {
        // A log that cannot be written is no reason to lose a training run.
        let _ = writeln!(self.log, "{line}");
    }

    fn write(&self, draft: &Path) -> Result<(), StageError> {
        let path = draft.join("metrics.jsonl");
        let mut text = String::new();
        for point in &self.points {
            let _ =
                writeln!(text, "{}", serde_json::to_string(point).expect("a point is plain JSON"));
        }
        std::fs::write(&path, text).map_err(|error| StageError::Write { path, error })
    }
}

/// Runs a stage.
///
/// # Errors
/// [`StageError`].
pub fn run(context: &mut Context<'_>) -> Result<Ended, StageError> {
    let job = context.job;
    match &job.stage {
        Stage::Pretrain(stage) => pretrain::run(stage, context),
        Stage::Prune(stage) => prune::run(stage, context),
        Stage::Finetune(stage) => finetune::run(stage, context),
        Stage::Adapt(stage) => adapt::run(stage, context),
        Stage::Evaluate(stage) => evaluate::run(stage, context),
        Stage::Sensitivity(stage) => sensitivity::run(stage, context),
        Stage::Import(stage) => import::run(stage, context),
        Stage::Command(_) => {
            Err(StageError::Unfit("a command is no stage of the engine".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
