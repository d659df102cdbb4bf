//! What a criterion thinks of each unit, and how units of different groups compare by it.

use graftwork::experiment::spec::Scope;
use graftwork::network::groups::{Dependencies, Group, Unit};
use indexmap::IndexMap;
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::competing;
use crate::model::{Model, Parameter};
use crate::random;
use crate::stage::StageError;

/// A score for each unit of each group, the least to go first.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    by_group: Vec<Vec<f64>>,
}

impl Scores {
    /// Scores that compare as they are.
    pub fn new(by_group: Vec<Vec<f64>>) -> Self {
        Self { by_group }
    }

    /// Scores that compare by what they are of their group's mean.
    pub fn of_the_mean(by_group: Vec<Vec<f64>>) -> Self {
        let relative = |scores: Vec<f64>| {
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            // A group of zeros stays one of zeros.
            let scale = if mean > 0.0 { 1.0 / mean } else { 1.0 };
            scores.into_iter().map(|score| score * scale).collect()
        };
        Self { by_group: by_group.into_iter().map(relative).collect() }
    }

    /// The scores, in the order of the groups.
    pub fn by_group(&self) -> &[Vec<f64>] {
        &self.by_group
    }

    /// What the units of all groups are ordered by. Where not all of them compete, it is the place among
    /// those that do, so that every class loses the same fraction.
    ///
    /// # Errors
    /// [`StageError::Unfit`] where a score is not a number.
    pub(super) fn ranks(
        &self,
        dependencies: &Dependencies<'_>,
        groups: &[&Group],
        scope: Scope,
    ) -> Result<Vec<Vec<f64>>, StageError> {
        for (group, scores) in groups.iter().zip(&self.by_group) {
            if scores.iter().any(|score| score.is_nan()) {
                return Err(StageError::Unfit(format!(
                    "a unit of layer `{}` has no score; the network that is pruned holds NaN or infinity",
                    dependencies.network().nodes[group.producers[0]].name
                )));
            }
        }
        if scope == Scope::Global {
            return Ok(self.by_group.clone());
        }
        let mut ranks: Vec<Vec<f64>> =
            self.by_group.iter().map(|scores| vec![0.0; scores.len()]).collect();
        for class in competing(dependencies, groups, scope) {
            let mut units: Vec<(f64, usize, usize)> = Vec::new();
            for group in class {
                let scores = self.by_group[group].iter().enumerate();
                units.extend(scores.map(|(unit, score)| (*score, group, unit)));
            }
            // Stable: of equals the first.
            units.sort_by(|one, other| one.0.total_cmp(&other.0));
            for (place, (_, group, unit)) in units.iter().enumerate() {
                ranks[*group][*unit] = (place as f64 + 0.5) / units.len() as f64;
            }
        }
        Ok(ranks)
    }
}

/// The L2 norm of everything trained that a unit has (its rows, its bias, its normalisation, the columns
/// that read it), against the mean of its group.
///
/// Han et al. 2015, <https://arxiv.org/abs/1506.02626>, for single weights; over dependency groups Fang et
/// al. 2023, "`DepGraph`: Towards Any Structural Pruning", <https://arxiv.org/abs/2301.12900>.
pub fn magnitude(model: &Model, groups: &[&Group]) -> Scores {
    let squares = sums(model, groups, |_, parameter| {
        parameter.role.is_trainable().then(|| squares(&parameter.value))
    });
    let norms = squares.into_iter().map(|sums| sums.into_iter().map(f64::sqrt).collect());
    Scores::of_the_mean(norms.collect())
}

/// The sum of the scores of everything trained that a unit has.
///
/// - of: by name of a parameter, the scores of its values in its shape
pub fn summed(model: &Model, of: &IndexMap<String, Tensor>, groups: &[&Group]) -> Scores {
    Scores::new(sums(model, groups, |name, _| {
        let scores = of.get(name)?;
        let axes = 0..scores.dim().min(2);
        Some(axes.map(|axis| sums_along(scores, axis)).collect())
    }))
}

/// Uniform scores from the seed: the control.
pub fn random(groups: &[&Group], seed: u64) -> Scores {
    let mut rng = random::stream(seed, "prune", 0);
    let draws = groups.iter().map(|group| group.units.iter().map(|_| rng.random()).collect());
    Scores::new(draws.collect())
}

/// Sums over what units have, each parameter reduced once. A value that both makes and reads a unit counts
/// twice.
///
/// - along: for each axis of a parameter that can be cut, the first and the second, the sums over all
///   others; none where it does not count
fn sums(
    model: &Model,
    groups: &[&Group],
    along: impl Fn(&str, &Parameter) -> Option<Vec<Vec<f64>>>,
) -> Vec<Vec<f64>> {
    // By place: there are very many slices.
    let reduced: Vec<_> =
        model.params().iter().map(|(name, parameter)| along(name, parameter)).collect();
    let of_unit = |unit: &Unit| {
        let sums = unit.slices().filter_map(|slice| {
            let reduced = &reduced[slice.place].as_ref()?[slice.axis];
            Some(slice.indices.iter().map(|&index| reduced[index as usize]).sum::<f64>())
        });
        sums.sum()
    };
    groups.iter().map(|group| group.units.iter().map(of_unit).collect()).collect()
}

/// The sums over all axes but one, in 64 bits.
pub(super) fn sums_along(tensor: &Tensor, axis: usize) -> Vec<f64> {
    let sums = along(tensor, axis).to_device(Device::Cpu).contiguous();
    Vec::try_from(sums).expect("a vector of f64")
}

/// The same where the tensor is.
pub(in crate::prune) fn along(tensor: &Tensor, axis: usize) -> Tensor {
    let others: Vec<i64> = (0..tensor.dim() as i64).filter(|&other| other != axis as i64).collect();
    if others.is_empty() {
        return tensor.to_kind(Kind::Double);
    }
    tensor.sum_dim_intlist(others.as_slice(), false, Kind::Double)
}

/// Values that are squared at once, which stay in a core's cache until they are summed.
const IN_CACHE: i64 = 1 << 17;

/// The sums of squares over all axes but the first, and over all but the second where there is one, in one
/// pass over memory.
fn squares(tensor: &Tensor) -> Vec<Vec<f64>> {
    let tensor = tensor.detach();
    if tensor.dim() < 2 {
        return vec![sums_along(&tensor.square().reshape([-1]), 0)];
    }
    let rows = tensor.flatten(1, -1);
    let columns = rows.size()[1];
    let (mut of_rows, mut of_columns) = (Vec::new(), vec![0.0; tensor.size()[1] as usize]);
    for chunk in rows.split((IN_CACHE / columns).max(1), 0) {
        let squares = chunk.square();
        let sums = |axis: i64| -> Vec<f64> {
            // In the kind that they have: LibTorch adds pairwise, and 64 bits take twice the time.
            let sums = squares.sum_dim_intlist([axis].as_slice(), false, None::<Kind>);
            Vec::try_from(sums.to_device(Device::Cpu).to_kind(Kind::Double)).expect("a vector")
        };
        of_rows.extend(sums(1));
        let windows = sums(0);
        let windows = windows.chunks(windows.len() / of_columns.len());
        for (sum, window) in of_columns.iter_mut().zip(windows) {
            *sum += window.iter().sum::<f64>();
        }
    }
    vec![of_rows, of_columns]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normal, stream};

    /// Against 64 bits throughout, where one pass has several parts and the last is not full.
    #[test]
    fn squares_are_summed_along_both_axes_whatever_their_number() {
        for shape in
            [&[5][..], &[3, 4], &[3, 4, 2, 1], &[70, 301, 3, 3], &[2, 200_000], &[90_001, 3]]
        {
            let values = normal(shape, 1.0, &mut stream(0, "squares", 0));
            let exact = values.to_kind(Kind::Double).square();
            for (axis, sums) in squares(&values).iter().enumerate() {
                let expected = sums_along(&exact, axis);
                assert_eq!(sums.len(), expected.len());
                for (found, expected) in sums.iter().zip(expected) {
                    assert!((found / expected - 1.0).abs() < 1e-6, "{shape:?}: {found} {expected}");
                }
            }
        }
    }
}
