//! Densely connected networks, for large images as torchvision has them and for small ones.
//!
//! Huang et al. 2016, "Densely Connected Convolutional Networks", <https://arxiv.org/abs/1608.06993>;
//! all are of the form BC: bottlenecks, and transitions that halve the channels.

use super::dropout;
use super::start::{self, Kaiming};
use crate::experiment::spec::Densenet;
use crate::network::Network;
use crate::network::op::{
    AdaptiveAvgPool2d, AvgPool2d, BatchNorm, Concat, Conv2d, Flatten, Linear, MaxPool2d, Relu,
};

/// What tells one dense network from another.
pub(super) struct Form {
    arch: &'static str,
    /// Whether it begins with a 7×7 convolution and max-pooling, each with stride 2; or with a 3×3 convolution.
    is_large: bool,
    /// Channels that each dense layer adds; the first convolution makes twice as many.
    growth: u32,
    /// Dense layers of each block.
    blocks: &'static [u32],
}

pub(super) const DENSENET121: Form =
    Form { arch: "densenet121", is_large: true, growth: 32, blocks: &[6, 12, 24, 16] };

/// Section 3 of the paper: with depth 40 each of three blocks has (40 − 4) / 3 convolutions, two a layer.
pub(super) const DENSENET_BC_40_12: Form =
    Form { arch: "densenet-bc-40-12", is_large: false, growth: 12, blocks: &[6, 6, 6] };

/// A dense layer's 1×1 convolution makes this many times the channels that its 3×3 convolution does.
const BOTTLENECK: u32 = 4;

pub(super) fn build(form: &Form, densenet: &Densenet, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new(form.arch, input);
    let mut channels = 2 * form.growth;
    stem(&mut network, form.is_large, channels);
    for (index, &layers) in (1..).zip(form.blocks) {
        for layer in 1..=layers {
            let prefix = format!("features.denseblock{index}.denselayer{layer}");
            dense_layer(&mut network, &prefix, [channels, form.growth], densenet.dropout);
            channels += form.growth;
        }
        if index < form.blocks.len() {
            transition(&mut network, &format!("features.transition{index}"), channels);
            channels /= 2;
        }
    }
    network.push(&format!("features.norm{}", form.blocks.len() + 1), BatchNorm::new(channels));
    network.push("relu", Relu {});
    network.push("avgpool", AdaptiveAvgPool2d::global());
    network.push("flatten", Flatten {});
    network.push("classifier", Linear::new(channels, classes));
    start::convolutions(&mut network, Kaiming::FanIn);
    start::linear(&mut network, None);
    network
}

fn stem(network: &mut Network, is_large: bool, outputs: u32) {
    let inputs = network.input_shape().first().copied().unwrap_or(0);
    if !is_large {
        let conv = Conv2d { padding: 1, bias: false, ..Conv2d::new(inputs, outputs, 3) };
        network.push("features.conv0", conv);
        return;
    }
    let conv = Conv2d { stride: 2, padding: 3, bias: false, ..Conv2d::new(inputs, outputs, 7) };
    network.push("features.conv0", conv);
    network.push("features.norm0", BatchNorm::new(outputs));
    network.push("features.relu0", Relu {});
    network.push("features.pool0", MaxPool2d { kernel: 3, stride: 2, padding: 1 });
}

/// Puts `growth` new channels behind those of the last node.
fn dense_layer(network: &mut Network, prefix: &str, [inputs, growth]: [u32; 2], drop: f64) {
    let before = network.nodes.len() - 1;
    let width = BOTTLENECK * growth;
    network.push(&format!("{prefix}.norm1"), BatchNorm::new(inputs));
    network.push(&format!("{prefix}.relu1"), Relu {});
    let narrow = Conv2d { bias: false, ..Conv2d::new(inputs, width, 1) };
    network.push(&format!("{prefix}.conv1"), narrow);
    network.push(&format!("{prefix}.norm2"), BatchNorm::new(width));
    network.push(&format!("{prefix}.relu2"), Relu {});
    let grow = Conv2d { padding: 1, bias: false, ..Conv2d::new(width, growth, 3) };
    network.push(&format!("{prefix}.conv2"), grow);
    dropout(network, &format!("{prefix}.dropout"), drop);
    let new = network.nodes.len() - 1;
    network.push_from(&format!("{prefix}.concat"), Concat { axis: 0 }, &[before, new]);
}

/// Halves the channels, the height and the width.
fn transition(network: &mut Network, prefix: &str, inputs: u32) {
    network.push(&format!("{prefix}.norm"), BatchNorm::new(inputs));
    network.push(&format!("{prefix}.relu"), Relu {});
    let conv = Conv2d { bias: false, ..Conv2d::new(inputs, inputs / 2, 1) };
    network.push(&format!("{prefix}.conv"), conv);
    network.push(&format!("{prefix}.pool"), AvgPool2d::new(2));
}
