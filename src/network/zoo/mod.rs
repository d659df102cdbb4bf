//! Architectures by name, each built as a graph for an input shape and a number of classes.

mod cnn;
mod error;
mod layers;
mod lenet5;
mod mlp;

pub use error::{BuildError, BuildFault, Place};

use super::{Network, ShapeError};
use crate::experiment::spec::Model;

/// Builds an architecture for examples of one shape and a number of classes.
///
/// # Errors
/// The first layer that cannot take its input, where the example is too small; of a network that is written
/// layer by layer whatever is wrong with it, and where.
pub fn build(model: &Model, input: &[u32], classes: u32) -> Result<Network, BuildError> {
    let network = match model {
        Model::Mlp(mlp) => mlp::build(mlp, input, classes),
        Model::Lenet5(lenet5) => lenet5::build(lenet5, input, classes)?,
        Model::Cnn(cnn) => cnn::build(cnn, input, classes)?,
        Model::Layers(layers) => layers::build(layers, input, classes)?,
    };
    network.shapes()?;
    Ok(network)
}

/// What follows the last node: its features in a row, and how many there are.
fn flatten(network: &mut Network) -> Result<u32, ShapeError> {
    network.push("flatten", super::op::Flatten {});
    Ok(network.shapes()?.last().map_or(0, |shape| shape.iter().product()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::spec::{Cnn, Lenet5, Mlp};
    use crate::network::ParamRole;

    fn weights(network: &Network) -> u64 {
        let weights =
            network.params().into_iter().filter(|param| param.param.role == ParamRole::Weight);
        weights.map(|weight| weight.param.len()).sum()
    }

    fn mlp(hidden: &[u32]) -> Model {
        Model::Mlp(Mlp { hidden: hidden.to_vec(), batch_norm: false, dropout: 0.0 })
    }

    #[test]
    fn parameter_counts_are_those_of_the_papers() {
        let lenet300 = build(&mlp(&[300, 100]), &[1, 28, 28], 10).unwrap();
        assert_eq!((lenet300.param_count(), weights(&lenet300)), (266_610, 266_200));
        let lenet5 = build(&Model::Lenet5(Lenet5::default()), &[1, 28, 28], 10).unwrap();
        assert_eq!((lenet5.param_count(), weights(&lenet5)), (431_080, 430_500));
        let cnn = build(&Model::Cnn(Cnn::default()), &[3, 32, 32], 10).unwrap();
        assert_eq!((cnn.param_count(), weights(&cnn)), (62_006, 61_770));
    }

    #[test]
    fn options_add_their_layers_and_change_no_other() {
        let plain = build(&Model::Lenet5(Lenet5::default()), &[1, 28, 28], 10).unwrap();
        let options = Lenet5 { batch_norm: true, dropout: 0.5 };
        let full = build(&Model::Lenet5(options), &[1, 28, 28], 10).unwrap();
        let names = |network: &Network| {
            network.nodes.iter().map(|node| node.name.clone()).collect::<Vec<String>>()
        };
        assert_eq!(names(&full)[1..5], ["conv1", "bn1", "relu1", "pool1"]);
        assert_eq!(full.param_count() - plain.param_count(), 2 * (20 + 50));
        let without: Vec<String> = names(&full)
            .into_iter()
            .filter(|name| !name.starts_with("bn") && name != "dropout")
            .collect();
        assert_eq!(without, names(&plain));
    }

    #[test]
    fn every_architecture_takes_other_inputs_and_classes() {
        for model in
            [mlp(&[]), mlp(&[7]), Model::Lenet5(Lenet5::default()), Model::Cnn(Cnn::default())]
        {
            for input in [[1, 16, 16], [3, 40, 24]] {
                let network = build(&model, &input, 7).unwrap();
                assert_eq!((network.input_shape(), network.classes().unwrap()), (&input[..], 7));
            }
        }
    }

    #[test]
    fn an_image_that_is_too_small_is_refused_by_the_layer_that_it_does_not_fit() {
        let error = build(&Model::Lenet5(Lenet5::default()), &[1, 8, 8], 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "layer `conv2` (conv2d) cannot take an input of 20×2×2: its 5×5 kernel does not fit"
        );
    }
}
