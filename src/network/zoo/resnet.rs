//! Residual networks, for large images as torchvision has them and for small ones.
//!
//! He et al. 2015, "Deep Residual Learning for Image Recognition", <https://arxiv.org/abs/1512.03385>;
//! the gates are those of Hu et al. 2017, "Squeeze-and-Excitation Networks",
//! <https://arxiv.org/abs/1709.01507>.

use super::start::{self, Kaiming};
use crate::experiment::spec::Resnet;
use crate::network::Network;
use crate::network::op::{
    AdaptiveAvgPool2d, Add, AvgPool2d, BatchNorm, Conv2d, Flatten, Init, Linear, MaxPool2d, Mul,
    PadChannels, Relu, Sigmoid,
};

/// What tells one residual network from another.
pub(super) struct Form {
    arch: &'static str,
    stem: Stem,
    block: Block,
    shortcut: Shortcut,
    /// Channels of the first layer's blocks; each next layer has twice as many.
    width: u32,
    /// Blocks of each layer.
    layers: &'static [u32],
}

/// What a network begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stem {
    /// A 7×7 convolution and max-pooling, each with stride 2.
    Large,
    /// A 3×3 convolution.
    Small,
}

/// What a network repeats.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1 convolutions; four times as many channels leave it.
    Bottleneck,
}

/// What goes around a block that changes the shape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shortcut {
    /// Every second pixel, and channels of zeros: the paper's option A, without parameters.
    Zeros,
    /// A 1×1 convolution: option B.
    Projection,
}

impl Form {
    /// For large images, as in table 1 of the paper.
    const fn large(arch: &'static str, block: Block, layers: &'static [u32]) -> Self {
        let (stem, shortcut) = (Stem::Large, Shortcut::Projection);
        Self { arch, stem, block, shortcut, width: 64, layers }
    }

    /// For small images, as in section 4.2: 6n + 2 layers with weights.
    const fn small(arch: &'static str, layers: &'static [u32]) -> Self {
        let (stem, shortcut) = (Stem::Small, Shortcut::Zeros);
        Self { arch, stem, block: Block::Basic, shortcut, width: 16, layers }
    }
}

pub(super) const RESNET18: Form = Form::large("resnet18", Block::Basic, &[2, 2, 2, 2]);
pub(super) const RESNET34: Form = Form::large("resnet34", Block::Basic, &[3, 4, 6, 3]);
pub(super) const RESNET50: Form = Form::large("resnet50", Block::Bottleneck, &[3, 4, 6, 3]);
pub(super) const RESNET18_CIFAR: Form =
    Form { arch: "resnet18-cifar", stem: Stem::Small, ..RESNET18 };
pub(super) const RESNET20: Form = Form::small("resnet20", &[3, 3, 3]);
pub(super) const RESNET32: Form = Form::small("resnet32", &[5, 5, 5]);
pub(super) const RESNET56: Form = Form::small("resnet56", &[9, 9, 9]);

pub(super) fn build(form: &Form, resnet: &Resnet, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new(form.arch, input);
    let channels = trunk(&mut network, "", form, resnet, false);
    network.push("avgpool", AdaptiveAvgPool2d::global());
    network.push("flatten", Flatten {});
    network.push("fc", Linear::new(channels, classes));
    start::convolutions(&mut network, Kaiming::FanOut);
    network
}

/// Adds all layers but the last to an empty network; gives the number of channels that leave them.
///
/// - dilated: whether the last two layers spread their kernels over twice and four times as many pixels
///   instead of leaving pixels out (torchvision's `replace_stride_with_dilation`); needs bottlenecks
pub(super) fn trunk(
    network: &mut Network,
    prefix: &str,
    form: &Form,
    resnet: &Resnet,
    dilated: bool,
) -> u32 {
    let mut channels = network.input_shape().first().copied().unwrap_or(0);
    let name = |part: &str| format!("{prefix}{part}");
    let first = match form.stem {
        Stem::Large => Conv2d { stride: 2, padding: 3, ..Conv2d::new(channels, form.width, 7) },
        Stem::Small => Conv2d { padding: 1, ..Conv2d::new(channels, form.width, 3) },
    };
    network.push(&name("conv1"), Conv2d { bias: false, ..first });
    network.push(&name("bn1"), BatchNorm::new(form.width));
    network.push(&name("relu"), Relu {});
    if form.stem == Stem::Large {
        network.push(&name("maxpool"), MaxPool2d { kernel: 3, stride: 2, padding: 1 });
    }
    channels = form.width;
    let mut dilation = 1;
    for (layer, &blocks) in form.layers.iter().enumerate() {
        // The first block of a layer looks as far as those before it.
        let mut step = Step { stride: if layer > 0 { 2 } else { 1 }, dilation };
        if dilated && layer >= 2 {
            step.stride = 1;
            dilation *= 2;
        }
        for block in 0..blocks {
            let prefix = name(&format!("layer{}.{block}", layer + 1));
            let mut body = Body { network: &mut *network, prefix, resnet };
            channels = body.push(form, channels, form.width << layer, step);
            step = Step { stride: 1, dilation };
        }
    }
    channels
}

/// How the 3×3 convolution of a block goes over the image.
#[derive(Clone, Copy)]
struct Step {
    stride: u32,
    dilation: u32,
}

/// A block that is built.
struct Body<'a> {
    network: &'a mut Network,
    /// `layer1.0`
    prefix: String,
    resnet: &'a Resnet,
}

impl Body<'_> {
    /// Adds the block to the last node; returns its number of output channels.
    fn push(&mut self, form: &Form, inputs: u32, width: u32, step: Step) -> u32 {
        let before = self.network.nodes.len() - 1;
        let Step { stride, dilation } = step;
        let middle = |inputs, stride| Conv2d {
            stride,
            padding: dilation,
            dilation,
            ..Conv2d::new(inputs, width, 3)
        };
        let (convolutions, outputs) = match form.block {
            Block::Basic => (vec![middle(inputs, stride), middle(width, 1)], width),
            Block::Bottleneck => {
                let outputs = 4 * width;
                let (narrow, widen) =
                    (Conv2d::new(inputs, width, 1), Conv2d::new(width, outputs, 1));
                (vec![narrow, middle(width, stride), widen], outputs)
            }
        };
        let last = convolutions.len();
        for (index, conv) in (1..).zip(convolutions) {
            self.normalised(&format!("conv{index}"), &format!("bn{index}"), conv, &[]);
            if index < last {
                self.network.push(&self.name(&format!("relu{index}")), Relu {});
            }
        }
        if self.resnet.zero_init_residual {
            let norm = self.network.nodes.last_mut().expect("a block ends with a normalisation");
            start::set(norm, "weight", Init::Constant(0.0));
        }
        if let Some(reduction) = self.resnet.squeeze_excitation {
            self.gate(outputs, (outputs / reduction).max(1));
        }
        let residual = self.network.nodes.len() - 1;
        let around = if inputs == outputs && stride == 1 {
            before
        } else {
            self.shortcut(form.shortcut, before, [inputs, outputs], stride)
        };
        self.network.push_from(&self.name("add"), Add {}, &[residual, around]);
        self.network.push(&self.name(&format!("relu{last}")), Relu {});
        outputs
    }

    fn shortcut(&mut self, kind: Shortcut, from: usize, channels: [u32; 2], stride: u32) -> usize {
        let [inputs, outputs] = channels;
        match kind {
            Shortcut::Projection => {
                let conv = Conv2d { stride, ..Conv2d::new(inputs, outputs, 1) };
                self.normalised("downsample.0", "downsample.1", conv, &[from])
            }
            Shortcut::Zeros => {
                // A window of one pixel takes every `stride`-th.
                let thin = AvgPool2d { stride, ..AvgPool2d::new(1) };
                self.network.push_from(&self.name("downsample.0"), thin, &[from]);
                let before = (outputs - inputs) / 2;
                let pad = PadChannels { before, after: outputs - inputs - before };
                self.network.push(&self.name("downsample.1"), pad)
            }
        }
    }

    /// A convolution without bias and its normalisation, behind the last node or a given one.
    fn normalised(&mut self, conv: &str, norm: &str, mut op: Conv2d, from: &[usize]) -> usize {
        op.bias = false;
        let outputs = op.outputs;
        let last = [self.network.nodes.len() - 1];
        let from = if from.is_empty() { &last } else { from };
        self.network.push_from(&self.name(conv), op, from);
        self.network.push(&self.name(norm), BatchNorm::new(outputs))
    }

    /// Scales the last node's channels by what all of them say together.
    fn gate(&mut self, channels: u32, hidden: u32) {
        let value = self.network.nodes.len() - 1;
        self.network.push(&self.name("se.avgpool"), AdaptiveAvgPool2d::global());
        self.network.push(&self.name("se.fc1"), Conv2d::new(channels, hidden, 1));
        self.network.push(&self.name("se.relu"), Relu {});
        self.network.push(&self.name("se.fc2"), Conv2d::new(hidden, channels, 1));
        let gate = self.network.push(&self.name("se.sigmoid"), Sigmoid {});
        self.network.push_from(&self.name("se.mul"), Mul {}, &[value, gate]);
    }

    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.prefix)
    }
}
