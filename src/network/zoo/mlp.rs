//! Fully connected network; with `hidden = [300, 100]` LeNet-300-100 (LeCun et al. 1998).

use crate::experiment::spec::Mlp;
use crate::network::Network;
use crate::network::op::{BatchNorm, Dropout, Flatten, Linear, Relu};

pub(super) fn build(mlp: &Mlp, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new("mlp", input);
    network.push("flatten", Flatten {});
    let mut features = input.iter().product();
    for (index, &units) in (1..).zip(&mlp.hidden) {
        network.push(&format!("fc{index}"), Linear::new(features, units));
        if mlp.batch_norm {
            network.push(&format!("bn{index}"), BatchNorm::new(units));
        }
        network.push(&format!("relu{index}"), Relu {});
        if mlp.dropout > 0.0 {
            network.push(&format!("dropout{index}"), Dropout { p: mlp.dropout });
        }
        features = units;
    }
    network.push(&format!("fc{}", mlp.hidden.len() + 1), Linear::new(features, classes));
    network
}
