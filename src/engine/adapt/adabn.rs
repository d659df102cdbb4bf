//! Adaptive batch normalisation: the target's own statistics for the weights of the source.
//!
//! Li et al. 2018, "Adaptive Batch Normalization for practical domain adaptation", Pattern Recognition 80,
//! <https://arxiv.org/abs/1603.04779>, section 3. The statistics are those of the whole training set, exact
//! whatever the batches: one layer after the other, each with those before it replaced already.

use graftwork::network::Op;
use tch::{Kind, Tensor, no_grad};

use super::TARGET;
use crate::data::Unlabelled;
use crate::model::{Mode, Model};

/// Gives every batch-norm that the target goes through the mean and the biased variance of what the target's
/// training examples are there.
pub fn adapt(model: &mut Model, target: &Unlabelled) {
    let nodes = model.network().nodes.iter().enumerate();
    let norms = nodes.filter(|(_, node)| matches!(node.op, Op::BatchNorm(_)));
    let norms: Vec<(usize, usize)> = norms.map(|(index, node)| (index, node.inputs[0])).collect();
    for (norm, input) in norms {
        let moments = moments(model, target, input);
        for (entry, value) in [("running_mean", moments.mean), ("running_var", moments.variance)] {
            let name = model.network().param_name(norm, Some(TARGET), entry);
            no_grad(|| model.params_mut()[&name].value.copy_(&value));
        }
    }
}

/// Mean and biased variance of each channel.
struct Moments {
    mean: Tensor,     // [C], f64
    variance: Tensor, // [C], f64
}

/// Of what a node puts out, over all examples and places.
///
/// Two passes: a difference of sums of squares would lose what a large mean has in common with them.
fn moments(model: &Model, target: &Unlabelled, node: usize) -> Moments {
    let mean = channel_mean(model, target, node, &|values| values);
    let variance = channel_mean(model, target, node, &|values| {
        let mut shape = vec![1; values.dim()];
        shape[1] = -1;
        (values - mean.view(shape.as_slice())).square()
    });
    Moments { mean, variance }
}

/// The mean of each channel of `f` of what a node puts out.
fn channel_mean(
    model: &Model,
    target: &Unlabelled,
    node: usize,
    f: &dyn Fn(Tensor) -> Tensor,
) -> Tensor {
    no_grad(|| {
        let (mut sums, mut count) = (Vec::new(), 0);
        for inputs in target.in_order() {
            let (_, mut tapped) = model.forward_with(&inputs, Mode::Eval, Some(TARGET), &[node]);
            let values = f(tapped.pop().expect("one node was tapped").to_kind(Kind::Double));
            let channels = values.size()[1];
            count += values.numel() as i64 / channels;
            let others: Vec<i64> =
                (0..values.dim() as i64).filter(|&dimension| dimension != 1).collect();
            sums.push(values.sum_dim_intlist(others.as_slice(), false, Kind::Double));
        }
        let sum = Tensor::stack(&sums, 0).sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
        sum / count as f64
    })
}
