//! The network that lacks some units.

use std::ops::Range;

use indexmap::IndexMap;

use super::{Dependencies, Unit};
use crate::network::op::{
    Attention, BatchNorm, Conv1d, Conv2d, ConvTranspose2d, Embedding, Gru, LayerNorm, Linear, Lstm,
    PadChannels, Positions, Slice, any_activation,
};
use crate::network::{Network, Op};

/// What is left of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Remainder {
    /// The network, an ordinary smaller one: the same nodes under the same names.
    pub network: Network,
    /// For each parameter or buffer that is cut, by its full name: the axes that are cut, with the indices
    /// that stay.
    pub kept: IndexMap<String, Vec<(usize, Vec<u32>)>>,
}

impl Dependencies<'_> {
    /// The network without some units.
    ///
    /// It puts out what the whole network does where everything that the units have in trained parameters
    /// is zero. Something has to be left everywhere: choose the units through [`Floors`](super::Floors).
    pub fn without<'u>(&self, units: impl IntoIterator<Item = &'u Unit> + Clone) -> Remainder {
        let mut gone = vec![false; self.roots.len()];
        for unit in units.clone() {
            gone[unit.root] = true;
        }
        let left = Left { dependencies: self, gone };
        let mut network = self.network.clone();
        for (index, node) in network.nodes.iter_mut().enumerate() {
            node.op = left.op(index);
        }
        Remainder { kept: self.kept(units), network }
    }

    fn kept<'u>(
        &self,
        units: impl IntoIterator<Item = &'u Unit>,
    ) -> IndexMap<String, Vec<(usize, Vec<u32>)>> {
        let params = self.network.params();
        // By parameter and axis, for each index whether it stays; empty where all do.
        let mut stays: Vec<[Vec<bool>; 2]> = params.iter().map(|_| Default::default()).collect();
        for slice in units.into_iter().flat_map(Unit::slices) {
            let stays = &mut stays[slice.place][slice.axis];
            if stays.is_empty() {
                *stays = vec![true; params[slice.place].param.shape[slice.axis] as usize];
            }
            for &index in slice.indices {
                stays[index as usize] = false;
            }
        }
        let indices = |stays: Vec<bool>| -> Vec<u32> {
            (0..).zip(stays).filter(|(_, stays)| *stays).map(|(index, _)| index).collect()
        };
        let cuts = stays.into_iter().map(|axes| {
            let cut = axes.into_iter().enumerate().filter(|(_, stays)| !stays.is_empty());
            cut.map(|(axis, stays)| (axis, indices(stays))).collect()
        });
        let named = params.into_iter().map(|param| param.name).zip(cuts);
        named.filter(|(_, cuts): &(_, Vec<_>)| !cuts.is_empty()).collect()
    }
}

/// What units leave of the operations.
struct Left<'a> {
    dependencies: &'a Dependencies<'a>,
    /// By root.
    gone: Vec<bool>,
}

impl Left<'_> {
    fn count(&self, ids: &[usize]) -> u32 {
        ids.iter().filter(|&&id| !self.gone[self.dependencies.roots[id]]).count() as u32
    }

    /// How many of a run of a node's channels are left.
    fn among(&self, node: usize, run: Range<u32>) -> u32 {
        self.count(&self.dependencies.edges[node].ids[run.start as usize..run.end as usize])
    }

    /// How many values a node puts out along an axis, of which there were `extent`.
    fn along(&self, node: usize, axis: usize, extent: u32) -> u32 {
        let edge = &self.dependencies.edges[node];
        if edge.axis == axis { self.count(&edge.ids) } else { extent }
    }

    /// The operation of a node as it is then.
    fn op(&self, index: usize) -> Op {
        let nodes = &self.dependencies.network.nodes;
        let edge = &self.dependencies.edges[index];
        let input = || nodes[index].inputs[0];
        let read = |axis: usize, extent: u32| self.along(input(), axis, extent);
        let made = |extent: u32| self.along(index, edge.axis, extent);
        match &nodes[index].op {
            Op::Conv2d(conv) => {
                let inputs = read(0, conv.inputs);
                let groups = if conv.is_depthwise() { inputs } else { conv.groups };
                Conv2d { inputs, outputs: made(conv.outputs), groups, ..conv.clone() }.into()
            }
            Op::ConvTranspose2d(conv) => {
                let inputs = read(0, conv.inputs);
                let groups = if conv.is_depthwise() { inputs } else { conv.groups };
                ConvTranspose2d { inputs, outputs: made(conv.outputs), groups, ..conv.clone() }
                    .into()
            }
            Op::Linear(linear) => Linear {
                inputs: read(edge.axis, linear.inputs),
                outputs: made(linear.outputs),
                ..linear.clone()
            }
            .into(),
            Op::Conv1d(conv) => {
                let (inputs, outputs) = (read(0, conv.inputs), made(conv.outputs));
                Conv1d { inputs, outputs, ..conv.clone() }.into()
            }
            Op::BatchNorm(norm) => {
                BatchNorm { features: read(0, norm.features), ..norm.clone() }.into()
            }
            Op::LayerNorm(norm) => self.layer_norm(index, norm),
            Op::Embedding(embedding) => {
                Embedding { features: made(embedding.features), ..embedding.clone() }.into()
            }
            Op::Positions(positions) => {
                Positions { features: read(1, positions.features), ..positions.clone() }.into()
            }
            Op::Gru(gru) => {
                let (inputs, hidden) = (read(1, gru.inputs), self.among(index, 0..gru.hidden));
                Gru { inputs, hidden, ..gru.clone() }.into()
            }
            Op::Lstm(lstm) => {
                let (inputs, hidden) = (read(1, lstm.inputs), self.among(index, 0..lstm.hidden));
                Lstm { inputs, hidden, ..lstm.clone() }.into()
            }
            Op::Attention(attention) => self.attention(index, attention),
            Op::Slice(slice) if slice.axis as usize == edge.axis => {
                let from = self.among(input(), 0..slice.from);
                let to = from + self.among(input(), slice.from..slice.to);
                Slice { from, to, ..slice.clone() }.into()
            }
            Op::PadChannels(pad) if edge.axis == 0 => {
                let channels = edge.ids.len() as u32;
                let before = self.among(index, 0..pad.before);
                let after = self.among(index, channels - pad.after..channels);
                PadChannels { before, after }.into()
            }
            // These take whatever channels they get.
            any_activation!() => nodes[index].op.clone(),
            Op::Input(_)
            | Op::Softmax(_)
            | Op::MaxPool2d(_)
            | Op::AvgPool2d(_)
            | Op::AdaptiveAvgPool2d(_)
            | Op::Upsample2d(_)
            | Op::Add(_)
            | Op::Mul(_)
            | Op::Concat(_)
            | Op::Slice(_)
            | Op::ChannelShuffle(_)
            | Op::PixelShuffle(_)
            | Op::PadChannels(_)
            | Op::Flatten(_)
            | Op::Dropout(_)
            | Op::MaxPool1d(_)
            | Op::Columns(_)
            | Op::Transpose(_)
            | Op::PoolSteps(_)
            | Op::Held(_)
            | Op::TorchScript(_) => nodes[index].op.clone(),
        }
    }

    /// The features that go are zeros, which it goes on counting.
    fn layer_norm(&self, index: usize, norm: &LayerNorm) -> Op {
        let input = self.dependencies.network.nodes[index].inputs[0];
        let last = self.dependencies.shapes[input].len() - 1;
        let features = self.along(input, last, norm.features);
        LayerNorm { features, zeros: norm.zeros + norm.features - features, ..norm.clone() }.into()
    }

    fn attention(&self, index: usize, attention: &Attention) -> Op {
        let input = self.dependencies.network.nodes[index].inputs[0];
        let inner = self.dependencies.inner.iter().find(|(node, _)| *node == index);
        let heads = inner.map_or(attention.heads, |(_, heads)| self.count(heads));
        let features = self.along(input, 1, attention.features);
        // The width of a head stays when the numbers of features and heads no longer give it.
        let width = Some(attention.width()).filter(|width| width * heads != features);
        Attention { features, heads, head_width: width }.into()
    }
}
