//! The `import` stage: a network's parameters from a safetensors file that was made elsewhere.

use std::collections::HashSet;
use std::fmt::Write as _;

use graftwork::experiment::spec::Import;
use graftwork::network::{Extents, Network, zoo};
use indexmap::IndexMap;
use tch::Tensor;

use super::{Context, Ended, StageError, point};
use crate::checkpoint;
use crate::model::{Model, extents};

pub(super) fn run(stage: &Import, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let network = zoo::build_for(&stage.model, &stage.data)
        .map_err(|error| StageError::Unfit(error.to_string()))?;
    let path = context.job.folder.join(&stage.file);
    context.is_as_planned("file", &stage.file)?;
    let tensors = checkpoint::read_foreign(&path)?;
    let report = Report::new(&network, &tensors);
    context.recorder.log(&report.to_text());
    report.check(stage, &network.arch)?;
    let model = Model::starting_from(network, &tensors, context.job.seed, context.device);
    let counts = report.counts();
    context.recorder.record(counts.map(|(name, count)| point(name, 0, count as f64)).to_vec());
    let splits = context.open(&stage.data, &stage.data.shape())?;
    context.measure_held_out(&model, &splits, 0);
    context.recorder.progress(1, 1, "done");
    context.finish(&model, 0)
}

/// What of a network is in a file, by name.
#[derive(Debug, PartialEq)]
struct Report {
    loaded: Vec<String>,
    missing: Vec<String>,
    unexpected: Vec<String>,
    /// With the shape in the file and that of the network.
    mismatched: Vec<(String, Vec<i64>, Vec<i64>)>,
}

impl Report {
    fn new(network: &Network, tensors: &IndexMap<String, Tensor>) -> Self {
        let params = network.params();
        let known: HashSet<&str> = params.iter().map(|param| param.name.as_str()).collect();
        let is_unexpected = |name: &&String| !known.contains(name.as_str());
        let mut report = Self {
            loaded: Vec::new(),
            missing: Vec::new(),
            unexpected: tensors.keys().filter(is_unexpected).cloned().collect(),
            mismatched: Vec::new(),
        };
        for named in &params {
            let (name, ours) = (named.name.clone(), extents(named));
            match tensors.get(&name).map(Tensor::size) {
                None => report.missing.push(name),
                Some(theirs) if theirs == ours => report.loaded.push(name),
                Some(theirs) => report.mismatched.push((name, theirs, ours)),
            }
        }
        report
    }

    fn counts(&self) -> [(&'static str, usize); 4] {
        [
            ("import/loaded", self.loaded.len()),
            ("import/missing", self.missing.len()),
            ("import/unexpected", self.unexpected.len()),
            ("import/mismatched", self.mismatched.len()),
        ]
    }

    /// Why the file does not do, in one line, if it does not.
    fn check(&self, stage: &Import, arch: &str) -> Result<(), StageError> {
        let file = &stage.file;
        let [(_, loaded), faults @ ..] = self.counts();
        if loaded > 0 && (!stage.strict || faults.iter().all(|(_, count)| *count == 0)) {
            return Ok(());
        }
        let remedy = if loaded == 0 {
            "rename its tensors as PyTorch's `state_dict` of this network has them, or choose another `model`"
        } else {
            "log.txt lists all; `strict = false` takes what fits and gives the rest new initial values"
        };
        let found = self.lists(3).collect::<Vec<_>>().join("; ");
        Err(StageError::Unfit(format!("`{file}` does not fit `{arch}`: {found}; {remedy}")))
    }

    /// Everything, for the log.
    fn to_text(&self) -> String {
        let mut text = format!("loaded {} parameters", self.loaded.len());
        for list in self.lists(usize::MAX) {
            let _ = write!(text, "\n{list}");
        }
        text
    }

    /// `missing: conv1.weight, conv1.bias and 6 more`, of each list that is not empty.
    fn lists(&self, most: usize) -> impl Iterator<Item = String> {
        let mismatched = self.mismatched.iter().map(|(name, theirs, ours)| {
            format!("{name} ({} in the file, {} in the network)", shown(theirs), shown(ours))
        });
        let lists = [
            ("missing", self.missing.clone()),
            ("unexpected", self.unexpected.clone()),
            ("of another shape", mismatched.collect()),
        ];
        lists.into_iter().filter(|(_, names)| !names.is_empty()).map(move |(what, names)| {
            let shown = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
            let rest = names.len().saturating_sub(most);
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            format!("{what}: {shown}{rest}")
        })
    }
}

fn shown(shape: &[i64]) -> String {
    let shape: Vec<u32> = shape.iter().map(|&extent| extent as u32).collect();
    if shape.is_empty() { "one number".to_owned() } else { Extents(&shape).to_string() }
}
