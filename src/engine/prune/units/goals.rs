//! What is asked of a network without some of its units: at most so many parameters, multiplications,
//! nonzeros, channels or milliseconds, at least so many zeros.

use std::cell::LazyCell;
use std::ops::Deref;

use graftwork::experiment::spec::{Budget, Prune};
use graftwork::network::Network;
use graftwork::network::groups::{Remainder, Unit};
use tch::Tensor;

use super::Candidates;
use crate::latency;
use crate::model::Model;
use crate::prune::Prunable;
use crate::prune::selection;
use crate::stage::StageError;

/// Everything that is asked at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Goals {
    goals: Vec<Goal>,
}

/// One number that must not be exceeded.
#[derive(Debug, Clone, PartialEq)]
struct Goal {
    measure: Measure,
    most: f64,
    /// As the experiment states it.
    stated: f64,
}

/// What is counted of the network that is left, or measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// Prunable weights that are not masked.
    Unmasked,
    Params,
    Macs,
    Nonzeros,
    /// Units of the groups that may go.
    Channels,
    /// Milliseconds that one example takes, here and now.
    Latency,
}

impl Goals {
    /// The goals of a stage, as counts of this network.
    ///
    /// # Errors
    /// [`StageError::Unfit`] when more is masked already than the sparsity asks for.
    pub fn of(
        stage: &Prune,
        model: &Model,
        layers: &[Prunable],
        candidates: &Candidates<'_>,
    ) -> Result<Self, StageError> {
        let mut goals = Vec::new();
        if let Some(sparsity) = stage.sparsity {
            goals.push(Goal::sparsity(sparsity, model, layers)?);
        }
        let whole = LazyCell::new(|| candidates.dependencies.without(std::iter::empty::<&Unit>()));
        for (measure, stated) in stage.budget.iter().flat_map(stated) {
            let most = if measure == Measure::Latency {
                stated
            } else {
                let now = measure.of(model, candidates, &[], &whole);
                selection::at_most(stated, now as u64) as f64
            };
            goals.push(Goal { measure, most, stated });
        }
        Ok(Self { goals })
    }

    /// The first goal that is not met without some units, told with what is possible there.
    pub(super) fn first_unmet(
        &self,
        model: &Model,
        candidates: &Candidates<'_>,
        units: &[&Unit],
    ) -> Option<String> {
        let remainder = LazyCell::new(|| candidates.dependencies.without(units.iter().copied()));
        self.goals.iter().find_map(|goal| {
            let found = goal.measure.of(model, candidates, units, &remainder);
            (found > goal.most).then(|| goal.unmet(model, candidates, found))
        })
    }
}

fn stated(budget: &Budget) -> impl Iterator<Item = (Measure, f64)> {
    let Budget { params, macs, nonzeros, channels, latency_ms } = budget;
    let all = [
        (Measure::Params, params),
        (Measure::Macs, macs),
        (Measure::Nonzeros, nonzeros),
        (Measure::Channels, channels),
        // The last: it takes time, and none where another is not met.
        (Measure::Latency, latency_ms),
    ];
    all.into_iter().filter_map(|(measure, stated)| Some((measure, (*stated)?)))
}

impl Goal {
    fn sparsity(sparsity: f64, model: &Model, layers: &[Prunable]) -> Result<Self, StageError> {
        let size: usize = layers.iter().map(|layer| layer.size(model)).sum();
        let masked: usize = layers.iter().map(|layer| layer.masked(model)).sum();
        let zeros = selection::zeros(size, sparsity);
        if masked > zeros {
            return Err(selection::too_sparse("the network", masked, size, sparsity));
        }
        Ok(Self { measure: Measure::Unmasked, most: (size - zeros) as f64, stated: sparsity })
    }

    fn unmet(&self, model: &Model, candidates: &Candidates<'_>, found: f64) -> String {
        let (key, noun) = match self.measure {
            Measure::Unmasked => {
                let sizes = candidates.layers.iter().map(|layer| layer.size(model) as u64);
                let size = sizes.sum::<u64>();
                return format!(
                    "sparsity = {} is more than whole units can give; with one unit left in each hidden layer it is {:.4}",
                    self.stated,
                    1.0 - found / size as f64
                );
            }
            Measure::Params => ("params", "parameters"),
            Measure::Macs => ("macs", "multiply-accumulates"),
            Measure::Nonzeros => ("nonzeros", "parameters that are not zero"),
            Measure::Channels => ("channels", "units"),
            Measure::Latency => {
                return format!(
                    "budget.latency-ms = {} is less than units can give here; with one left in each hidden layer, or what `floors` keeps, an example takes {found:.3} ms",
                    self.stated
                );
            }
        };
        format!(
            "budget.{key} = {} allows {} {noun}; with one unit left in each hidden layer, or what `floors` keeps, there are {found}",
            self.stated, self.most
        )
    }
}

impl Measure {
    fn of(
        self,
        model: &Model,
        candidates: &Candidates<'_>,
        units: &[&Unit],
        remainder: &impl Deref<Target = Remainder>,
    ) -> f64 {
        let count = match self {
            Self::Unmasked => {
                let layers = candidates.layers.iter();
                layers.map(|layer| unmasked(model, layer, remainder)).sum()
            }
            Self::Params => remainder.network.param_count(),
            Self::Macs => macs(&remainder.network),
            Self::Nonzeros => nonzeros(model, remainder),
            Self::Channels => {
                let all: usize = candidates.groups.iter().map(|group| group.units.len()).sum();
                (all - units.len()) as u64
            }
            Self::Latency => return latency::of_one_example(&model.without(remainder)),
        };
        count as f64
    }
}

fn macs(network: &Network) -> u64 {
    let layers = network.layers().expect("what is left of a network fits together");
    layers.iter().map(|layer| layer.macs).sum()
}

/// Weights of a layer that are left and not masked.
fn unmasked(model: &Model, layer: &Prunable, remainder: &Remainder) -> u64 {
    let cuts = cuts(remainder, &layer.param);
    if let Some(mask) = layer.mask(model) {
        return count_nonzero(mask, cuts);
    }
    let shape = layer.weight(model).size();
    let mut left: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
    for (axis, indices) in cuts {
        left[*axis] = indices.len() as u64;
    }
    left.iter().product()
}

/// Values that training can change and that are not zero.
fn nonzeros(model: &Model, remainder: &Remainder) -> u64 {
    let trainable = model.params().iter().filter(|(_, parameter)| parameter.role.is_trainable());
    trainable.map(|(name, parameter)| count_nonzero(&parameter.value, cuts(remainder, name))).sum()
}

fn cuts<'r>(remainder: &'r Remainder, param: &str) -> &'r [(usize, Vec<u32>)] {
    remainder.kept.get(param).map_or(&[], Vec::as_slice)
}

fn count_nonzero(tensor: &Tensor, cuts: &[(usize, Vec<u32>)]) -> u64 {
    let left = crate::model::kept(tensor, cuts);
    left.count_nonzero(None::<i64>).int64_value(&[]) as u64
}
