//! MobileNetV2: blocks that widen, convolve each channel apart, and narrow without an activation.
//!
//! Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
//! <https://arxiv.org/abs/1801.04381>, table 2.

use super::dropout;
use super::start::{self, Kaiming};
use crate::experiment::spec::MobilenetV2;
use crate::network::Network;
use crate::network::op::{AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Flatten, Linear, Relu6};

/// Expansion, channels, blocks, and stride of the first block.
const ROWS: [[u32; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

pub(super) fn build(mobilenet: &MobilenetV2, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new("mobilenet-v2", input);
    let channels = input.first().copied().unwrap_or(0);
    let mut inputs = scaled(32, mobilenet.width);
    let first = Conv2d { stride: 2, padding: 1, ..Conv2d::new(channels, inputs, 3) };
    convolution(&mut network, "features.0", first);
    let mut place = 1;
    for [expansion, outputs, blocks, stride] in ROWS {
        let outputs = scaled(outputs, mobilenet.width);
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let prefix = format!("features.{place}");
            inverted_residual(&mut network, &prefix, [inputs, outputs], expansion, stride);
            inputs = outputs;
            place += 1;
        }
    }
    // Narrow networks keep the last convolution's channels.
    let last = scaled(1280, mobilenet.width.max(1.0));
    convolution(&mut network, &format!("features.{place}"), Conv2d::new(inputs, last, 1));
    network.push("avgpool", AdaptiveAvgPool2d::global());
    network.push("flatten", Flatten {});
    dropout(&mut network, "classifier.0", mobilenet.dropout);
    network.push("classifier.1", Linear::new(last, classes));
    start::convolutions(&mut network, Kaiming::FanOut);
    start::linear(&mut network, Some(0.01));
    network
}

/// The multiple of 8 next to `width · channels`, and never less than nine tenths of that.
fn scaled(channels: u32, width: f64) -> u32 {
    let exact = f64::from(channels) * width;
    let nearest = ((exact + 4.0) as u32 / 8 * 8).max(8);
    if f64::from(nearest) < 0.9 * exact { nearest + 8 } else { nearest }
}

/// A convolution without bias, its normalisation and its activation.
fn convolution(network: &mut Network, prefix: &str, mut conv: Conv2d) {
    conv.bias = false;
    let outputs = conv.outputs;
    network.push(&format!("{prefix}.0"), conv);
    network.push(&format!("{prefix}.1"), BatchNorm::new(outputs));
    network.push(&format!("{prefix}.2"), Relu6 {});
}

fn inverted_residual(
    network: &mut Network,
    prefix: &str,
    [inputs, outputs]: [u32; 2],
    expansion: u32,
    stride: u32,
) {
    let before = network.nodes.len() - 1;
    let hidden = inputs * expansion;
    let mut places = (0..).map(|place: u32| format!("{prefix}.conv.{place}"));
    let mut name = || places.next().unwrap_or_default();
    if expansion > 1 {
        convolution(network, &name(), Conv2d::new(inputs, hidden, 1));
    }
    let each = Conv2d { stride, padding: 1, groups: hidden, ..Conv2d::new(hidden, hidden, 3) };
    convolution(network, &name(), each);
    network.push(&name(), Conv2d { bias: false, ..Conv2d::new(hidden, outputs, 1) });
    let narrow = network.push(&name(), BatchNorm::new(outputs));
    if stride == 1 && inputs == outputs {
        network.push_from(&format!("{prefix}.add"), Add {}, &[before, narrow]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_multiples_of_eight_and_lose_no_tenth() {
        // 32 · 0.35 = 11.2: 8 would lose more than a tenth. 24 · 0.75 = 18: 16 loses more than a tenth.
        let cases = [(32, 1.0, 32), (32, 0.35, 16), (24, 0.75, 24), (96, 0.5, 48), (16, 0.1, 8)];
        for (channels, width, expected) in cases {
            assert_eq!(scaled(channels, width), expected, "{channels} · {width}");
        }
    }
}
