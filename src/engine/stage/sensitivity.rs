//! The `sensitivity` stage: prunes each layer alone and measures accuracy on the validation split. It
//! leaves metrics and no checkpoint.

use std::slice;

use graftwork::experiment::spec::{Prune, Scope, Sensitivity};

use super::{Context, Ended, StageError, evaluate, point, prune};
use crate::data::Splits;
use crate::model::Model;
use crate::prune::{Prunable, prunable, selection};
use crate::train;

pub(super) fn run(stage: &Sensitivity, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let mut model = context.input("from")?;
    let data = context.open(&stage.data, model.network().input_shape())?;
    evaluate::classes_fit(&model, &data)?;
    if data.val.is_empty() {
        return Err(StageError::Unfit(format!(
            "the validation split of `{}` is empty; make `val-fraction` larger than 0",
            data.name
        )));
    }
    // As in `prune`: accuracy is that of one domain.
    if let Some(domain) = model.domain_for(&data.name) {
        model = model.into_domain(domain);
    }
    let whole = train::evaluate(&model, &data.val, None).named(&data.name, "val").into_iter();
    context.recorder.record(whole.map(|(name, value)| point(name, 0, value)).collect());
    let layers = prunable(&model, &stage.exclude)?;
    let total = (layers.len() * stage.sparsities.len()) as u64;
    let mut done = 0;
    for layer in &layers {
        for &sparsity in &stage.sparsities {
            if context.should_stop() {
                return Ok(Ended::Stopped);
            }
            done += 1;
            let (name, size) = (&layer.name, layer.size(&model));
            if layer.masked(&model) > selection::zeros(size, sparsity) {
                context.recorder.log(&format!("{name} is sparser than {sparsity} already"));
                continue;
            }
            let Some(accuracy) = alone(stage, context, &model, layer, sparsity, &data)? else {
                return Ok(Ended::Stopped);
            };
            let metric = format!("sensitivity/{name}/{sparsity}/accuracy");
            context.recorder.record(vec![point(metric, 0, accuracy)]);
            context.recorder.progress(done, total, format!("{name} at {sparsity}: {accuracy:.4}"));
        }
    }
    context.finish_measured()
}

/// The accuracy of the network with one layer pruned; none if it was stopped.
fn alone(
    stage: &Sensitivity,
    context: &mut Context<'_>,
    model: &Model,
    layer: &Prunable,
    sparsity: f64,
    data: &Splits,
) -> Result<Option<f64>, StageError> {
    let mut pruned = model.duplicate();
    let settings = of_layer(stage, sparsity);
    let layers = slice::from_ref(layer);
    let ended = prune::apply(&settings, context, &mut pruned, layers, Some(data), &mut Vec::new())?;
    Ok((ended == Ended::Done).then(|| train::evaluate(&pruned, &data.val, None).accuracy))
}

/// What a stage that prunes one layer would be told.
fn of_layer(stage: &Sensitivity, sparsity: f64) -> Prune {
    Prune {
        sparsity: Some(sparsity),
        scope: Scope::Layer,
        ..Prune::new(&stage.from, stage.criterion.clone())
    }
}
