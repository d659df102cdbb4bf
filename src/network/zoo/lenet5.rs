//! LeNet-5 in the form of Caffe that the pruning papers use: 20 and 50 channels, 500 units.

use super::flatten;
use crate::experiment::spec::Lenet5;
use crate::network::op::{BatchNorm, Conv2d, Dropout, Linear, MaxPool2d, Relu};
use crate::network::{Network, ShapeError};

pub(super) fn build(lenet5: &Lenet5, input: &[u32], classes: u32) -> Result<Network, ShapeError> {
    let mut network = Network::new("lenet5", input);
    let mut channels = input.first().copied().unwrap_or(0);
    for (index, outputs) in [(1, 20), (2, 50)] {
        network.push(&format!("conv{index}"), Conv2d::new(channels, outputs, 5));
        if lenet5.batch_norm {
            network.push(&format!("bn{index}"), BatchNorm::new(outputs));
        }
        network.push(&format!("relu{index}"), Relu {});
        network.push(&format!("pool{index}"), MaxPool2d::new(2));
        channels = outputs;
    }
    let features = flatten(&mut network)?;
    network.push("fc1", Linear::new(features, 500));
    network.push("relu3", Relu {});
    if lenet5.dropout > 0.0 {
        network.push("dropout", Dropout { p: lenet5.dropout });
    }
    network.push("fc2", Linear::new(500, classes));
    Ok(network)
}
