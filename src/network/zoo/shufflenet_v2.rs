//! ShuffleNetV2: half of the channels pass, the others are convolved, and both are shuffled.
//!
//! Ma et al. 2018, "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
//! <https://arxiv.org/abs/1807.11164>, figure 3 and table 5.

use crate::experiment::spec::{ShuffleWidth, ShufflenetV2};
use crate::network::op::{
    AdaptiveAvgPool2d, BatchNorm, ChannelShuffle, Concat, Conv2d, Flatten, Linear, MaxPool2d, Relu,
    Slice,
};
use crate::network::{Network, Op};

/// Blocks of each stage, by the stage's number.
const STAGES: [(u32, u32); 3] = [(2, 4), (3, 8), (4, 4)];

/// Channels that leave the first convolution.
const FIRST: u32 = 24;

pub(super) fn build(shufflenet: &ShufflenetV2, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new("shufflenet-v2", input);
    let (stages, last) = match shufflenet.width {
        ShuffleWidth::Half => ([48, 96, 192], 1024),
        ShuffleWidth::One => ([116, 232, 464], 1024),
        ShuffleWidth::OneAndAHalf => ([176, 352, 704], 1024),
        ShuffleWidth::Two => ([244, 488, 976], 2048),
    };
    let channels = input.first().copied().unwrap_or(0);
    let first = Conv2d { stride: 2, padding: 1, ..Conv2d::new(channels, FIRST, 3) };
    convolution(&mut network, ["conv1.0", "conv1.1", "conv1.2"], first);
    network.push("maxpool", MaxPool2d { kernel: 3, stride: 2, padding: 1 });
    let mut inputs = FIRST;
    for ((stage, blocks), outputs) in STAGES.into_iter().zip(stages) {
        for block in 0..blocks {
            let mut unit = Unit { network: &mut network, prefix: format!("stage{stage}.{block}") };
            if block == 0 {
                unit.halves(inputs, outputs);
            } else {
                unit.keeps(outputs);
            }
        }
        inputs = outputs;
    }
    convolution(&mut network, ["conv5.0", "conv5.1", "conv5.2"], Conv2d::new(inputs, last, 1));
    network.push("avgpool", AdaptiveAvgPool2d::global());
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(last, classes));
    network
}

/// A convolution without bias, its normalisation and its activation.
fn convolution(network: &mut Network, names: [&str; 3], mut conv: Conv2d) {
    conv.bias = false;
    let [name, norm, relu] = names;
    let outputs = conv.outputs;
    network.push(name, conv);
    network.push(norm, BatchNorm::new(outputs));
    network.push(relu, Relu {});
}

/// A unit that is built.
struct Unit<'a> {
    network: &'a mut Network,
    /// `stage2.0`
    prefix: String,
}

impl Unit<'_> {
    /// A unit that halves height and width: both branches see all channels.
    fn halves(&mut self, inputs: u32, outputs: u32) {
        let (before, width) = (self.network.nodes.len() - 1, outputs / 2);
        let each =
            Conv2d { stride: 2, padding: 1, groups: inputs, ..Conv2d::new(inputs, inputs, 3) };
        self.push("branch1.0", Conv2d { bias: false, ..each });
        self.push("branch1.1", BatchNorm::new(inputs));
        let left = self.pointwise("branch1", 2, [inputs, width]);
        let right = self.branch2(before, [inputs, width], 2);
        self.join(left, right);
    }

    /// A unit that keeps the shape: the first half of the channels passes as it is.
    fn keeps(&mut self, channels: u32) {
        let (before, half) = (self.network.nodes.len() - 1, channels / 2);
        let left = self.push("left", Slice { axis: 0, from: 0, to: half });
        let part = Slice { axis: 0, from: half, to: channels };
        let right = self.network.push_from(&self.name("right"), part, &[before]);
        let right = self.branch2(right, [half, half], 1);
        self.join(left, right);
    }

    fn branch2(&mut self, from: usize, [inputs, outputs]: [u32; 2], stride: u32) -> usize {
        let first = Conv2d { bias: false, ..Conv2d::new(inputs, outputs, 1) };
        self.network.push_from(&self.name("branch2.0"), first, &[from]);
        self.push("branch2.1", BatchNorm::new(outputs));
        self.push("branch2.2", Relu {});
        let each =
            Conv2d { stride, padding: 1, groups: outputs, ..Conv2d::new(outputs, outputs, 3) };
        self.push("branch2.3", Conv2d { bias: false, ..each });
        self.push("branch2.4", BatchNorm::new(outputs));
        self.pointwise("branch2", 5, [outputs, outputs])
    }

    /// A 1×1 convolution, its normalisation and its activation, from a place of a branch on.
    fn pointwise(&mut self, branch: &str, place: u32, [inputs, outputs]: [u32; 2]) -> usize {
        let names = [0, 1, 2].map(|step| self.name(&format!("{branch}.{}", place + step)));
        convolution(
            self.network,
            names.each_ref().map(String::as_str),
            Conv2d::new(inputs, outputs, 1),
        );
        self.network.nodes.len() - 1
    }

    fn join(&mut self, left: usize, right: usize) {
        self.network.push_from(&self.name("concat"), Concat { axis: 0 }, &[left, right]);
        self.push("shuffle", ChannelShuffle { groups: 2 });
    }

    fn push(&mut self, name: &str, op: impl Into<Op>) -> usize {
        self.network.push(&self.name(name), op)
    }

    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.prefix)
    }
}
