//! What a pruning did to each layer and to the network: counts, sizes in bytes, and the change of outputs.
//!
//! Multiply-accumulates are those of one example in convolutions and linear layers, as in
//! [`Counts::macs`](crate::model::Counts::macs). They are not known of a program.

use std::collections::BTreeMap;

use graftwork::network::ParamRole;
use graftwork::protocol::Point;
use tch::{Kind, Tensor};

use super::{Prunable, calibration};
use crate::data::Splits;
use crate::model::Model;
use crate::random;
use crate::stage::{StageError, point};

/// Training examples that the outputs of layers are compared on.
const SAMPLES: usize = 1024;

/// Bytes of a value, of a column's index, and of where a row starts.
const VALUE: usize = 4;
const INDEX: usize = 4;

/// A pruning as it is looked at: the network before, what it lost, what that changed.
#[derive(Debug, Default)]
pub struct Report {
    /// The network before, and the examples that its layers are compared on.
    before: Option<(Model, Tensor)>,
    /// For each layer the largest score among the weights that went, where the criterion gives scores.
    pub cut_offs: Vec<Option<f64>>,
    /// For each layer the change of its output.
    errors: Vec<Option<f64>>,
    /// Parameters and multiply-accumulates of the network before.
    size: (u64, Option<u64>),
}

impl Report {
    /// Starts with the network before; without data nothing will be compared.
    ///
    /// `seed` is the one of the criterion, or a fixed one where the criterion draws nothing: results
    /// that several seeds share must not depend on which of them ran.
    ///
    /// # Errors
    /// Never for a network that has been built; the shapes are inferred again.
    pub fn before(model: &Model, data: Option<&Splits>, seed: u64) -> Result<Self, StageError> {
        let data = data.filter(|_| model.program().is_none());
        let before = data.map(|data| {
            let mut rng = random::stream(seed, "calibration", 0);
            (model.duplicate(), data.train.as_set().sample(SAMPLES, &mut rng).inputs)
        });
        let counts = model.counts().map_err(|error| StageError::Unfit(error.to_string()))?;
        Ok(Self { before, size: (counts.params, counts.macs), ..Self::default() })
    }

    /// Compares the layers with those of the network before, which is dropped.
    pub fn compare(&mut self, pruned: &Model, layers: &[Prunable]) {
        if let Some((dense, images)) = self.before.take() {
            self.errors = reconstruction_errors(&dense, pruned, &images, layers);
        }
    }

    /// All that is known, by layer and of the network.
    ///
    /// # Errors
    /// Never for a network that has been built; the shapes are inferred again.
    pub fn points(
        &self,
        model: &Model,
        layers: &[Prunable],
        step: u64,
    ) -> Result<Vec<Point>, StageError> {
        let uses = uses(model)?;
        let mut points = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let known = |values: &[Option<f64>]| values.get(index).copied().flatten();
            let (size, nonzero) = (layer.size(model) as f64, nonzero(&layer.weight(model)) as f64);
            let uses = uses.as_ref().map(|uses| uses[layer.node]);
            let values = [
                ("params", Some(size)),
                ("nonzero", Some(nonzero)),
                ("sparsity", Some(1.0 - nonzero / size)),
                ("macs", uses.map(|uses| uses * size)),
                ("nonzero-macs", uses.map(|uses| uses * nonzero)),
                ("reconstruction-error", known(&self.errors)),
                ("cut-off", known(&self.cut_offs)),
            ];
            points.extend(values.into_iter().filter_map(|(what, value)| {
                Some(point(format!("layer/{}/{what}", layer.name), step, value?))
            }));
        }
        let bytes = Bytes::of(model, layers);
        points.extend(uses.map(|uses| {
            let macs = weights_of_one_domain(model).map(|(node, weight)| uses[node] * weight);
            point("nonzero-macs", step, macs.sum())
        }));
        let (params, macs) = self.size;
        points.extend(macs.map(|macs| point("before/macs", step, macs as f64)));
        points.extend([
            point("before/params", step, params as f64),
            point("bytes/dense", step, bytes.dense as f64),
            point("bytes/csr", step, bytes.csr as f64),
            point("bytes/bitmask", step, bytes.bitmask as f64),
        ]);
        Ok(points)
    }
}

/// The node of each weight and how many of its values are not zero; of the copies for domains the first.
fn weights_of_one_domain(model: &Model) -> impl Iterator<Item = (usize, f64)> {
    let weights = model.params().values().filter(|parameter| {
        parameter.role == ParamRole::Weight && parameter.domain.is_none_or(|domain| domain == 0)
    });
    weights.map(|parameter| (parameter.node, nonzero(&parameter.value) as f64))
}

/// How often each value of a node's weight is multiplied for one example: once for each place of the
/// window. None of a program; zero where a node's operation counts no multiply-accumulates.
fn uses(model: &Model) -> Result<Option<Vec<f64>>, StageError> {
    let network = model.network();
    if network.is_program() {
        return Ok(None);
    }
    let layers = network.layers().map_err(|error| StageError::Unfit(error.to_string()))?;
    let uses = layers.iter().zip(&network.nodes).map(|(layer, node)| {
        let params = node.op.params().into_iter();
        let weights: u64 =
            params.filter(|param| param.role == ParamRole::Weight).map(|param| param.len()).sum();
        if weights == 0 { 0.0 } else { layer.macs as f64 / weights as f64 }
    });
    Ok(Some(uses.collect()))
}

fn nonzero(tensor: &Tensor) -> usize {
    tensor.count_nonzero(None::<i64>).int64_value(&[]) as usize
}

/// How many bytes the parameters and buffers of a network take, the pruned layers' weights in a format.
///
/// A weight is a matrix of as many rows as its first extent, `n` values in all, of which `k` are not zero.
/// Everything else is stored as it is: biases, normalisation, excluded layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// Every value: 4 n.
    pub dense: usize,
    /// Compressed sparse rows with 32-bit indices: 4 k for the values, 4 k for their columns,
    /// 4 (rows + 1) for where rows start.
    pub csr: usize,
    /// A bit for each value and what is not zero: ⌈n / 8⌉ + 4 k.
    pub bitmask: usize,
}

impl Bytes {
    /// The sizes of a network whose layers have been pruned.
    pub fn of(model: &Model, layers: &[Prunable]) -> Self {
        let mut bytes = Self { dense: 0, csr: 0, bitmask: 0 };
        for (name, parameter) in model.params() {
            let value = &parameter.value;
            let dense = value.numel() * value.kind().elt_size_in_bytes();
            let (csr, bitmask) = if layers.iter().any(|layer| layer.param == *name) {
                let (n, rows, k) = (value.numel(), value.size()[0] as usize, nonzero(value));
                (k * (VALUE + INDEX) + (rows + 1) * INDEX, n.div_ceil(8) + k * VALUE)
            } else {
                (dense, dense)
            };
            bytes.dense += dense;
            bytes.csr += csr;
            bytes.bitmask += bitmask;
        }
        bytes
    }
}

/// For each layer `‖Y − Y'‖² / ‖Y‖²`, `Y` what it puts out in the dense network and `Y'` what its pruned
/// self would put out for the same input: the errors of other layers have no part in it.
///
/// None for a layer that puts out nothing but zeros, or whose shape has changed. In a network with
/// domains the images pass through every domain's copy; a shared layer sees them all.
///
/// # Shapes
/// - images: `[n, …]`, the network's input
pub fn reconstruction_errors(
    dense: &Model,
    pruned: &Model,
    images: &Tensor,
    layers: &[Prunable],
) -> Vec<Option<f64>> {
    let is_there = |layer: &&Prunable| {
        let old = &dense.params()[&layer.param].value;
        pruned.params().get(&layer.param).is_some_and(|new| new.value.size() == old.size())
    };
    let compared: Vec<&Prunable> = layers.iter().filter(is_there).collect();
    let taps: Vec<usize> = compared
        .iter()
        .flat_map(|layer| [dense.network().nodes[layer.node].inputs[0], layer.node])
        .collect();
    let mut sums = vec![(0.0, 0.0); compared.len()];
    calibration::each_chunk(dense, images, &taps, &mut |domain, tapped| {
        for ((layer, sums), tapped) in compared.iter().zip(&mut sums).zip(tapped.chunks(2)) {
            if layer.domain.is_some() && layer.domain != domain {
                continue;
            }
            let (input, output) = (&tapped[0], &tapped[1]);
            let changed = pruned.output_of(layer.node, &[input], domain);
            sums.0 += energy(&(output - changed));
            sums.1 += energy(output);
        }
    });
    let errors = compared
        .iter()
        .zip(sums)
        .map(|(layer, (change, energy))| (&layer.param, (energy > 0.0).then_some(change / energy)));
    let errors: BTreeMap<&String, Option<f64>> = errors.collect();
    layers.iter().map(|layer| errors.get(&layer.param).copied().flatten()).collect()
}

fn energy(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[])
}

#[cfg(test)]
mod tests;
