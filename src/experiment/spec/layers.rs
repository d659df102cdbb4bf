//! A network that is written layer by layer: `model.layers = [{ conv2d = { channels = 8, kernel = 3 } }, …]`.
//!
//! Only what a layer puts out is stated; what it takes follows from the layer before it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::StepPooling;

/// One layer of a network, or several that branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// 2-d convolution.
    Conv2d(Conv2d),
    /// 2-d convolution of each channel by itself.
    DepthwiseConv2d(DepthwiseConv2d),
    /// 2-d transposed convolution, which enlarges an image.
    ConvTranspose2d(ConvTranspose2d),
    /// Fully connected layer, over the last axis.
    Linear(Linear),
    /// Fully connected layer with an output for each class of the data; or a 1×1 convolution, for each pixel.
    Classifier(Classifier),
    /// Batch normalisation over channels or features.
    BatchNorm(BatchNorm),
    /// Layer normalisation over the last axis.
    LayerNorm(LayerNorm),
    /// `max(x, 0)`.
    Relu(Plain),
    /// `min(max(x, 0), 6)`.
    Relu6(Plain),
    /// `x` where positive, a fraction of `x` elsewhere.
    LeakyRelu(LeakyRelu),
    /// `x · Φ(x)`.
    Gelu(Plain),
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid(Plain),
    /// Hyperbolic tangent.
    Tanh(Plain),
    /// `x · sigmoid(x)`.
    Silu(Plain),
    /// `x · relu6(x + 3) / 6`.
    HardSwish(Plain),
    /// `relu6(x + 3) / 6`.
    HardSigmoid(Plain),
    /// `eˣ`, divided by its sum along an axis.
    Softmax(Softmax),
    /// Largest value of each window.
    MaxPool2d(Pool2d),
    /// Mean of each window.
    AvgPool2d(Pool2d),
    /// Means over a grid that covers the image; without settings one mean of each channel.
    AdaptiveAvgPool2d(AdaptiveAvgPool2d),
    /// Enlarges an image by a factor.
    Upsample2d(Upsample2d),
    /// Brings an image to a size.
    Resize2d(Resize2d),
    /// A run of channels, or of values along another axis.
    Slice(Slice),
    /// Deals the channels of equal runs out in turn.
    ChannelShuffle(ChannelShuffle),
    /// Lays runs of channels out as squares, so that the image grows (PyTorch's `PixelShuffle`).
    PixelShuffle(PixelShuffle),
    /// Channels of zeros before and after.
    PadChannels(PadChannels),
    /// All values in a row.
    Flatten(Plain),
    /// Drops values at random in training.
    Dropout(Dropout),
    /// A vector for each word of a text.
    Embedding(Embedding),
    /// Adds a vector for each place of a sequence, which is trained.
    Positions(Plain),
    /// The columns of an image or log-mel as the steps of a sequence.
    Columns(Plain),
    /// Exchanges steps and features of a sequence, or channels and length.
    Transpose(Plain),
    /// 1-d convolution, over channels and a length.
    #[serde(rename = "conv1d")]
    Conv1d(Conv1d),
    /// Largest value of each window of a length.
    #[serde(rename = "max-pool1d")]
    MaxPool1d(MaxPool1d),
    /// Gated recurrent unit over the steps of a sequence.
    Gru(RecurrentLayer),
    /// Long short-term memory over the steps of a sequence.
    Lstm(RecurrentLayer),
    /// Multi-head self-attention over the steps of a sequence; padding of a text is not looked at.
    Attention(Attention),
    /// One vector of all steps of a sequence; padding of a text does not count.
    PoolSteps(PoolSteps),
    /// The sum of some layers and a shortcut around them.
    Residual(Residual),
    /// Branches whose outputs are joined along an axis.
    Concat(Concat),
    /// Branches whose outputs are added or multiplied.
    Parallel(Parallel),
    /// Layers under one name, as often as wanted.
    Block(Block),
}

macro_rules! settings {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$of:meta])* $field:ident: $type:ty,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct $name {
            /// Name of the layer, as in parameter names and in patterns of `freeze`; if left out, the operation's with a number.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(
                regex(pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"),
                extend("patternErrorMessage" = "letters, digits, `_` and `-`, in parts between dots")
            )]
            pub name: Option<String>,
            $($(#[$of])* pub $field: $type,)*
        }
    )*};
}

settings! {
    /// Settings of a layer that has none but its name.
    Plain {}

    /// Settings of `conv2d`.
    Conv2d {
        /// Output channels.
        #[schemars(range(min = 1, max = 65_536))]
        channels: u32,
        /// Height and width of the kernel.
        #[schemars(range(min = 1, max = 4096))]
        kernel: u32,
        /// Step of the kernel.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 4096))]
        stride: u32,
        /// Zeros added on each side.
        #[serde(default)]
        #[schemars(range(max = 4096))]
        padding: u32,
        /// Distance between the kernel's points.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 4096))]
        dilation: u32,
        /// Groups of channels that are convolved apart.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 65_536))]
        groups: u32,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
    }

    /// Settings of `depthwise-conv2d`.
    DepthwiseConv2d {
        /// Output channels for each input channel.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 65_536))]
        multiplier: u32,
        /// Height and width of the kernel.
        #[schemars(range(min = 1, max = 4096))]
        kernel: u32,
        /// Step of the kernel.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 4096))]
        stride: u32,
        /// Zeros added on each side.
        #[serde(default)]
        #[schemars(range(max = 4096))]
        padding: u32,
        /// Distance between the kernel's points.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 4096))]
        dilation: u32,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
    }

    /// Settings of `conv-transpose2d`.
    ConvTranspose2d {
        /// Output channels.
        #[schemars(range(min = 1, max = 65_536))]
        channels: u32,
        /// Height and width of the kernel.
        #[schemars(range(min = 1, max = 4096))]
        kernel: u32,
        /// Step of the kernel in the output, by which the image grows; if left out, the kernel's size.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 4096))]
        stride: Option<u32>,
        /// Rows and columns that are cut off on each side of the output.
        #[serde(default)]
        #[schemars(range(max = 4096))]
        padding: u32,
        /// Rows and columns that are added at the output's end, below `stride`.
        #[serde(default)]
        #[schemars(range(max = 4096))]
        output_padding: u32,
        /// Groups of channels that are convolved apart.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 65_536))]
        groups: u32,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
    }

    /// Settings of `linear`.
    Linear {
        /// Output features.
        #[schemars(range(min = 1, max = 1_048_576))]
        features: u32,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
    }

    /// Settings of `classifier`.
    Classifier {
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
        /// Gives each pixel of an image its classes, by a 1×1 convolution: for segmentation.
        #[serde(default)]
        per_pixel: bool,
    }

    /// Settings of `batch-norm`.
    BatchNorm {
        /// Added to the variance.
        #[serde(default = "small")]
        #[schemars(range(min = 0.0))]
        epsilon: f64,
        /// Share of the new batch in the running statistics, in 0..=1.
        #[serde(default = "tenth")]
        #[schemars(range(min = 0.0, max = 1.0))]
        momentum: f64,
    }

    /// Settings of `layer-norm`.
    LayerNorm {
        /// Added to the variance.
        #[serde(default = "small")]
        #[schemars(range(min = 0.0))]
        epsilon: f64,
    }

    /// Settings of `leaky-relu`.
    LeakyRelu {
        /// Factor of negative values.
        #[serde(default = "hundredth")]
        #[schemars(range(min = 0.0))]
        slope: f64,
    }

    /// Settings of `softmax`.
    Softmax {
        /// The axis of one example, from 0: 0 is over channels.
        #[serde(default)]
        #[schemars(range(max = 15))]
        axis: u32,
    }

    /// Settings of `max-pool2d` and `avg-pool2d`.
    Pool2d {
        /// Height and width of the window.
        #[schemars(range(min = 1, max = 4096))]
        kernel: u32,
        /// Step of the window; if left out, its size.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 4096))]
        stride: Option<u32>,
        /// What is added on each side: nothing in a maximum, zeros in a mean.
        #[serde(default)]
        #[schemars(range(max = 2048))]
        padding: u32,
    }

    /// Settings of `adaptive-avg-pool2d`.
    AdaptiveAvgPool2d {
        /// Rows of the grid.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 4096))]
        height: u32,
        /// Columns of the grid.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 4096))]
        width: u32,
    }

    /// Settings of `upsample2d`.
    Upsample2d {
        /// By how much height and width grow.
        #[serde(default = "two")]
        #[schemars(range(min = 1, max = 4096))]
        factor: u32,
        /// Where a new pixel's value comes from.
        #[serde(default)]
        mode: Interpolation,
    }

    /// Settings of `resize2d`.
    Resize2d {
        /// Height of the output.
        #[schemars(range(min = 1, max = 4096))]
        height: u32,
        /// Width of the output.
        #[schemars(range(min = 1, max = 4096))]
        width: u32,
        /// Where a new pixel's value comes from.
        #[serde(default)]
        mode: Interpolation,
    }

    /// Settings of `slice`.
    Slice {
        /// The axis of one example, from 0: 0 takes channels.
        #[serde(default)]
        #[schemars(range(max = 15))]
        axis: u32,
        /// The first index that is taken.
        #[serde(default)]
        from: u32,
        /// The first index that is not taken any more.
        to: u32,
    }

    /// Settings of `channel-shuffle`.
    ChannelShuffle {
        /// Number of runs.
        #[schemars(range(min = 1, max = 65_536))]
        groups: u32,
    }

    /// Settings of `pixel-shuffle`.
    PixelShuffle {
        /// By how much height and width grow; as many channels as its square become one.
        #[schemars(range(min = 1, max = 256))]
        factor: u32,
    }

    /// Settings of `pad-channels`.
    PadChannels {
        /// Channels of zeros before the first.
        #[serde(default)]
        #[schemars(range(max = 65_536))]
        before: u32,
        /// Channels of zeros behind the last.
        #[serde(default)]
        #[schemars(range(max = 65_536))]
        after: u32,
    }

    /// Settings of `dropout`.
    Dropout {
        /// Probability of a drop, in 0..1.
        #[serde(default = "half")]
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
        p: f64,
    }

    /// Settings of `embedding`.
    Embedding {
        /// Values of a word's vector.
        #[schemars(range(min = 1, max = 4096))]
        features: u32,
    }

    /// Settings of `conv1d`.
    Conv1d {
        /// Output channels.
        #[schemars(range(min = 1, max = 65_536))]
        channels: u32,
        /// Length of the kernel.
        #[schemars(range(min = 1, max = 4096))]
        kernel: u32,
        /// Step of the kernel.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 4096))]
        stride: u32,
        /// Zeros added at each end.
        #[serde(default)]
        #[schemars(range(max = 4096))]
        padding: u32,
        /// Whether a bias is added.
        #[serde(default = "yes")]
        bias: bool,
    }

    /// Settings of `max-pool1d`.
    MaxPool1d {
        /// Length of the window.
        #[schemars(range(min = 1, max = 4096))]
        kernel: u32,
        /// Step of the window; if left out, its length.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 4096))]
        stride: Option<u32>,
    }

    /// Settings of `gru` and `lstm`.
    RecurrentLayer {
        /// Units of each layer and direction.
        #[schemars(range(min = 1, max = 4096))]
        hidden: u32,
        /// Layers, each reading the one before.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 4))]
        layers: u32,
        /// Whether each layer also reads from the end.
        #[serde(default)]
        bidirectional: bool,
    }

    /// Settings of `attention`.
    Attention {
        /// Heads, each with an equal part of the features.
        #[schemars(range(min = 1, max = 64))]
        heads: u32,
    }

    /// Settings of `pool-steps`.
    PoolSteps {
        /// What of the steps is taken, feature by feature.
        #[serde(default)]
        how: StepPooling,
    }

    /// Settings of `residual`: what the layers before it put out goes through `body` and through
    /// `shortcut`, and the results are added.
    Residual {
        /// The layers of the long way.
        #[schemars(length(min = 1))]
        body: Vec<Layer>,
        /// The layers of the short way; none lets the input pass.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shortcut: Vec<Layer>,
    }

    /// Settings of `concat`.
    Concat {
        /// Lists of layers that all read the layer before; an empty one lets the input pass.
        #[schemars(length(min = 2))]
        branches: Vec<Vec<Layer>>,
        /// The axis of one example, from 0: 0 joins channels.
        #[serde(default)]
        #[schemars(range(max = 15))]
        axis: u32,
    }

    /// Settings of `parallel`.
    Parallel {
        /// Lists of layers that all read the layer before; an empty one lets the input pass.
        #[schemars(length(min = 2))]
        branches: Vec<Vec<Layer>>,
        /// How their outputs become one.
        #[serde(default)]
        join: Join,
    }

    /// Settings of `block`.
    Block {
        /// The layers.
        #[schemars(length(min = 1))]
        layers: Vec<Layer>,
        /// How many times they follow each other, each time with parameters of their own.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 1000))]
        repeat: u32,
    }
}

/// Where a new pixel's value comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// From the pixel that it falls into.
    Nearest,
    /// From the four around it.
    #[default]
    Bilinear,
}

/// How the outputs of branches become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// They are added.
    #[default]
    Sum,
    /// The first is multiplied with the others, which may be gates: one value for a whole channel.
    Product,
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

fn yes() -> bool {
    true
}

fn half() -> f64 {
    0.5
}

fn tenth() -> f64 {
    0.1
}

fn hundredth() -> f64 {
    0.01
}

fn small() -> f64 {
    1e-5
}
