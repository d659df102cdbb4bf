//! Architectures by name, each built as a graph for an input shape and a number of classes.

mod alexnet;
mod audio;
mod cnn;
mod densenet;
mod error;
mod fcn;
mod layers;
mod lenet5;
mod mlp;
mod mobilenet_v2;
mod recurrent;
mod resnet;
mod shufflenet_v2;
mod start;
mod text;
mod transformer;
mod unet;
mod vgg;

pub use error::{BuildError, BuildFault, Place};

use super::op::Interpolation;
use super::{Network, Op, ShapeError, Task};
use crate::experiment::spec::{Data, Model};

/// Builds an architecture for the examples and classes of a dataset.
///
/// # Errors
/// As [`build`].
pub fn build_for(model: &Model, data: &Data) -> Result<Network, BuildError> {
    build_with(model, &data.shape(), data.tokens(), data.classes())
}

/// The network of a file that was made elsewhere: an architecture, or where there is none a program that
/// takes the examples of a dataset and gives its classes.
///
/// # Errors
/// As [`build`].
pub fn build_imported(model: Option<&Model>, data: &Data) -> Result<Network, BuildError> {
    if let Some(model) = model {
        return build_for(model, data);
    }
    let input = data.shape();
    let mut output = vec![data.classes()];
    if data.task() == Task::Segmentation {
        output.extend(&input[1..]);
    }
    Ok(Network::of_program(&input, data.tokens(), &output))
}

/// Builds an architecture for examples of one shape and a number of classes.
///
/// # Errors
/// The first layer that cannot take its input, where the example is too small; of a network that is written
/// layer by layer whatever is wrong with it, and where.
pub fn build(model: &Model, input: &[u32], classes: u32) -> Result<Network, BuildError> {
    build_with(model, input, None, classes)
}

/// Builds an architecture as [`build`] does, for examples that may be numbers of words.
///
/// - tokens: how many numbers of words there are, where an example is numbers of words
///
/// # Errors
/// As [`build`].
pub fn build_with(
    model: &Model,
    input: &[u32],
    tokens: Option<u32>,
    classes: u32,
) -> Result<Network, BuildError> {
    let mut network = match model {
        Model::Mlp(mlp) => mlp::build(mlp, input, classes),
        Model::Lenet5(lenet5) => lenet5::build(lenet5, input, classes)?,
        Model::Cnn(cnn) => cnn::build(cnn, input, classes)?,
        Model::Alexnet(alexnet) => alexnet::build(alexnet, input, classes),
        Model::Vgg11(vgg) => vgg::build("vgg11", [1, 1, 2, 2, 2], vgg, input, classes),
        Model::Vgg13(vgg) => vgg::build("vgg13", [2, 2, 2, 2, 2], vgg, input, classes),
        Model::Vgg16(vgg) => vgg::build("vgg16", vgg::VGG16, vgg, input, classes),
        Model::Vgg19(vgg) => vgg::build("vgg19", [2, 2, 4, 4, 4], vgg, input, classes),
        Model::Resnet18(options) => resnet::build(&resnet::RESNET18, options, input, classes),
        Model::Resnet34(options) => resnet::build(&resnet::RESNET34, options, input, classes),
        Model::Resnet50(options) => resnet::build(&resnet::RESNET50, options, input, classes),
        Model::Resnet18Cifar(options) => {
            resnet::build(&resnet::RESNET18_CIFAR, options, input, classes)
        }
        Model::Resnet20(options) => resnet::build(&resnet::RESNET20, options, input, classes),
        Model::Resnet32(options) => resnet::build(&resnet::RESNET32, options, input, classes),
        Model::Resnet56(options) => resnet::build(&resnet::RESNET56, options, input, classes),
        Model::Densenet121(options) => {
            densenet::build(&densenet::DENSENET121, options, input, classes)
        }
        Model::DensenetBc40Growth12(options) => {
            densenet::build(&densenet::DENSENET_BC_40_12, options, input, classes)
        }
        Model::MobilenetV2(options) => mobilenet_v2::build(options, input, classes),
        Model::ShufflenetV2(options) => shufflenet_v2::build(options, input, classes),
        Model::Layers(layers) => layers::build(layers, input, tokens, classes)?,
        Model::TextMean(model) => text::mean(model, input, tokens, classes),
        Model::TextCnn(model) => text::cnn(model, input, tokens, classes)?,
        Model::Gru(model) => recurrent::build(recurrent::Cell::Gru, model, input, tokens, classes)?,
        Model::Lstm(model) => {
            recurrent::build(recurrent::Cell::Lstm, model, input, tokens, classes)?
        }
        Model::AudioCnn(model) => audio::cnn(model, input, classes)?,
        Model::AudioCnn1d(model) => audio::cnn_1d(model, input, classes)?,
        Model::TransformerEncoder(model) => transformer::build(model, input, tokens, classes)?,
        Model::Unet(unet) => unet::build(unet, input, classes)?,
        Model::Fcn32s(fcn) => fcn::build("fcn32s", 0, fcn, input, classes)?,
        Model::Fcn16s(fcn) => fcn::build("fcn16s", 1, fcn, input, classes)?,
        Model::Fcn8s(fcn) => fcn::build("fcn8s", 2, fcn, input, classes)?,
        Model::FcnResnet50(fcn) => fcn::resnet50(fcn, input, classes),
    };
    if let Op::Input(input) = &mut network.nodes[0].op {
        // An architecture that knows no words is told what it gets, and refuses it.
        input.tokens = tokens;
    }
    network.shapes()?;
    Ok(network)
}

/// What follows the last node: its features in a row, and how many there are.
fn flatten(network: &mut Network) -> Result<u32, ShapeError> {
    network.push("flatten", super::op::Flatten {});
    Ok(network.shapes()?.last().map_or(0, |shape| shape.iter().product()))
}

/// Brings the last node to height and width of another, where they are not the same; gives the node that ends it.
fn fit(network: &mut Network, name: &str, other: usize) -> Result<usize, ShapeError> {
    let (shapes, last) = (network.shapes()?, network.nodes.len() - 1);
    let extents = |node: usize| shapes[node].get(1..).unwrap_or_default();
    if extents(last) == extents(other) {
        return Ok(last);
    }
    Ok(bilinear(network, name, extents(other)))
}

/// Adds bilinear interpolation to a height and width.
fn bilinear(network: &mut Network, name: &str, extents: &[u32]) -> usize {
    // Where there are none, the image that is looked for is told by the layers before.
    let &[height, width] = extents else { return network.nodes.len() - 1 };
    let mode = Interpolation::Bilinear;
    network.push(name, super::op::Upsample2d { height, width, mode })
}

/// Adds dropout, unless nothing is to be dropped.
fn dropout(network: &mut Network, name: &str, p: f64) {
    if p > 0.0 {
        network.push(name, super::op::Dropout { p });
    }
}

#[cfg(test)]
mod tests;
