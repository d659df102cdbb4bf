//! The `pretrain` stage: a new network, trained on labelled data.

use graftwork::experiment::spec::Pretrain;
use graftwork::network::zoo;

use super::{Context, Ended, StageError};
use crate::model::Model;
use crate::train::{self, Supervised, Trained};

pub(super) fn run(stage: &Pretrain, context: &mut Context<'_>) -> Result<Ended, StageError> {
    let training = stage.training();
    let seed = context.job.seed;
    let network = zoo::build_for(&stage.model, &stage.data)
        .map_err(|error| StageError::Unfit(error.to_string()))?;
    let splits = context.open(&stage.data, &stage.data.shape())?;
    let mut model = Model::new(network, seed, context.device);
    let mut objective = Supervised::new(&splits, &training.loss, seed);
    match train::train(context, &mut model, &training, &mut objective)? {
        Trained::Stopped => Ok(Ended::Stopped),
        Trained::Done { epoch } => {
            context.measure(&model, &splits.test, &splits.name, epoch);
            context.finish(&model, u64::from(epoch))
        }
    }
}
