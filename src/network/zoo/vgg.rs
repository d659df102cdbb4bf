//! VGG: 3×3 convolutions, and max-pooling in between.
//!
//! Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
//! <https://arxiv.org/abs/1409.1556>, table 1: configurations A, B, D and E.

use super::dropout;
use super::start::{self, Kaiming};
use crate::experiment::spec::Vgg;
use crate::network::Network;
use crate::network::op::{AdaptiveAvgPool2d, BatchNorm, Conv2d, Flatten, Linear, MaxPool2d, Relu};

/// Channels of the five runs of convolutions.
const CHANNELS: [u32; 5] = [64, 128, 256, 512, 512];

/// - runs: number of convolutions in each run
pub(super) fn build(arch: &str, runs: [u32; 5], vgg: &Vgg, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new(arch, input);
    let mut inputs = input.first().copied().unwrap_or(0);
    // torchvision numbers all layers of the sequence.
    let mut places = (0..).map(|place: u32| format!("features.{place}"));
    let mut name = || places.next().unwrap_or_default();
    for (count, outputs) in runs.into_iter().zip(CHANNELS) {
        for _ in 0..count {
            network.push(&name(), Conv2d { padding: 1, ..Conv2d::new(inputs, outputs, 3) });
            if vgg.batch_norm {
                network.push(&name(), BatchNorm::new(outputs));
            }
            network.push(&name(), Relu {});
            inputs = outputs;
        }
        network.push(&name(), MaxPool2d::new(2));
    }
    network.push("avgpool", AdaptiveAvgPool2d { height: 7, width: 7 });
    network.push("flatten", Flatten {});
    network.push("classifier.0", Linear::new(512 * 7 * 7, 4096));
    network.push("classifier.1", Relu {});
    dropout(&mut network, "classifier.2", vgg.dropout);
    network.push("classifier.3", Linear::new(4096, 4096));
    network.push("classifier.4", Relu {});
    dropout(&mut network, "classifier.5", vgg.dropout);
    network.push("classifier.6", Linear::new(4096, classes));
    start::convolutions(&mut network, Kaiming::FanOut);
    start::linear(&mut network, Some(0.01));
    network
}
