//! The `prune` stage: loads a network, lets a criterion mask weights, measures what is left.

use graftwork::experiment::spec::{Criterion, Prune};
use graftwork::protocol::Point;

use super::{Context, Ended, StageError, point};
use crate::data::Splits;
use crate::model::{Model, Parameter};
use crate::prune::selection::{self, Target};
use crate::prune::{self, Prunable, gradients, max_entropy, min_mse, sparse_opt, synflow};
use crate::random;

pub(super) fn run(stage: &Prune, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let mut model = context.input("from")?;
    let data = open(stage, context, &model)?;
    if let Some(data) = data.as_ref().filter(|_| stage.criterion.needs_labels()) {
        labels_fit(&stage.criterion, &model, data)?;
        // As in `finetune`: what learns from labels has one domain.
        if let Some(domain) = model.domain_for(&data.name) {
            model = model.into_domain(domain);
        }
    }
    let layers = prune::prunable(&model, &stage.exclude)?;
    if apply(stage, context, &mut model, &layers, data.as_ref())? == Ended::Stopped {
        return Ok(Ended::Stopped);
    }
    if let Some(point) = &stage.rewind_to {
        rewind(&mut model, &context.input_at("rewind-to", point.epoch)?)?;
    }
    let step = epochs(&stage.criterion);
    context.recorder.record(layer_points(&model, &layers, step));
    if let Some(data) = data.filter(|data| fits(&model, data)) {
        context.measure_held_out(&model, &data, step);
    }
    context.recorder.progress(1, 1, "done");
    context.finish(&model, step)
}

/// The epoch that the result is measured after; 0 for criteria that do not train.
fn epochs(criterion: &Criterion) -> u64 {
    match criterion {
        // Without debiasing the exact mask comes after the last epoch, which has its own measures.
        Criterion::SparseOpt(settings) => {
            u64::from(settings.epochs) + u64::from(settings.debias_epochs).max(1)
        }
        _ => 0,
    }
}

fn open(stage: &Prune, context: &Context<'_>, model: &Model) -> Result<Option<Splits>, StageError> {
    let Some(data) = &stage.data else {
        if !stage.criterion.needs_data() {
            return Ok(None);
        }
        return Err(StageError::Unfit(format!(
            "the criterion `{}` looks at data; state `data`",
            stage.criterion.name()
        )));
    };
    Ok(Some(context.open(data, model.network().input_shape())?))
}

/// Whether the network's logits are the dataset's classes, so that accuracy has a meaning.
fn fits(model: &Model, data: &Splits) -> bool {
    model.network().classes().is_ok_and(|classes| classes == data.classes)
}

fn labels_fit(criterion: &Criterion, model: &Model, data: &Splits) -> Result<(), StageError> {
    if fits(model, data) {
        return Ok(());
    }
    Err(StageError::Unfit(format!(
        "{} learns from the labels of `{}`, which has {} classes, and the network has {}; state `data` that it was trained on",
        criterion.name(),
        data.name,
        data.classes,
        model.network().classes().unwrap_or(0)
    )))
}

fn apply(
    stage: &Prune,
    context: &mut Context<'_>,
    model: &mut Model,
    layers: &[Prunable],
    data: Option<&Splits>,
) -> Result<Ended, StageError> {
    let seed = context.job.seed;
    let target = Target::of(stage);
    let data = || data.expect("opened for every criterion that needs it");
    let sample = |samples: u32| {
        let mut rng = random::stream(seed, "calibration", 0);
        data().train.as_set().sample(samples as usize, &mut rng)
    };
    let budget = |model: &Model| selection::budget(model, layers, &target);
    let scores = match &stage.criterion {
        Criterion::Magnitude(_) => prune::magnitude(model, layers),
        Criterion::Random(_) => prune::random(model, layers, seed),
        Criterion::Lamp(_) => prune::lamp(model, layers),
        Criterion::Taylor(settings) => {
            let batch = sample(settings.calibration_samples);
            gradients::taylor(model, layers, &batch, settings.squared)
        }
        Criterion::Snip(settings) => {
            gradients::taylor(model, layers, &sample(settings.calibration_samples), false)
        }
        Criterion::Grasp(settings) => {
            let batch = sample(settings.calibration_samples);
            gradients::grasp(model, layers, &batch, settings.temperature)
        }
        Criterion::Synflow(settings) => {
            let budget = budget(model)?;
            synflow::prune(model, layers, &budget, settings.rounds)?;
            return Ok(Ended::Done);
        }
        Criterion::MaxEntropy(settings) => {
            let images = sample(settings.calibration_samples).inputs;
            max_entropy::prune(model, layers, &images, target.sparsity, target.scope)?;
            return Ok(Ended::Done);
        }
        Criterion::MinMse(settings) => {
            let images = sample(settings.calibration_samples).inputs;
            let (recorder, stop) = (&mut *context.recorder, context.stop);
            let mut progress = |done: u64, total: u64| {
                if done.is_multiple_of(16) || done == total {
                    recorder.progress(done, total, format!("row {done}/{total}"));
                }
                !stop.load(std::sync::atomic::Ordering::Relaxed)
            };
            return min_mse::prune(model, layers, &images, settings, &target, &mut progress);
        }
        Criterion::SparseOpt(settings) => {
            return sparse_opt::prune(context, model, layers, data(), settings, &target);
        }
    };
    let budget = budget(model)?;
    selection::mask_lowest(model, layers, &scores, &budget)?;
    Ok(Ended::Done)
}

fn layer_points(model: &Model, layers: &[Prunable], step: u64) -> Vec<Point> {
    let points = layers.iter().flat_map(|layer| {
        let weight = layer.weight(model);
        let nonzero = weight.count_nonzero(None::<i64>).int64_value(&[]) as f64;
        [
            point(format!("layer/{}/nonzero", layer.name), step, nonzero),
            point(
                format!("layer/{}/sparsity", layer.name),
                step,
                1.0 - nonzero / weight.numel() as f64,
            ),
        ]
    });
    points.collect()
}

/// Gives the network the values that it had at a point of its training; what is masked stays zero.
fn rewind(model: &mut Model, point: &Model) -> Result<(), StageError> {
    let is_there = |(name, parameter): (&String, &Parameter)| {
        point.params().get(name).is_some_and(|old| old.value.size() == parameter.value.size())
    };
    let is_same = model.params().len() == point.params().len();
    if !(is_same && model.params().iter().all(is_there)) {
        return Err(StageError::Unfit(
            "the stage of `rewind-to` trained another network: domains differ; go back to a stage that \
             trained this one"
                .to_owned(),
        ));
    }
    tch::no_grad(|| {
        for (name, parameter) in model.params_mut() {
            parameter.value.copy_(&point.params()[name].value);
        }
    });
    model.apply_masks();
    Ok(())
}
