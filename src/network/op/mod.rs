//! The operations that a network is made of, one file each.
//!
//! An operation knows its parameters (names, shapes, initial values), the shape of its output and
//! its multiply-accumulates. What it computes is in the engine's interpreter.

mod batch_norm;
mod conv2d;
mod dropout;
mod flatten;
mod input;
mod linear;
mod max_pool2d;
mod relu;

pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use input::Input;
pub use linear::Linear;
pub use max_pool2d::MaxPool2d;
pub use relu::Relu;

use serde::{Deserialize, Serialize};

use super::Shape;

/// A parameter or buffer of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name within the operation: `weight`.
    pub name: &'static str,
    /// Extents; empty for a scalar.
    pub shape: Shape,
    /// What it is for.
    pub role: ParamRole,
    /// Its value in a new network.
    pub init: Init,
}

impl Param {
    /// Number of values.
    pub fn len(&self) -> u64 {
        self.shape.iter().map(|&extent| u64::from(extent)).product()
    }

    /// Whether there are no values at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a parameter or buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamRole {
    /// Weight of a convolution or linear layer, output channels first: trained, and prunable.
    Weight,
    /// Bias: trained.
    Bias,
    /// Scale of a normalisation: trained.
    Scale,
    /// Shift of a normalisation: trained.
    Shift,
    /// A running statistic, 32-bit floating point: not trained.
    Statistic,
    /// A counter, 64-bit integer: not trained.
    Counter,
}

impl ParamRole {
    /// Whether gradients reach it.
    pub fn is_trainable(self) -> bool {
        !matches!(self, Self::Statistic | Self::Counter)
    }
}

/// The value of a parameter in a new network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Uniform in `±bound`.
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
    /// The same value everywhere.
    Constant(f64),
}

impl Init {
    /// PyTorch's default for weights and biases: Kaiming uniform with a = √5, that is `±1/√fan_in`.
    pub fn fan_in(fan_in: u32) -> Self {
        Self::Uniform { bound: 1.0 / f64::from(fan_in.max(1)).sqrt() }
    }
}

/// A typed operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// The example.
    Input(Input),
    /// 2-d convolution.
    Conv2d(Conv2d),
    /// Fully connected layer.
    Linear(Linear),
    /// Batch normalisation over channels or features.
    BatchNorm(BatchNorm),
    /// `max(x, 0)`.
    Relu(Relu),
    /// 2-d max-pooling.
    MaxPool2d(MaxPool2d),
    /// `[channels, height, width]` to `[channels · height · width]`.
    Flatten(Flatten),
    /// Drops values at random in training.
    Dropout(Dropout),
}

impl Op {
    /// The operation's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input(_) => "input",
            Self::Conv2d(_) => "conv2d",
            Self::Linear(_) => "linear",
            Self::BatchNorm(_) => "batch-norm",
            Self::Relu(_) => "relu",
            Self::MaxPool2d(_) => "max-pool2d",
            Self::Flatten(_) => "flatten",
            Self::Dropout(_) => "dropout",
        }
    }

    /// Its parameters and buffers, in torchvision's order.
    pub fn params(&self) -> Vec<Param> {
        match self {
            Self::Conv2d(conv) => conv.params(),
            Self::Linear(linear) => linear.params(),
            Self::BatchNorm(norm) => norm.params(),
            Self::Input(_)
            | Self::Relu(_)
            | Self::MaxPool2d(_)
            | Self::Flatten(_)
            | Self::Dropout(_) => Vec::new(),
        }
    }

    /// The shape of its output.
    ///
    /// # Errors
    /// A clause that says why the inputs do not fit.
    pub fn output(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        match (self, inputs) {
            (Self::Input(input), []) => Ok(input.shape.clone()),
            (Self::Conv2d(conv), [input]) => conv.output(input),
            (Self::Linear(linear), [input]) => linear.output(input),
            (Self::BatchNorm(norm), [input]) => norm.output(input),
            (Self::MaxPool2d(pool), [input]) => pool.output(input),
            (Self::Flatten(_), [input]) => Ok(vec![input.iter().product()]),
            (Self::Relu(_) | Self::Dropout(_), [input]) => Ok(input.to_vec()),
            _ => Err(format!("it reads {} nodes", inputs.len())),
        }
    }

    /// Multiply-accumulates for one example; zero for all but convolutions and linear layers.
    pub fn macs(&self, output: &[u32]) -> u64 {
        match self {
            Self::Conv2d(conv) => conv.macs(output),
            Self::Linear(linear) => u64::from(linear.inputs) * u64::from(linear.outputs),
            _ => 0,
        }
    }
}

macro_rules! into_op {
    ($($op:ident),*) => {$(
        impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$op(op)
            }
        }
    )*};
}
into_op!(Input, Conv2d, Linear, BatchNorm, Relu, MaxPool2d, Flatten, Dropout);

/// Output extent of a window that slides over `extent` values.
fn windows(extent: u32, kernel: u32, stride: u32, padding: u32, dilation: u32) -> Option<u32> {
    let reach = dilation * (kernel - 1) + 1;
    (extent + 2 * padding).checked_sub(reach).map(|rest| rest / stride + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(op: impl Into<Op>, input: &[u32], expected: Result<&[u32], &str>) {
        let output = op.into().output(&[input]);
        assert_eq!(output.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn output_shapes_are_pytorchs() {
        let conv = Conv2d::new(3, 8, 5);
        check(conv.clone(), &[3, 32, 32], Ok(&[8, 28, 28]));
        check(Conv2d { padding: 2, ..conv.clone() }, &[3, 32, 32], Ok(&[8, 32, 32]));
        check(Conv2d { stride: 2, ..conv.clone() }, &[3, 32, 31], Ok(&[8, 14, 14]));
        check(Conv2d { dilation: 2, ..conv.clone() }, &[3, 9, 10], Ok(&[8, 1, 2]));
        check(MaxPool2d::new(2), &[6, 7, 8], Ok(&[6, 3, 4]));
        check(MaxPool2d { kernel: 3, stride: 2, padding: 1 }, &[6, 7, 7], Ok(&[6, 4, 4]));
        check(Linear::new(4, 2), &[4], Ok(&[2]));
        check(BatchNorm::new(3), &[3, 5, 5], Ok(&[3, 5, 5]));
        check(BatchNorm::new(3), &[3], Ok(&[3]));
        check(Relu {}, &[3, 5], Ok(&[3, 5]));
        check(Dropout { p: 0.1 }, &[3, 5], Ok(&[3, 5]));
        check(Flatten {}, &[3, 5, 2], Ok(&[30]));
    }

    #[test]
    fn inputs_that_do_not_fit_are_told_why() {
        check(Conv2d::new(3, 8, 5), &[1, 32, 32], Err("it takes 3 channels"));
        check(Conv2d::new(3, 8, 5), &[3, 4, 32], Err("its 5×5 kernel does not fit"));
        check(Conv2d::new(3, 8, 5), &[3], Err("it takes channels, height and width"));
        check(MaxPool2d::new(9), &[3, 8, 8], Err("its 9×9 window does not fit"));
        check(MaxPool2d::new(2), &[8], Err("it takes channels, height and width"));
        check(Linear::new(4, 2), &[5], Err("it takes 4 features"));
        check(Linear::new(4, 2), &[4, 1, 1], Err("it takes 4 features"));
        check(BatchNorm::new(3), &[4, 2, 2], Err("it takes 3 channels"));
        assert_eq!(Op::from(Relu {}).output(&[]), Err("it reads 0 nodes".to_owned()));
    }

    #[test]
    fn a_grouped_convolution_reads_its_groups_channels() {
        let conv = Conv2d { groups: 2, bias: false, ..Conv2d::new(4, 6, 3) };
        let params = conv.params();
        assert_eq!(params.len(), 1);
        assert_eq!(params[0].shape, [6, 2, 3, 3]);
        assert_eq!(params[0].init, Init::fan_in(18));
        // 6 outputs of 5×5 places, each 2 channels of 3×3.
        assert_eq!(Op::from(conv).macs(&[6, 5, 5]), 6 * 25 * 18);
    }
}
