//! The `finetune` stage: a trained network, trained further on labelled data.

use graftwork::experiment::spec::{Finetune, Loss, Training};
use graftwork::network::{Extents, Network};

use super::{Context, Ended, StageError, point};
use crate::model::Model;
use crate::train::features::Behaviour;
use crate::train::layerwise::{self, Unfreezing};
use crate::train::lora::Lora;
use crate::train::loss::StartingPoint;
use crate::train::{self, Objective as _, Supervised, Trained};

pub(super) fn run(stage: &Finetune, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let mut training = stage.training();
    let seed = context.job.seed;
    let model = context.input("from")?;
    let splits = context.open(&stage.data, model.network().input_shape())?;

    // What is trained has one domain: the layers that other domains share with it would move under
    // their own copies.
    let mut model = match model.domain_for(&splits.name) {
        Some(domain) => model.into_domain(domain),
        None => model,
    };
    let new_head = stage.new_head || classes(&model)? != splits.classes;
    if new_head {
        model = model.replace_head(splits.classes, seed);
    }
    train::freeze(&mut model, &training.freeze);
    if let Some(rates) = &stage.layer_rates {
        training.learning_rate_factors =
            layerwise::factors(rates, &training.learning_rate_factors, model.network());
        log_rates(context, &training);
    }
    let loss = training.loss.clone();
    let mut objective = Supervised::new(&splits, &loss, seed).measuring_start();
    if let Some(settings) = &stage.unfreeze {
        let unfreezing = Unfreezing::new(settings, &model);
        unfreezing.apply_for_good(&mut model);
        log_groups(context, &unfreezing, model.network());
        objective = objective.with_unfreezing(unfreezing);
    }
    if let Loss::Distillation(_) = training.loss {
        objective = objective.with_teacher(teacher(context, &model)?);
    }
    let new_heads = if new_head { model.network().heads() } else { Vec::new() };
    if let Some(settings) = &stage.l2_sp {
        objective = objective.with_starting_point(StartingPoint::new(settings, &model, &new_heads));
    }
    if let Some(settings) = &stage.delta {
        let behaviour = Behaviour::new(settings, &model, &new_heads);
        objective = objective.with_behaviour(behaviour.ok_or_else(|| {
            StageError::Unfit(
                "`delta`: no linear layer or convolution below the head matches `layers`"
                    .to_owned(),
            )
        })?);
    }
    if let Some(settings) = &stage.bss {
        objective = objective.with_bss(settings.clone());
    }
    if let Some(settings) = &stage.lora {
        let lora = Lora::new(settings, &mut model, &new_heads, seed)?;
        context.recorder.log(&format!("low-rank updates of {}", lora.layers().join(", ")));
        objective = objective.with_lora(lora);
    }
    match train::train(context, &mut model, &training, &mut objective)? {
        Trained::Stopped => Ok(Ended::Stopped),
        Trained::Done { epoch } => {
            let networks = [Some(&model), objective.auxiliary().map(|factors| &*factors)];
            let trained = networks.into_iter().flatten().map(layerwise::trained_params);
            let trained: u64 = if training.epochs == 0 { 0 } else { trained.sum() };
            let trained = point("trained-params", u64::from(epoch), trained as f64);
            context.recorder.record(vec![trained]);
            context.measure(&model, &splits.test, &splits.name, epoch);
            context.finish(&model, u64::from(epoch))
        }
    }
}

/// Writes down the learning rate of each layer, before the schedule.
fn log_rates(context: &mut Context<'_>, training: &Training) {
    let rate = training.optimizer.learning_rate();
    for (layer, factor) in &training.learning_rate_factors {
        context.recorder.log(&format!("learning rate of {layer}: {}", rate * factor));
    }
}

/// Writes down from which epoch on each layer is trained.
fn log_groups(context: &mut Context<'_>, unfreezing: &Unfreezing, network: &Network) {
    for (epoch, layers) in unfreezing.groups(network) {
        context.recorder.log(&format!("from epoch {epoch} on: {}", layers.join(", ")));
    }
}

fn classes(model: &Model) -> Result<u32, StageError> {
    model.network().classes().map_err(|error| StageError::Unfit(error.to_string()))
}

/// The teacher, which must take and give what the student does.
fn teacher(context: &Context<'_>, student: &Model) -> Result<Model, StageError> {
    let teacher = context.input("teacher")?;
    let shape = |model: &Model| -> Result<_, StageError> {
        Ok((model.network().input_shape().to_vec(), classes(model)?))
    };
    let (theirs, ours) = (shape(&teacher)?, shape(student)?);
    if theirs == ours {
        return Ok(teacher);
    }
    Err(StageError::Unfit(format!(
        "the teacher takes {} and knows {} classes, the student {} and {}; they must be the same",
        Extents(&theirs.0),
        theirs.1,
        Extents(&ours.0),
        ours.1
    )))
}
