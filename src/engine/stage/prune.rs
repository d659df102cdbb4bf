//! The `prune` stage: loads a network, lets a criterion mask weights, measures what is left.

use graftwork::experiment::spec::{Criterion, Prune};
use graftwork::protocol::Point;

use super::{Context, Ended, StageError, point};
use crate::data::Splits;
use crate::model::{Model, Parameter};
use crate::prune::{self, Prunable, max_entropy, min_mse, selection, sparse_opt};
use crate::random;

pub(super) fn run(stage: &Prune, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let mut model = context.input("from")?;
    let data = open(stage, context, &model)?;
    if let (Criterion::SparseOpt(_), Some(data)) = (&stage.criterion, &data)
        && let Some(domain) = model.domain_for(&data.name)
    {
        // As in `finetune`: what is trained has one domain.
        model = model.into_domain(domain);
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
        Criterion::Magnitude(_)
        | Criterion::Random(_)
        | Criterion::MaxEntropy(_)
        | Criterion::MinMse(_) => 0,
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

fn apply(
    stage: &Prune,
    context: &mut Context<'_>,
    model: &mut Model,
    layers: &[Prunable],
    data: Option<&Splits>,
) -> Result<Ended, StageError> {
    let seed = context.job.seed;
    let (sparsity, scope) = (stage.sparsity, stage.scope);
    let data = || data.expect("opened for every criterion that needs it");
    let calibration = |samples: u32| {
        let mut rng = random::stream(seed, "calibration", 0);
        data().train.as_set().sample(samples as usize, &mut rng).inputs
    };
    match &stage.criterion {
        Criterion::Magnitude(_) => {
            let scores = prune::magnitude(model, layers);
            selection::mask_lowest(model, layers, &scores, sparsity, scope)?;
        }
        Criterion::Random(_) => {
            let scores = prune::random(model, layers, seed);
            selection::mask_lowest(model, layers, &scores, sparsity, scope)?;
        }
        Criterion::MaxEntropy(settings) => {
            let images = calibration(settings.calibration_samples);
            max_entropy::prune(model, layers, &images, sparsity, scope)?;
        }
        Criterion::MinMse(settings) => {
            let images = calibration(settings.calibration_samples);
            let (recorder, stop) = (&mut *context.recorder, context.stop);
            let mut progress = |done: u64, total: u64| {
                if done.is_multiple_of(16) || done == total {
                    recorder.progress(done, total, format!("row {done}/{total}"));
                }
                !stop.load(std::sync::atomic::Ordering::Relaxed)
            };
            return min_mse::prune(
                model,
                layers,
                &images,
                settings,
                sparsity,
                scope,
                &mut progress,
            );
        }
        Criterion::SparseOpt(settings) => {
            if !fits(model, data()) {
                return Err(StageError::Unfit(format!(
                    "sparse-opt trains on the labels of `{}`, which has {} classes, and the network has {}",
                    data().name,
                    data().classes,
                    model.network().classes().unwrap_or(0)
                )));
            }
            return sparse_opt::prune(context, model, layers, data(), settings, sparsity, scope);
        }
    }
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
