//! Which weights go, given a score for each: exact to one weight, ties broken by index.
//!
//! Weights that are already masked go first and count. No layer is emptied: its best weight stays.

use graftwork::experiment::spec::Scope;
use tch::{Device, Kind, Tensor};

use super::Prunable;
use crate::model::Model;
use crate::stage::StageError;

/// Number of zeros among `n` weights at a sparsity.
pub fn zeros(n: usize, sparsity: f64) -> usize {
    (sparsity * n as f64).round() as usize
}

/// What a sparsity asks of a network's layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Sets of layers, by index, whose weights compete, each with the number of its weights that are zero
    /// afterwards. One set for `scope = "global"`, one a layer for `scope = "layer"`.
    pub pools: Vec<(Vec<usize>, usize)>,
}

/// Checks a target against the masks that are there.
///
/// # Errors
/// [`StageError::Unfit`] when more is masked already than the target asks for, or when the target
/// would empty a layer.
pub fn budget(
    model: &Model,
    layers: &[Prunable],
    sparsity: f64,
    scope: Scope,
) -> Result<Budget, StageError> {
    let masked: Vec<usize> = layers.iter().map(|layer| layer.masked(model)).collect();
    let sizes: Vec<usize> = layers.iter().map(|layer| layer.size(model)).collect();
    let too_sparse = |what: String, masked: usize, size: usize| {
        Err(StageError::Unfit(format!(
            "{what} already has {:.4} of its weights masked, more than sparsity = {sparsity}; ask for more, or prune the network that it came from",
            masked as f64 / size as f64
        )))
    };
    if scope == Scope::Layer {
        let mut pools = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let wanted = zeros(sizes[index], sparsity);
            if masked[index] > wanted {
                return too_sparse(format!("layer `{}`", layer.name), masked[index], sizes[index]);
            }
            // Rounding alone may empty a small layer; a weight stays, unless none was left before.
            pools.push((vec![index], wanted.min(sizes[index] - 1).max(masked[index])));
        }
        return Ok(Budget { pools });
    }
    let (size, masked_all) = (sizes.iter().sum::<usize>(), masked.iter().sum::<usize>());
    let wanted = zeros(size, sparsity);
    if masked_all > wanted {
        return too_sparse("the network".to_owned(), masked_all, size);
    }
    let empty = (0..layers.len()).filter(|&index| masked[index] == sizes[index]).count();
    let most = size - (layers.len() - empty);
    if wanted > most {
        return Err(StageError::Unfit(format!(
            "sparsity = {sparsity} leaves {} weights for {} layers, and each keeps at least one; the largest possible is {}",
            size - wanted,
            layers.len() - empty,
            most as f64 / size as f64
        )));
    }
    Ok(Budget { pools: vec![((0..layers.len()).collect(), wanted)] })
}

/// Masks the weights with the lowest scores.
///
/// # Shapes
/// - scores: one tensor a layer, as many values as its weight
///
/// # Errors
/// [`StageError::Unfit`] as [`budget`], or where a score is not finite.
pub fn mask_lowest(
    model: &mut Model,
    layers: &[Prunable],
    scores: &[Tensor],
    sparsity: f64,
    scope: Scope,
) -> Result<(), StageError> {
    let budget = budget(model, layers, sparsity, scope)?;
    let scores = layers.iter().zip(scores).map(|(layer, scores)| ranked(model, layer, scores));
    let scores = scores.collect::<Result<Vec<Tensor>, StageError>>()?;
    for (pool, wanted) in budget.pools {
        let all = Tensor::cat(&pool.iter().map(|&index| &scores[index]).collect::<Vec<_>>(), 0);
        let kept = keep_highest(&all, wanted);
        let mut start = 0;
        for index in pool {
            let size = scores[index].size1().expect("scores are in a row");
            layers[index].set_mask(model, &kept.narrow(0, start, size));
            start += size;
        }
    }
    model.apply_masks();
    Ok(())
}

/// One for the kept, zero for the `zeros` lowest; of equals the first go first.
fn keep_highest(scores: &Tensor, zeros: usize) -> Tensor {
    // Sorted on the CPU, so that ties fall alike on every device.
    let (_, order) = scores.sort_stable(true, 0, false);
    let mut kept = Tensor::ones(scores.size(), (Kind::Float, Device::Cpu));
    let _ = kept.index_fill_(0, &order.narrow(0, 0, zeros as i64), 0.0);
    kept
}

/// The scores in a row, on the CPU, as the order of removal: masked weights first, the best one last.
fn ranked(model: &Model, layer: &Prunable, scores: &Tensor) -> Result<Tensor, StageError> {
    let scores = scores.detach().to_device(Device::Cpu).to_kind(Kind::Double).reshape([-1]);
    if scores.isfinite().all().int64_value(&[]) == 0 {
        return Err(StageError::Unfit(format!(
            "a weight of layer `{}` has no finite score; the network that is pruned holds NaN or infinity",
            layer.name
        )));
    }
    let Some(mask) = layer.mask(model) else {
        let _ = scores.get(scores.argmax(0, false).int64_value(&[])).fill_(f64::INFINITY);
        return Ok(scores);
    };
    let masked = mask.reshape([-1]).to_device(Device::Cpu).eq(0.0);
    let scores = scores.masked_fill(&masked, f64::NEG_INFINITY);
    if masked.all().int64_value(&[]) == 0 {
        let _ = scores.get(scores.argmax(0, false).int64_value(&[])).fill_(f64::INFINITY);
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_go_and_of_equals_the_first() {
        let scores = Tensor::from_slice(&[2.0, 1.0, 3.0, 1.0, 1.0, f64::NEG_INFINITY]);
        let kept = Vec::<f32>::try_from(keep_highest(&scores, 3)).unwrap();
        assert_eq!(kept, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_count_is_rounded_to_the_nearest_weight() {
        assert_eq!(zeros(266_200, 0.9), 239_580);
        assert_eq!(zeros(7, 0.5), 4);
        assert_eq!(zeros(10, 0.04), 0);
    }
}
