//! The small network of the founding study: two 5×5 convolutions (6, 16), then 120 and 84 units.

use super::flatten;
use crate::experiment::spec::Cnn;
use crate::network::op::{BatchNorm, Conv2d, Dropout, Linear, MaxPool2d, Relu};
use crate::network::{Network, ShapeError};

pub(super) fn build(cnn: &Cnn, input: &[u32], classes: u32) -> Result<Network, ShapeError> {
    let mut network = Network::new("cnn", input);
    let mut channels = input.first().copied().unwrap_or(0);
    for (index, outputs) in [(1, 6), (2, 16)] {
        network.push(&format!("conv{index}"), Conv2d::new(channels, outputs, 5));
        if cnn.batch_norm {
            network.push(&format!("bn{index}"), BatchNorm::new(outputs));
        }
        network.push(&format!("relu{index}"), Relu {});
        network.push(&format!("pool{index}"), MaxPool2d::new(2));
        channels = outputs;
    }
    let mut features = flatten(&mut network)?;
    for (index, units) in [(1, 120), (2, 84)] {
        network.push(&format!("fc{index}"), Linear::new(features, units));
        network.push(&format!("relu{}", index + 2), Relu {});
        if cnn.dropout > 0.0 {
            network.push(&format!("dropout{index}"), Dropout { p: cnn.dropout });
        }
        features = units;
    }
    network.push("fc3", Linear::new(features, classes));
    Ok(network)
}
