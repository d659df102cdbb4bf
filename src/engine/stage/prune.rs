//! The `prune` stage: loads a network, lets a criterion mask weights, measures what is left.

use graftwork::experiment::spec::{Criterion, Entropy, Granularity, Hessian, MseTarget, Prune};
use graftwork::network::groups::Dependencies;
use tch::Tensor;

use super::{Context, Ended, StageError, point};
use crate::data::{Batch, Splits};
use crate::model::{Model, Parameter};
use crate::prune::report::Report;
use crate::prune::selection::{self, Target};
use crate::prune::units::goals::Goals;
use crate::prune::units::readers::{self, Reader};
use crate::prune::units::{self, Candidates, correction, dead, elimination, scores};
use crate::prune::{
    self, Prunable, controls, gradients, max_entropy, min_mse, movement, slimming, sparse_opt,
    synflow,
};
use crate::{latency, random};

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
    let seed = if stage.is_random() { context.job.seed } else { 0 };
    let mut report = Report::before(&model, data.as_ref(), seed)?;
    let before = stage.shuffle.then(|| model.duplicate());
    let cut_offs = &mut report.cut_offs;
    if apply(stage, context, &mut model, &layers, data.as_ref(), cut_offs)? == Ended::Stopped {
        return Ok(Ended::Stopped);
    }
    if let Some(before) = before {
        let has_values = stage.rewind_to.is_some() || stage.reinitialise;
        controls::shuffle(&mut model, &before, &layers, has_values, context.job.seed)?;
        // Which weights went is no longer what the scores said.
        report.cut_offs.clear();
    }
    report.compare(&model, &layers);
    if stage.reinitialise {
        controls::reinitialise(&mut model, context.job.seed);
    }
    if let Some(point) = &stage.rewind_to {
        rewind(&mut model, &context.input_at("rewind-to", point.epoch)?)?;
    }
    if stage.remove {
        model = dead::removed(&model).unwrap_or(model);
    }
    let step = epochs(&stage.criterion);
    context.recorder.record(report.points(&model, &layers, step)?);
    if stage.budget.as_ref().is_some_and(|budget| budget.latency_ms.is_some()) {
        let taken_out = dead::removed(&model);
        let milliseconds = latency::of_one_example(taken_out.as_ref().unwrap_or(&model));
        context.recorder.record(vec![point("latency-ms".to_owned(), step, milliseconds)]);
    }
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
        // The mask comes after the last epoch.
        Criterion::Slimming(settings) if settings.epochs > 0 => u64::from(settings.epochs) + 1,
        Criterion::Movement(settings) => u64::from(settings.epochs) + 1,
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

/// Lets the criterion mask weights; `cut_offs` is set where it gives them scores.
pub(super) fn apply(
    stage: &Prune,
    context: &mut Context<'_>,
    model: &mut Model,
    layers: &[Prunable],
    data: Option<&Splits>,
    cut_offs: &mut Vec<Option<f64>>,
) -> Result<Ended, StageError> {
    let target = Target::of(stage, model, layers)?;
    if target.granularity == Granularity::Unit {
        return whole_units(stage, context, model, layers, &target, data);
    }
    let seed = context.job.seed;
    let data = || data.expect("opened for every criterion that needs it");
    let sample = |samples: u32| calibration(data(), samples, seed);
    let params: Vec<&str> = layers.iter().map(|layer| layer.param.as_str()).collect();
    let budget = |model: &Model| selection::budget(model, layers, &target);
    let scores = match &stage.criterion {
        Criterion::Magnitude(_) => prune::magnitude(model, layers),
        Criterion::Random(_) => prune::random(model, layers, seed),
        Criterion::Lamp(_) => prune::lamp(model, layers),
        Criterion::Taylor(_) | Criterion::Snip(_) | Criterion::Grasp(_) => {
            by_gradient(&stage.criterion, model, &params, sample)
        }
        Criterion::Synflow(settings) => {
            let budget = budget(model)?;
            synflow::prune(model, layers, &budget, settings.rounds)?;
            return Ok(Ended::Done);
        }
        Criterion::MaxEntropy(settings) => {
            let Entropy::Output(output) = &settings.variant else {
                unreachable!("entropies of activations are those of whole units")
            };
            let images = sample(settings.calibration_samples).inputs;
            max_entropy::weight_scores(model, &params, &images, output)
        }
        Criterion::Slimming(_) => unreachable!("`slimming` is of whole units"),
        Criterion::MinMse(settings) if settings.target == MseTarget::Labels => {
            let batch = sample(settings.calibration_samples);
            let with_fisher = settings.hessian == Hessian::Diag;
            let mut progress = progress(context, "image", 64);
            let scores =
                gradients::loss_changes(model, &params, &batch, with_fisher, &mut progress);
            let Some(scores) = scores else { return Ok(Ended::Stopped) };
            scores
        }
        Criterion::MinMse(settings) => {
            let images = sample(settings.calibration_samples).inputs;
            let mut progress = progress(context, "row", 16);
            return min_mse::prune(model, layers, &images, settings, &target, &mut progress);
        }
        Criterion::Movement(settings) => {
            let scores = movement::scores(context, model, &params, data(), settings)?;
            let Some(scores) = scores else { return Ok(Ended::Stopped) };
            scores
        }
        Criterion::SparseOpt(settings) => {
            return sparse_opt::prune(context, model, layers, data(), settings, &target);
        }
    };
    let budget = budget(model)?;
    *cut_offs = selection::mask_lowest(model, layers, &scores, &budget)?;
    Ok(Ended::Done)
}

/// Training images, and their labels, that a criterion looks at.
fn calibration(data: &Splits, samples: u32, seed: u64) -> Batch {
    let mut rng = random::stream(seed, "calibration", 0);
    data.train.as_set().sample(samples as usize, &mut rng)
}

/// Tells how far a criterion is, every so many steps, and whether to go on.
fn progress<'c>(
    context: &'c mut Context<'_>,
    noun: &'static str,
    every: u64,
) -> impl FnMut(u64, u64) -> bool + 'c {
    let (recorder, stop) = (&mut *context.recorder, context.stop);
    move |done, total| {
        if done.is_multiple_of(every) || done == total {
            recorder.progress(done, total, format!("{noun} {done}/{total}"));
        }
        !stop.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Scores of all values of some parameters.
fn by_gradient(
    criterion: &Criterion,
    model: &Model,
    params: &[&str],
    sample: impl Fn(u32) -> Batch,
) -> Vec<Tensor> {
    match criterion {
        Criterion::Taylor(settings) => {
            let batch = sample(settings.calibration_samples);
            gradients::taylor(model, params, &batch, settings.squared)
        }
        Criterion::Snip(settings) => {
            gradients::taylor(model, params, &sample(settings.calibration_samples), false)
        }
        Criterion::Grasp(settings) => {
            let batch = sample(settings.calibration_samples);
            gradients::grasp(model, params, &batch, settings.temperature)
        }
        _ => unreachable!("`{}` looks at no gradient", criterion.name()),
    }
}

/// Masks whole units, and gives their readers what the criterion says.
fn whole_units(
    stage: &Prune,
    context: &mut Context<'_>,
    model: &mut Model,
    layers: &[Prunable],
    target: &Target,
    data: Option<&Splits>,
) -> Result<Ended, StageError> {
    let network = model.network().clone();
    let dependencies =
        Dependencies::of(&network).map_err(|error| StageError::Unfit(error.to_string()))?;
    let candidates = Candidates::new(model, &dependencies, layers)?;
    let seed = context.job.seed;
    let sample = |samples: u32| {
        calibration(data.expect("opened for every criterion that needs it"), samples, seed)
    };
    match &stage.criterion {
        Criterion::MaxEntropy(settings) => {
            let images = sample(settings.calibration_samples).inputs;
            let candidates = match settings.variant {
                Entropy::Output(_) => candidates,
                _ => candidates.only("max-entropy", |group| group.activation.is_some())?,
            };
            let goals = Goals::of(stage, model, layers, &candidates)?;
            let scores =
                max_entropy::scores(model, candidates.groups(), &images, &settings.variant);
            let units = candidates.choose(model, &scores, target, &goals)?;
            let masks = units::masks(model, &units);
            let readers = || Reader::of(model, &images, candidates.groups());
            let damping = correction::DAMPING;
            correction::apply(settings.correction, model, &images, &masks, readers, damping)?;
            units::mask(model, &units);
        }
        Criterion::MinMse(settings) => {
            let images = sample(settings.calibration_samples).inputs;
            let candidates =
                candidates.only("min-mse", |group| readers::have_patches(&network, group))?;
            let goals = Goals::of(stage, model, layers, &candidates)?;
            let readers = Reader::of(model, &images, candidates.groups());
            let scores = elimination::scores(
                candidates.groups(),
                &readers,
                settings.select,
                settings.damping,
                &mut progress(context, "unit", 1),
            )?;
            let Some(scores) = scores else { return Ok(Ended::Stopped) };
            let units = candidates.choose(model, &scores, target, &goals)?;
            let masks = units::masks(model, &units);
            let damping = settings.damping;
            correction::apply(settings.correction, model, &images, &masks, || readers, damping)?;
            units::mask(model, &units);
        }
        Criterion::SparseOpt(settings) => {
            let goals = Goals::of(stage, model, layers, &candidates)?;
            let data = data.expect("opened for every criterion that needs it");
            return sparse_opt::prune_units(
                context,
                model,
                &candidates,
                &goals,
                data,
                settings,
                target,
            );
        }
        Criterion::Slimming(settings) => {
            let candidates =
                candidates.only("slimming", |group| slimming::has_scales(model, group))?;
            let goals = Goals::of(stage, model, layers, &candidates)?;
            if let Some(data) = data.filter(|_| settings.epochs > 0) {
                let groups = candidates.groups();
                if slimming::train(context, model, groups, data, settings)? == Ended::Stopped {
                    return Ok(Ended::Stopped);
                }
            }
            let scores = slimming::scores(model, candidates.groups());
            let units = candidates.choose(model, &scores, target, &goals)?;
            units::mask(model, &units);
        }
        criterion => {
            let goals = Goals::of(stage, model, layers, &candidates)?;
            let scores = match criterion {
                Criterion::Magnitude(_) => scores::magnitude(model, candidates.groups()),
                Criterion::Random(_) => scores::random(candidates.groups(), seed),
                _ => {
                    let names: Vec<String> = trainable(model).map(str::to_owned).collect();
                    let params: Vec<&str> = names.iter().map(String::as_str).collect();
                    let values = if let Criterion::Movement(settings) = criterion {
                        let data = data.expect("opened for every criterion that needs it");
                        movement::scores(context, model, &params, data, settings)?
                    } else {
                        Some(by_gradient(criterion, model, &params, sample))
                    };
                    let Some(values) = values else { return Ok(Ended::Stopped) };
                    let by_param = names.into_iter().zip(values).collect();
                    scores::summed(model, &by_param, candidates.groups())
                }
            };
            let units = candidates.choose(model, &scores, target, &goals)?;
            units::mask(model, &units);
        }
    }
    Ok(Ended::Done)
}

fn trainable(model: &Model) -> impl Iterator<Item = &str> {
    let params = model.params().iter();
    params.filter(|(_, parameter)| parameter.role.is_trainable()).map(|(name, _)| name.as_str())
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
