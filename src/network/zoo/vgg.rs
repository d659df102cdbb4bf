//! VGG: 3×3 convolutions, and max-pooling in between.
//!
//! Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
//! <https://arxiv.org/abs/1409.1556>, table 1: configurations A, B, D and E.

use super::dropout;
use super::start::{self, Kaiming};
use crate::experiment::spec::Vgg;
use crate::network::Network;
use crate::network::op::{AdaptiveAvgPool2d, BatchNorm, Conv2d, Flatten, Linear, MaxPool2d, Relu};

/// Number of convolutions in each run of VGG-16.
pub(super) const VGG16: [u32; 5] = [2, 2, 3, 3, 3];

/// - runs: number of convolutions in each run
pub(super) fn build(arch: &str, runs: [u32; 5], vgg: &Vgg, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new(arch, input);
    features(&mut network, runs, 64, vgg.batch_norm);
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

/// Adds the convolutions to an empty network; gives the node that ends each run, and its channels.
///
/// - channels: of the first run; the others have 2, 4, 8 and 8 times as many
pub(super) fn features(
    network: &mut Network,
    runs: [u32; 5],
    channels: u32,
    batch_norm: bool,
) -> [(usize, u32); 5] {
    let mut inputs = network.input_shape().first().copied().unwrap_or(0);
    // torchvision numbers all layers of the sequence.
    let mut places = (0..).map(|place: u32| format!("features.{place}"));
    let mut name = || places.next().unwrap_or_default();
    [0, 1, 2, 3, 4].map(|run| {
        let outputs = channels << run.min(3);
        for _ in 0..runs[run] {
            network.push(&name(), Conv2d { padding: 1, ..Conv2d::new(inputs, outputs, 3) });
            if batch_norm {
                network.push(&name(), BatchNorm::new(outputs));
            }
            network.push(&name(), Relu {});
            inputs = outputs;
        }
        (network.push(&name(), MaxPool2d::new(2)), outputs)
    })
}
