//! Which units change least what their readers put out, in the mean square: channel pruning by
//! reconstruction.
//!
//! `L = ½ ‖X (W − W')ᵀ‖²`, summed over the layers that read a group's units, each as a share of the energy
//! of its output. Where a bias or a normalisation takes up the mean, X is what differs from it.
//! - Elimination: unit after unit goes, each time the one whose loss is least when all weights that stay
//!   are refitted, `½ tr(W_J ([H⁻¹]_JJ)⁻¹ W_Jᵀ)` with J its columns. Optimal brain surgeon in blocks:
//!   Frantar & Alistarh 2022, <https://arxiv.org/abs/2208.11580>, section 5.
//! - `ThiNet`: without refitting, `½ ‖Σ_removed X_J W_Jᵀ‖²` least, unit after unit. Luo et al. 2017,
//!   <https://arxiv.org/abs/1707.06342>, section 3.2.
//! - LASSO: `½ ‖X Wᵀ − Σ_j β_j X_J W_Jᵀ‖² + λ ‖β‖₁`; units go in the order in which a falling λ lets them
//!   in. He et al. 2017, <https://arxiv.org/abs/1707.06168>, section 3.1.

use graftwork::experiment::spec::Select;
use graftwork::network::groups::{Group, Part, Unit};
use tch::{Device, Kind, Tensor};

use super::readers::Reader;
use super::scores::Scores;
use crate::prune::obs;
use crate::stage::StageError;

/// Steps of the path of λ, and its length.
const LASSO_STEPS: i32 = 100;
const LASSO_RANGE: f64 = 1e-4;

/// A score for each unit of each group: its loss as a share of its readers' energy, at its turn.
///
/// - readers: all layers that read the groups' units, with second moments
/// - progress: told units done and units in all, it says whether to go on; none is given otherwise
///
/// # Errors
/// [`StageError::Unfit`] where a Hessian has no inverse.
pub fn scores(
    groups: &[&Group],
    readers: &[Reader],
    select: Select,
    damping: f64,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Option<Scores>, StageError> {
    let total: usize = groups.iter().map(|group| group.units.len()).sum();
    let (mut all, mut done) = (Vec::new(), 0);
    for group in groups {
        let problems = Problem::of(group, readers, damping)?;
        all.push(match select {
            Select::Elimination => eliminate(problems, group.units.len()),
            Select::Thinet => thinet(&interaction(&problems)),
            Select::Lasso => lasso(&interaction(&problems)),
        });
        done += group.units.len();
        if !progress(done as u64, total as u64) {
            return Ok(None);
        }
    }
    Ok(Some(Scores::new(all)))
}

/// What a channel group of a reader sees of a group's units.
///
/// Its columns are ordered by unit, each with as many as the widest (columns of nothing fill up); those of
/// other units come behind.
struct Problem {
    weights: Tensor, // [rows, units · width + others]
    hessian: Tensor, // damped
    units: i64,
    width: i64,
    /// What a loss is multiplied with.
    scale: f64,
}

impl Problem {
    fn of(group: &Group, readers: &[Reader], damping: f64) -> Result<Vec<Self>, StageError> {
        let reads = |reader: &&Reader| !columns(&group.units[0], reader).is_empty();
        let readers: Vec<&Reader> = readers.iter().filter(reads).collect();
        let mut problems = Vec::new();
        for reader in &readers {
            let hessians: Vec<Tensor> =
                (0..reader.weights.len()).map(|group| reader.hessian(group)).collect();
            let energies = reader.weights.iter().zip(&hessians).map(|(weight, hessian)| {
                0.5 * (weight.matmul(hessian) * weight).sum(Kind::Double).double_value(&[])
            });
            let energy: f64 = energies.sum();
            let share = if energy > 0.0 { 1.0 / energy } else { 1.0 };
            let columns: Vec<Vec<i64>> =
                group.units.iter().map(|unit| columns(unit, reader)).collect();
            for (weight, hessian) in reader.weights.iter().zip(&hessians) {
                let damped = obs::damped(hessian, damping);
                let (_, info) = damped.linalg_cholesky_ex(false, false);
                if info.int64_value(&[]) != 0 {
                    return Err(obs::singular(&reader.layer.name, weight.size()[1], damping));
                }
                let scale = share / readers.len() as f64;
                problems.push(Self::ordered(weight, &damped, &columns, scale));
            }
        }
        Ok(problems)
    }

    fn ordered(weight: &Tensor, hessian: &Tensor, columns: &[Vec<i64>], scale: f64) -> Self {
        let d = weight.size()[1];
        let width = columns.iter().map(Vec::len).max().unwrap_or(0);
        let mut is_other = vec![true; d as usize];
        let mut order: Vec<i64> = Vec::new();
        for columns in columns {
            order.extend(columns);
            for &column in columns {
                is_other[column as usize] = false;
            }
            // Column d is one of nothing.
            order.extend(std::iter::repeat_n(d, width - columns.len()));
        }
        order.extend((0..d).filter(|&column| is_other[column as usize]));
        let order = Tensor::from_slice(&order);
        let weights = weight.constant_pad_nd([0, 1]).index_select(1, &order);
        let hessian = hessian.constant_pad_nd([0, 1, 0, 1]);
        let hessian = hessian.index_select(0, &order).index_select(1, &order);
        let nothing = order.eq(d).to_kind(Kind::Double);
        let hessian = hessian + Tensor::diag(&nothing, 0);
        Self { weights, hessian, units: columns.len() as i64, width: width as i64, scale }
    }

    /// How the outputs of the units agree: `½ tr(W_J H_JK W_Kᵀ)` for each pair, scaled.
    fn interaction(&self) -> Tensor {
        let all = self.weights.tr().matmul(&self.weights) * &self.hessian;
        let wide = self.units * self.width;
        let blocks = all.narrow(0, 0, wide).narrow(1, 0, wide);
        let blocks = blocks.reshape([self.units, self.width, self.units, self.width]);
        blocks.sum_dim_intlist([1, 3].as_slice(), false, Kind::Double) * (0.5 * self.scale)
    }
}

/// The columns of a reader's weights that read a unit, in each channel group.
fn columns(unit: &Unit, reader: &Reader) -> Vec<i64> {
    let slices = unit.slices().filter(|slice| {
        slice.part == Part::Reads && slice.axis == 1 && slice.param == reader.layer.param
    });
    let window = reader.window as i64;
    slices
        .flat_map(|slice| slice.indices)
        .flat_map(|&index| (0..window).map(move |place| i64::from(index) * window + place))
        .collect()
}

/// Running maxima, so that units go in their order whatever they are compared with.
fn in_order(units: usize, order: &[(usize, f64)]) -> Vec<f64> {
    let mut scores = vec![0.0; units];
    let mut largest = 0.0f64;
    for &(unit, loss) in order {
        largest = largest.max(loss);
        scores[unit] = largest;
    }
    scores
}

fn eliminate(problems: Vec<Problem>, units: usize) -> Vec<f64> {
    let mut surgeons: Vec<Surgeon> = problems.into_iter().map(Surgeon::new).collect();
    let mut gone = vec![false; units];
    let mut order = Vec::new();
    for _ in 0..units {
        let losses: Vec<Tensor> = surgeons.iter().map(Surgeon::losses).collect();
        let losses: Tensor = losses.iter().sum();
        let losses: Vec<f64> = Vec::try_from(losses).expect("a vector of f64");
        let open = (0..units).filter(|&unit| !gone[unit]);
        let best = open.reduce(|best, unit| if losses[unit] < losses[best] { unit } else { best });
        let best = best.expect("a unit is left");
        gone[best] = true;
        order.push((best, losses[best]));
        for surgeon in &mut surgeons {
            surgeon.remove(best as i64);
        }
    }
    in_order(units, &order)
}

/// Weights that are refitted, and the inverse Hessian of what is left.
struct Surgeon {
    weights: Tensor,
    inverse: Tensor,
    units: i64,
    width: i64,
    scale: f64,
}

impl Surgeon {
    fn new(problem: Problem) -> Self {
        let Problem { weights, hessian, units, width, scale } = problem;
        Self { inverse: obs::inverse(&hessian), weights, units, width, scale }
    }

    /// What removing each unit costs now; of those that are gone no more than nothing.
    fn losses(&self) -> Tensor {
        let (units, width) = (self.units, self.width);
        let wide = units * width;
        let weights = self.weights.narrow(1, 0, wide);
        let rows = weights.size()[0];
        let weights = weights.reshape([rows, units, width]).permute([1, 2, 0]); // [units, width, rows]
        let inverse = self.inverse.narrow(0, 0, wide).narrow(1, 0, wide);
        let inverse = inverse.reshape([units, width, units, width]).diagonal(0, 0, 2);
        let inverse = inverse.permute([2, 0, 1]); // [units, width, width]
        let solved = if width == 1 {
            &weights / &inverse
        } else {
            Tensor::linalg_solve(&inverse, &weights, true)
        };
        (weights * solved).sum_dim_intlist([1, 2].as_slice(), false, Kind::Double)
            * (0.5 * self.scale)
    }

    /// Refits the weights without a unit.
    fn remove(&mut self, unit: i64) {
        let (from, width) = (unit * self.width, self.width);
        let columns = self.inverse.narrow(1, from, width).copy(); // [d, width]
        let block = columns.narrow(0, from, width).copy();
        let lost = self.weights.narrow(1, from, width).copy();
        let solved = Tensor::linalg_solve(&block, &columns.tr(), true); // [width, d]
        let _ = self.weights.addmm_(&lost, &(-&solved));
        let _ = self.inverse.addmm_(&columns, &(-&solved));
        // What rounding leaves; ones keep the blocks of those that are gone invertible.
        let _ = self.weights.narrow(1, from, width).zero_();
        let _ = self.inverse.narrow(0, from, width).zero_();
        let _ = self.inverse.narrow(1, from, width).zero_();
        let mut diagonal = self.inverse.diagonal(0, 0, 1).narrow(0, from, width);
        let _ = diagonal.fill_(1.0);
    }
}

/// The sum of all problems' interactions, as rows.
fn interaction(problems: &[Problem]) -> Vec<Vec<f64>> {
    let sum: Tensor = problems.iter().map(Problem::interaction).sum();
    Vec::try_from(sum.to_device(Device::Cpu)).expect("a matrix of f64")
}

fn thinet(interaction: &[Vec<f64>]) -> Vec<f64> {
    let units = interaction.len();
    // What each unit adds to the loss of those that are gone.
    let mut losses: Vec<f64> = (0..units).map(|unit| interaction[unit][unit]).collect();
    let mut gone = vec![false; units];
    let mut order = Vec::new();
    for _ in 0..units {
        let open = (0..units).filter(|&unit| !gone[unit]);
        let best = open.reduce(|best, unit| if losses[unit] < losses[best] { unit } else { best });
        let best = best.expect("a unit is left");
        gone[best] = true;
        order.push((best, losses[best]));
        for (loss, with) in losses.iter_mut().zip(&interaction[best]) {
            *loss += 2.0 * with;
        }
    }
    in_order(units, &order)
}

/// The λ, as a part of the largest, at which coordinate descent lets a unit in.
fn lasso(interaction: &[Vec<f64>]) -> Vec<f64> {
    let units = interaction.len();
    let target: Vec<f64> = interaction.iter().map(|row| row.iter().sum()).collect();
    let largest = target.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let mut entered = vec![0.0; units];
    let mut beta = vec![0.0f64; units];
    if largest == 0.0 {
        return entered;
    }
    for step in 1..=LASSO_STEPS {
        let share = LASSO_RANGE.powf(f64::from(step) / f64::from(LASSO_STEPS));
        descend(interaction, &target, share * largest, &mut beta);
        for (entered, beta) in entered.iter_mut().zip(&beta) {
            if *entered == 0.0 && *beta != 0.0 {
                // Of those that enter together the larger first; a step is 9 %.
                *entered = share * (1.0 + 1e-3 * beta.abs().min(1.0));
            }
        }
    }
    entered
}

/// Coordinate descent on `½ βᵀQβ − βᵀc + λ ‖β‖₁` until nothing moves.
fn descend(interaction: &[Vec<f64>], target: &[f64], lambda: f64, beta: &mut [f64]) {
    for _ in 0..1000 {
        let mut moved = 0.0f64;
        for unit in 0..beta.len() {
            let curvature = interaction[unit][unit];
            if curvature <= 0.0 {
                continue;
            }
            let others: f64 =
                interaction[unit].iter().zip(&*beta).map(|(with, beta)| with * beta).sum();
            let best = target[unit] - others + curvature * beta[unit];
            let best = best.signum() * (best.abs() - lambda).max(0.0) / curvature;
            moved = moved.max((best - beta[unit]).abs());
            beta[unit] = best;
        }
        if moved < 1e-6 {
            break;
        }
    }
}
