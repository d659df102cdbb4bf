//! Weights that go together: rows, and the losers of every N:M group.

use tch::{Device, Kind, Tensor};

use crate::stage::StageError;

/// One for the kept and zero for the others, in a row: of every group of `pattern.1` consecutive
/// weights of a row the `pattern.0` best stay, of equals the later. A last group that is not full keeps
/// as many. Weights without a finite score are masked already and stay so.
///
/// # Shapes
/// - scores: `[rows, d]`, on the CPU
pub fn keep_best_of_groups(scores: &Tensor, pattern: (usize, usize)) -> Tensor {
    let (kept, of) = (pattern.0 as i64, pattern.1 as i64);
    let (rows, d) = (scores.size()[0], scores.size()[1]);
    let missing = (of - d % of) % of;
    let room = Tensor::full([rows, missing], f64::NEG_INFINITY, (Kind::Double, Device::Cpu));
    // Before the weights of the last group, so that of equals a weight stays.
    let last = d - d % of;
    let padded =
        Tensor::cat(&[scores.narrow(1, 0, last), room, scores.narrow(1, last, d - last)], 1);
    let groups = padded.reshape([-1, of]);
    let (_, order) = groups.sort_stable(true, 1, false);
    let mask = Tensor::ones(groups.size(), (Kind::Float, Device::Cpu));
    let mask = mask.scatter_value(1, &order.narrow(1, 0, of - kept), 0.0).reshape([rows, -1]);
    let behind = last + missing;
    let parts = [mask.narrow(1, 0, last), mask.narrow(1, behind, d - last)];
    Tensor::cat(&parts, 1).masked_fill(&scores.eq(f64::NEG_INFINITY), 0.0).reshape([-1])
}

/// One for the kept and zero for the others, in a row for all layers: whole rows go, those with the
/// smallest sum of scores first, until `wanted` weights are zero. A layer keeps its best rows, as many
/// as hold `least` weights.
///
/// # Shapes
/// - scores: `[rows, d]` a layer, on the CPU; minus infinity where a weight is masked
///
/// # Errors
/// [`StageError::Unfit`] where whole rows cannot give as many.
pub fn keep_rows(scores: &[Tensor], least: &[usize], wanted: usize) -> Result<Tensor, StageError> {
    let masks: Vec<Tensor> =
        scores.iter().map(|scores| scores.isfinite().to_kind(Kind::Float)).collect();
    let alive = |mask: &Tensor| mask.sum(Kind::Double).double_value(&[]) as usize;
    let size: usize = scores.iter().map(Tensor::numel).sum();
    let mut zeros = size - masks.iter().map(alive).sum::<usize>();
    let mut rows: Vec<(f64, usize, i64)> = Vec::new();
    for (layer, scores) in scores.iter().enumerate() {
        let sums = scores.masked_fill(&masks[layer].eq(0.0), 0.0);
        let sums = sums.sum_dim_intlist([1].as_slice(), false, Kind::Double);
        let sums: Vec<f64> = Vec::try_from(sums).expect("a vector of f64");
        let mut of: Vec<(f64, usize, i64)> = sums
            .into_iter()
            .enumerate()
            .filter(|&(row, _)| alive(&masks[layer].get(row as i64)) > 0)
            .map(|(row, sum)| (sum, layer, row as i64))
            .collect();
        of.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut held = 0;
        while held < least[layer] {
            let Some((_, _, row)) = of.pop() else { break };
            held += alive(&masks[layer].get(row));
        }
        rows.extend(of);
    }
    rows.sort_by(|one, other| one.0.total_cmp(&other.0));
    for (_, layer, row) in rows {
        if zeros >= wanted {
            break;
        }
        let mut row = masks[layer].get(row);
        zeros += alive(&row);
        let _ = row.zero_();
    }
    if zeros < wanted {
        return Err(StageError::Unfit(format!(
            "whole rows cannot give {wanted} zeros where every layer keeps a row and its floor; the largest possible sparsity is {}",
            zeros as f64 / size as f64
        )));
    }
    let flat: Vec<Tensor> = masks.iter().map(|mask| mask.reshape([-1])).collect();
    Ok(Tensor::cat(&flat, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn the_best_of_every_group_stay() {
        let scores = [3.0, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 2.0, 1.0, 3.0];
        let scores = Tensor::from_slice(&scores).reshape([1, 11]);
        let kept = keep_best_of_groups(&scores, (2, 4));
        assert_eq!(values(&kept), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0]);
        let kept = keep_best_of_groups(&scores, (1, 4));
        assert_eq!(values(&kept), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        // A last group of three keeps all, being no more than four.
        let kept = keep_best_of_groups(&scores, (4, 8));
        assert_eq!(values(&kept), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn what_is_masked_does_not_come_back() {
        let gone = f64::NEG_INFINITY;
        let scores = Tensor::from_slice(&[gone, gone, gone, 1.0, gone, 1.0, 2.0, 3.0]);
        let kept = keep_best_of_groups(&scores.reshape([2, 4]), (2, 4));
        assert_eq!(values(&kept), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn rows_go_by_their_sums_and_a_layer_keeps_its_best() {
        let one = Tensor::from_slice(&[1.0, 1.0, 9.0, 0.0, 4.0, 4.0]).reshape([3, 2]);
        let other = Tensor::from_slice(&[0.1, 0.1, 0.1]).reshape([1, 3]);
        let kept = keep_rows(&[one, other], &[1, 1], 3).unwrap();
        assert_eq!(values(&kept), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }
}
