//! The `finetune` stage: a trained network, trained further on labelled data.

use graftwork::experiment::spec::{Finetune, Loss};
use graftwork::network::Extents;

use super::{Context, Ended, StageError};
use crate::model::Model;
use crate::train::loss::StartingPoint;
use crate::train::{self, Supervised, Trained};

pub(super) fn run(stage: &Finetune, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let training = stage.training();
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
    let mut objective = Supervised::new(&splits, &training.loss, seed).measuring_start();
    if let Loss::Distillation(_) = training.loss {
        objective = objective.with_teacher(teacher(context, &model)?);
    }
    if let Some(settings) = &stage.l2_sp {
        let head = new_head.then(|| model.network().head());
        train::freeze(&mut model, &training.freeze);
        objective = objective.with_starting_point(StartingPoint::new(settings, &model, head));
    }
    match train::train(context, &mut model, &training, &mut objective)? {
        Trained::Stopped => Ok(Ended::Stopped),
        Trained::Done { epoch } => {
            context.measure(&model, &splits.test, &splits.name, epoch);
            context.finish(&model, u64::from(epoch))
        }
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
