//! Initial values where torchvision's differ from PyTorch's own.

use crate::network::op::{Init, Op};
use crate::network::{Network, Node};

/// What the spread of a convolution's weights keeps at its size.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kaiming {
    /// Activations: variance 2 / inputs of a value (He et al. 2015, "Delving Deep into Rectifiers").
    FanIn,
    /// Gradients: variance 2 / outputs of a value.
    FanOut,
}

/// Normal weights for all convolutions, and no bias.
pub(super) fn convolutions(network: &mut Network, kaiming: Kaiming) {
    for node in &mut network.nodes {
        let Op::Conv2d(conv) = &node.op else { continue };
        // PyTorch's fan-out takes no notice of groups.
        let channels = match kaiming {
            Kaiming::FanIn => conv.inputs / conv.groups,
            Kaiming::FanOut => conv.outputs,
        };
        let fan = f64::from(channels) * f64::from(conv.kernel).powi(2);
        set(node, "weight", Init::Normal { std: (2.0 / fan).sqrt() });
        set(node, "bias", Init::Constant(0.0));
    }
}

/// No bias for all linear layers, and normal weights where a standard deviation is given.
pub(super) fn linear(network: &mut Network, std: Option<f64>) {
    for node in network.nodes.iter_mut().filter(|node| matches!(node.op, Op::Linear(_))) {
        if let Some(std) = std {
            set(node, "weight", Init::Normal { std });
        }
        set(node, "bias", Init::Constant(0.0));
    }
}

/// Sets the initial value of a parameter, if the node has it.
pub(super) fn set(node: &mut Node, param: &str, init: Init) {
    if node.op.params().iter().any(|known| known.name == param) {
        node.initial.insert(param.to_owned(), init);
    }
}
