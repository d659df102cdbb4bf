//! Convolutional classifiers of sound: over log-mel images, and over samples.

use super::super::op::{
    AdaptiveAvgPool2d, BatchNorm, Conv1d, Conv2d, Flatten, Linear, MaxPool1d, MaxPool2d, PoolSteps,
    Relu, StepPooling, Transpose,
};
use super::{ShapeError, dropout};
use crate::experiment::spec::{AudioCnn, AudioCnn1d};
use crate::network::Network;

/// 3×3 convolutions with batch normalisation and max-pooling, and the mean over time: in which band
/// something sounds stays known.
pub(super) fn cnn(model: &AudioCnn, input: &[u32], classes: u32) -> Result<Network, ShapeError> {
    let mut network = Network::new("audio-cnn", input);
    let mut inputs = input.first().copied().unwrap_or(0);
    for (index, &outputs) in (1..).zip(&model.channels) {
        let conv = Conv2d { padding: 1, bias: false, ..Conv2d::new(inputs, outputs, 3) };
        network.push(&format!("conv{index}"), conv);
        network.push(&format!("bn{index}"), BatchNorm::new(outputs));
        network.push(&format!("relu{index}"), Relu {});
        network.push(&format!("pool{index}"), MaxPool2d::new(2));
        inputs = outputs;
    }
    let height = network.shapes()?.pop().and_then(|shape| shape.get(1).copied()).unwrap_or(0);
    network.push("mean", AdaptiveAvgPool2d { height, width: 1 });
    network.push("flatten", Flatten {});
    dropout(&mut network, "dropout", model.dropout);
    network.push("fc", Linear::new(inputs * height, classes));
    Ok(network)
}

/// A long convolution with a stride over the samples, then short ones, each with batch normalisation and
/// max-pooling, and the mean over time (Dai et al. 2017, "Very Deep Convolutional Neural Networks for Raw
/// Waveforms", <https://arxiv.org/abs/1610.00087>).
pub(super) fn cnn_1d(
    model: &AudioCnn1d,
    input: &[u32],
    classes: u32,
) -> Result<Network, ShapeError> {
    let mut network = Network::new("audio-cnn-1d", input);
    let mut inputs = input.first().copied().unwrap_or(0);
    for (index, &outputs) in (1..).zip(&model.channels) {
        let (kernel, stride, padding) = if index == 1 { (80, 4, 38) } else { (3, 1, 1) };
        let conv = Conv1d { stride, padding, bias: false, ..Conv1d::new(inputs, outputs, kernel) };
        network.push(&format!("conv{index}"), conv);
        network.push(&format!("bn{index}"), BatchNorm::new(outputs));
        network.push(&format!("relu{index}"), Relu {});
        network.push(&format!("pool{index}"), MaxPool1d::new(4));
        inputs = outputs;
    }
    network.push("transpose", Transpose {});
    network.push("mean", PoolSteps { how: StepPooling::Mean });
    dropout(&mut network, "dropout", model.dropout);
    network.push("fc", Linear::new(inputs, classes));
    network.shapes()?;
    Ok(network)
}
