//! The `evaluate` stage: measures a network on one split. It leaves metrics and no checkpoint.

use graftwork::experiment::spec::{Evaluate, Split};

use super::{Context, Ended, StageError, point};
use crate::train;

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
    let classes =
        model.network().classes().map_err(|error| StageError::Unfit(error.to_string()))?;
    if classes != splits.classes {
        return Err(StageError::Unfit(format!(
            "the network knows {classes} classes and `{}` has {}; finetune it there first",
            splits.name, splits.classes
        )));
    }
    let measured = train::evaluate(&model, set, model.domain_for(&splits.name));
    let points = measured.named(&splits.name, split).into_iter();
    context.recorder.record(points.map(|(name, value)| point(name, 0, value)).collect());
    context.finish_measured()
}
