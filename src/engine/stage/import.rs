//! The `import` stage: a network from a file that was made elsewhere, its parameters from a safetensors file
//! or all of it from a `TorchScript` file.

use std::collections::HashSet;
use std::fmt::Write as _;

use graftwork::experiment::spec::Import;
use graftwork::network::{Extents, Network, zoo};
use graftwork::protocol::PROGRAM_FILE;
use indexmap::IndexMap;
use tch::{Kind, Tensor, no_grad};

use super::{Context, Ended, StageError, point};
use crate::checkpoint;
use crate::model::program::{Contents, Program};
use crate::model::{Mode, Model, extents};

pub(super) fn run(stage: &Import, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let network = zoo::build_imported(stage.model.as_ref(), &stage.data)
        .map_err(|error| StageError::Unfit(error.to_string()))?;
    context.is_as_planned("file", &stage.file)?;
    let model = if stage.model.is_some() {
        parameters(stage, network, context)?
    } else {
        program(stage, network, context)?
    };
    let splits = context.open(&stage.data, &stage.data.shape())?;
    context.measure_held_out(&model, &splits, 0);
    context.recorder.progress(1, 1, "done");
    context.finish(&model, 0)
}

/// The network with the parameters of a safetensors file.
fn parameters(
    stage: &Import,
    network: Network,
    context: &mut Context<'_>,
) -> Result<Model, StageError> {
    let tensors = checkpoint::read_foreign(&context.job.folder.join(&stage.file))?;
    let report = Report::new(&network, &tensors);
    context.recorder.log(&report.to_text());
    report.check(stage, &network.arch)?;
    let model = Model::starting_from(network, &tensors, context.job.seed, context.device);
    let counts = report.counts();
    context.recorder.record(counts.map(|(name, count)| point(name, 0, count as f64)).to_vec());
    Ok(model)
}

/// The program of a `TorchScript` file, which is kept beside the checkpoint from here on.
fn program(
    stage: &Import,
    network: Network,
    context: &mut Context<'_>,
) -> Result<Model, StageError> {
    let (from, to) = (context.job.folder.join(&stage.file), context.job.draft.join(PROGRAM_FILE));
    std::fs::copy(&from, &to).map_err(|error| StageError::Write { path: to.clone(), error })?;
    let (program, contents) = Program::load(&to, context.device).map_err(|reason| {
        StageError::Unfit(format!(
            "`{}` is no TorchScript program: {}; write one with `torch.jit.script(model).save(PATH)`, or add \
             the `model` that the parameters of a safetensors file are for",
            stage.file,
            reason.lines().next().unwrap_or_default()
        ))
    })?;
    context.recorder.log(&held(&contents));
    context.recorder.record(vec![point("import/loaded", 0, contents.held.len() as f64)]);
    let model = Model::of_program(network, program, contents, context.device);
    fits(stage, &model)?;
    Ok(model)
}

/// Whether a program takes the examples of the data and gives what is asked of them.
fn fits(stage: &Import, model: &Model) -> Result<(), StageError> {
    let network = model.network();
    let kind = if network.tokens().is_some() { Kind::Int64 } else { Kind::Float };
    let shape =
        [2].into_iter().chain(network.input_shape().iter().map(|&extent| i64::from(extent)));
    let examples = Tensor::zeros(shape.collect::<Vec<_>>(), (kind, model.device()));
    let (file, data) = (&stage.file, stage.data.name());
    let unfit = |what: String| {
        StageError::Unfit(format!(
            "the program of `{file}` {what}; give it a network for this data, or choose the data that it is for"
        ))
    };
    let taken = Extents(network.input_shape());
    let program = model.program().expect("it was made of one");
    let output = no_grad(|| model.run(program, &examples, Mode::Eval)).map_err(|reason| {
        unfit(format!("cannot take {} of `{data}`, which are {taken}: {reason}", stage.data.what()))
    })?;
    let shapes = network.shapes().map_err(|error| StageError::Unfit(error.to_string()))?;
    let asked = shapes.last().map(Vec::as_slice).unwrap_or_default();
    let given: Vec<u32> = output.size().iter().map(|&extent| extent as u32).collect();
    if given.first() == Some(&2) && given[1..] == *asked {
        return Ok(());
    }
    Err(unfit(format!(
        "gives {} for 2 of `{data}`, for whose {} classes it should be 2×{}",
        Extents(&given),
        stage.data.classes(),
        Extents(asked)
    )))
}

/// What a program holds, for the log.
fn held(contents: &Contents) -> String {
    let mut text = format!("the program holds {} parameters and buffers", contents.held.len());
    if !contents.held.iter().any(|(_, held, _)| held.role.is_trainable()) {
        text += "; none of them can be trained (`torch.jit.freeze` makes constants of them)";
    }
    for (name, first) in &contents.aliases {
        let _ = write!(text, "\n{name} is {first} by another name");
    }
    for (name, kind) in &contents.left {
        let _ = write!(text, "\n{name} is of kind {kind:?} and stays as it is");
    }
    text
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
