//! What readers get for the units that go.
//!
//! - Compensation: what units put out on average goes into the reader's bias, or into the running mean of
//!   the normalisation behind it. The mean square error falls from `w² E[x²]` to `w² Var[x]`.
//! - Refit: the least-squares weights on the columns that stay, `W H[:,K] (H[K,K])⁻¹`, which make the error
//!   least. He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks",
//!   <https://arxiv.org/abs/1707.06168>, section 3.1.
//!
//! No label is used. A transposed convolution gets nothing, since a unit adds different amounts to its
//! outputs by place, nor does a recurrent layer or an attention.

use graftwork::experiment::spec::Correction;
use indexmap::IndexMap;
use tch::{Kind, Tensor, no_grad};

use super::readers::{Reader, by_channel_group};
use crate::model::Model;
use crate::prune::calibration::Collect;
use crate::prune::obs;
use crate::stage::StageError;

/// Gives readers what an experiment asks for.
///
/// - readers: with second moments, of the network before anything is masked
///
/// # Shapes
/// - images: `[n, …]`, the network's input
/// - masks: by parameter, as they will be
///
/// # Errors
/// As [`refit`].
pub fn apply(
    correction: Correction,
    model: &Model,
    images: &Tensor,
    masks: &IndexMap<String, Tensor>,
    readers: impl FnOnce() -> Vec<Reader>,
    damping: f64,
) -> Result<(), StageError> {
    match correction {
        Correction::None => Ok(()),
        Correction::Mean => {
            compensate(model, images, masks);
            Ok(())
        }
        Correction::LeastSquares => refit(model, &readers(), masks, damping),
    }
}

/// Damping of a Hessian where the criterion has none of its own.
pub const DAMPING: f64 = 0.01;

/// Adds what units put out on average to the layers that read them.
///
/// # Shapes
/// - images: `[n, …]`, the network's input
/// - masks: by parameter, as they will be
pub fn compensate(model: &Model, images: &Tensor, masks: &IndexMap<String, Tensor>) {
    let mut readers =
        Reader::all(model, images, Collect::Sums, |layer| masks.contains_key(&layer.param));
    readers.retain(|reader| reader.absorber.is_some());
    for reader in &readers {
        let masks = by_channel_group(&masks[&reader.layer.param], reader.weights.len());
        let pairs = reader.weights.iter().zip(&masks);
        let lost: Vec<Tensor> = pairs.map(|(weight, mask)| weight * mask.eq(0.0)).collect();
        take_up(model, reader, &lost);
    }
}

/// Gives layers the least-squares weights on what they still read, and takes up the change of their mean.
///
/// Layers in which single weights are masked keep the others as they are and get the mean alone.
///
/// - readers: with second moments, of the network before anything is masked
/// - masks: by parameter, as they will be
/// - damping: added to the Hessian's diagonal, as a fraction of its mean
///
/// # Errors
/// [`StageError::Unfit`] where a Hessian has no inverse.
pub fn refit(
    model: &Model,
    readers: &[Reader],
    masks: &IndexMap<String, Tensor>,
    damping: f64,
) -> Result<(), StageError> {
    for reader in readers {
        let Some(mask) = masks.get(&reader.layer.param) else { continue };
        let masks = by_channel_group(mask, reader.weights.len());
        let refitted = if masks.iter().all(is_of_whole_units) {
            let groups = 0..masks.len();
            let refitted = groups.map(|group| refit_group(reader, group, &masks[group], damping));
            refitted.collect::<Result<Vec<Tensor>, StageError>>()?
        } else {
            reader.weights.iter().zip(&masks).map(|(weight, mask)| weight * mask).collect()
        };
        let pairs = reader.weights.iter().zip(&refitted);
        let lost: Vec<Tensor> = pairs.map(|(weight, refitted)| weight - refitted).collect();
        take_up(model, reader, &lost);
        let value = &model.params()[&reader.layer.param].value;
        let refitted = Tensor::cat(&refitted, 0).reshape(value.size());
        no_grad(|| value.detach().copy_(&refitted.to_kind(value.kind()).to_device(value.device())));
    }
    Ok(())
}

/// Whether only whole rows and columns are masked.
fn is_of_whole_units(mask: &Tensor) -> bool {
    let stays = |axis: i64| mask.amax([axis].as_slice(), true);
    mask.equal(&(stays(0) * stays(1)))
}

fn refit_group(
    reader: &Reader,
    group: usize,
    mask: &Tensor,
    damping: f64,
) -> Result<Tensor, StageError> {
    let weight = &reader.weights[group];
    let stays = mask.amax([0].as_slice(), false);
    let kept = stays.nonzero().squeeze_dim(1);
    if kept.numel() == stays.numel() {
        return Ok(weight.copy());
    }
    let hessian = obs::damped(&reader.hessian(group), damping);
    let right = hessian.index_select(0, &kept).matmul(&weight.tr()); // [kept, rows]
    let left = hessian.index_select(0, &kept).index_select(1, &kept);
    let (factor, info) = left.linalg_cholesky_ex(false, false);
    if info.int64_value(&[]) != 0 {
        return Err(obs::singular(&reader.layer.name, weight.size()[1], damping));
    }
    let solved = right.cholesky_solve(&factor, false).tr();
    Ok(weight.zeros_like().index_copy(1, &kept, &solved))
}

/// - lost: for each channel group what went of the weights
fn take_up(model: &Model, reader: &Reader, lost: &[Tensor]) {
    let Some(absorber) = &reader.absorber else { return };
    let sums = lost.iter().zip(&reader.inputs.sums);
    let shift: Vec<Tensor> =
        sums.map(|(lost, sum)| lost.mv(&(sum / reader.inputs.patches))).collect();
    no_grad(|| absorber.add(model, &Tensor::cat(&shift, 0).to_kind(Kind::Double)));
}
