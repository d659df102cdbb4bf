//! Layers that read units, and what they see of them.

use std::collections::HashSet;

use graftwork::network::groups::{Group, Part, Unit};
use graftwork::network::{Network, Op};
use tch::{Device, Kind, Tensor};

use crate::model::Model;
use crate::prune::calibration::{self, Collect, Inputs};
use crate::prune::{Prunable, prunable};

/// A layer whose every output is a row of weights times a patch of its input.
#[derive(Debug)]
pub struct Reader {
    /// The layer.
    pub layer: Prunable,
    /// Its weights, `[rows, d]` for each channel group, `f64`, on the CPU.
    pub weights: Vec<Tensor>,
    /// Columns that an index along the weight's second axis has: the window.
    pub window: usize,
    /// What it sees.
    pub inputs: Inputs,
    /// What takes up a change of its mean output.
    pub absorber: Option<Absorber>,
}

/// What can take up a change of a layer's mean output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absorber {
    /// Its bias.
    Bias(String),
    /// Running means of the normalisation that alone reads it: one, or one a domain.
    Means(Vec<String>),
}

impl Reader {
    /// Layers that have patches, with their inputs when images pass through the network.
    ///
    /// # Shapes
    /// - images: `[n, …]`, the network's input
    pub fn all(
        model: &Model,
        images: &Tensor,
        collect: Collect,
        is_asked: impl Fn(&Prunable) -> bool,
    ) -> Vec<Self> {
        let layers: Vec<Prunable> = prunable(model, &[])
            .expect("without exclusion every layer is prunable")
            .into_iter()
            .filter(|layer| calibration::has_patches(&model.network().nodes[layer.node].op))
            .filter(is_asked)
            .collect();
        if layers.is_empty() {
            return Vec::new();
        }
        let inputs = calibration::inputs(model, images, &layers, collect);
        let reader = |(layer, inputs): (Prunable, Inputs)| Self {
            weights: by_channel_group(&layer.weight(model), inputs.sums.len()),
            window: layer.weight(model).size()[2..].iter().product::<i64>() as usize,
            absorber: Absorber::of(model, &layer),
            layer,
            inputs,
        };
        layers.into_iter().zip(inputs).map(reader).collect()
    }

    /// The layers that read the units of groups, with second moments.
    ///
    /// # Shapes
    /// - images: `[n, …]`, the network's input
    pub fn of(model: &Model, images: &Tensor, groups: &[&Group]) -> Vec<Self> {
        let slices = groups.iter().flat_map(|group| &group.units).flat_map(Unit::slices);
        let read: HashSet<&str> =
            slices.filter(|slice| slice.part == Part::Reads).map(|slice| slice.param).collect();
        Self::all(model, images, Collect::Grams, |layer| read.contains(layer.param.as_str()))
    }

    /// `XᵀX` of a channel group over the patches; of what differs from the mean, where that is taken up.
    pub fn hessian(&self, group: usize) -> Tensor {
        let gram = &self.inputs.grams[group];
        if self.absorber.is_none() {
            return gram.copy();
        }
        let sum = &self.inputs.sums[group];
        gram - sum.outer(sum) / self.inputs.patches
    }
}

impl Absorber {
    fn of(model: &Model, layer: &Prunable) -> Option<Self> {
        let bias = format!("{}.bias", layer.name);
        if model.params().contains_key(&bias) {
            return Some(Self::Bias(bias));
        }
        let norm = only_reader(model.network(), layer.node)?;
        let node = &model.network().nodes[norm];
        if !matches!(node.op, Op::BatchNorm(_)) {
            return None;
        }
        let is_its = |domain: Option<usize>| layer.domain.is_none() || domain == layer.domain;
        // A shared mean cannot take up what differs from domain to domain.
        if layer.domain.is_some() && !node.specific {
            return None;
        }
        let means = model.params().iter().filter(|(name, parameter)| {
            parameter.node == norm && is_its(parameter.domain) && name.ends_with("running_mean")
        });
        Some(Self::Means(means.map(|(name, _)| name.clone()).collect()))
    }

    /// Adds to the mean output.
    ///
    /// # Shapes
    /// - shift: `[rows]`, what the layer has lost on average
    pub fn add(&self, model: &Model, shift: &Tensor) {
        let (names, sign) = match self {
            Self::Bias(name) => (std::slice::from_ref(name), 1.0),
            Self::Means(names) => (names.as_slice(), -1.0),
        };
        for name in names {
            let value = &model.params()[name].value;
            let shift = shift.to_device(value.device()).to_kind(value.kind()) * sign;
            let _ = value.detach().g_add_(&shift);
        }
    }
}

/// The node that reads another, where it is the only one.
fn only_reader(network: &Network, node: usize) -> Option<usize> {
    let mut readers =
        (0..network.nodes.len()).filter(|&reader| network.nodes[reader].inputs.contains(&node));
    let first = readers.next()?;
    readers.next().is_none().then_some(first)
}

/// A tensor in the shape of a weight as rows, for each channel group, `f64`, on the CPU.
pub fn by_channel_group(weight: &Tensor, groups: usize) -> Vec<Tensor> {
    let rows = weight.to_device(Device::Cpu).to_kind(Kind::Double).flatten(1, -1);
    rows.split(rows.size()[0] / groups as i64, 0)
}

/// Whether everything that reads a group's units is a layer with patches.
pub fn have_patches(network: &Network, group: &Group) -> bool {
    let slices = group.units.iter().flat_map(Unit::slices);
    let mut readers = slices.filter(|slice| slice.part == Part::Reads).peekable();
    readers.peek().is_some()
        && readers.all(|slice| calibration::has_patches(&network.nodes[slice.node].op))
}
