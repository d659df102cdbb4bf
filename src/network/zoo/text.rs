//! Classifiers of texts: vectors of words, averaged or convolved.

use super::super::op::{
    Concat, Conv1d, Embedding, Linear, PoolSteps, Relu, StepPooling, Transpose,
};
use super::{ShapeError, dropout};
use crate::experiment::spec::{TextCnn, TextMean};
use crate::network::Network;

/// The numbers of words, and a vector for each.
///
/// Without `tokens` the examples are no words, which the embedding tells.
pub(super) fn embedded(arch: &str, input: &[u32], tokens: Option<u32>, features: u32) -> Network {
    let mut network = match tokens {
        Some(tokens) => Network::of_words(arch, input, tokens),
        None => Network::new(arch, input),
    };
    network.push("embedding", Embedding { rows: tokens.unwrap_or(0), features });
    network
}

/// The mean of the words' vectors, and a linear layer (Joulin et al. 2017, "Bag of Tricks for Efficient
/// Text Classification", <https://arxiv.org/abs/1607.01759>).
pub(super) fn mean(model: &TextMean, input: &[u32], tokens: Option<u32>, classes: u32) -> Network {
    let mut network = embedded("text-mean", input, tokens, model.embedding);
    network.push_from("mean", PoolSteps { how: StepPooling::Mean }, &[1, 0]);
    dropout(&mut network, "dropout", model.dropout);
    network.push("fc", Linear::new(model.embedding, classes));
    network
}

/// Convolutions of several lengths over the words' vectors, the greatest of each (Kim 2014,
/// "Convolutional Neural Networks for Sentence Classification", <https://arxiv.org/abs/1408.5882>).
pub(super) fn cnn(
    model: &TextCnn,
    input: &[u32],
    tokens: Option<u32>,
    classes: u32,
) -> Result<Network, ShapeError> {
    let mut network = embedded("text-cnn", input, tokens, model.embedding);
    network.shapes()?;
    let channels = network.push("transpose", Transpose {});
    let mut pooled = Vec::new();
    for (index, &kernel) in (1..).zip(&model.kernels) {
        let conv = Conv1d::new(model.embedding, model.filters, kernel);
        network.push_from(&format!("conv{index}"), conv, &[channels]);
        network.push(&format!("relu{index}"), Relu {});
        network.push(&format!("transpose{index}"), Transpose {});
        let pool = PoolSteps { how: StepPooling::Max };
        pooled.push(network.push(&format!("pool{index}"), pool));
    }
    network.push_from("concat", Concat { axis: 0 }, &pooled);
    dropout(&mut network, "dropout", model.dropout);
    network.push("fc", Linear::new(model.filters * model.kernels.len() as u32, classes));
    Ok(network)
}
