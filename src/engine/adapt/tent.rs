//! Test entropy minimisation: batch-norm's scales and shifts alone are trained, on the target alone.
//!
//! Wang et al. 2021, "Tent: Fully Test-time Adaptation by Entropy Minimization",
//! <https://arxiv.org/abs/2006.10726>, section 3. There the examples that are measured are those that are
//! trained on, each before its update; here training examples are trained on and other examples measured, with
//! the running averages of the training batches.

use graftwork::network::Op;

use super::learner::{Learner, Streams};
use super::{TARGET, TRANSFER_LOSS, entropy};
use crate::model::{Mode, Model};
use crate::stage::StageError;
use crate::train::{Step, Terms};

/// The method at work.
#[derive(Debug)]
pub struct Tent;

impl Learner for Tent {
    fn freeze(&self, model: &mut Model) -> Result<(), StageError> {
        let nodes = &model.network().nodes;
        let is_norm: Vec<bool> =
            nodes.iter().map(|node| matches!(node.op, Op::BatchNorm(_))).collect();
        if !is_norm.contains(&true) {
            return Err(StageError::Unfit(
                "method `tent` works by batch-norm, and the network has none".to_owned(),
            ));
        }
        for parameter in model.params_mut().values_mut() {
            parameter.frozen |= !is_norm[parameter.node];
        }
        model.update_gradient_flags();
        Ok(())
    }

    fn loss(&mut self, model: &Model, streams: &mut Streams<'_>, _: &Step) -> Terms {
        let logits = model.forward(&streams.target().inputs, Mode::Train, Some(TARGET));
        let total = entropy::loss(&logits);
        Terms { named: vec![(TRANSFER_LOSS, total.detach())], total }
    }
}
