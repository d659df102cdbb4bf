//! A transformer encoder (Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>), normalised before each
//! part (Xiong et al. 2020, <https://arxiv.org/abs/2002.04745>), and the mean over the steps.

use super::super::op::{Add, Attention, Gelu, LayerNorm, Linear, Positions, StepPooling};
use super::{ShapeError, dropout, recurrent};
use crate::experiment::spec::TransformerEncoder;
use crate::network::Network;

pub(super) fn build(
    model: &TransformerEncoder,
    input: &[u32],
    tokens: Option<u32>,
    classes: u32,
) -> Result<Network, ShapeError> {
    let features = model.features;
    let mut network = recurrent::sequence("transformer-encoder", input, tokens, features);
    let shape = network.shapes()?.pop().unwrap_or_default();
    let [steps, given] = shape[..] else { unreachable!("a sequence has steps and features") };
    if tokens.is_none() {
        network.push("embedding", Linear::new(given, features));
    }
    network.push("positions", Positions { steps, features });
    dropout(&mut network, "dropout", model.dropout);
    for index in 0..model.layers {
        layer(&mut network, &format!("layers.{index}"), model);
    }
    let last = network.push("norm", LayerNorm::new(features));
    recurrent::pool(&mut network, StepPooling::Mean, last);
    network.push("fc", Linear::new(features, classes));
    Ok(network)
}

/// Attention and two linear layers, each added to what it reads.
fn layer(network: &mut Network, name: &str, model: &TransformerEncoder) {
    let features = model.features;
    let before = network.nodes.len() - 1;
    let norm = network.push(&format!("{name}.norm1"), LayerNorm::new(features));
    let inputs = if network.tokens().is_some() { vec![norm, 0] } else { vec![norm] };
    let attention = Attention::new(features, model.heads);
    network.push_from(&format!("{name}.self_attn"), attention, &inputs);
    dropout(network, &format!("{name}.dropout1"), model.dropout);
    let attended = network.nodes.len() - 1;
    let between = network.push_from(&format!("{name}.add1"), Add {}, &[before, attended]);
    network.push(&format!("{name}.norm2"), LayerNorm::new(features));
    network.push(&format!("{name}.linear1"), Linear::new(features, model.feed_forward));
    network.push(&format!("{name}.gelu"), Gelu {});
    network.push(&format!("{name}.linear2"), Linear::new(model.feed_forward, features));
    dropout(network, &format!("{name}.dropout2"), model.dropout);
    let fed = network.nodes.len() - 1;
    network.push_from(&format!("{name}.add2"), Add {}, &[between, fed]);
}
