//! Dependency groups: what must go together when a unit or a channel is removed.
//!
//! Every edge of the network carries one array: for each channel (or feature) an identity, and which
//! axis the channels are. A layer that makes new channels makes fresh identities and notes, for each
//! identity that it reads, the slice of its weight that reads it; everything else passes the array on,
//! repeats it, or unites identities that must go together. One walk in topological order finds all
//! groups exactly, in time linear in the channels; nothing is traced and nothing runs. An operation
//! without a rule does not compile: none is taken to be element-wise by default, which is what makes
//! tracing tools silently wrong on reordered channels.
//!
//! What would change others by going cannot be removed: the features of a layer-norm or a softmax, and
//! channels that an operation mixes along another axis. The units of recurrent layers and of attentions
//! are not removed either.

use std::collections::{BTreeMap, BTreeSet};

use super::op::{self, Conv2d, ConvTranspose2d, Linear, PadChannels, any_activation};
use super::{Network, Op, ShapeError};

/// Units that are made by the same layers and compete with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Indices of the nodes that make the units: a hidden layer, or layers that are tied together.
    pub producers: Vec<usize>,
    /// Index of the node whose output is the units' activation: the first activation function that carries
    /// them, or their last producer where there is none.
    pub activation: usize,
    /// The axis of that output along which the units lie.
    pub axis: usize,
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
    let mut outputs: Vec<Edge> = Vec::with_capacity(network.nodes.len());
    for (index, node) in network.nodes.iter().enumerate() {
        let inputs: Vec<&Edge> = node.inputs.iter().map(|&input| &outputs[input]).collect();
        let shape = |place: usize| shapes[node.inputs[place]].as_slice();
        let output = match &node.op {
            Op::Input(_) => walk.pinned(shapes[index].first().copied().unwrap_or(0)),
            Op::Conv2d(conv) => walk.conv2d(index, conv, inputs[0]),
            Op::ConvTranspose2d(conv) => walk.conv_transpose2d(index, conv, inputs[0]),
            Op::Linear(linear) => walk.linear(index, linear, inputs[0], shape(0).len() - 1),
            Op::BatchNorm(_) => walk.batch_norm(index, inputs[0]),
            Op::LayerNorm(_) => walk.mixed_along(inputs[0], shape(0).len() - 1),
            Op::Softmax(softmax) => walk.mixed_along(inputs[0], softmax.axis as usize),
            Op::Add(_) | Op::Mul(_) => walk.unite_all(&inputs, shapes[index].as_slice()),
            Op::Concat(concat) => {
                let extents: Vec<u32> =
                    (0..inputs.len()).map(|place| shape(place)[concat.axis as usize]).collect();
                walk.concat(&inputs, concat.axis as usize, &extents, &shapes[index])
            }
            Op::Slice(slice) => sliced(slice, inputs[0]),
            Op::ChannelShuffle(shuffle) => walk.channel_shuffle(shuffle.groups, inputs[0]),
            Op::PadChannels(pad) => walk.pad_channels(pad, inputs[0]),
            Op::MaxPool2d(_) | Op::AvgPool2d(_) | Op::AdaptiveAvgPool2d(_) | Op::Upsample2d(_) => {
                Edge::channels(walk.along(inputs[0], 0, shape(0)[0]))
            }
            Op::Flatten(_) => inputs[0].flatten(shape(0)),
            Op::Conv1d(conv) => {
                let read = walk.along(inputs[0], 0, conv.inputs);
                walk.reads(index, "weight", &read);
                Edge::channels(walk.rows(index, conv.outputs))
            }
            Op::MaxPool1d(_) => Edge::channels(walk.along(inputs[0], 0, shape(0)[0])),
            Op::Embedding(embedding) => walk.embedding(index, embedding.features),
            Op::Positions(positions) => walk.positions(index, positions.features, inputs[0]),
            Op::Columns(_) => {
                let [channels, height, _] = shape(0)[..] else {
                    unreachable!("shapes are checked")
                };
                let ids = walk.along(inputs[0], 0, channels);
                let rows = ids.iter().flat_map(|&id| std::iter::repeat_n(id, height as usize));
                Edge { axis: 1, ids: rows.collect() }
            }
            Op::Transpose(_) => Edge { axis: 1 - inputs[0].axis, ids: inputs[0].ids.clone() },
            Op::PoolSteps(_) => Edge::channels(walk.along(inputs[0], 1, shape(0)[1])),
            Op::Gru(gru) => walk.recurrent(index, gru.inputs, gru.outputs(), inputs[0]),
            Op::Lstm(lstm) => walk.recurrent(index, lstm.inputs, lstm.outputs(), inputs[0]),
            Op::Attention(attention) => {
                let read = walk.along(inputs[0], 1, attention.features);
                walk.reads(index, "in_proj_weight", &read);
                Edge { axis: 1, ids: walk.pinned(attention.features).ids }
            }
            any_activation!() => inputs[0].clone(),
            Op::Dropout(_) => inputs[0].clone(),
            // What a program does with its values is not known: all stay.
            Op::Held(_) | Op::TorchScript(_) => walk.pinned(0),
        };
        outputs.push(output);
    }
    for &id in outputs.last().iter().flat_map(|output| &output.ids) {
        walk.identities.pin(id);
    }
    Ok(walk.collect(&outputs))
}

/// What an edge of the network carries: an identity for each index of one axis.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    axis: usize,
    ids: Vec<usize>,
}

impl Edge {
    fn channels(ids: Vec<usize>) -> Self {
        Self { axis: 0, ids }
    }

    /// The identity of every value of a shape in a row, the last axis fastest.
    fn flatten(&self, shape: &[u32]) -> Self {
        let before: u32 = shape[..self.axis].iter().product();
        let after: u32 = shape[self.axis + 1..].iter().product();
        let repeated = |id: &usize| std::iter::repeat_n(*id, after as usize);
        let block: Vec<usize> = self.ids.iter().flat_map(repeated).collect();
        Self::channels(block.repeat(before as usize))
    }
}

fn sliced(slice: &op::Slice, input: &Edge) -> Edge {
    if slice.axis as usize != input.axis {
        return input.clone();
    }
    let part = slice.from as usize..slice.to as usize;
    Edge { axis: input.axis, ids: input.ids[part].to_vec() }
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

    /// Channels that cannot be removed.
    fn pinned(&mut self, channels: u32) -> Edge {
        let ids: Vec<usize> = (0..channels).map(|_| self.identities.fresh()).collect();
        for &id in &ids {
            self.identities.pin(id);
        }
        Edge::channels(ids)
    }

    /// The identities along an axis. Where an edge carries those of another axis, nothing of it can be
    /// removed, and neither can what lies along this one.
    fn along(&mut self, edge: &Edge, axis: usize, extent: u32) -> Vec<usize> {
        if edge.axis == axis {
            return edge.ids.clone();
        }
        self.pin_all(edge);
        self.pinned(extent).ids
    }

    fn pin_all(&mut self, edge: &Edge) {
        for &id in &edge.ids {
            self.identities.pin(id);
        }
    }

    fn linear(&mut self, node: usize, linear: &Linear, input: &Edge, axis: usize) -> Edge {
        let read = self.along(input, axis, linear.inputs);
        self.reads(node, "weight", &read);
        Edge { axis, ids: self.rows(node, linear.outputs) }
    }

    /// Notes the column of a weight that reads each identity.
    fn reads(&mut self, node: usize, weight: &'static str, ids: &[usize]) {
        for (column, &id) in ids.iter().enumerate() {
            self.note(id, node, (weight, 1, column), Part::Reads);
        }
    }

    /// Each feature is a column of the table.
    fn embedding(&mut self, node: usize, features: u32) -> Edge {
        let ids: Vec<usize> = (0..features).map(|_| self.identities.fresh()).collect();
        for (column, &id) in ids.iter().enumerate() {
            self.note(id, node, ("weight", 1, column), Part::Makes);
        }
        Edge { axis: 1, ids }
    }

    fn positions(&mut self, node: usize, features: u32, input: &Edge) -> Edge {
        let ids = self.along(input, 1, features);
        for (column, &id) in ids.iter().enumerate() {
            self.note(id, node, ("weight", 1, column), Part::Carries);
        }
        Edge { axis: 1, ids }
    }

    /// The units of a recurrent layer stay: of what is read, each direction's first layer reads a column.
    fn recurrent(&mut self, node: usize, inputs: u32, outputs: u32, input: &Edge) -> Edge {
        let read = self.along(input, 1, inputs);
        for param in self.network.nodes[node].op.params() {
            if ["weight_ih_l0", "weight_ih_l0_reverse"].contains(&param.name) {
                self.reads(node, param.name, &read);
            }
        }
        Edge { axis: 1, ids: self.pinned(outputs).ids }
    }

    fn conv2d(&mut self, node: usize, conv: &Conv2d, input: &Edge) -> Edge {
        let input = self.along(input, 0, conv.inputs);
        let groups = conv.groups as usize;
        let per_group = input.len() / groups;
        let outputs_per_group = conv.outputs as usize / groups;
        if groups > 1 && per_group == 1 {
            // Depthwise: every output channel is a function of one input channel.
            let carried: Vec<usize> =
                input.iter().flat_map(|&id| std::iter::repeat_n(id, outputs_per_group)).collect();
            for (row, &id) in carried.iter().enumerate() {
                self.row_notes(id, node, row, Part::Carries);
            }
            return Edge::channels(carried);
        }
        self.unite_runs(&input, per_group);
        for (channel, &id) in input.iter().enumerate() {
            self.note(id, node, ("weight", 1, channel % per_group), Part::Reads);
        }
        let output = self.rows(node, conv.outputs);
        self.unite_runs(&output, outputs_per_group);
        Edge::channels(output)
    }

    /// As a convolution, with the input's channels along the weight's first axis.
    fn conv_transpose2d(&mut self, node: usize, conv: &ConvTranspose2d, input: &Edge) -> Edge {
        let input = self.along(input, 0, conv.inputs);
        let groups = conv.groups as usize;
        let (per_group, outputs_per_group) = (input.len() / groups, conv.outputs as usize / groups);
        let bias = conv.bias;
        if groups > 1 && per_group == 1 && outputs_per_group == 1 {
            for (channel, &id) in input.iter().enumerate() {
                self.note(id, node, ("weight", 0, channel), Part::Carries);
                if bias {
                    self.note(id, node, ("bias", 0, channel), Part::Carries);
                }
            }
            return Edge::channels(input);
        }
        self.unite_runs(&input, per_group);
        for (channel, &id) in input.iter().enumerate() {
            self.note(id, node, ("weight", 0, channel), Part::Reads);
        }
        let output: Vec<usize> = (0..conv.outputs).map(|_| self.identities.fresh()).collect();
        for (channel, &id) in output.iter().enumerate() {
            self.note(id, node, ("weight", 1, channel % outputs_per_group), Part::Makes);
            if bias {
                self.note(id, node, ("bias", 0, channel), Part::Makes);
            }
        }
        self.unite_runs(&output, outputs_per_group);
        Edge::channels(output)
    }

    /// Unites the same place of every run, so that runs stay equal in size when channels go; that is also
    /// what makes the removed part of a grouped weight a slice along one axis.
    fn unite_runs(&mut self, ids: &[usize], run: usize) {
        for (channel, &id) in ids.iter().enumerate().skip(run) {
            self.identities.unite(ids[channel % run], id);
        }
    }

    fn batch_norm(&mut self, node: usize, input: &Edge) -> Edge {
        if input.axis != 0 {
            self.pin_all(input);
            return input.clone();
        }
        for (channel, &id) in input.ids.iter().enumerate() {
            self.row_notes(id, node, channel, Part::Carries);
        }
        input.clone()
    }

    /// What an operation that mixes values along an axis puts out: channels of that axis must stay.
    fn mixed_along(&mut self, input: &Edge, axis: usize) -> Edge {
        if input.axis == axis {
            self.pin_all(input);
        }
        input.clone()
    }

    /// Values that are added or multiplied go together. A gate has one value for many along some axes.
    fn unite_all(&mut self, inputs: &[&Edge], shape: &[u32]) -> Edge {
        let (first, others) = inputs.split_first().expect("a sum has parts");
        for other in others {
            if other.axis == first.axis && other.ids.len() < first.ids.len() {
                // One gate for all channels: none of them takes it along.
                self.pin_all(other);
                continue;
            }
            let ids = self.along(other, first.axis, shape[first.axis]);
            for (&one, id) in first.ids.iter().zip(ids) {
                self.identities.unite(one, id);
            }
        }
        (*first).clone()
    }

    fn concat(&mut self, inputs: &[&Edge], axis: usize, extents: &[u32], shape: &[u32]) -> Edge {
        if inputs.iter().all(|input| input.axis != axis) {
            return self.unite_all(inputs, shape);
        }
        let parts = inputs.iter().zip(extents);
        Edge {
            axis,
            ids: parts.flat_map(|(input, &extent)| self.along(input, axis, extent)).collect(),
        }
    }

    fn channel_shuffle(&mut self, groups: u32, input: &Edge) -> Edge {
        if input.axis != 0 {
            return input.clone();
        }
        let (ids, groups) = (&input.ids, groups as usize);
        let run = ids.len() / groups;
        self.unite_runs(ids, run);
        let dealt = (0..ids.len()).map(|place| ids[place % groups * run + place / groups]);
        Edge::channels(dealt.collect())
    }

    /// Channels of zeros are removable, and nothing of them is stored.
    fn pad_channels(&mut self, pad: &PadChannels, input: &Edge) -> Edge {
        if input.axis != 0 {
            return input.clone();
        }
        let mut zeros = |count| (0..count).map(|_| self.identities.fresh()).collect::<Vec<_>>();
        let (before, after) = (zeros(pad.before), zeros(pad.after));
        Edge::channels([before, input.ids.clone(), after].concat())
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

    fn collect(mut self, outputs: &[Edge]) -> Vec<Group> {
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
            // What nothing makes (channels of zeros that are read) is no unit.
            if !producers.is_empty() {
                let units = by_producers.entry(producers.into_iter().collect()).or_default();
                units.push((root, slices));
            }
        }
        let groups = by_producers.into_iter().map(|(producers, units)| {
            let roots: BTreeSet<usize> = units.iter().map(|(root, _)| *root).collect();
            let activation = self.activation(&producers, &roots, outputs);
            let Edge { axis, ids } = &outputs[activation];
            let channels: Vec<usize> = ids.iter().map(|&id| self.identities.root(id)).collect();
            let units = units.into_iter().map(|(root, slices)| Unit {
                channels: (0..channels.len() as u32)
                    .filter(|&channel| channels[channel as usize] == root)
                    .collect(),
                slices: slices.into_iter().flat_map(|slice| self.named(slice)).collect(),
            });
            let units = units.collect();
            Group { producers, activation, axis: *axis, units }
        });
        let mut groups: Vec<Group> = groups.collect();
        groups.sort_by_key(|group| group.producers[0]);
        groups
    }

    fn activation(
        &mut self,
        producers: &[usize],
        roots: &BTreeSet<usize>,
        outputs: &[Edge],
    ) -> usize {
        let last = *producers.last().expect("a unit has a producer");
        let activation = (last..outputs.len()).find(|&node| {
            self.network.nodes[node].op.is_activation()
                && outputs[node].ids.iter().any(|&id| roots.contains(&self.identities.root(id)))
        });
        activation.unwrap_or(last)
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
    use crate::network::op::{
        AdaptiveAvgPool2d, Add, BatchNorm, ChannelShuffle, Concat, Flatten, LayerNorm, MaxPool2d,
        Mul, Relu, Sigmoid,
    };

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
    fn a_feature_of_an_embedding_is_a_column_that_goes_through_a_sequence() {
        let mut network = Network::of_words("test", &[5], 9);
        network.push("embedding", op::Embedding { rows: 9, features: 2 });
        network.push("transpose", op::Transpose {});
        network.push("conv", op::Conv1d::new(2, 3, 3));
        network.push("relu", Relu {});
        network.push("back", op::Transpose {});
        network.push("pool", op::PoolSteps { how: op::StepPooling::Max });
        network.push("fc", Linear::new(3, 2));
        let groups = groups(&network).unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].activation, groups[0].axis), (1, 1));
        check(
            &groups[0].units[1],
            &[("embedding.weight", 1, &[1], Part::Makes), ("conv.weight", 1, &[1], Part::Reads)],
        );
        assert_eq!((groups[1].activation, groups[1].axis), (4, 0));
        check(
            &groups[1].units[2],
            &[
                ("conv.bias", 0, &[2], Part::Makes),
                ("conv.weight", 0, &[2], Part::Makes),
                ("fc.weight", 1, &[2], Part::Reads),
            ],
        );
    }

    #[test]
    fn what_a_recurrent_layer_reads_can_go_and_its_units_stay() {
        let mut network = Network::new("test", &[1, 4, 6]);
        network.push("conv", Conv2d::new(1, 2, 3));
        network.push("columns", op::Columns {});
        network.push("gru", op::Gru { inputs: 4, hidden: 3, layers: 2, bidirectional: true });
        network.push("pool", op::PoolSteps { how: op::StepPooling::Mean });
        network.push("fc", Linear::new(6, 2));
        let groups = groups(&network).unwrap();
        assert_eq!(groups.len(), 1);
        check(
            &groups[0].units[1],
            &[
                ("conv.bias", 0, &[1], Part::Makes),
                ("conv.weight", 0, &[1], Part::Makes),
                ("gru.weight_ih_l0", 1, &[2, 3], Part::Reads),
                ("gru.weight_ih_l0_reverse", 1, &[2, 3], Part::Reads),
            ],
        );
    }

    #[test]
    fn what_an_attention_and_a_sum_with_it_hold_stays() {
        let mut network = Network::of_words("test", &[5], 9);
        let embedded = network.push("embedding", op::Embedding { rows: 9, features: 4 });
        let attended = network.push("attention", op::Attention { features: 4, heads: 2 });
        network.push_from("add", Add {}, &[embedded, attended]);
        network.push("pool", op::PoolSteps { how: op::StepPooling::Mean });
        network.push("fc", Linear::new(4, 2));
        assert_eq!(groups(&network).unwrap(), []);
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

    /// Names of the producers of each group, and how many units it has.
    fn summary(network: &Network) -> Vec<(Vec<&str>, usize)> {
        let name = |&node: &usize| network.nodes[node].name.as_str();
        let groups = groups(network).unwrap();
        groups
            .iter()
            .map(|group| (group.producers.iter().map(name).collect(), group.units.len()))
            .collect()
    }

    /// `input → stem → … → fc` around what a test puts between.
    fn between(middle: impl FnOnce(&mut Network, usize)) -> Network {
        let mut network = Network::new("test", &[1, 6, 6]);
        let stem = network.push("stem", Conv2d { padding: 1, ..Conv2d::new(1, 4, 3) });
        middle(&mut network, stem);
        network.push("pool", AdaptiveAvgPool2d::global());
        let last = network.shapes().unwrap().last().unwrap()[0];
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(last, 2));
        network
    }

    #[test]
    fn a_residual_sum_ties_the_layers_that_it_adds() {
        let network = between(|network, stem| {
            network.push("conv1", Conv2d::new(4, 3, 1));
            let conv2 = network.push("conv2", Conv2d::new(3, 4, 1));
            network.push_from("add", Add {}, &[conv2, stem]);
        });
        assert_eq!(summary(&network), [(vec!["stem", "conv2"], 4), (vec!["conv1"], 3)]);
        let groups = groups(&network).unwrap();
        let readers: Vec<&str> =
            groups[0].units[3].slices.iter().map(|slice| slice.param.as_str()).collect();
        let expected =
            ["stem.bias", "stem.weight", "conv1.weight", "conv2.bias", "conv2.weight", "fc.weight"];
        assert_eq!(readers, expected);
    }

    #[test]
    fn joined_channels_keep_their_places() {
        let network = between(|network, stem| {
            let conv = network.push("conv", Conv2d::new(4, 2, 1));
            network.push_from("concat", Concat { axis: 0 }, &[conv, stem]);
        });
        assert_eq!(summary(&network), [(vec!["stem"], 4), (vec!["conv"], 2)]);
        let groups = groups(&network).unwrap();
        let fc = groups[0].units[1].slices.last().unwrap();
        assert_eq!((fc.param.as_str(), fc.indices.as_slice()), ("fc.weight", &[3][..]));
    }

    #[test]
    fn a_gate_goes_with_the_channel_that_it_scales() {
        let network = between(|network, stem| {
            network.push("squeeze", AdaptiveAvgPool2d::global());
            network.push("fc1", Conv2d::new(4, 2, 1));
            network.push("relu", Relu {});
            network.push("fc2", Conv2d::new(2, 4, 1));
            let gate = network.push("sigmoid", Sigmoid {});
            network.push_from("scale", Mul {}, &[stem, gate]);
        });
        assert_eq!(summary(&network), [(vec!["stem", "fc2"], 4), (vec!["fc1"], 2)]);
    }

    #[test]
    fn one_gate_for_all_channels_stays() {
        let network = between(|network, stem| {
            let gate = network.push("gate", Conv2d::new(4, 1, 1));
            network.push_from("scale", Mul {}, &[stem, gate]);
        });
        assert_eq!(summary(&network), [(vec!["stem"], 4)]);
    }

    #[test]
    fn a_shuffle_ties_the_same_place_of_every_run_and_moves_it() {
        let network = between(|network, _| {
            network.push("shuffle", ChannelShuffle { groups: 2 });
            let split = network.nodes.len() - 1;
            let left = network.push_from("left", op::Slice { axis: 0, from: 0, to: 1 }, &[split]);
            network.push_from("right", op::Slice { axis: 0, from: 1, to: 4 }, &[split]);
            let right = network.push("conv", Conv2d::new(3, 2, 1));
            network.push_from("concat", Concat { axis: 0 }, &[left, right]);
        });
        // 0 1 2 3 are dealt out as 0 2 1 3; 0 goes left, 2 1 3 right; {0, 2} and {1, 3} are tied.
        let groups = groups(&network).unwrap();
        assert_eq!(summary(&network), [(vec!["stem"], 2), (vec!["conv"], 2)]);
        check(
            &groups[0].units[0],
            &[
                ("stem.bias", 0, &[0, 2], Part::Makes),
                ("stem.weight", 0, &[0, 2], Part::Makes),
                ("conv.weight", 1, &[0], Part::Reads),
                ("fc.weight", 1, &[0], Part::Reads),
            ],
        );
        check(
            &groups[0].units[1],
            &[
                ("stem.bias", 0, &[1, 3], Part::Makes),
                ("stem.weight", 0, &[1, 3], Part::Makes),
                ("conv.weight", 1, &[1, 2], Part::Reads),
            ],
        );
    }

    #[test]
    fn channels_of_zeros_are_no_units_until_something_is_added_to_them() {
        let padded = between(|network, _| {
            network.push("pad", PadChannels { before: 1, after: 0 });
        });
        assert_eq!(summary(&padded), [(vec!["stem"], 4)]);
        let added = between(|network, stem| {
            let pad = network.push("pad", PadChannels { before: 1, after: 0 });
            let conv = network.push_from("conv", Conv2d::new(4, 5, 1), &[stem]);
            network.push_from("add", Add {}, &[pad, conv]);
        });
        assert_eq!(summary(&added), [(vec!["stem", "conv"], 4), (vec!["conv"], 1)]);
    }

    #[test]
    fn a_transposed_convolution_has_its_inputs_along_the_first_axis() {
        let mut network = Network::new("test", &[1, 3, 3]);
        network.push("one", Conv2d { bias: false, ..Conv2d::new(1, 2, 1) });
        network.push("up", ConvTranspose2d::new(2, 3, 2));
        network.push("two", Conv2d { bias: false, ..Conv2d::new(3, 1, 1) });
        let groups = groups(&network).unwrap();
        check(
            &groups[0].units[1],
            &[("one.weight", 0, &[1], Part::Makes), ("up.weight", 0, &[1], Part::Reads)],
        );
        check(
            &groups[1].units[2],
            &[
                ("up.bias", 0, &[2], Part::Makes),
                ("up.weight", 1, &[2], Part::Makes),
                ("two.weight", 1, &[2], Part::Reads),
            ],
        );
    }

    #[test]
    fn what_would_change_others_by_going_stays() {
        let mut network = Network::new("test", &[5, 3]);
        network.push("fc1", Linear::new(3, 4));
        network.push("norm", LayerNorm::new(4));
        network.push("fc2", Linear::new(4, 6));
        network.push("relu", Relu {});
        network.push("fc3", Linear::new(6, 2));
        let groups = groups(&network).unwrap();
        assert_eq!(groups.len(), 1, "the features of the norm stay");
        assert_eq!((groups[0].units.len(), groups[0].axis), (6, 1));
        let fc3 = groups[0].units[2].slices.last().unwrap();
        assert_eq!(
            (fc3.param.as_str(), fc3.axis, fc3.indices.as_slice()),
            ("fc3.weight", 1, &[2][..])
        );
    }

    #[test]
    fn a_layer_across_positions_keeps_the_features_of_all_of_them() {
        let mut network = Network::new("test", &[1, 2, 3]);
        network.push("conv", Conv2d::new(1, 4, 1)); // [4, 2, 3]
        network.push("rows", Linear::new(3, 5)); // over the width, for each channel
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(40, 2));
        let groups = groups(&network).unwrap();
        assert_eq!(summary(&network), [(vec!["rows"], 5)]);
        let fc = groups[0].units[1].slices.last().unwrap();
        assert_eq!(fc.indices, [1, 6, 11, 16, 21, 26, 31, 36]);
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
