//! Weights go whose removal changes their layer's output least in the mean square.
//!
//! `L(W) = ½ ‖X (W − W⁰)ᵀ‖²` over the calibration images, so the Hessian of every row is `H = XᵀX`
//! (convolutions: of the patches), the same for all rows of a layer or channel group.
//! - `hessian = "identity"`: score `½ w²`, as if inputs were independent and alike.
//! - `hessian = "diag"`: score `½ w² H_qq`, no correction. Wanda's score (Sun et al. 2023,
//!   <https://arxiv.org/abs/2306.11695>), ranked over whole layers.
//! - `hessian = "full"`: Optimal Brain Compression (Frantar & Alistarh 2022,
//!   <https://arxiv.org/abs/2208.11580>): exact optimal brain surgeon in every row, the losses of all
//!   removals ranked over rows, then the least-squares weights on what each row keeps.
//!   Without `update` they go in the same order and the others stay as they are.
//! - `hessian = "blocked"`: `SparseGPT` ([`super::blocked`]).
//!
//! That is `target = "self"`; for `target = "labels"` see [`super::gradients::loss_changes`].
//!
//! With N:M patterns the surgeon removes the cheapest weight whose group still has one to lose. Whole rows
//! go by the energy of what they put out; no weight of another row can make up for them.
//!
//! Every layer is fitted to what it puts out in the network before pruning. With `scope = "global"`
//! layers are compared by loss as a share of `½ ‖X W⁰ᵀ‖²`, the energy of the layer's output.

use graftwork::experiment::spec::{Granularity, Hessian, MinMse};
use tch::{Device, Kind, Tensor, no_grad};

use super::Prunable;
use super::blocked::{self, Rows, Take};
use super::calibration::{self, Collect, Inputs};
use super::obs::{self, Elimination};
use super::selection::{self, Budget, Target};
use crate::model::Model;
use crate::stage::{Ended, StageError};

/// Masks weights, and with the full Hessian corrects the others.
///
/// `progress` is told rows done and rows in all; it says whether to go on.
///
/// # Shapes
/// - images: `[n, …]`, the network's input
///
/// # Errors
/// [`StageError::Unfit`] for a target that cannot be met or a Hessian that is singular.
pub fn prune(
    model: &mut Model,
    layers: &[Prunable],
    images: &Tensor,
    settings: &MinMse,
    target: &Target,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Ended, StageError> {
    // Before the work, so that what cannot be met is told at once.
    are_supported(model, layers)?;
    let budget = selection::budget(model, layers, target)?;
    let inputs = calibration::inputs(model, images, layers, Collect::Grams);
    let all = |score: fn(&Weights, &Inputs) -> Tensor, model: &Model| -> Vec<Tensor> {
        let layers = layers.iter().zip(&inputs);
        layers.map(|(layer, inputs)| score(&Weights::of(model, layer, inputs), inputs)).collect()
    };
    let problems = |model: &Model| -> Result<Vec<Problem>, StageError> {
        let layers = layers.iter().zip(&inputs);
        layers.map(|(layer, inputs)| Problem::new(model, layer, inputs, settings.damping)).collect()
    };
    let scores = match (settings.hessian, budget.granularity) {
        (Hessian::Identity, _) => all(squares, model),
        (Hessian::Diag, _) => all(diagonal_scores, model),
        (Hessian::Full | Hessian::Blocked, Granularity::Row) => all(row_scores, model),
        (Hessian::Full, _) => {
            let update = settings.update.unwrap_or(true);
            return Ok(surgeon(model, layers, &problems(model)?, &budget, update, progress));
        }
        (Hessian::Blocked, _) => {
            let scores = all(diagonal_scores, model);
            let zeros = selection::zeros_by_layer(model, layers, &scores, &budget)?;
            let problems = problems(model)?;
            let block = i64::from(settings.block_size);
            for ((layer, problem), zeros) in layers.iter().zip(&problems).zip(zeros) {
                in_blocks(model, layer, problem, &budget, zeros, block);
            }
            model.apply_masks();
            return Ok(Ended::Done);
        }
    };
    selection::mask_lowest(model, layers, &scores, &budget)?;
    Ok(Ended::Done)
}

/// One layer in `SparseGPT`'s order; channel groups share its zeros by what is left of them.
fn in_blocks(
    model: &mut Model,
    layer: &Prunable,
    problem: &Problem,
    budget: &Budget,
    zeros: usize,
    block: i64,
) {
    let size = layer.size(model);
    let masks = match layer.mask(model) {
        None => layer.weight(model).zeros_like(),
        Some(mask) => mask.eq(0.0),
    };
    let masks = masks.to_device(Device::Cpu).to_kind(Kind::Bool).flatten(1, -1);
    let rows = masks.size()[0] / problem.hessians.len() as i64;
    let masked = layer.masked(model);
    if zeros == masked && budget.granularity.pattern().is_none() {
        return;
    }
    let (mut seen, mut gone) = (0usize, 0usize);
    let (mut weights, mut kept) = (Vec::new(), Vec::new());
    for (group, shared) in problem.hessians.iter().enumerate() {
        let masked_here = masks.narrow(0, group as i64 * rows, rows);
        let count = masked_here.count_nonzero(None::<i64>).int64_value(&[]) as usize;
        seen += masked_here.numel() - count;
        // Cumulated, so that the last group makes the sum exact.
        let until = ((zeros.saturating_sub(masked) * seen) as f64 / (size - masked).max(1) as f64)
            .round() as usize;
        let take = match budget.granularity.pattern() {
            Some(pattern) => Take::Pattern(pattern),
            None => Take::Zeros(count + until - gone),
        };
        gone = until;
        let dead = Tensor::zeros([masks.size()[1]], (Kind::Bool, Device::Cpu));
        for &index in &shared.dead {
            let _ = dead.get(i64::from(index)).fill_(1i64);
        }
        let (left, mask) = blocked::prune(
            &Rows {
                weights: &problem.weights.groups[group],
                inverse: &obs::inverse(&shared.damped),
                masked: &masked_here,
                dead: &dead,
            },
            take,
            block,
        );
        weights.push(left);
        kept.push(mask);
    }
    put(model, layer, &weights, &kept);
}

fn are_supported(model: &Model, layers: &[Prunable]) -> Result<(), StageError> {
    let op = |layer: &Prunable| &model.network().nodes[layer.node].op;
    match layers.iter().find(|layer| !calibration::has_patches(op(layer))) {
        None => Ok(()),
        Some(layer) => Err(StageError::Unfit(format!(
            "min-mse has no rule for `{0}` ({1}), only for conv1d, conv2d and linear; leave it out with exclude = [\"{0}\"], or choose another criterion",
            model.network().nodes[layer.node].name,
            op(layer).name()
        ))),
    }
}

/// A layer's weights as rows, by channel group.
struct Weights {
    groups: Vec<Tensor>, // [rows, d] each, f64, on the CPU
    energy: f64,
}

impl Weights {
    fn of(model: &Model, layer: &Prunable, inputs: &Inputs) -> Self {
        let weight = layer.weight(model).to_device(Device::Cpu).to_kind(Kind::Double);
        let weight = weight.flatten(1, -1);
        let groups = weight.split(weight.size()[0] / inputs.grams.len() as i64, 0);
        let energies = groups.iter().zip(&inputs.grams).map(|(weight, gram)| {
            0.5 * (weight.matmul(gram) * weight).sum(Kind::Double).double_value(&[])
        });
        let energy: f64 = energies.sum();
        // A layer without any output on the calibration images compares by its raw losses: zeros.
        Self { energy: if energy > 0.0 { energy } else { 1.0 }, groups }
    }
}

fn squares(weights: &Weights, _: &Inputs) -> Tensor {
    Tensor::cat(&weights.groups, 0).square() * 0.5
}

/// Half of the energy of what a row puts out, in equal parts on its weights, so that they sum to it.
fn row_scores(weights: &Weights, inputs: &Inputs) -> Tensor {
    let rows = weights.groups.iter().zip(&inputs.grams).map(|(weight, gram)| {
        let energy = (weight.matmul(gram) * weight).mean_dim([1].as_slice(), true, Kind::Double);
        energy.expand_as(weight) * (0.5 / weights.energy)
    });
    Tensor::cat(&rows.collect::<Vec<_>>(), 0)
}

fn diagonal_scores(weights: &Weights, inputs: &Inputs) -> Tensor {
    let scores: Vec<Tensor> = weights
        .groups
        .iter()
        .zip(&inputs.grams)
        .map(|(weight, gram)| weight.square() * gram.diagonal(0, 0, 1) * (0.5 / weights.energy))
        .collect();
    Tensor::cat(&scores, 0)
}

/// What the surgeon works on in one layer.
struct Problem {
    weights: Weights,
    hessians: Vec<SharedHessian>,
    /// Row by row, which weights may not be kept; empty where nothing is masked.
    masked: Vec<Vec<bool>>,
}

/// A damped Hessian that the rows of a channel group share, and its inverse.
struct SharedHessian {
    damped: Tensor,  // [d, d], f64; one on the diagonal of dead inputs
    inverse: Tensor, // [live, live]
    /// Inputs that were zero on every calibration image: their weights go first, at no loss.
    dead: Vec<u32>,
    live: Vec<u32>,
}

impl Problem {
    fn new(
        model: &Model,
        layer: &Prunable,
        inputs: &Inputs,
        damping: f64,
    ) -> Result<Self, StageError> {
        let weights = Weights::of(model, layer, inputs);
        let hessians = inputs.grams.iter().map(|gram| SharedHessian::new(gram, damping, layer));
        let masked = layer.mask(model).map(|mask| {
            let mask = mask.to_device(Device::Cpu).flatten(1, -1).eq(0.0);
            let rows = mask.size()[0];
            (0..rows).map(|row| bools(&mask.get(row))).collect::<Vec<_>>()
        });
        Ok(Self {
            hessians: hessians.collect::<Result<_, _>>()?,
            weights,
            masked: masked.unwrap_or_default(),
        })
    }

    /// Every row with its channel group: `(row in the layer, group, row in the group)`.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, i64)> {
        let per_group = self.weights.groups[0].size()[0];
        (0..self.hessians.len()).flat_map(move |group| {
            (0..per_group).map(move |row| (group * per_group as usize + row as usize, group, row))
        })
    }

    fn masked_in(&self, row: usize) -> usize {
        self.masked.get(row).map_or(0, |row| row.iter().filter(|&&masked| masked).count())
    }

    fn weights_of(&self, group: usize, row: i64) -> Tensor {
        self.weights.groups[group].get(row)
    }

    /// What a row loses where of every group of `pattern.1` weights the rest of `pattern.0` goes, and
    /// behind it what stays, without losses.
    fn eliminate_to(
        &self,
        row: usize,
        group: usize,
        row_in_group: i64,
        pattern: (usize, usize),
    ) -> Elimination {
        let weights: Vec<f64> = Vec::try_from(self.weights_of(group, row_in_group)).expect("a row");
        let masked = |index: u32| self.masked.get(row).is_some_and(|row| row[index as usize]);
        let shared = &self.hessians[group];
        let mut spare: Vec<usize> =
            weights.chunks(pattern.1).map(|group| group.len().saturating_sub(pattern.0)).collect();
        let mut order: Vec<u32> = Vec::new();
        let all = 0..weights.len() as u32;
        for index in all.clone().filter(|&index| masked(index)) {
            let spare = &mut spare[index as usize / pattern.1];
            *spare = spare.saturating_sub(1);
            order.push(index);
        }
        for &index in shared.dead.iter().filter(|&&index| !masked(index)) {
            let spare = &mut spare[index as usize / pattern.1];
            if *spare > 0 {
                *spare -= 1;
                order.push(index);
            }
        }
        let live: Vec<u32> = shared.live.iter().copied().filter(|&index| !masked(index)).collect();
        let alive: Vec<f64> = live.iter().map(|&index| weights[index as usize]).collect();
        let groups: Vec<usize> = live.iter().map(|&index| index as usize / pattern.1).collect();
        let inverse = if live.len() == shared.live.len() {
            shared.inverse.shallow_clone()
        } else {
            obs::inverse(&submatrix(&shared.damped, &live))
        };
        let mut losses = vec![0.0; order.len()];
        let surgeon = obs::eliminate_groups(&inverse, &alive, &groups, &mut spare);
        order.extend(surgeon.order.iter().map(|&place| live[place as usize]));
        losses.extend(surgeon.losses);
        let stays: Vec<u32> = all.filter(|index| !order.contains(index)).collect();
        order.extend(stays);
        Elimination { order, losses }
    }

    /// Masked weights first, then dead inputs, then the surgeon's order.
    fn eliminate(&self, row: usize, group: usize, row_in_group: i64) -> Elimination {
        let shared = &self.hessians[group];
        let weights: Vec<f64> = Vec::try_from(self.weights_of(group, row_in_group)).expect("a row");
        let masked = |index: u32| self.masked.get(row).is_some_and(|row| row[index as usize]);
        let live: Vec<u32> = shared.live.iter().copied().filter(|&index| !masked(index)).collect();
        let dead = shared.dead.iter().copied().filter(|&index| !masked(index));
        let mut order: Vec<u32> =
            (0..weights.len() as u32).filter(|&index| masked(index)).chain(dead).collect();
        let mut losses = vec![0.0; order.len()];
        let alive: Vec<f64> = live.iter().map(|&index| weights[index as usize]).collect();
        let surgeon = if live.len() == shared.live.len() {
            obs::eliminate(&shared.inverse, &alive)
        } else {
            obs::eliminate(&obs::inverse(&submatrix(&shared.damped, &live)), &alive)
        };
        order.extend(surgeon.order.iter().map(|&place| live[place as usize]));
        losses.extend(surgeon.losses);
        Elimination { order, losses }
    }
}

impl SharedHessian {
    fn new(gram: &Tensor, damping: f64, layer: &Prunable) -> Result<Self, StageError> {
        let diagonal: Vec<f64> = Vec::try_from(gram.diagonal(0, 0, 1)).expect("a vector of f64");
        let (dead, live): (Vec<u32>, Vec<u32>) =
            (0..diagonal.len() as u32).partition(|&index| diagonal[index as usize] == 0.0);
        let damped = obs::damped(gram, damping);
        let values = damped.diagonal(0, 0, 1);
        for &index in &dead {
            let _ = values.get(i64::from(index)).fill_(1.0);
        }
        let (_, info) = submatrix(&damped, &live).linalg_cholesky_ex(false, false);
        if info.int64_value(&[]) != 0 {
            return Err(obs::singular(&layer.name, live.len() as i64, damping));
        }
        let inverse = obs::inverse(&submatrix(&damped, &live));
        Ok(Self { damped, inverse, dead, live })
    }
}

fn submatrix(matrix: &Tensor, indices: &[u32]) -> Tensor {
    let index: Vec<i64> = indices.iter().map(|&index| i64::from(index)).collect();
    let index = Tensor::from_slice(&index);
    matrix.index_select(0, &index).index_select(1, &index)
}

fn bools(tensor: &Tensor) -> Vec<bool> {
    Vec::try_from(tensor).expect("a row of bools")
}

/// First pass: the losses of every removal in every row. Then the ranking. Then every row's exact
/// weights on what it keeps.
fn surgeon(
    model: &mut Model,
    layers: &[Prunable],
    problems: &[Problem],
    budget: &Budget,
    update: bool,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Ended {
    let total: usize = problems.iter().map(|problem| problem.rows().count()).sum();
    let mut eliminations: Vec<Vec<Elimination>> = Vec::new();
    let mut done = 0;
    for problem in problems {
        let mut rows = Vec::new();
        for (row, group, row_in_group) in problem.rows() {
            rows.push(match budget.granularity.pattern() {
                None => problem.eliminate(row, group, row_in_group),
                Some(pattern) => problem.eliminate_to(row, group, row_in_group, pattern),
            });
            done += 1;
            if !progress(done, total as u64) {
                return Ended::Stopped;
            }
        }
        eliminations.push(rows);
    }
    for (pool, zeros) in &budget.pools {
        let counts = if budget.granularity.pattern().is_some() {
            let rows =
                |layer: &usize| eliminations[*layer].iter().map(|row| row.losses.len()).collect();
            pool.iter().map(rows).collect()
        } else {
            removals(pool, &eliminations, problems, budget, *zeros)
        };
        for (&layer, counts) in pool.iter().zip(counts) {
            let of_layer = (&layers[layer], &problems[layer]);
            refit(model, of_layer, &eliminations[layer], &counts, update);
        }
    }
    model.apply_masks();
    Ended::Done
}

/// How many weights each row loses, for every layer of a pool.
///
/// In a row weights go in the surgeon's order, so a weight counts with the largest loss up to it. A
/// layer keeps at least as many as the budget says: those that would go last of all its rows.
fn removals(
    pool: &[usize],
    eliminations: &[Vec<Elimination>],
    problems: &[Problem],
    budget: &Budget,
    zeros: usize,
) -> Vec<Vec<usize>> {
    let mut ranked: Vec<(f64, usize, usize)> = Vec::new();
    for (place, &layer) in pool.iter().enumerate() {
        let start = ranked.len();
        for (row, elimination) in eliminations[layer].iter().enumerate() {
            let masked = problems[layer].masked_in(row);
            let mut largest = 0.0f64;
            for (removal, loss) in elimination.losses.iter().enumerate() {
                largest = largest.max(loss / problems[layer].weights.energy);
                let rank = if removal < masked { f64::NEG_INFINITY } else { largest };
                ranked.push((rank, place, row));
            }
        }
        let mut order: Vec<usize> = (start..ranked.len()).collect();
        order.sort_by(|&one, &other| ranked[one].0.total_cmp(&ranked[other].0));
        order
            .iter()
            .rev()
            .take(budget.least[layer])
            .for_each(|&last| ranked[last].0 = f64::INFINITY);
    }
    ranked.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut counts: Vec<Vec<usize>> =
        pool.iter().map(|&layer| vec![0; eliminations[layer].len()]).collect();
    for (_, place, row) in &ranked[..zeros] {
        counts[*place][*row] += 1;
    }
    counts
}

fn refit(
    model: &mut Model,
    (layer, problem): (&Prunable, &Problem),
    eliminations: &[Elimination],
    counts: &[usize],
    update: bool,
) {
    let mut weights: Vec<Tensor> = Vec::new();
    let mut masks: Vec<Tensor> = Vec::new();
    for (row, group, row_in_group) in problem.rows() {
        let before = problem.weights_of(group, row_in_group);
        let elimination = &eliminations[row];
        let mut support: Vec<i64> =
            elimination.order[counts[row]..].iter().map(|&index| i64::from(index)).collect();
        support.sort_unstable();
        let index = Tensor::from_slice(&support);
        let zeros = before.zeros_like();
        masks.push(zeros.index_fill(0, &index, 1.0));
        // Without a removal the fit is the row itself, and is not computed, to keep its bits.
        weights.push(if counts[row] == problem.masked_in(row) || !update {
            before
        } else {
            let fitted = obs::refit(&problem.hessians[group].damped, &before, &support);
            zeros.index_copy(0, &index, &fitted)
        });
    }
    put(model, layer, &weights, &masks);
}

/// Sets a layer's weights and mask, each given by channel group or row.
fn put(model: &mut Model, layer: &Prunable, weights: &[Tensor], masks: &[Tensor]) {
    let d = model.params()[&layer.param].value.flatten(1, -1).size()[1];
    let whole = |parts: &[Tensor]| {
        Tensor::cat(&parts.iter().map(|part| part.reshape([-1, d])).collect::<Vec<_>>(), 0)
    };
    let parameter = model.params_mut().get_mut(&layer.param).expect("a layer of the network");
    let value = whole(weights).reshape(parameter.value.size());
    no_grad(|| parameter.value.detach().copy_(&value.to_device(parameter.value.device())));
    layer.set_mask(model, &whole(masks));
}
