//! Recurrent classifiers of texts, and of images and sound column by column.

use super::super::op::{Columns, Gru, Linear, Lstm, PoolSteps, StepPooling};
use super::{ShapeError, dropout, text};
use crate::experiment::spec::Recurrent;
use crate::network::{Network, Op};

/// Which unit is recurrent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell {
    Gru,
    Lstm,
}

pub(super) fn build(
    cell: Cell,
    model: &Recurrent,
    input: &[u32],
    tokens: Option<u32>,
    classes: u32,
) -> Result<Network, ShapeError> {
    let arch = match cell {
        Cell::Gru => "gru",
        Cell::Lstm => "lstm",
    };
    let mut network = sequence(arch, input, tokens, model.embedding);
    let inputs = network.shapes()?.pop().and_then(|shape| shape.last().copied()).unwrap_or(0);
    let (hidden, layers, bidirectional) = (model.hidden, model.layers, model.bidirectional);
    let (op, outputs): (Op, u32) = match cell {
        Cell::Gru => {
            let gru = Gru { inputs, hidden, layers, bidirectional };
            let outputs = gru.outputs();
            (gru.into(), outputs)
        }
        Cell::Lstm => {
            let lstm = Lstm { inputs, hidden, layers, bidirectional };
            let outputs = lstm.outputs();
            (lstm.into(), outputs)
        }
    };
    let steps = network.push(arch, op);
    pool(&mut network, model.pool, steps);
    dropout(&mut network, "dropout", model.dropout);
    network.push("fc", Linear::new(outputs, classes));
    Ok(network)
}

/// The examples as sequences: words as vectors, images by their columns.
pub(super) fn sequence(arch: &str, input: &[u32], tokens: Option<u32>, embedding: u32) -> Network {
    if tokens.is_some() {
        return text::embedded(arch, input, tokens, embedding);
    }
    let mut network = Network::new(arch, input);
    network.push("columns", Columns {});
    network
}

/// One vector of the steps that a node puts out; where they are words, padding does not count.
pub(super) fn pool(network: &mut Network, how: StepPooling, steps: usize) {
    let inputs = if network.tokens().is_some() { vec![steps, 0] } else { vec![steps] };
    network.push_from("pool", PoolSteps { how }, &inputs);
}
