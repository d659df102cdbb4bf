//! One walk over the network: what each operation does to the channels that it reads.

use std::sync::Arc;

use super::identities::{Edge, Identities};
use super::{Note, Part};
use crate::network::op::{
    self, Attention, Conv2d, ConvTranspose2d, Linear, PadChannels, any_activation,
};
use crate::network::{Network, Node, Op, Shape};

/// What a walk has found.
pub(super) struct Walk<'a> {
    network: &'a Network,
    pub(super) identities: Identities,
    pub(super) notes: Vec<Note>,
    /// The output of each node.
    pub(super) edges: Vec<Edge>,
    /// Units that no edge carries: the heads of an attention, with its node.
    pub(super) inner: Vec<(usize, Arc<[usize]>)>,
}

impl<'a> Walk<'a> {
    /// - shapes: of the network
    pub(super) fn over(network: &'a Network, shapes: &[Shape]) -> Self {
        let mut walk = Self {
            network,
            identities: Identities::default(),
            notes: Vec::new(),
            edges: Vec::with_capacity(network.nodes.len()),
            inner: Vec::new(),
        };
        for (index, node) in network.nodes.iter().enumerate() {
            let output = walk.output(index, node, shapes);
            walk.edges.push(output);
        }
        if let Some(output) = walk.edges.last().cloned() {
            walk.pin_all(&output);
        }
        walk
    }

    fn output(&mut self, index: usize, node: &Node, shapes: &[Shape]) -> Edge {
        let inputs: Vec<Edge> =
            node.inputs.iter().map(|&input| self.edges[input].clone()).collect();
        let input = inputs.first();
        let input = || input.expect("it reads a node");
        let shape = |place: usize| shapes[node.inputs[place]].as_slice();
        match &node.op {
            Op::Input(_) => self.pinned(shapes[index].first().copied().unwrap_or(0)),
            Op::Conv2d(conv) => self.conv2d(index, conv, input()),
            Op::ConvTranspose2d(conv) => self.conv_transpose2d(index, conv, input()),
            Op::Linear(linear) => self.linear(index, linear, input(), shape(0).len() - 1),
            Op::BatchNorm(_) => self.batch_norm(index, input()),
            Op::LayerNorm(_) => self.layer_norm(index, input(), shape(0).len() - 1),
            Op::Softmax(softmax) => self.softmax(input(), softmax.axis as usize),
            Op::Add(_) => self.sum(&inputs, &shapes[index]),
            Op::Mul(_) => self.product(&inputs, &shapes[index]),
            Op::Concat(concat) => {
                let axis = concat.axis as usize;
                let extents: Vec<u32> = (0..inputs.len()).map(|place| shape(place)[axis]).collect();
                self.concat(&inputs, axis, &extents, &shapes[index])
            }
            Op::Slice(slice) => sliced(slice, input()),
            Op::ChannelShuffle(shuffle) => self.channel_shuffle(shuffle.groups, input()),
            Op::PixelShuffle(shuffle) => self.pixel_shuffle(shuffle.run(), shape(0)[0], input()),
            Op::PadChannels(pad) => self.pad_channels(pad, input()),
            Op::MaxPool2d(_) | Op::AvgPool2d(_) | Op::AdaptiveAvgPool2d(_) | Op::Upsample2d(_) => {
                self.along(input(), 0, shape(0)[0])
            }
            Op::Flatten(_) => input().flatten(shape(0)),
            Op::Conv1d(conv) => {
                let read = self.along(input(), 0, conv.inputs);
                self.note(index, ("weight", 1), Part::Reads, &read.ids);
                Edge::channels(self.rows(index, conv.outputs))
            }
            Op::MaxPool1d(_) => self.along(input(), 0, shape(0)[0]),
            Op::Embedding(embedding) => self.embedding(index, embedding.features),
            Op::Positions(positions) => self.positions(index, positions.features, input()),
            Op::Columns(_) => self.columns(shape(0), input()),
            Op::Transpose(_) => Edge { axis: 1 - input().axis, ..input().clone() },
            Op::PoolSteps(_) => Edge { axis: 0, ..self.along(input(), 1, shape(0)[1]) },
            Op::Gru(gru) => self.recurrent(index, gru.inputs, gru.hidden, input()),
            Op::Lstm(lstm) => self.recurrent(index, lstm.inputs, lstm.hidden, input()),
            Op::Attention(attention) => self.attention(index, attention, input()),
            any_activation!() if node.op.keeps_zero() => input().clone(),
            any_activation!() => input().clone().loud(),
            Op::Dropout(_) => input().clone(),
            // What a program does with its values is not known: all stay.
            Op::Held(_) | Op::TorchScript(_) => self.pinned(0),
        }
    }

    /// Notes the identities along an axis of a parameter: one for each index.
    fn note(
        &mut self,
        node: usize,
        (param, axis): (&'static str, usize),
        part: Part,
        ids: &Arc<[usize]>,
    ) {
        self.note_runs(node, (param, axis), part, ids, ids.len());
    }

    /// Notes identities that come run by run, each along the same indices.
    fn note_runs(
        &mut self,
        node: usize,
        (param, axis): (&'static str, usize),
        part: Part,
        ids: &Arc<[usize]>,
        run: usize,
    ) {
        self.notes.push(Note { node, param, axis, part, ids: ids.clone(), run });
    }

    /// Channels that cannot be removed.
    fn pinned(&mut self, channels: u32) -> Edge {
        let edge = Edge::channels(self.identities.fresh(channels));
        self.pin_all(&edge);
        edge
    }

    /// The identities along an axis. Where an edge carries those of another axis, nothing of it can be
    /// removed, and neither can what lies along this one.
    fn along(&mut self, edge: &Edge, axis: usize, extent: u32) -> Edge {
        if edge.axis == axis {
            return edge.clone();
        }
        self.pin_all(edge);
        Edge { axis, ..self.pinned(extent) }
    }

    fn pin_all(&mut self, edge: &Edge) {
        for &id in &*edge.ids {
            self.identities.pin(id);
        }
    }

    fn linear(&mut self, node: usize, linear: &Linear, input: &Edge, axis: usize) -> Edge {
        let read = self.along(input, axis, linear.inputs);
        self.note(node, ("weight", 1), Part::Reads, &read.ids);
        Edge::new(axis, self.rows(node, linear.outputs))
    }

    /// Each feature is a column of the table.
    fn embedding(&mut self, node: usize, features: u32) -> Edge {
        let edge = Edge::new(1, self.identities.fresh(features));
        self.note(node, ("weight", 1), Part::Makes, &edge.ids);
        edge
    }

    fn positions(&mut self, node: usize, features: u32, input: &Edge) -> Edge {
        let edge = self.along(input, 1, features);
        self.note(node, ("weight", 1), Part::Carries, &edge.ids);
        edge
    }

    fn columns(&mut self, shape: &[u32], input: &Edge) -> Edge {
        let [channels, height, _] = shape[..] else { unreachable!("shapes are checked") };
        let edge = self.along(input, 0, channels);
        let rows = edge.ids.iter().flat_map(|&id| std::iter::repeat_n(id, height as usize));
        Edge::new(1, rows.collect()).silent_as(edge.silent)
    }

    /// A unit is the same place of every layer and direction, all of which have as many units: the rows
    /// of its gates, and the columns that read its state.
    ///
    /// Without its weights and biases its state stays zero, as it starts.
    fn recurrent(&mut self, node: usize, inputs: u32, hidden: u32, input: &Edge) -> Edge {
        let read = self.along(input, 1, inputs);
        let units = self.identities.fresh(hidden);
        let params = self.network.nodes[node].op.params();
        let is_bidirectional = params.iter().any(|param| param.name.ends_with("_reverse"));
        let directions = 1 + usize::from(is_bidirectional);
        let states: Arc<[usize]> = units.repeat(directions).into();
        for param in &params {
            let gates = param.shape[0] / hidden;
            let rows = units.repeat(gates as usize).into();
            self.note(node, (param.name, 0), Part::Makes, &rows);
            let read = match param.name {
                "weight_ih_l0" | "weight_ih_l0_reverse" => &read.ids,
                name if name.starts_with("weight_ih") => &states,
                name if name.starts_with("weight_hh") => &units,
                _ => continue,
            };
            self.note(node, (param.name, 1), Part::Reads, read);
        }
        Edge::new(1, states)
    }

    /// Heads are units of their own: the rows of their three projections, and the columns that read them.
    /// As many features are put out as are read, so that both are tied.
    fn attention(&mut self, node: usize, attention: &Attention, input: &Edge) -> Edge {
        let read = self.along(input, 1, attention.features);
        self.note(node, ("in_proj_weight", 1), Part::Reads, &read.ids);
        let heads = self.identities.fresh(attention.heads);
        let width = attention.width() as usize;
        let inner: Arc<[usize]> =
            heads.iter().flat_map(|&head| std::iter::repeat_n(head, width)).collect();
        let projections = inner.repeat(3).into();
        self.note(node, ("in_proj_weight", 0), Part::Makes, &projections);
        self.note(node, ("in_proj_bias", 0), Part::Makes, &projections);
        self.note(node, ("out_proj.weight", 1), Part::Reads, &inner);
        self.inner.push((node, heads));
        self.note(node, ("out_proj.weight", 0), Part::Makes, &read.ids);
        self.note(node, ("out_proj.bias", 0), Part::Makes, &read.ids);
        Edge { silent: true, ..read }
    }

    fn conv2d(&mut self, node: usize, conv: &Conv2d, input: &Edge) -> Edge {
        let input = self.along(input, 0, conv.inputs).ids;
        let groups = conv.groups as usize;
        let per_group = input.len() / groups;
        let outputs_per_group = conv.outputs as usize / groups;
        if conv.is_depthwise() {
            // Depthwise: every output channel is a function of one input channel.
            let repeated = |&id: &usize| std::iter::repeat_n(id, outputs_per_group);
            let carried = Edge::channels(input.iter().flat_map(repeated).collect());
            self.note_rows(&carried.ids, node, Part::Carries);
            return carried;
        }
        self.unite_runs(&input, per_group);
        self.note_runs(node, ("weight", 1), Part::Reads, &input, per_group);
        let output = self.rows(node, conv.outputs);
        self.unite_runs(&output, outputs_per_group);
        Edge::channels(output)
    }

    /// As a convolution, with the input's channels along the weight's first axis.
    fn conv_transpose2d(&mut self, node: usize, conv: &ConvTranspose2d, input: &Edge) -> Edge {
        let edge = self.along(input, 0, conv.inputs);
        let (input, groups) = (&edge.ids, conv.groups as usize);
        let (per_group, outputs_per_group) = (input.len() / groups, conv.outputs as usize / groups);
        if conv.is_depthwise() {
            self.note_rows(input, node, Part::Carries);
            return Edge { silent: true, ..edge };
        }
        self.unite_runs(input, per_group);
        self.note(node, ("weight", 0), Part::Reads, input);
        let output = Edge::channels(self.identities.fresh(conv.outputs));
        self.note_runs(node, ("weight", 1), Part::Makes, &output.ids, outputs_per_group);
        if conv.bias {
            self.note(node, ("bias", 0), Part::Makes, &output.ids);
        }
        self.unite_runs(&output.ids, outputs_per_group);
        output
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
        self.note_rows(&input.ids, node, Part::Carries);
        Edge { silent: true, ..input.clone() }
    }

    /// A feature that is zero has its part in the mean and the variance. The layer goes on counting it
    /// ([`op::LayerNorm::zeros`]) after it is gone; that is right only for features that are zero there.
    fn layer_norm(&mut self, node: usize, input: &Edge, axis: usize) -> Edge {
        if input.axis != axis {
            // Over another axis each channel is normalised by itself, and shifted.
            return input.clone().loud();
        }
        if !input.silent {
            self.pin_all(input);
        }
        self.note_rows(&input.ids, node, Part::Carries);
        Edge { silent: true, ..input.clone() }
    }

    /// Zeros have a share of one, too: what lies along the axis must stay.
    fn softmax(&mut self, input: &Edge, axis: usize) -> Edge {
        if input.axis == axis {
            self.pin_all(input);
        }
        input.clone().loud()
    }

    /// What is added goes together, and is silent where all parts are.
    fn sum(&mut self, inputs: &[Edge], shape: &[u32]) -> Edge {
        let silent = inputs.iter().all(|input| input.silent);
        self.unite_all(inputs, shape).silent_as(silent)
    }

    /// A value goes with its gate, and is silent where one of them is.
    fn product(&mut self, inputs: &[Edge], shape: &[u32]) -> Edge {
        let silent = inputs.iter().any(|input| input.silent);
        let of_all = inputs.iter().all(|input| input.ids.len() == inputs[0].ids.len());
        self.unite_all(inputs, shape).silent_as(if of_all { silent } else { inputs[0].silent })
    }

    /// Values that are joined one by one go together. A gate has one value for many along some axes.
    fn unite_all(&mut self, inputs: &[Edge], shape: &[u32]) -> Edge {
        let (first, others) = inputs.split_first().expect("what joins reads nodes");
        for other in others {
            if other.axis == first.axis && other.ids.len() < first.ids.len() {
                // One gate for all channels: none of them takes it along.
                self.pin_all(other);
                continue;
            }
            let other = self.along(other, first.axis, shape[first.axis]);
            for (&one, &id) in first.ids.iter().zip(&*other.ids) {
                self.identities.unite(one, id);
            }
        }
        first.clone()
    }

    fn concat(&mut self, inputs: &[Edge], axis: usize, extents: &[u32], shape: &[u32]) -> Edge {
        if inputs.iter().all(|input| input.axis != axis) {
            return self.sum(inputs, shape);
        }
        let parts: Vec<Edge> = inputs
            .iter()
            .zip(extents)
            .map(|(input, &extent)| self.along(input, axis, extent))
            .collect();
        let silent = parts.iter().all(|part| part.silent);
        let ids = parts.iter().flat_map(|part| part.ids.iter().copied()).collect();
        Edge::new(axis, ids).silent_as(silent)
    }

    fn channel_shuffle(&mut self, groups: u32, input: &Edge) -> Edge {
        if input.axis != 0 {
            return input.clone();
        }
        let (ids, groups) = (&input.ids, groups as usize);
        let run = ids.len() / groups;
        self.unite_runs(ids, run);
        let dealt = (0..ids.len()).map(|place| ids[place % groups * run + place / groups]);
        Edge::channels(dealt.collect()).silent_as(input.silent)
    }

    /// The channels that become the squares of one go together.
    fn pixel_shuffle(&mut self, run: u32, channels: u32, input: &Edge) -> Edge {
        let edge = self.along(input, 0, channels);
        let runs = edge.ids.chunks_exact(run as usize);
        let firsts = runs.map(|run| {
            for &id in run {
                self.identities.unite(run[0], id);
            }
            run[0]
        });
        Edge::channels(firsts.collect()).silent_as(edge.silent)
    }

    /// Channels of zeros are removable, and nothing of them is stored.
    fn pad_channels(&mut self, pad: &PadChannels, input: &Edge) -> Edge {
        if input.axis != 0 {
            return input.clone();
        }
        let (before, after) = (self.identities.fresh(pad.before), self.identities.fresh(pad.after));
        Edge::channels([&*before, &*input.ids, &*after].concat().into()).silent_as(input.silent)
    }

    /// Fresh identities for the rows of a layer.
    fn rows(&mut self, node: usize, outputs: u32) -> Arc<[usize]> {
        let ids = self.identities.fresh(outputs);
        self.note_rows(&ids, node, Part::Makes);
        ids
    }

    /// Notes one identity for each index along the first axis of everything that a node stores.
    fn note_rows(&mut self, ids: &Arc<[usize]>, node: usize, part: Part) {
        for param in self.network.nodes[node].op.params() {
            if !param.shape.is_empty() {
                self.note(node, (param.name, 0), part, ids);
            }
        }
    }
}

fn sliced(slice: &op::Slice, input: &Edge) -> Edge {
    if slice.axis as usize != input.axis {
        return input.clone();
    }
    let part = slice.from as usize..slice.to as usize;
    Edge::new(input.axis, input.ids[part].into()).silent_as(input.silent)
}
