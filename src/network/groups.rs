//! Dependency groups: what must go together when a unit or a channel is removed.
//!
//! Every edge of the network carries one array: for each channel (or feature) an identity. A layer
//! that makes new channels makes fresh identities and notes, for each identity that it reads, the
//! slice of its weight that reads it; everything else passes the array on, or repeats it. One walk
//! in topological order finds all groups exactly, in time linear in the channels; nothing is traced
//! and nothing runs. An operation without a rule does not compile: none is taken to be element-wise
//! by default, which is what makes tracing tools silently wrong on reordered channels.

use std::collections::{BTreeMap, BTreeSet};

use super::op::Conv2d;
use super::{Network, Op, ShapeError};

/// Units that are made by the same layers and compete with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Indices of the nodes that make the units: a hidden layer, or layers that are tied together.
    pub producers: Vec<usize>,
    /// Index of the node whose output is the units' activation: the first ReLU that carries them, or
    /// their last producer where there is none.
    pub activation: usize,
    /// The units, in the order of their first channel.
    pub units: Vec<Unit>,
}

/// What goes when one unit is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its channels in the output of [`Group::activation`].
    pub channels: Vec<u32>,
    /// Everything of it that is stored, in the order of the nodes.
    pub slices: Vec<Slice>,
}

/// A part of a parameter or buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Index of the parameter's node.
    pub node: usize,
    /// Full name of the parameter or buffer.
    pub param: String,
    /// The axis that is cut.
    pub axis: usize,
    /// The indices along that axis, ascending.
    pub indices: Vec<u32>,
    /// What the slice does for the unit.
    pub part: Part,
}

/// What a slice does for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Computes it: rows of a weight, values of a bias.
    Makes,
    /// Changes it on the way: a normalisation, a depthwise convolution.
    Carries,
    /// Reads it: columns of the next layer's weight.
    Reads,
}

/// The groups of a network, in the order of their first producer.
///
/// The network's inputs and outputs cannot be removed and are in no group.
///
/// # Errors
/// As [`Network::shapes`].
pub fn groups(network: &Network) -> Result<Vec<Group>, ShapeError> {
    let shapes = network.shapes()?;
    let mut walk = Walk { network, identities: Identities::default(), notes: Vec::new() };
    let mut outputs: Vec<Vec<usize>> = Vec::with_capacity(network.nodes.len());
    for (index, node) in network.nodes.iter().enumerate() {
        let read = |place: usize| outputs[node.inputs[place]].as_slice();
        let output = match &node.op {
            Op::Input(_) => walk.pinned(shapes[index][0]),
            Op::Conv2d(conv) => walk.conv2d(index, conv, read(0)),
            Op::Linear(linear) => walk.linear(index, linear.outputs, read(0)),
            Op::BatchNorm(_) => walk.batch_norm(index, read(0)),
            Op::Flatten(_) => {
                let area: u32 = shapes[node.inputs[0]][1..].iter().product();
                let repeated =
                    read(0).iter().flat_map(|&id| std::iter::repeat_n(id, area as usize));
                repeated.collect()
            }
            Op::Relu(_) | Op::MaxPool2d(_) | Op::Dropout(_) => read(0).to_vec(),
        };
        outputs.push(output);
    }
    for &id in outputs.last().into_iter().flatten() {
        walk.identities.pin(id);
    }
    Ok(walk.collect(&outputs))
}

/// Channels that were found to be the same, by union-find.
#[derive(Debug, Default)]
struct Identities {
    parents: Vec<usize>,
    /// By root: whether the network's input or output holds it.
    pinned: Vec<bool>,
}

impl Identities {
    fn fresh(&mut self) -> usize {
        self.parents.push(self.parents.len());
        self.pinned.push(false);
        self.parents.len() - 1
    }

    fn root(&mut self, id: usize) -> usize {
        let mut root = id;
        while self.parents[root] != root {
            self.parents[root] = self.parents[self.parents[root]];
            root = self.parents[root];
        }
        root
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The older identity stays, so that groups are numbered in the order of the nodes.
        let (old, new) = (one.min(other), one.max(other));
        self.parents[new] = old;
        self.pinned[old] |= self.pinned[new];
    }

    fn pin(&mut self, id: usize) {
        let root = self.root(id);
        self.pinned[root] = true;
    }
}

/// A slice of one index that goes with an identity.
struct Note {
    id: usize,
    node: usize,
    param: &'static str,
    axis: usize,
    index: u32,
    part: Part,
}

struct Walk<'a> {
    network: &'a Network,
    identities: Identities,
    notes: Vec<Note>,
}

impl Walk<'_> {
    fn note(&mut self, id: usize, node: usize, slice: (&'static str, usize, usize), part: Part) {
        let (param, axis, index) = slice;
        self.notes.push(Note { id, node, param, axis, index: index as u32, part });
    }

    fn pinned(&mut self, channels: u32) -> Vec<usize> {
        let ids: Vec<usize> = (0..channels).map(|_| self.identities.fresh()).collect();
        for &id in &ids {
            self.identities.pin(id);
        }
        ids
    }

    fn linear(&mut self, node: usize, outputs: u32, input: &[usize]) -> Vec<usize> {
        for (column, &id) in input.iter().enumerate() {
            self.note(id, node, ("weight", 1, column), Part::Reads);
        }
        self.rows(node, outputs)
    }

    fn conv2d(&mut self, node: usize, conv: &Conv2d, input: &[usize]) -> Vec<usize> {
        let groups = conv.groups as usize;
        if groups == 1 {
            return self.linear(node, conv.outputs, input);
        }
        let per_group = input.len() / groups;
        let outputs_per_group = conv.outputs as usize / groups;
        if per_group == 1 {
            // Depthwise: every output channel is a function of one input channel.
            let carried: Vec<usize> =
                input.iter().flat_map(|&id| std::iter::repeat_n(id, outputs_per_group)).collect();
            for (row, &id) in carried.iter().enumerate() {
                self.row_notes(id, node, row, Part::Carries);
            }
            return carried;
        }
        // Position j of every group goes together, so that the groups stay equal in size; that is
        // also what makes the removed part of the weight a slice along one axis.
        for (channel, &id) in input.iter().enumerate() {
            self.identities.unite(input[channel % per_group], id);
            self.note(id, node, ("weight", 1, channel % per_group), Part::Reads);
        }
        let output = self.rows(node, conv.outputs);
        for (channel, &id) in output.iter().enumerate() {
            self.identities.unite(output[channel % outputs_per_group], id);
        }
        output
    }

    fn batch_norm(&mut self, node: usize, input: &[usize]) -> Vec<usize> {
        for (channel, &id) in input.iter().enumerate() {
            self.row_notes(id, node, channel, Part::Carries);
        }
        input.to_vec()
    }

    /// Fresh identities for the rows of a layer.
    fn rows(&mut self, node: usize, outputs: u32) -> Vec<usize> {
        let ids: Vec<usize> = (0..outputs).map(|_| self.identities.fresh()).collect();
        for (row, &id) in ids.iter().enumerate() {
            self.row_notes(id, node, row, Part::Makes);
        }
        ids
    }

    /// Notes one index along the first axis of everything that a node stores.
    fn row_notes(&mut self, id: usize, node: usize, row: usize, part: Part) {
        for param in self.network.nodes[node].op.params() {
            if !param.shape.is_empty() {
                self.note(id, node, (param.name, 0, row), part);
            }
        }
    }

    fn collect(mut self, outputs: &[Vec<usize>]) -> Vec<Group> {
        let mut slices: BTreeMap<usize, Slices> = BTreeMap::new();
        for note in std::mem::take(&mut self.notes) {
            let root = self.identities.root(note.id);
            if !self.identities.pinned[root] {
                let key = (note.node, note.axis, note.param, note.part);
                slices.entry(root).or_default().entry(key).or_default().insert(note.index);
            }
        }
        // Units compete with those that the same layers make.
        let mut by_producers: BTreeMap<Vec<usize>, Vec<(usize, Slices)>> = BTreeMap::new();
        for (root, slices) in slices {
            let producers: BTreeSet<usize> =
                slices.keys().filter(|key| key.3 == Part::Makes).map(|key| key.0).collect();
            by_producers.entry(producers.into_iter().collect()).or_default().push((root, slices));
        }
        let groups = by_producers.into_iter().map(|(producers, units)| {
            let roots: BTreeSet<usize> = units.iter().map(|(root, _)| *root).collect();
            let activation = self.activation(&producers, &roots, outputs);
            let channels: Vec<usize> =
                outputs[activation].iter().map(|&id| self.identities.root(id)).collect();
            let units = units.into_iter().map(|(root, slices)| Unit {
                channels: (0..channels.len() as u32)
                    .filter(|&channel| channels[channel as usize] == root)
                    .collect(),
                slices: slices.into_iter().flat_map(|slice| self.named(slice)).collect(),
            });
            let units = units.collect();
            Group { producers, activation, units }
        });
        let mut groups: Vec<Group> = groups.collect();
        groups.sort_by_key(|group| group.producers[0]);
        groups
    }

    fn activation(
        &mut self,
        producers: &[usize],
        roots: &BTreeSet<usize>,
        outputs: &[Vec<usize>],
    ) -> usize {
        let last = *producers.last().expect("a unit has a producer");
        let relu = (last..outputs.len()).find(|&node| {
            matches!(self.network.nodes[node].op, Op::Relu(_))
                && outputs[node].iter().any(|&id| roots.contains(&self.identities.root(id)))
        });
        relu.unwrap_or(last)
    }

    /// A slice under the full names of its parameter, one per domain that has its own copy.
    fn named(&self, (key, indices): (SliceKey, BTreeSet<u32>)) -> Vec<Slice> {
        let (node, axis, param, part) = key;
        let domains: Vec<Option<usize>> = if self.network.nodes[node].specific {
            (0..self.network.domains.len()).map(Some).collect()
        } else {
            vec![None]
        };
        let indices: Vec<u32> = indices.into_iter().collect();
        let slice = |domain| Slice {
            node,
            param: self.network.param_name(node, domain, param),
            axis,
            indices: indices.clone(),
            part,
        };
        domains.into_iter().map(slice).collect()
    }
}

/// Node, axis, parameter, part: what a unit's indices are collected by.
type SliceKey = (usize, usize, &'static str, Part);

/// The indices of each slice that a unit has.
type Slices = BTreeMap<SliceKey, BTreeSet<u32>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::op::{BatchNorm, Flatten, Linear, MaxPool2d, Relu};

    #[track_caller]
    fn check(unit: &Unit, expected: &[(&str, usize, &[u32], Part)]) {
        let slices: Vec<(&str, usize, &[u32], Part)> = unit
            .slices
            .iter()
            .map(|slice| (slice.param.as_str(), slice.axis, slice.indices.as_slice(), slice.part))
            .collect();
        assert_eq!(slices, expected);
    }

    #[test]
    fn a_channel_takes_its_normalisation_and_the_columns_behind_flatten() {
        let mut network = Network::new("test", &[1, 6, 6]);
        network.push("conv", Conv2d::new(1, 3, 3));
        network.push("bn", BatchNorm::new(3));
        network.push("relu", Relu {});
        network.push("pool", MaxPool2d::new(2));
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(12, 2));
        let groups = groups(&network).unwrap();
        assert_eq!(groups.len(), 1, "the logits are pinned");
        assert_eq!((groups[0].producers.as_slice(), groups[0].activation), (&[1][..], 3));
        assert_eq!(groups[0].units.len(), 3);
        check(
            &groups[0].units[1],
            &[
                ("conv.bias", 0, &[1], Part::Makes),
                ("conv.weight", 0, &[1], Part::Makes),
                ("bn.bias", 0, &[1], Part::Carries),
                ("bn.running_mean", 0, &[1], Part::Carries),
                ("bn.running_var", 0, &[1], Part::Carries),
                ("bn.weight", 0, &[1], Part::Carries),
                ("fc.weight", 1, &[4, 5, 6, 7], Part::Reads),
            ],
        );
    }

    #[test]
    fn a_depthwise_convolution_carries_its_channels() {
        let mut network = Network::new("test", &[1, 6, 6]);
        network.push("one", Conv2d::new(1, 2, 1));
        network.push("depth", Conv2d { groups: 2, bias: false, ..Conv2d::new(2, 4, 3) });
        network.push("two", Conv2d { bias: false, ..Conv2d::new(4, 3, 1) });
        let groups = groups(&network).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].activation, 1, "without a ReLU it is the producer's output");
        check(
            &groups[0].units[1],
            &[
                ("one.bias", 0, &[1], Part::Makes),
                ("one.weight", 0, &[1], Part::Makes),
                ("depth.weight", 0, &[2, 3], Part::Carries),
                ("two.weight", 1, &[2, 3], Part::Reads),
            ],
        );
    }

    #[test]
    fn a_grouped_convolution_ties_the_same_place_of_every_group() {
        let mut network = Network::new("test", &[1, 6, 6]);
        network.push("one", Conv2d { bias: false, ..Conv2d::new(1, 4, 1) });
        network.push("grouped", Conv2d { groups: 2, bias: false, ..Conv2d::new(4, 6, 3) });
        network.push("relu", Relu {});
        network.push("two", Conv2d { bias: false, ..Conv2d::new(6, 3, 1) });
        let groups = groups(&network).unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].units.len(), groups[1].units.len()), (2, 3));
        assert_eq!(groups[0].units[0].channels, [0, 2]);
        check(
            &groups[0].units[1],
            &[("one.weight", 0, &[1, 3], Part::Makes), ("grouped.weight", 1, &[1], Part::Reads)],
        );
        assert_eq!(groups[1].units[2].channels, [2, 5]);
        check(
            &groups[1].units[2],
            &[("grouped.weight", 0, &[2, 5], Part::Makes), ("two.weight", 1, &[2, 5], Part::Reads)],
        );
    }

    #[test]
    fn a_domain_specific_layer_is_cut_in_every_copy() {
        let mut network = Network::new("test", &[2]);
        network.push("fc1", Linear { bias: false, ..Linear::new(2, 2) });
        network.push("fc2", Linear { bias: false, ..Linear::new(2, 2) });
        network.domains = vec!["mnist".to_owned(), "usps".to_owned()];
        network.nodes[1].specific = true;
        let groups = groups(&network).unwrap();
        check(
            &groups[0].units[0],
            &[
                ("private.mnist.fc1.weight", 0, &[0], Part::Makes),
                ("private.usps.fc1.weight", 0, &[0], Part::Makes),
                ("fc2.weight", 1, &[0], Part::Reads),
            ],
        );
    }

    #[test]
    fn the_input_and_the_output_are_in_no_group() {
        let mut network = Network::new("test", &[3]);
        network.push("fc", Linear::new(3, 4));
        assert_eq!(groups(&network).unwrap(), []);
    }
}
