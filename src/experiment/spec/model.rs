//! Architectures by name. `network/zoo/` builds each as a graph.

use std::num::NonZeroU32;

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
    /// AlexNet in torchvision's form (Krizhevsky 2014): 61 M parameters; images of 63×63 or more.
    Alexnet(Alexnet),
    /// VGG with 11 layers with weights (Simonyan and Zisserman 2014): 133 M parameters; images of 32×32 or more.
    Vgg11(Vgg),
    /// VGG with 13 layers with weights: 133 M parameters; images of 32×32 or more.
    Vgg13(Vgg),
    /// VGG with 16 layers with weights: 138 M parameters; images of 32×32 or more.
    Vgg16(Vgg),
    /// VGG with 19 layers with weights: 144 M parameters; images of 32×32 or more.
    Vgg19(Vgg),
    /// ResNet-18 for large images (He et al. 2015): 11.7 M parameters.
    Resnet18(Resnet),
    /// ResNet-34 for large images: 21.8 M parameters.
    Resnet34(Resnet),
    /// ResNet-50 for large images, with bottlenecks: 25.6 M parameters.
    Resnet50(Resnet),
    /// ResNet-18 for small images: begins with a 3×3 convolution without stride, and no pooling.
    Resnet18Cifar(Resnet),
    /// ResNet-20 for small images (He et al. 2015, section 4.2): 0.27 M parameters.
    Resnet20(Resnet),
    /// ResNet-32 for small images: 0.46 M parameters.
    Resnet32(Resnet),
    /// ResNet-56 for small images: 0.85 M parameters.
    Resnet56(Resnet),
    /// DenseNet-121 for large images (Huang et al. 2016): 8.0 M parameters.
    Densenet121(Densenet),
    /// DenseNet-BC for small images with 40 layers and a growth of 12 channels: 0.18 M parameters.
    #[serde(rename = "densenet-bc-40-12")]
    DensenetBc40Growth12(Densenet),
    /// MobileNetV2 (Sandler et al. 2018): 3.5 M parameters.
    MobilenetV2(MobilenetV2),
    /// ShuffleNetV2 (Ma et al. 2018): 2.3 M parameters.
    ShufflenetV2(ShufflenetV2),
    /// A network of your own, layer by layer; each layer reads the one before it.
    #[schemars(with = "Layers")]
    Layers(Vec<Layer>),
    /// The mean of the vectors of a text's words, and a linear layer.
    TextMean(TextMean),
    /// Convolutions over the vectors of a text's words, and the greatest of each (Kim 2014).
    TextCnn(TextCnn),
    /// A gated recurrent unit over the words of a text, or over the columns of an image or log-mel.
    Gru(Recurrent),
    /// A long short-term memory over the words of a text, or over the columns of an image or log-mel.
    Lstm(Recurrent),
    /// 3×3 convolutions with batch normalisation over log-mel, and the mean over time.
    AudioCnn(AudioCnn),
    /// Convolutions with batch normalisation over the samples of a recording (Dai et al. 2017).
    #[serde(rename = "audio-cnn-1d")]
    AudioCnn1d(AudioCnn1d),
    /// A transformer encoder over the words of a text, or over the columns of an image or log-mel.
    TransformerEncoder(TransformerEncoder),
    /// U-Net for segmentation (Ronneberger et al. 2015): 31.0 M parameters; images of 16×16 or more.
    Unet(Unet),
    /// FCN-32s for segmentation (Long et al. 2015): VGG-16 as convolutions, 134 M parameters; images of 32×32 or more.
    Fcn32s(Fcn),
    /// FCN-16s: FCN-32s with the scores of one finer layer added.
    Fcn16s(Fcn),
    /// FCN-8s: FCN-32s with the scores of two finer layers added.
    Fcn8s(Fcn),
    /// FCN on a dilated ResNet-50 for segmentation, as torchvision has it: 33.0 M parameters.
    FcnResnet50(FcnResnet50),
}

/// The layers of a network, in order.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Layers(
    #[expect(dead_code, reason = "it is there for its schema")]
    #[schemars(length(min = 1))]
    Vec<Layer>,
);

/// What of the steps of a sequence is taken, feature by feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepPooling {
    /// The mean.
    #[default]
    Mean,
    /// The greatest.
    Max,
    /// The last step.
    Last,
}

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

/// Settings of `alexnet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Alexnet {
    /// Probability that an input of a fully connected hidden layer is dropped in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for Alexnet {
    fn default() -> Self {
        Self { dropout: 0.5 }
    }
}

/// Settings of `vgg11`, `vgg13`, `vgg16` and `vgg19`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Vgg {
    /// Batch normalisation after each convolution: torchvision's `vgg11_bn` and so on.
    pub batch_norm: bool,
    /// Probability that a unit of a fully connected hidden layer is dropped in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for Vgg {
    fn default() -> Self {
        Self { batch_norm: false, dropout: 0.5 }
    }
}

/// Settings of the ResNets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Resnet {
    /// Scales the channels of each block by a gate that sees all of them (squeeze-and-excitation, Hu et
    /// al. 2017); its hidden layer has this many times fewer channels. The paper has 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub squeeze_excitation: Option<NonZeroU32>,
    /// Blocks add nothing at first: the scale of their last batch normalisation starts at 0 (Goyal et al. 2017).
    pub zero_init_residual: bool,
}

/// Settings of the DenseNets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Densenet {
    /// Probability that a value which a dense layer adds is dropped in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

/// Settings of `mobilenet-v2`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MobilenetV2 {
    /// Factor of all numbers of channels, which are rounded to multiples of 8.
    #[schemars(range(min = 0.05, max = 8.0))]
    pub width: f64,
    /// Probability that an input of the last layer is dropped in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for MobilenetV2 {
    fn default() -> Self {
        Self { width: 1.0, dropout: 0.2 }
    }
}

/// Settings of `shufflenet-v2`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ShufflenetV2 {
    /// Which of the paper's four widths.
    pub width: ShuffleWidth,
}

/// Widths of `shufflenet-v2`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ShuffleWidth {
    /// 48 to 1,024 channels, 1.4 M parameters.
    #[serde(rename = "x0.5")]
    Half,
    /// 116 to 1,024 channels, 2.3 M parameters.
    #[default]
    #[serde(rename = "x1.0")]
    One,
    /// 176 to 1,024 channels, 3.5 M parameters.
    #[serde(rename = "x1.5")]
    OneAndAHalf,
    /// 244 to 2,048 channels, 7.4 M parameters.
    #[serde(rename = "x2.0")]
    Two,
}

/// Settings of `text-mean`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TextMean {
    /// Values of a word's vector.
    #[schemars(range(min = 1, max = 4096))]
    pub embedding: u32,
    /// Probability that a value is dropped behind the mean in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for TextMean {
    fn default() -> Self {
        Self { embedding: 100, dropout: 0.0 }
    }
}

/// Settings of `text-cnn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TextCnn {
    /// Values of a word's vector.
    #[schemars(range(min = 1, max = 4096))]
    pub embedding: u32,
    /// Words that each kind of convolution looks at.
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 64)))]
    pub kernels: Vec<u32>,
    /// Filters of each kind.
    #[schemars(range(min = 1, max = 4096))]
    pub filters: u32,
    /// Probability that a value is dropped before the last layer in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for TextCnn {
    fn default() -> Self {
        Self { embedding: 100, kernels: vec![3, 4, 5], filters: 100, dropout: 0.5 }
    }
}

/// Settings of `gru` and `lstm`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Recurrent {
    /// Units of each layer and direction.
    #[schemars(range(min = 1, max = 4096))]
    pub hidden: u32,
    /// Layers, each reading the one before.
    #[schemars(range(min = 1, max = 4))]
    pub layers: u32,
    /// Whether each layer also reads from the end.
    pub bidirectional: bool,
    /// What of the steps' outputs goes to the last layer. Padding of a text does not count; the silence behind a
    /// recording does.
    pub pool: StepPooling,
    /// Values of a word's vector, where the examples are texts.
    #[schemars(range(min = 1, max = 4096))]
    pub embedding: u32,
    /// Probability that a value is dropped before the last layer in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for Recurrent {
    fn default() -> Self {
        Self {
            hidden: 128,
            layers: 1,
            bidirectional: false,
            pool: StepPooling::Mean,
            embedding: 100,
            dropout: 0.0,
        }
    }
}

/// Settings of `audio-cnn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AudioCnn {
    /// Channels of each convolution; each is followed by max-pooling.
    #[schemars(length(min = 1, max = 8), inner(range(min = 1, max = 4096)))]
    pub channels: Vec<u32>,
    /// Probability that a value is dropped before the last layer in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for AudioCnn {
    fn default() -> Self {
        Self { channels: vec![16, 32, 64], dropout: 0.0 }
    }
}

/// Settings of `audio-cnn-1d`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AudioCnn1d {
    /// Channels of each convolution, the first of 80 samples in steps of 4, the others of 3; each is followed by
    /// max-pooling over 4.
    #[schemars(length(min = 1, max = 8), inner(range(min = 1, max = 4096)))]
    pub channels: Vec<u32>,
    /// Probability that a value is dropped before the last layer in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for AudioCnn1d {
    fn default() -> Self {
        Self { channels: vec![32, 32, 64, 128], dropout: 0.0 }
    }
}

/// Settings of `transformer-encoder`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TransformerEncoder {
    /// Features of a step; a multiple of `heads`.
    #[schemars(range(min = 1, max = 4096))]
    pub features: u32,
    /// Heads of an attention.
    #[schemars(range(min = 1, max = 64))]
    pub heads: u32,
    /// Layers.
    #[schemars(range(min = 1, max = 24))]
    pub layers: u32,
    /// Units of the hidden linear layer.
    #[schemars(range(min = 1, max = 16384))]
    pub feed_forward: u32,
    /// Probability that a value is dropped behind the positions, each attention and each linear part in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for TransformerEncoder {
    fn default() -> Self {
        Self { features: 64, heads: 4, layers: 2, feed_forward: 128, dropout: 0.1 }
    }
}

/// Settings of `unet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Unet {
    /// Channels of the first level; each next level has twice as many.
    #[schemars(range(min = 1, max = 1024))]
    pub channels: u32,
    /// How often the images are halved; they need 2 to this power pixels each way.
    #[schemars(range(min = 1, max = 8))]
    pub depth: u32,
    /// Batch normalisation after each 3×3 convolution, which the paper does not have.
    pub batch_norm: bool,
    /// How the images grow again.
    pub upsample: UnetUpsampling,
}

impl Default for Unet {
    fn default() -> Self {
        Self { channels: 64, depth: 4, batch_norm: false, upsample: UnetUpsampling::Transposed }
    }
}

/// How the images of `unet` grow again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnetUpsampling {
    /// A 2×2 transposed convolution.
    #[default]
    Transposed,
    /// Bilinear interpolation and a 3×3 convolution.
    Bilinear,
}

/// Settings of `fcn32s`, `fcn16s` and `fcn8s`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Fcn {
    /// Channels of the first run of convolutions; the others have 2, 4, 8 and 8 times as many.
    #[schemars(range(min = 1, max = 1024))]
    pub channels: u32,
    /// Channels of the two convolutions that stand for VGG's fully connected layers.
    #[schemars(range(min = 1, max = 65_536))]
    pub hidden: u32,
    /// Pixels that the first of these looks at on each side: 3 is a kernel of 7×7, as VGG's layer has.
    #[schemars(range(max = 16))]
    pub reach: u32,
    /// Batch normalisation after each convolution of VGG's.
    pub batch_norm: bool,
    /// Probability that a value behind the two hidden convolutions is dropped in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for Fcn {
    fn default() -> Self {
        Self { channels: 64, hidden: 4096, reach: 3, batch_norm: false, dropout: 0.5 }
    }
}

/// Settings of `fcn-resnet50`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct FcnResnet50 {
    /// Probability that a value before the last layer is dropped in training, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for FcnResnet50 {
    fn default() -> Self {
        Self { dropout: 0.1 }
    }
}
