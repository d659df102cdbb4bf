//! The operations that a network is made of, one file each.
//!
//! An operation knows its parameters (names, shapes, initial values), the shape of its output and
//! its multiply-accumulates. What it computes is in the engine's interpreter.

mod activation;
mod attention;
mod batch_norm;
mod channels;
mod conv1d;
mod conv2d;
mod conv_transpose2d;
mod dropout;
mod embedding;
mod flatten;
mod input;
mod join;
mod layer_norm;
mod linear;
mod pool2d;
mod recurrent;
mod sequence;
mod slice;
mod softmax;
mod torchscript;
mod upsample2d;

pub use activation::{Gelu, HardSigmoid, HardSwish, LeakyRelu, Relu, Relu6, Sigmoid, Silu, Tanh};
pub use attention::Attention;
pub use batch_norm::BatchNorm;
pub use channels::{ChannelShuffle, PadChannels, PixelShuffle};
pub use conv_transpose2d::ConvTranspose2d;
pub use conv1d::{Conv1d, MaxPool1d};
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use flatten::Flatten;
pub use input::Input;
pub use join::{Add, Concat, Mul};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use pool2d::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d};
pub use recurrent::{Gru, Lstm};
pub use sequence::{Columns, PoolSteps, Positions, Transpose};
pub use slice::Slice;
pub use softmax::Softmax;
pub use torchscript::{Held, TorchScript};
pub use upsample2d::Upsample2d;

pub use crate::experiment::spec::StepPooling;
pub use crate::experiment::spec::layers::Interpolation;

use serde::{Deserialize, Serialize};

use super::Shape;

/// A parameter or buffer of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name within the operation: `weight`; empty where the node's name is the whole name.
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

/// The weight of a layer and, if it has one, a bias for each of its outputs, with PyTorch's initial values.
///
/// What follows the weight's first extent is the fan-in; PyTorch takes it so for transposed convolutions,
/// too, of which it is the fan-out.
fn weight_and_bias(shape: Vec<u32>, outputs: u32, bias: bool) -> Vec<Param> {
    let init = Init::fan_in(count(&shape[1..]));
    let bias =
        bias.then(|| Param { name: "bias", shape: vec![outputs], role: ParamRole::Bias, init });
    let weight = Param { name: "weight", shape, role: ParamRole::Weight, init };
    std::iter::once(weight).chain(bias).collect()
}

/// A value for each feature, all equal at first.
fn for_each_feature(name: &'static str, features: u32, role: ParamRole, value: f64) -> Param {
    Param { name, shape: vec![features], role, init: Init::Constant(value) }
}

/// What a parameter or buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParamRole {
    /// Weight of a convolution or linear layer, output channels first: trained, and prunable.
    Weight,
    /// Rows of an embedding, weight of a recurrent layer or of an attention: trained, and not prunable.
    Other,
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Uniform in `±bound`.
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// The same value everywhere.
    Constant(f64),
    /// The kernel by which a transposed convolution with half its stride interpolates bilinearly, the same
    /// for each channel (Long et al. 2015, section 3.3).
    Bilinear,
}

impl Init {
    /// PyTorch's default for weights and biases: Kaiming uniform with a = √5, that is `±1/√fan_in`.
    pub fn fan_in(fan_in: u64) -> Self {
        Self::Uniform { bound: 1.0 / (fan_in.max(1) as f64).sqrt() }
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $op:ident $name:literal;)*) => {
        /// A typed operation.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Op {$(
            $(#[$doc])*
            $op($op),
        )*}

        impl Op {
            /// The operation's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$op(_) => $name,)*
                }
            }
        }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$op(op)
            }
        })*
    };
}

ops! {
    /// The example.
    Input "input";
    /// 2-d convolution.
    Conv2d "conv2d";
    /// 2-d transposed convolution.
    ConvTranspose2d "conv-transpose2d";
    /// Fully connected layer.
    Linear "linear";
    /// Batch normalisation over channels or features.
    BatchNorm "batch-norm";
    /// Layer normalisation over the last axis.
    LayerNorm "layer-norm";
    /// `max(x, 0)`.
    Relu "relu";
    /// `min(max(x, 0), 6)`.
    Relu6 "relu6";
    /// `max(x, 0)` with a slope below zero.
    LeakyRelu "leaky-relu";
    /// `x · Φ(x)`.
    Gelu "gelu";
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid "sigmoid";
    /// Hyperbolic tangent.
    Tanh "tanh";
    /// `x · sigmoid(x)`.
    Silu "silu";
    /// A piecewise likeness of `silu`.
    HardSwish "hard-swish";
    /// A piecewise likeness of `sigmoid`.
    HardSigmoid "hard-sigmoid";
    /// `eˣ`, divided by its sum along an axis.
    Softmax "softmax";
    /// 2-d max-pooling.
    MaxPool2d "max-pool2d";
    /// 2-d average-pooling.
    AvgPool2d "avg-pool2d";
    /// Averages over a grid of windows that cover the image.
    AdaptiveAvgPool2d "adaptive-avg-pool2d";
    /// Resizes an image.
    Upsample2d "upsample2d";
    /// Sum of nodes.
    Add "add";
    /// Product of a node and its gate.
    Mul "mul";
    /// Nodes beside each other.
    Concat "concat";
    /// A run of values along an axis.
    Slice "slice";
    /// Deals channels out in turn.
    ChannelShuffle "channel-shuffle";
    /// Lays channels out as squares.
    PixelShuffle "pixel-shuffle";
    /// Channels of zeros before and after.
    PadChannels "pad-channels";
    /// `[channels, height, width]` to `[channels · height · width]`.
    Flatten "flatten";
    /// Drops values at random in training.
    Dropout "dropout";
    /// 1-d convolution.
    Conv1d "conv1d";
    /// 1-d max-pooling.
    MaxPool1d "max-pool1d";
    /// A vector for each number of a word.
    Embedding "embedding";
    /// A vector for each place of a sequence.
    Positions "positions";
    /// The columns of an image as the steps of a sequence.
    Columns "columns";
    /// `[a, b]` to `[b, a]`.
    Transpose "transpose";
    /// One vector of a sequence.
    PoolSteps "pool-steps";
    /// Gated recurrent unit.
    Gru "gru";
    /// Long short-term memory.
    Lstm "lstm";
    /// Multi-head self-attention.
    Attention "attention";
    /// A parameter or buffer of a program.
    Held "held";
    /// A program as a whole.
    TorchScript "torchscript";
}

/// The pattern of all activations: functions of each value, without parameters. An arm of its own
/// wherever it stands: clippy wants alternatives flat, which a macro's are not.
macro_rules! any_activation {
    () => {
        $crate::network::Op::Relu(_)
            | $crate::network::Op::Relu6(_)
            | $crate::network::Op::LeakyRelu(_)
            | $crate::network::Op::Gelu(_)
            | $crate::network::Op::Sigmoid(_)
            | $crate::network::Op::Tanh(_)
            | $crate::network::Op::Silu(_)
            | $crate::network::Op::HardSwish(_)
            | $crate::network::Op::HardSigmoid(_)
    };
}
pub(super) use any_activation;

impl Op {
    /// Rows and columns of its weight as a matrix, `[outputs, inputs · kernel]`, where that is one linear map of
    /// what the layer reads: that of a linear layer and of an ungrouped convolution.
    pub fn weight_matrix(&self) -> Option<[u32; 2]> {
        match self {
            Self::Linear(linear) => Some([linear.outputs, linear.inputs]),
            Self::Conv2d(conv) if conv.groups == 1 => {
                Some([conv.outputs, conv.inputs * conv.kernel * conv.kernel])
            }
            Self::Conv1d(conv) => Some([conv.outputs, conv.inputs * conv.kernel]),
            _ => None,
        }
    }

    /// Output features or channels of a linear layer or a convolution.
    pub fn outputs(&self) -> Option<u32> {
        match self {
            Self::Linear(linear) => Some(linear.outputs),
            Self::Conv2d(conv) => Some(conv.outputs),
            Self::ConvTranspose2d(conv) => Some(conv.outputs),
            Self::Conv1d(conv) => Some(conv.outputs),
            _ => None,
        }
    }

    /// Its parameters and buffers, in torchvision's order.
    pub fn params(&self) -> Vec<Param> {
        match self {
            Self::Conv2d(conv) => conv.params(),
            Self::ConvTranspose2d(conv) => conv.params(),
            Self::Linear(linear) => linear.params(),
            Self::BatchNorm(norm) => norm.params(),
            Self::LayerNorm(norm) => norm.params(),
            Self::Conv1d(conv) => conv.params(),
            Self::Embedding(embedding) => embedding.params(),
            Self::Positions(positions) => positions.params(),
            Self::Gru(gru) => gru.params(),
            Self::Lstm(lstm) => lstm.params(),
            Self::Attention(attention) => attention.params(),
            Self::Held(held) => held.params(),
            any_activation!() => Vec::new(),
            Self::Input(_)
            | Self::Softmax(_)
            | Self::MaxPool2d(_)
            | Self::AvgPool2d(_)
            | Self::AdaptiveAvgPool2d(_)
            | Self::Upsample2d(_)
            | Self::Add(_)
            | Self::Mul(_)
            | Self::Concat(_)
            | Self::Slice(_)
            | Self::ChannelShuffle(_)
            | Self::PixelShuffle(_)
            | Self::PadChannels(_)
            | Self::Flatten(_)
            | Self::Dropout(_)
            | Self::MaxPool1d(_)
            | Self::Columns(_)
            | Self::Transpose(_)
            | Self::PoolSteps(_)
            | Self::TorchScript(_) => Vec::new(),
        }
    }

    /// Whether it is a function of each value, without parameters.
    pub fn is_activation(&self) -> bool {
        matches!(self, any_activation!())
    }

    /// Whether it is an activation that puts out zero for zero.
    pub fn keeps_zero(&self) -> bool {
        self.is_activation() && !matches!(self, Self::Sigmoid(_) | Self::HardSigmoid(_))
    }

    /// The shape of its output.
    ///
    /// # Errors
    /// A clause that says why the inputs do not fit.
    pub fn output(&self, inputs: &[&[u32]]) -> Result<Shape, String> {
        let output = match (self, inputs) {
            (Self::Input(input), []) => Ok(input.shape.clone()),
            (Self::Held(held), []) => Ok(held.shape.clone()),
            (Self::TorchScript(program), _) => Ok(program.output.clone()),
            (Self::Add(_), _) => Add::output(inputs),
            (Self::Mul(_), _) => Mul::output(inputs),
            (Self::Concat(concat), _) => concat.output(inputs),
            (Self::PoolSteps(_), _) => PoolSteps::output(inputs),
            (Self::Attention(attention), _) => attention.output(inputs),
            (_, [input]) => self.output_of_one(input),
            _ => Err(format!("it reads one node, not {}", inputs.len())),
        }?;
        // Every later product of extents is in range then.
        let values = output.iter().try_fold(1, |all: u32, &extent| all.checked_mul(extent));
        match values {
            Some(_) => Ok(output),
            None => Err("it would put out more than 4 billion values".to_owned()),
        }
    }

    fn output_of_one(&self, input: &[u32]) -> Result<Shape, String> {
        match self {
            Self::Conv2d(conv) => conv.output(input),
            Self::ConvTranspose2d(conv) => conv.output(input),
            Self::Linear(linear) => linear.output(input),
            Self::BatchNorm(norm) => norm.output(input),
            Self::LayerNorm(norm) => norm.output(input),
            Self::Softmax(softmax) => softmax.output(input),
            Self::MaxPool2d(pool) => pool.output(input),
            Self::AvgPool2d(pool) => pool.output(input),
            Self::AdaptiveAvgPool2d(pool) => pool.output(input),
            Self::Upsample2d(upsample) => upsample.output(input),
            Self::Slice(slice) => slice.output(input),
            Self::ChannelShuffle(shuffle) => shuffle.output(input),
            Self::PixelShuffle(shuffle) => shuffle.output(input),
            Self::PadChannels(pad) => pad.output(input),
            Self::Conv1d(conv) => conv.output(input),
            Self::MaxPool1d(pool) => pool.output(input),
            Self::Embedding(embedding) => embedding.output(input),
            Self::Positions(positions) => positions.output(input),
            Self::Columns(_) => Columns::output(input),
            Self::Transpose(_) => Transpose::output(input),
            Self::Gru(gru) => gru.output(input),
            Self::Lstm(lstm) => lstm.output(input),
            Self::Flatten(_) => Ok(vec![input.iter().product()]),
            any_activation!() => Ok(input.to_vec()),
            Self::Dropout(_) => Ok(input.to_vec()),
            Self::Input(_)
            | Self::Add(_)
            | Self::Mul(_)
            | Self::Concat(_)
            | Self::PoolSteps(_)
            | Self::Attention(_)
            | Self::Held(_)
            | Self::TorchScript(_) => Err("it reads one node".to_owned()),
        }
    }

    /// Multiply-accumulates for one example in convolutions and linear layers; zero for all others.
    pub fn macs(&self, inputs: &[&[u32]], output: &[u32]) -> u64 {
        match (self, inputs) {
            (Self::Conv2d(conv), _) => conv.macs(output),
            (Self::ConvTranspose2d(conv), [input]) => conv.macs(input),
            (Self::Linear(linear), _) => count(output) * u64::from(linear.inputs),
            (Self::Conv1d(conv), _) => conv.macs(output),
            _ => 0,
        }
    }

    /// Operations for one example in evaluation that are no multiply-accumulates of [`Op::macs`]: one for
    /// each value that is computed, in pooling one for each value of each window. What only moves values
    /// costs nothing.
    pub fn other_operations(&self, inputs: &[&[u32]], output: &[u32]) -> u64 {
        let window = |kernel: u32| count(output) * u64::from(kernel).pow(2);
        match self {
            Self::MaxPool2d(pool) => window(pool.kernel),
            Self::AvgPool2d(pool) => window(pool.kernel),
            Self::AdaptiveAvgPool2d(_) => inputs.iter().map(|input| count(input)).sum(),
            Self::Upsample2d(upsample) => match upsample.mode {
                Interpolation::Nearest => 0,
                Interpolation::Bilinear => 4 * count(output),
            },
            Self::Add(_) => count(output) * (inputs.len() as u64 - 1),
            Self::MaxPool1d(pool) => count(output) * u64::from(pool.kernel),
            Self::PoolSteps(pool) => match pool.how {
                StepPooling::Last => 0,
                StepPooling::Mean | StepPooling::Max => {
                    inputs.first().map_or(0, |input| count(input))
                }
            },
            Self::Gru(gru) => gru.operations(output),
            Self::Lstm(lstm) => lstm.operations(output),
            Self::Attention(attention) => attention.operations(output),
            Self::BatchNorm(_)
            | Self::LayerNorm(_)
            | Self::Softmax(_)
            | Self::Positions(_)
            | Self::Mul(_) => count(output),
            any_activation!() => count(output),
            Self::Input(_)
            | Self::Conv2d(_)
            | Self::ConvTranspose2d(_)
            | Self::Linear(_)
            | Self::Concat(_)
            | Self::Slice(_)
            | Self::ChannelShuffle(_)
            | Self::PixelShuffle(_)
            | Self::PadChannels(_)
            | Self::Flatten(_)
            | Self::Dropout(_)
            | Self::Conv1d(_)
            | Self::Embedding(_)
            | Self::Columns(_)
            | Self::Transpose(_)
            | Self::Held(_)
            | Self::TorchScript(_) => 0,
        }
    }
}

/// Number of values of a shape.
fn count(shape: &[u32]) -> u64 {
    shape.iter().map(|&extent| u64::from(extent)).product()
}

/// The extents of an image.
fn image(input: &[u32]) -> Result<[u32; 3], String> {
    input.try_into().map_err(|_| "it takes channels, height and width".to_owned())
}

/// The axis as an index, if a shape has it.
fn has_axis(input: &[u32], axis: u32) -> Result<usize, String> {
    let index = axis as usize;
    if index < input.len() {
        return Ok(index);
    }
    Err(format!("there is no axis {axis}; the axes are 0..{}", input.len()))
}

/// Whether channels can be convolved in groups.
fn divide(groups: u32, inputs: u32, outputs: u32) -> Result<(), String> {
    if groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups) {
        return Ok(());
    }
    Err(format!("{inputs} channels in and {outputs} out cannot be divided into {groups} groups"))
}

/// Output extents of a window that slides over an image, if it fits.
fn window_extents<const N: usize>(
    extents: [u32; N],
    kernel: u32,
    stride: u32,
    padding: u32,
    dilation: u32,
) -> Option<[u32; N]> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return None;
    }
    let reach = u64::from(dilation) * u64::from(kernel - 1) + 1;
    let mut slid = [0; N];
    for (slid, extent) in slid.iter_mut().zip(extents) {
        let rest = (u64::from(extent) + 2 * u64::from(padding)).checked_sub(reach)?;
        *slid = u32::try_from(rest / u64::from(stride) + 1).ok()?;
    }
    Some(slid)
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
        check(Linear::new(4, 2), &[7, 4], Ok(&[7, 2]));
        check(LayerNorm::new(4), &[7, 4], Ok(&[7, 4]));
        check(Softmax { axis: 1 }, &[7, 4], Ok(&[7, 4]));
        check(AvgPool2d { kernel: 3, stride: 1, padding: 1 }, &[6, 7, 8], Ok(&[6, 7, 8]));
        check(AdaptiveAvgPool2d { height: 7, width: 6 }, &[6, 2, 9], Ok(&[6, 7, 6]));
        check(
            Upsample2d { height: 5, width: 9, mode: Interpolation::Bilinear },
            &[6, 2, 3],
            Ok(&[6, 5, 9]),
        );
        let transposed = ConvTranspose2d { stride: 2, ..ConvTranspose2d::new(3, 8, 4) };
        check(transposed.clone(), &[3, 5, 6], Ok(&[8, 12, 14]));
        check(ConvTranspose2d { padding: 1, ..transposed.clone() }, &[3, 5, 6], Ok(&[8, 10, 12]));
        let padded = ConvTranspose2d { padding: 1, output_padding: 1, ..transposed };
        check(padded, &[3, 5, 6], Ok(&[8, 11, 13]));
        check(Slice { axis: 0, from: 1, to: 3 }, &[4, 5, 5], Ok(&[2, 5, 5]));
        check(ChannelShuffle { groups: 2 }, &[6, 5, 5], Ok(&[6, 5, 5]));
        check(PixelShuffle { factor: 2 }, &[12, 5, 4], Ok(&[3, 10, 8]));
        check(PadChannels { before: 1, after: 2 }, &[6, 5, 5], Ok(&[9, 5, 5]));
        check(Dropout { p: 0.1 }, &[3, 5], Ok(&[3, 5]));
        check(Flatten {}, &[3, 5, 2], Ok(&[30]));
    }

    #[test]
    fn output_shapes_of_sequences_are_pytorchs() {
        check(Conv1d::new(3, 8, 5), &[3, 32], Ok(&[8, 28]));
        check(Conv1d { stride: 4, padding: 2, ..Conv1d::new(1, 2, 5) }, &[1, 33], Ok(&[2, 9]));
        check(MaxPool1d::new(4), &[8, 31], Ok(&[8, 7]));
        check(Embedding { rows: 9, features: 4 }, &[7], Ok(&[7, 4]));
        check(Positions { steps: 7, features: 4 }, &[7, 4], Ok(&[7, 4]));
        check(Columns {}, &[2, 40, 101], Ok(&[101, 80]));
        check(Transpose {}, &[7, 4], Ok(&[4, 7]));
        check(PoolSteps { how: StepPooling::Max }, &[7, 4], Ok(&[4]));
        let gru = Gru { inputs: 4, hidden: 5, layers: 2, bidirectional: true };
        check(gru, &[7, 4], Ok(&[7, 10]));
        let lstm = Lstm { inputs: 4, hidden: 5, layers: 1, bidirectional: false };
        check(lstm, &[7, 4], Ok(&[7, 5]));
        check(Attention::new(4, 2), &[7, 4], Ok(&[7, 4]));
        let mean = Op::from(PoolSteps { how: StepPooling::Mean });
        assert_eq!(mean.output(&[&[7, 4], &[7]]), Ok(vec![4]));
    }

    #[test]
    fn sequences_that_do_not_fit_are_told_why() {
        check(Conv1d::new(3, 8, 5), &[3, 4], Err("its kernel of 5 does not fit"));
        check(Conv1d::new(3, 8, 5), &[2, 9], Err("it takes 3 channels"));
        check(Conv1d::new(3, 8, 5), &[3], Err("it takes channels and a length"));
        check(MaxPool1d::new(9), &[3, 8], Err("its window of 9 does not fit"));
        let words = "it takes the numbers of words in a row";
        check(Embedding { rows: 9, features: 4 }, &[1, 28, 28], Err(words));
        let positions = Positions { steps: 7, features: 4 };
        check(positions, &[6, 4], Err("it takes 7 steps of 4 features"));
        check(Columns {}, &[5000], Err("it takes channels, height and width"));
        check(Transpose {}, &[5000], Err("it takes steps and features"));
        let gru = |layers| Gru { inputs: 4, hidden: 5, layers, bidirectional: false };
        check(gru(1), &[7, 3], Err("it takes 4 features a step"));
        check(gru(5), &[7, 4], Err("it has 1 to 4 layers, not 5"));
        let three = Attention::new(4, 3);
        check(three, &[7, 4], Err("4 features cannot be shared out to 3 heads"));
        let mean = Op::from(PoolSteps { how: StepPooling::Mean });
        let error = "the second node that it reads must be the numbers of 7 words";
        assert_eq!(mean.output(&[&[7, 4], &[6]]), Err(error.to_owned()));
    }

    /// Python: `{name: tuple(p.shape) for name, p in torch.nn.GRU(4, 5, 2, bidirectional=True).named_parameters()}`.
    #[test]
    fn a_recurrent_layer_has_pytorchs_parameters() {
        let gru = Gru { inputs: 4, hidden: 5, layers: 2, bidirectional: true };
        let params = gru.params();
        let params: Vec<(&str, &[u32])> =
            params.iter().map(|param| (param.name, param.shape.as_slice())).collect();
        let expected: [(&str, &[u32]); 16] = [
            ("weight_ih_l0", &[15, 4]),
            ("weight_hh_l0", &[15, 5]),
            ("bias_ih_l0", &[15]),
            ("bias_hh_l0", &[15]),
            ("weight_ih_l0_reverse", &[15, 4]),
            ("weight_hh_l0_reverse", &[15, 5]),
            ("bias_ih_l0_reverse", &[15]),
            ("bias_hh_l0_reverse", &[15]),
            ("weight_ih_l1", &[15, 10]),
            ("weight_hh_l1", &[15, 5]),
            ("bias_ih_l1", &[15]),
            ("bias_hh_l1", &[15]),
            ("weight_ih_l1_reverse", &[15, 10]),
            ("weight_hh_l1_reverse", &[15, 5]),
            ("bias_ih_l1_reverse", &[15]),
            ("bias_hh_l1_reverse", &[15]),
        ];
        assert_eq!(params, expected);
        let lstm = Lstm { inputs: 4, hidden: 5, layers: 1, bidirectional: false };
        assert_eq!(lstm.params()[0].shape, [20, 4]);
        // Each of 7 steps reads 4 inputs and 5 units, for 5 units of 4 gates.
        assert_eq!(Op::from(lstm).other_operations(&[&[7, 4]], &[7, 5]), 7 * 20 * 9);
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
        check(Linear::new(4, 2), &[], Err("it takes 4 features"));
        check(LayerNorm::new(4), &[4, 5], Err("it takes 4 features"));
        check(Softmax { axis: 2 }, &[4, 5], Err("there is no axis 2; the axes are 0..2"));
        check(
            Slice { axis: 0, from: 3, to: 5 },
            &[4],
            Err("3..5 is no part of 4 values along axis 0"),
        );
        check(ChannelShuffle { groups: 4 }, &[6, 1, 1], Err("6 channels are not 4 equal runs"));
        check(PixelShuffle { factor: 2 }, &[6, 1, 1], Err("6 channels are not runs of 4"));
        check(PixelShuffle { factor: 2 }, &[4], Err("it takes channels of images"));
        check(
            Conv2d { groups: 2, ..Conv2d::new(3, 8, 5) },
            &[3, 9, 9],
            Err("3 channels in and 8 out cannot be divided into 2 groups"),
        );
        check(
            MaxPool2d { kernel: 2, stride: 2, padding: 2 },
            &[3, 9, 9],
            Err("its padding of 2 is more than half of its 2×2 window"),
        );
        check(
            ConvTranspose2d { output_padding: 2, ..ConvTranspose2d::new(3, 8, 2) },
            &[3, 9, 9],
            Err("its output padding of 2 is not below its stride of 2"),
        );
        check(
            Upsample2d { height: 70_000, width: 70_000, mode: Interpolation::Nearest },
            &[3, 9, 9],
            Err("it would put out more than 4 billion values"),
        );
        check(BatchNorm::new(3), &[4, 2, 2], Err("it takes 3 channels"));
        assert_eq!(Op::from(Relu {}).output(&[]), Err("it reads one node, not 0".to_owned()));
    }

    #[track_caller]
    fn joins(op: impl Into<Op>, inputs: &[&[u32]], expected: Result<&[u32], &str>) {
        let output = op.into().output(inputs);
        assert_eq!(output.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn nodes_are_joined_where_their_shapes_fit() {
        joins(Add {}, &[&[3, 4, 4], &[3, 4, 4], &[3, 4, 4]], Ok(&[3, 4, 4]));
        joins(Add {}, &[&[3, 4, 4], &[4, 4, 4]], Err("3×4×4 and 4×4×4 cannot be added"));
        joins(Add {}, &[&[3, 4, 4]], Err("it reads at least two nodes, not 1"));
        joins(Mul {}, &[&[3, 4, 4], &[3, 1, 1]], Ok(&[3, 4, 4]));
        joins(Mul {}, &[&[3, 4, 4], &[1, 4, 4]], Ok(&[3, 4, 4]));
        joins(Mul {}, &[&[3, 4, 4], &[3]], Err("3 is no gate for 3×4×4"));
        joins(Mul {}, &[&[3, 1, 1], &[3, 4, 4]], Err("3×4×4 is no gate for 3×1×1"));
        joins(Concat { axis: 0 }, &[&[3, 4, 4], &[5, 4, 4]], Ok(&[8, 4, 4]));
        joins(Concat { axis: 2 }, &[&[3, 4, 4], &[3, 4, 1]], Ok(&[3, 4, 5]));
        let error = "3×4×4 and 3×4 cannot be joined along axis 0";
        joins(Concat { axis: 0 }, &[&[3, 4, 4], &[3, 4]], Err(error));
    }

    #[test]
    fn multiply_accumulates_are_counted_apart_from_other_operations() {
        #[track_caller]
        fn counts(op: impl Into<Op>, inputs: &[&[u32]], expected: (u64, u64)) {
            let op = op.into();
            let output = op.output(inputs).unwrap();
            assert_eq!((op.macs(inputs, &output), op.other_operations(inputs, &output)), expected);
        }
        counts(Linear::new(4, 2), &[&[7, 4]], (56, 0));
        // Each of 3×5×6 inputs is multiplied with an 8×4×4 window.
        let transposed = ConvTranspose2d { stride: 2, ..ConvTranspose2d::new(3, 8, 4) };
        counts(transposed, &[&[3, 5, 6]], (90 * 128, 0));
        counts(MaxPool2d::new(2), &[&[3, 4, 4]], (0, 48));
        counts(AdaptiveAvgPool2d::global(), &[&[3, 4, 4]], (0, 48));
        counts(BatchNorm::new(3), &[&[3, 4, 4]], (0, 48));
        counts(Add {}, &[&[3, 4], &[3, 4], &[3, 4]], (0, 24));
        counts(ChannelShuffle { groups: 3 }, &[&[3, 4, 4]], (0, 0));
        counts(PixelShuffle { factor: 2 }, &[&[8, 4, 4]], (0, 0));
    }

    #[test]
    fn a_grouped_convolution_reads_its_groups_channels() {
        let conv = Conv2d { groups: 2, bias: false, ..Conv2d::new(4, 6, 3) };
        let params = conv.params();
        assert_eq!(params.len(), 1);
        assert_eq!(params[0].shape, [6, 2, 3, 3]);
        assert_eq!(params[0].init, Init::fan_in(18));
        // 6 outputs of 5×5 places, each 2 channels of 3×3.
        assert_eq!(Op::from(conv).macs(&[&[4, 7, 7]], &[6, 5, 5]), 6 * 25 * 18);
    }
}
