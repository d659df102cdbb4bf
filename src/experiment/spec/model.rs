//! Architectures by name. `network/zoo/` builds each as a graph.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::Layer;

/// The network that a `pretrain` stage starts from. Input shape and classes come from the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Fully connected layers with ReLU; LeNet-300-100 is `hidden = [300, 100]`.
    Mlp(Mlp),
    /// LeNet-5 in its Caffe form: two 5×5 convolutions (20, 50), max-pooling, 500 units.
    Lenet5(Lenet5),
    /// Two 5×5 convolutions (6, 16) with max-pooling, then fully connected layers of 120 and 84 units.
    Cnn(Cnn),
    /// A network of your own, layer by layer; each layer reads the one before it.
    #[schemars(with = "Layers")]
    Layers(Vec<Layer>),
}

/// The layers of a network, in order.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Layers(
    #[expect(dead_code, reason = "it is there for its schema")]
    #[schemars(length(min = 1))]
    Vec<Layer>,
);

/// Settings of `mlp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mlp {
    /// Units of each hidden layer.
    #[schemars(inner(range(min = 1)))]
    pub hidden: Vec<u32>,
    /// Batch normalisation after each hidden layer.
    #[serde(default)]
    pub batch_norm: bool,
    /// Probability that a hidden unit is dropped in training, in 0..1.
    #[serde(default)]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

/// Settings of `lenet5`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Lenet5 {
    /// Batch normalisation after each convolution.
    pub batch_norm: bool,
    /// Probability that a unit of the fully connected hidden layer is dropped in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

/// Settings of `cnn`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cnn {
    /// Batch normalisation after each convolution.
    pub batch_norm: bool,
    /// Probability that a unit of a fully connected hidden layer is dropped in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}
