//! Which weights go, given a score for each: exact to one weight, ties broken by index.
//!
//! Weights that are already masked go first and count. No layer is emptied: its best weight stays.

use std::ops::Range;

use graftwork::experiment::spec::{Allocation, Granularity, Prune, Scope};
use graftwork::network::most_exact;
use indexmap::IndexMap;
use tch::{Device, Kind, Tensor};

use super::allocation::{self, Bounds};
use super::{Prunable, groups, lamp};
use crate::model::Model;
use crate::stage::StageError;

/// Number of zeros among `n` weights at a sparsity.
pub fn zeros(n: usize, sparsity: f64) -> usize {
    (sparsity * n as f64).round() as usize
}

/// What an experiment asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Fraction of all weights that are zero afterwards.
    pub sparsity: f64,
    /// Over what it is taken.
    pub scope: Scope,
    /// How layers share it out, in place of the scope.
    pub allocation: Option<Allocation>,
    /// The fraction of a layer's weights that stay at least, by pattern.
    pub floors: IndexMap<String, f64>,
    /// The sparsity of a layer, by pattern.
    pub layer_sparsity: IndexMap<String, f64>,
    /// What goes as a whole.
    pub granularity: Granularity,
}

impl Target {
    /// A sparsity without rules for layers.
    pub fn new(sparsity: f64, scope: Scope) -> Self {
        let (floors, layer_sparsity) = (IndexMap::new(), IndexMap::new());
        Self {
            sparsity,
            scope,
            allocation: None,
            floors,
            layer_sparsity,
            granularity: Granularity::Weight,
        }
    }

    /// What a stage states; a budget of nonzeros is met by a sparsity.
    ///
    /// # Errors
    /// [`StageError::Unfit`] when more than the budget is not zero outside of the layers.
    pub fn of(stage: &Prune, model: &Model, layers: &[Prunable]) -> Result<Self, StageError> {
        let nonzeros = stage.budget.as_ref().and_then(|budget| budget.nonzeros);
        let by_budget =
            nonzeros.map(|nonzeros| sparsity_for(nonzeros, model, layers)).transpose()?;
        let sparsity = stage.sparsity.unwrap_or(0.0).max(by_budget.unwrap_or(0.0));
        Ok(Self {
            allocation: stage.allocation,
            floors: stage.floors.clone(),
            layer_sparsity: stage.layer_sparsity.clone(),
            granularity: stage.granularity(),
            ..Self::new(sparsity, stage.scope)
        })
    }
}

/// The sparsity of the layers with which so many trainable parameters are not zero.
///
/// - stated: up to 1 a fraction of those that are not zero now
fn sparsity_for(stated: f64, model: &Model, layers: &[Prunable]) -> Result<f64, StageError> {
    let nonzeros = |value: &Tensor| value.count_nonzero(None::<i64>).int64_value(&[]) as u64;
    let trainable = model.params().values().filter(|parameter| parameter.role.is_trainable());
    let now: u64 = trainable.map(|parameter| nonzeros(&parameter.value)).sum();
    let of_layers: u64 = layers.iter().map(|layer| nonzeros(&layer.weight(model))).sum();
    let most = at_most(stated, now);
    let others = now - of_layers;
    if most <= others {
        return Err(StageError::Unfit(format!(
            "budget.nonzeros = {stated} allows {most} parameters that are not zero, and {others} of those that are not pruned (biases, normalisation, `exclude`) are not"
        )));
    }
    let size: usize = layers.iter().map(|layer| layer.size(model)).sum();
    let kept = (most - others).min(size as u64);
    Ok((size as u64 - kept) as f64 / size as f64)
}

/// What a budget allows of a number: up to 1 a fraction of it, above a count.
pub fn at_most(stated: f64, now: u64) -> u64 {
    if stated <= 1.0 { (stated * now as f64).round() as u64 } else { stated as u64 }
}

/// What a target asks of a network's layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Sets of layers, by index, whose weights compete, each with the number of its weights that are zero
    /// afterwards. One set for `scope = "global"`, one a layer for `scope = "layer"`.
    pub pools: Vec<(Vec<usize>, usize)>,
    /// For each layer the number of weights that it keeps at least.
    pub least: Vec<usize>,
    /// Whether weights of different layers compare by their loss as a share of their layer's.
    pub shares: bool,
    /// What goes as a whole.
    pub granularity: Granularity,
}

/// The counts that a budget is made of.
struct Counts {
    sizes: Vec<usize>,
    masked: Vec<usize>,
    least: Vec<usize>,
    /// Zeros of the layers that have a sparsity of their own.
    own: Vec<Option<usize>>,
}

/// Checks a target against the masks that are there.
///
/// # Errors
/// [`StageError::Unfit`] when more is masked already than the target asks for, or when the target
/// would empty a layer or leave less of it than its floor.
pub fn budget(model: &Model, layers: &[Prunable], target: &Target) -> Result<Budget, StageError> {
    let counts = Counts::of(model, layers, target)?;
    let by_rules = counts.own.iter().any(Option::is_some) || !target.floors.is_empty();
    let shares = target.allocation == Some(Allocation::LossOptimal);
    let granularity = target.granularity;
    let whole = |pools| Budget { pools, least: counts.least.clone(), shares, granularity };
    if granularity.pattern().is_some() {
        // Every group has its own count.
        return Ok(whole((0..layers.len()).map(|layer| (vec![layer], 0)).collect()));
    }
    if target.allocation.is_none() && target.scope == Scope::Layer && !by_rules {
        return Ok(whole(counts.by_layer(layers, target.sparsity)?));
    }
    let free: Vec<usize> = (0..layers.len()).filter(|&l| counts.own[l].is_none()).collect();
    let rest = counts.rest(layers, &free, target.sparsity)?;
    let mut pools: Vec<(Vec<usize>, usize)> = Vec::new();
    let own = counts.own.iter().enumerate();
    pools.extend(own.filter_map(|(layer, own)| Some((vec![layer], (*own)?))));
    let zeros = match (target.allocation, target.scope) {
        (None, Scope::Global) | (Some(Allocation::LossOptimal), _) => {
            if !free.is_empty() {
                pools.push((free, rest));
            }
            return Ok(whole(pools));
        }
        (Some(Allocation::Lamp), _) => {
            let pool = Budget {
                pools: vec![(free.clone(), rest)],
                granularity: Granularity::Weight,
                ..whole(Vec::new())
            };
            let masks = masks(model, layers, &lamp(model, layers), &pool)?;
            let kept = |layer: &usize| {
                let mask = masks[*layer].as_ref().expect("a layer of the pool");
                mask.count_nonzero(None::<i64>).int64_value(&[]) as usize
            };
            free.iter().map(|layer| counts.sizes[*layer] - kept(layer)).collect()
        }
        (Some(Allocation::Erk), _) => {
            counts.split(&free, rest, |layer| allocation::erk(&layers[layer].weight(model).size()))
        }
        (Some(Allocation::Uniform), _) | (None, Scope::Layer) => counts.split(&free, rest, |_| 1.0),
        (None, Scope::Isomorphic) => unreachable!("this scope is of whole units"),
    };
    pools.extend(free.iter().map(|&layer| vec![layer]).zip::<Vec<usize>>(zeros));
    Ok(whole(pools))
}

impl Counts {
    fn of(model: &Model, layers: &[Prunable], target: &Target) -> Result<Self, StageError> {
        let node = |layer: &Prunable| model.network().nodes[layer.node].name.as_str();
        for (key, rules) in [("floors", &target.floors), ("layer-sparsity", &target.layer_sparsity)]
        {
            patterns_match(key, rules, layers, node)?;
        }
        let mut counts =
            Self { sizes: Vec::new(), masked: Vec::new(), least: Vec::new(), own: Vec::new() };
        for layer in layers {
            let (size, masked) = (layer.size(model), layer.masked(model));
            let floor = most_exact(&target.floors, node(layer)).copied();
            let own = most_exact(&target.layer_sparsity, node(layer)).copied();
            let least = least(layer, size, masked, floor)?;
            counts.own.push(own.map(|own| own_zeros(layer, size, masked, least, own)).transpose()?);
            counts.sizes.push(size);
            counts.masked.push(masked);
            counts.least.push(least);
        }
        Ok(counts)
    }

    /// Zeros of every layer at the same sparsity.
    fn by_layer(
        &self,
        layers: &[Prunable],
        sparsity: f64,
    ) -> Result<Vec<(Vec<usize>, usize)>, StageError> {
        let pools = layers.iter().enumerate().map(|(index, layer)| {
            let (size, masked) = (self.sizes[index], self.masked[index]);
            let wanted = zeros(size, sparsity);
            if masked > wanted {
                return Err(too_sparse(&format!("layer `{}`", layer.name), masked, size, sparsity));
            }
            // Rounding alone may empty a small layer; a weight stays, unless none was left before.
            Ok((vec![index], wanted.min(size - 1).max(masked)))
        });
        pools.collect()
    }

    /// Zeros that the layers without a sparsity of their own must have.
    fn rest(
        &self,
        layers: &[Prunable],
        free: &[usize],
        sparsity: f64,
    ) -> Result<usize, StageError> {
        let sum = |of: &dyn Fn(usize) -> usize| free.iter().map(|&layer| of(layer)).sum::<usize>();
        let size = self.sizes.iter().sum::<usize>();
        let fixed = self.own.iter().flatten().sum::<usize>();
        let wanted = zeros(size, sparsity);
        let (fewest, most) = (
            fixed + sum(&|layer| self.masked[layer]),
            fixed + sum(&|layer| self.sizes[layer] - self.least[layer]),
        );
        if wanted < fewest {
            if fixed > 0 {
                return Err(StageError::Unfit(format!(
                    "sparsity = {sparsity} is less than `layer-sparsity` and the masks that are there give; the smallest possible is {}",
                    fewest as f64 / size as f64
                )));
            }
            return Err(too_sparse("the network", fewest, size, sparsity));
        }
        if wanted > most {
            let largest = most as f64 / size as f64;
            if fixed > 0 || self.least.iter().any(|&least| least > 1) {
                return Err(StageError::Unfit(format!(
                    "sparsity = {sparsity} is more than `floors` and `layer-sparsity` allow; the largest possible is {largest}"
                )));
            }
            let empty = (0..layers.len()).filter(|&l| self.masked[l] == self.sizes[l]).count();
            return Err(StageError::Unfit(format!(
                "sparsity = {sparsity} leaves {} weights for {} layers, and each keeps at least one; the largest possible is {largest}",
                size - wanted,
                layers.len() - empty,
            )));
        }
        Ok(wanted - fixed)
    }

    /// Zeros of the free layers, with kept weights in proportion to a density.
    fn split(&self, free: &[usize], rest: usize, density: impl Fn(usize) -> f64) -> Vec<usize> {
        let shares: Vec<f64> =
            free.iter().map(|&layer| density(layer) * self.sizes[layer] as f64).collect();
        let bounds: Vec<Bounds> = free
            .iter()
            .map(|&layer| Bounds {
                least: self.least[layer],
                most: self.sizes[layer] - self.masked[layer],
            })
            .collect();
        let size: usize = free.iter().map(|&layer| self.sizes[layer]).sum();
        let kept = allocation::split(size - rest, &shares, &bounds);
        free.iter().zip(kept).map(|(&layer, kept)| self.sizes[layer] - kept).collect()
    }
}

/// Whether every pattern of a table matches a layer.
///
/// # Errors
/// [`StageError::Unfit`] with the first that does not.
pub(super) fn patterns_match<'a>(
    key: &str,
    rules: &IndexMap<String, f64>,
    layers: &'a [Prunable],
    node: impl Fn(&'a Prunable) -> &'a str,
) -> Result<(), StageError> {
    let is_there =
        |pattern: &str| layers.iter().any(|l| graftwork::network::matches(pattern, node(l)));
    match rules.keys().find(|pattern| !is_there(pattern)) {
        None => Ok(()),
        Some(pattern) => Err(StageError::Unfit(format!(
            "{key}: \"{pattern}\" matches no layer that is pruned; there are: {}",
            layers.iter().map(node).collect::<Vec<_>>().join(", ")
        ))),
    }
}

pub(super) fn too_sparse(what: &str, masked: usize, size: usize, sparsity: f64) -> StageError {
    StageError::Unfit(format!(
        "{what} already has {:.4} of its weights masked, more than sparsity = {sparsity}; ask for more, or prune the network that it came from",
        masked as f64 / size as f64
    ))
}

/// The number of weights that a layer keeps at least: one, and its floor.
fn least(
    layer: &Prunable,
    size: usize,
    masked: usize,
    floor: Option<f64>,
) -> Result<usize, StageError> {
    let left = size - masked;
    let floor = floor.map_or(0, |floor| (floor * size as f64).ceil() as usize);
    if floor > left {
        return Err(StageError::Unfit(format!(
            "`floors` keeps {floor} weights of layer `{}`, and its mask leaves {left}",
            layer.name
        )));
    }
    Ok(floor.max(1).min(left))
}

fn own_zeros(
    layer: &Prunable,
    size: usize,
    masked: usize,
    least: usize,
    sparsity: f64,
) -> Result<usize, StageError> {
    let wanted = zeros(size, sparsity);
    if masked > wanted {
        return Err(too_sparse(&format!("layer `{}`", layer.name), masked, size, sparsity));
    }
    if wanted > size - least && least > 1 {
        return Err(StageError::Unfit(format!(
            "`layer-sparsity` asks for {sparsity} of layer `{}`, and `floors` keeps {least} of its {size} weights; the largest possible is {}",
            layer.name,
            (size - least) as f64 / size as f64
        )));
    }
    Ok(wanted.min(size - least))
}

/// Masks the weights with the lowest scores; says for each layer the largest score among the weights
/// that went, none where none did.
///
/// # Shapes
/// - scores: one tensor a layer, as many values as its weight
///
/// # Errors
/// [`StageError::Unfit`] where a score is not finite.
pub fn mask_lowest(
    model: &mut Model,
    layers: &[Prunable],
    scores: &[Tensor],
    budget: &Budget,
) -> Result<Vec<Option<f64>>, StageError> {
    let masks = masks(model, layers, scores, budget)?;
    let mut cut_offs = Vec::new();
    for ((layer, mask), scores) in layers.iter().zip(masks).zip(scores) {
        cut_offs.push(mask.as_ref().and_then(|mask| cut_off(model, layer, scores, mask)));
        if let Some(mask) = mask {
            layer.set_mask(model, &mask);
        }
    }
    model.apply_masks();
    Ok(cut_offs)
}

/// The largest score among the weights that a new mask takes and the one that is there does not.
fn cut_off(model: &Model, layer: &Prunable, scores: &Tensor, mask: &Tensor) -> Option<f64> {
    let mut goes = mask.eq(0.0).reshape([-1]);
    if let Some(old) = layer.mask(model) {
        goes = goes.logical_and(&old.to_device(Device::Cpu).reshape([-1]).ne(0.0));
    }
    let scores = scores.detach().to_device(Device::Cpu).to_kind(Kind::Double).reshape([-1]);
    let gone = scores.masked_select(&goes);
    (gone.numel() > 0).then(|| gone.max().double_value(&[]))
}

/// Zeros of each layer if the weights with the lowest scores were masked.
///
/// # Errors
/// As [`mask_lowest`].
pub fn zeros_by_layer(
    model: &Model,
    layers: &[Prunable],
    scores: &[Tensor],
    budget: &Budget,
) -> Result<Vec<usize>, StageError> {
    let masks = masks(model, layers, scores, budget)?;
    let zeros = masks.iter().map(|mask| {
        let mask = mask.as_ref().expect("every layer is in a pool");
        mask.numel() - mask.count_nonzero(None::<i64>).int64_value(&[]) as usize
    });
    Ok(zeros.collect())
}

/// One for the kept and zero for the others, in a row for each layer of a pool.
fn masks(
    model: &Model,
    layers: &[Prunable],
    scores: &[Tensor],
    budget: &Budget,
) -> Result<Vec<Option<Tensor>>, StageError> {
    let mut masks: Vec<Option<Tensor>> = layers.iter().map(|_| None).collect();
    for (pool, wanted) in &budget.pools {
        let ranked =
            pool.iter().map(|&index| ranked(model, &layers[index], &scores[index], budget.shares));
        let ranked = ranked.collect::<Result<Vec<Tensor>, StageError>>()?;
        let rows = pool.iter().map(|&index| layers[index].weight(model).size()[0]);
        let kept = match (budget.granularity, budget.granularity.pattern()) {
            (_, Some(pattern)) => {
                let masks = ranked.iter().zip(rows).map(|(scores, rows)| {
                    groups::keep_best_of_groups(&scores.reshape([rows, -1]), pattern)
                });
                Tensor::cat(&masks.collect::<Vec<_>>(), 0)
            }
            (Granularity::Row, _) => {
                let rows: Vec<Tensor> = ranked
                    .iter()
                    .zip(rows)
                    .map(|(scores, rows)| scores.reshape([rows, -1]))
                    .collect();
                let least: Vec<usize> = pool.iter().map(|&index| budget.least[index]).collect();
                groups::keep_rows(&rows, &least, *wanted)?
            }
            _ => {
                let of_pool = pool.iter().zip(&ranked);
                let spared: Vec<Tensor> =
                    of_pool.map(|(&index, scores)| spared(scores, budget.least[index])).collect();
                keep_highest(&Tensor::cat(&spared, 0), *wanted)
            }
        };
        for (&index, part) in pool.iter().zip(parts(&ranked)) {
            masks[index] = Some(kept.slice(0, part.start, part.end, 1));
        }
    }
    Ok(masks)
}

/// Where rows lie that are put one after the other.
fn parts(rows: &[Tensor]) -> impl Iterator<Item = Range<i64>> {
    rows.iter().scan(0, |start, row| {
        let part = *start..*start + row.numel() as i64;
        *start = part.end;
        Some(part)
    })
}

/// One for the kept, zero for the `zeros` lowest; of equals the first go first.
fn keep_highest(scores: &Tensor, zeros: usize) -> Tensor {
    // Sorted on the CPU, so that ties fall alike on every device.
    let (_, order) = scores.sort_stable(true, 0, false);
    let mut kept = Tensor::ones(scores.size(), (Kind::Float, Device::Cpu));
    let _ = kept.index_fill_(0, &order.narrow(0, 0, zeros as i64), 0.0);
    kept
}

/// The scores with the `least` best as if they were larger than all others.
fn spared(scores: &Tensor, least: usize) -> Tensor {
    let (_, order) = scores.sort_stable(true, 0, false);
    let best = order.narrow(0, scores.numel() as i64 - least as i64, least as i64);
    scores.index_fill(0, &best, f64::INFINITY)
}

/// The scores in a row, on the CPU, as the order of removal: masked weights first.
fn ranked(
    model: &Model,
    layer: &Prunable,
    scores: &Tensor,
    shares: bool,
) -> Result<Tensor, StageError> {
    let scores = scores.detach().to_device(Device::Cpu).to_kind(Kind::Double).reshape([-1]);
    if scores.isfinite().all().int64_value(&[]) == 0 {
        return Err(StageError::Unfit(format!(
            "a weight of layer `{}` has no finite score; the network that is pruned holds NaN or infinity",
            layer.name
        )));
    }
    let sum = scores.abs().sum(Kind::Double).double_value(&[]);
    let scores = if shares && sum > 0.0 { scores / sum } else { scores };
    Ok(match layer.mask(model) {
        None => scores,
        Some(mask) => {
            let masked = mask.reshape([-1]).to_device(Device::Cpu).eq(0.0);
            scores.masked_fill(&masked, f64::NEG_INFINITY)
        }
    })
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
    fn as_many_of_the_best_as_a_layer_keeps_are_safe() {
        let scores = spared(&Tensor::from_slice(&[2.0, f64::NEG_INFINITY, 3.0, 3.0]), 2);
        let scores = Vec::<f64>::try_from(scores).unwrap();
        assert_eq!(scores, [2.0, f64::NEG_INFINITY, f64::INFINITY, f64::INFINITY]);
    }

    #[test]
    fn a_count_is_rounded_to_the_nearest_weight() {
        assert_eq!(zeros(266_200, 0.9), 239_580);
        assert_eq!(zeros(7, 0.5), 4);
        assert_eq!(zeros(10, 0.04), 0);
    }
}
