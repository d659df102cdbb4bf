//! The `adapt` stage: from a labelled source to an unlabelled target.
//!
//! The target's labels are read to measure the result, before the first epoch and after the last,
//! on its test split. Training and the choice of an epoch get the target's images through types without
//! labels; see [`crate::adapt`].
//!
//! Shared batch-norm layers are trained on both domains in turn, so that at the end their running
//! statistics describe both. A layer named in `specific` has its own parameters and statistics for
//! each domain; every measurement of a domain uses that domain's copies.

use graftwork::experiment::spec::{Adapt, Data, Split};

use super::{Context, Ended, StageError, point};
use crate::adapt::{Adaptation, Domains, SOURCE, TARGET, learner};
use crate::data::{Set, Splits, Unlabelled, UnlabelledSet};
use crate::model::Model;
use crate::train::{self, Trained, layerwise};

pub(super) fn run(stage: &Adapt, context: &mut Context<'_>) -> Result<Ended, StageError> {
    check(stage)?;
    let model = one_domain(context.input("from")?, &stage.source.domain());
    let source = open(&stage.source, &model, context)?;
    let target = open(&stage.target, &model, context)?;
    adapt(stage, context, model, &source, &Target::from(target))
}

fn adapt(
    stage: &Adapt,
    context: &mut Context<'_>,
    model: Model,
    source: &Splits,
    target: &Target,
) -> Result<Ended, StageError> {
    let names = [stage.source.domain(), stage.target.domain()];
    let mut model = split(model, &names, &stage.specific)?;
    let seed = context.job.seed;
    let learner = learner(stage, &model, feature_count(&model)?, seed)?;
    check_batches(stage, learner.smallest_batch(), source.train.len(), target.train.len())?;
    learner.freeze(&mut model)?;
    let domains = Domains {
        names: &names,
        source: &source.train,
        validation: &source.val,
        target_validation: &target.val,
        target: &target.train,
    };
    let start = train::evaluate(&model, &target.test, Some(TARGET));
    let start = start.named(&names[TARGET], Split::Test.as_str());
    let mut objective = Adaptation::new(stage, domains, learner, seed).starting_at(start);
    let trained = train::train(context, &mut model, &stage.training(), &mut objective)?;
    let Trained::Done { epoch } = trained else { return Ok(Ended::Stopped) };
    context.measure(&model, &source.test, &names[SOURCE], epoch);
    context.measure(&model, &target.test, &names[TARGET], epoch);
    let trained_params = if stage.epochs == 0 { 0 } else { layerwise::trained_params(&model) };
    let examples = format!("{}:{}/examples", names[TARGET], Split::Test.as_str());
    let of_stage = [
        (examples, target.test.len() as f64),
        ("trained-params".to_owned(), trained_params as f64),
    ];
    let of_stage = of_stage.map(|(name, value)| point(name, u64::from(epoch), value));
    context.recorder.record(of_stage.to_vec());
    context.finish(&model, u64::from(epoch))
}

/// What an adaptation may have of the target.
struct Target {
    train: Unlabelled,
    val: UnlabelledSet,
    /// Measured, and never used.
    test: Set,
}

impl From<Splits> for Target {
    /// Drops the labels of the training images and of the validation split.
    fn from(splits: Splits) -> Self {
        let (train, val) = (splits.train.into_unlabelled(), splits.val.into_unlabelled());
        Self { train, val, test: splits.test }
    }
}

fn check(stage: &Adapt) -> Result<(), StageError> {
    let source = stage.source.domain();
    if source == stage.target.domain() {
        return Err(StageError::Unfit(format!(
            "source and target are both `{source}`; name two datasets, or two sizes of one"
        )));
    }
    if stage.joint_batches && !stage.specific.is_empty() {
        return Err(StageError::Unfit(
            "joint-batches = true sends both domains through the same layers; leave out `specific` or `joint-batches`"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The network as the source uses it, where it was adapted before.
fn one_domain(model: Model, source: &str) -> Model {
    match model.domain_for(source) {
        Some(domain) => model.into_domain(domain),
        None => model,
    }
}

fn open(data: &Data, model: &Model, context: &Context<'_>) -> Result<Splits, StageError> {
    let splits = context.open(data, model.network().input_shape())?;
    let classes = model.network().classes().map_err(unfit)?;
    if splits.classes != classes {
        return Err(StageError::Unfit(format!(
            "dataset `{}` has {} classes and the network has {classes}; finetune the network on the source first",
            splits.name, splits.classes
        )));
    }
    Ok(splits)
}

/// Gives each domain its own copy of the layers that a pattern names.
fn split(model: Model, names: &[String; 2], specific: &[String]) -> Result<Model, StageError> {
    if specific.is_empty() {
        return Ok(model);
    }
    let model = model.split_domains(names, specific);
    if model.network().nodes.iter().any(|node| node.specific) {
        return Ok(model);
    }
    Err(StageError::Unfit(format!(
        "specific = {specific:?} names no layer; there are: {}",
        model.network().layer_names().join(", ")
    )))
}

/// Number of values that the network's last layer reads.
fn feature_count(model: &Model) -> Result<u32, StageError> {
    let shapes = model.network().shapes().map_err(unfit)?;
    Ok(shapes[model.feature_node()].iter().product())
}

fn check_batches(
    stage: &Adapt,
    needed: u32,
    source: usize,
    target: usize,
) -> Result<(), StageError> {
    for (role, data, images) in
        [("source", &stage.source, source), ("target", &stage.target, target)]
    {
        let rows = (images as u64).min(u64::from(data.batching().batch_size));
        if rows < u64::from(needed) {
            return Err(StageError::Unfit(format!(
                "method `{}` compares batches of at least {needed} images and the {role} `{}` gives {rows}; raise its batch-size",
                stage.method.name(),
                data.domain()
            )));
        }
    }
    Ok(())
}

fn unfit(error: impl std::fmt::Display) -> StageError {
    StageError::Unfit(error.to_string())
}

#[cfg(test)]
mod tests;
