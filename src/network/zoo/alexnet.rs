//! AlexNet with one tower, as torchvision has it.
//!
//! Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks",
//! <https://arxiv.org/abs/1404.5997>.

use super::dropout;
use crate::experiment::spec::Alexnet;
use crate::network::Network;
use crate::network::op::{AdaptiveAvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Relu};

pub(super) fn build(alexnet: &Alexnet, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new("alexnet", input);
    let channels = input.first().copied().unwrap_or(0);
    let pool = MaxPool2d { stride: 2, ..MaxPool2d::new(3) };
    let first = Conv2d { stride: 4, padding: 2, ..Conv2d::new(channels, 64, 11) };
    network.push("features.0", first);
    network.push("features.1", Relu {});
    network.push("features.2", pool.clone());
    network.push("features.3", Conv2d { padding: 2, ..Conv2d::new(64, 192, 5) });
    network.push("features.4", Relu {});
    network.push("features.5", pool.clone());
    for (place, inputs, outputs) in [(6, 192, 384), (8, 384, 256), (10, 256, 256)] {
        let conv = Conv2d { padding: 1, ..Conv2d::new(inputs, outputs, 3) };
        network.push(&format!("features.{place}"), conv);
        network.push(&format!("features.{}", place + 1), Relu {});
    }
    network.push("features.12", pool);
    network.push("avgpool", AdaptiveAvgPool2d { height: 6, width: 6 });
    network.push("flatten", Flatten {});
    dropout(&mut network, "classifier.0", alexnet.dropout);
    network.push("classifier.1", Linear::new(256 * 6 * 6, 4096));
    network.push("classifier.2", Relu {});
    dropout(&mut network, "classifier.3", alexnet.dropout);
    network.push("classifier.4", Linear::new(4096, 4096));
    network.push("classifier.5", Relu {});
    network.push("classifier.6", Linear::new(4096, classes));
    network
}
