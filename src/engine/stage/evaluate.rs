//! The `evaluate` stage: measures a network on one split, and how long it takes beside another. It leaves
//! metrics and no checkpoint.

use graftwork::experiment::spec::{BESIDE, Evaluate, Latency, Split};
use graftwork::network::Extents;

use super::{Context, Ended, StageError, point};
use crate::data::{Set, Splits};
use crate::model::Model;
use crate::{latency, random, train};

pub(super) fn run(stage: &Evaluate, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let model = context.input("from")?;
    let splits = context.open(&stage.data, model.network().input_shape())?;
    let set = match stage.split {
        Split::Train => splits.train.as_set(),
        Split::Val => &splits.val,
        Split::Test => &splits.test,
    };
    let split = stage.split.as_str();
    if set.is_empty() {
        return Err(StageError::Unfit(format!(
            "split `{split}` of `{}` is empty; for `val` make `val-fraction` larger than 0",
            splits.name
        )));
    }
    classes_fit(&model, &splits)?;
    let measured = train::evaluate(&model, set, model.domain_for(&splits.name));
    let points = measured.named(&splits.name, split).into_iter();
    context.recorder.record(points.map(|(name, value)| point(name, 0, value)).collect());
    if let Some(settings) = &stage.latency
        && time(settings, context, &model, set, &splits.name)? == Ended::Stopped
    {
        return Ok(Ended::Stopped);
    }
    context.finish_measured()
}

/// Whether the network tells the classes of the data apart, so that accuracy has a meaning.
pub(super) fn classes_fit(model: &Model, splits: &Splits) -> Result<(), StageError> {
    let classes =
        model.network().classes().map_err(|error| StageError::Unfit(error.to_string()))?;
    if classes != splits.classes {
        return Err(StageError::Unfit(format!(
            "the network knows {classes} classes and `{}` has {}; finetune it there first",
            splits.name, splits.classes
        )));
    }
    Ok(())
}

/// Measures how long the network takes, and another stage's, in turn.
fn time(
    settings: &Latency,
    context: &mut Context<'_>,
    model: &Model,
    set: &Set,
    dataset: &str,
) -> Result<Ended, StageError> {
    let beside = context.input(BESIDE)?;
    let (ours, theirs) = (model.network().input_shape(), beside.network().input_shape());
    if ours != theirs {
        return Err(StageError::Unfit(format!(
            "the networks take inputs of {} and {}; `latency.beside` needs one that takes the same",
            Extents(ours),
            Extents(theirs)
        )));
    }
    if settings.batch as usize > set.len() {
        return Err(StageError::Unfit(format!(
            "`latency.batch` = {} is more than the {} examples of the split; the largest possible is {}",
            settings.batch,
            set.len(),
            set.len()
        )));
    }
    let inputs = set.sample(settings.batch as usize, &mut random::stream(0, "latency", 0)).inputs;
    let networks = [model, &beside].map(|model| (model, model.domain_for(dataset)));
    let Some(times) = latency::measure(networks, &inputs, settings, context.stop) else {
        return Ok(Ended::Stopped);
    };
    context.recorder.record(latency::points(&times));
    Ok(Ended::Done)
}
