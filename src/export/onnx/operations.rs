//! Each operation of a network in the operators of ONNX.

use super::{Attribute, Op, Shape, Value, Writer, float, int, ints, text};
use crate::network::op::{
    AdaptiveAvgPool2d, AvgPool2d, ChannelShuffle, Conv2d, ConvTranspose2d, Interpolation,
    LayerNorm, Linear, MaxPool2d, PadChannels, Slice, Upsample2d,
};

impl Writer<'_> {
    /// Appends what an operation computes; gives the name of the value.
    pub(super) fn operation(
        &mut self,
        name: &str,
        op: &Op,
        inputs: &[Value<'_>],
        output: &Shape,
    ) -> String {
        let names: Vec<&str> = inputs.iter().map(|input| input.name).collect();
        let mut plain = |op_type: &str, attributes| self.node(op_type, name, &names, attributes);
        match op {
            Op::Input(_) => name.to_owned(),
            Op::Relu(_) => plain("Relu", Vec::new()),
            Op::LeakyRelu(leaky) => plain("LeakyRelu", vec![float("alpha", leaky.slope)]),
            Op::Sigmoid(_) => plain("Sigmoid", Vec::new()),
            Op::Tanh(_) => plain("Tanh", Vec::new()),
            Op::HardSwish(_) => plain("HardSwish", Vec::new()),
            Op::HardSigmoid(_) => {
                plain("HardSigmoid", vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)])
            }
            Op::Softmax(softmax) => plain("Softmax", vec![int("axis", softmax.axis + 1)]),
            Op::Add(_) => plain("Sum", Vec::new()),
            Op::Mul(_) => plain("Mul", Vec::new()),
            Op::Concat(concat) => plain("Concat", vec![int("axis", concat.axis + 1)]),
            Op::Flatten(_) => plain("Flatten", vec![int("axis", 1)]),
            Op::MaxPool2d(pool) => plain("MaxPool", max_pool2d(pool)),
            Op::AvgPool2d(pool) => plain("AveragePool", avg_pool2d(pool)),
            // In evaluation all passes.
            Op::Dropout(_) => names[0].to_owned(),
            Op::Held(_) | Op::TorchScript(_) => unreachable!("a program is refused"),
            Op::Relu6(_) => self.relu6(name, names[0]),
            Op::Gelu(_) => self.gelu(name, names[0]),
            Op::Silu(_) => {
                let gate = self.node("Sigmoid", &format!("{name}/sigmoid"), &names, Vec::new());
                self.node("Mul", name, &[names[0], &gate], Vec::new())
            }
            Op::BatchNorm(norm) => {
                let params = ["weight", "bias", "running_mean", "running_var"];
                let params = params.map(|param| self.param(name, param));
                let inputs = [names[0], &params[0], &params[1], &params[2], &params[3]];
                let epsilon = float("epsilon", norm.epsilon);
                self.node("BatchNormalization", name, &inputs, vec![epsilon])
            }
            Op::LayerNorm(norm) => self.layer_norm(name, norm, names[0]),
            Op::Conv2d(conv) => self.weighted("Conv", name, names[0], conv.bias, conv2d(conv)),
            Op::ConvTranspose2d(conv) => {
                let attributes = conv_transpose2d(conv);
                self.weighted("ConvTranspose", name, names[0], conv.bias, attributes)
            }
            Op::Linear(linear) => self.linear(name, linear, inputs[0]),
            Op::AdaptiveAvgPool2d(pool) => self.adaptive_avg_pool2d(name, pool, inputs[0]),
            Op::Upsample2d(upsample) => self.upsample2d(name, upsample, names[0]),
            Op::Slice(slice) => self.slice(name, slice, names[0]),
            Op::PixelShuffle(shuffle) => {
                let squares = vec![text("mode", "CRD"), int("blocksize", shuffle.factor)];
                self.node("DepthToSpace", name, &names, squares)
            }
            Op::ChannelShuffle(shuffle) => self.channel_shuffle(name, shuffle, inputs[0], output),
            Op::PadChannels(pad) => self.pad_channels(name, pad, inputs[0]),
            Op::Conv1d(conv) => self.conv1d(name, conv, names[0]),
            Op::MaxPool1d(pool) => self.max_pool1d(name, pool, names[0]),
            Op::Embedding(_) => self.embedding(name, names[0]),
            Op::Positions(_) => self.positions(name, names[0]),
            Op::Columns(_) => self.columns(name, inputs[0]),
            Op::Transpose(_) => self.transpose(name, names[0]),
            Op::PoolSteps(pool) => self.pool_steps(name, pool, inputs),
            Op::Gru(gru) => self.gru(name, gru, names[0]),
            Op::Lstm(lstm) => self.lstm(name, lstm, names[0]),
            Op::Attention(attention) => self.attention(name, attention, inputs),
        }
    }

    /// An operator that takes a weight and maybe a bias.
    pub(super) fn weighted(
        &mut self,
        op_type: &str,
        name: &str,
        input: &str,
        bias: bool,
        attributes: Vec<Attribute>,
    ) -> String {
        let weight = self.param(name, "weight");
        let bias = bias.then(|| self.param(name, "bias"));
        let mut inputs = vec![input, weight.as_str()];
        inputs.extend(bias.as_deref());
        self.node(op_type, name, &inputs, attributes)
    }

    fn linear(&mut self, name: &str, linear: &Linear, input: Value<'_>) -> String {
        if input.shape.len() == 1 {
            return self.weighted("Gemm", name, input.name, linear.bias, vec![int("transB", 1)]);
        }
        let weight = self.param(name, "weight");
        let transposed = self.node("Transpose", &format!("{name}/weight"), &[&weight], Vec::new());
        if !linear.bias {
            return self.node("MatMul", name, &[input.name, &transposed], Vec::new());
        }
        let inputs = [input.name, transposed.as_str()];
        let product = self.node("MatMul", &format!("{name}/product"), &inputs, Vec::new());
        let bias = self.param(name, "bias");
        self.node("Add", name, &[&product, &bias], Vec::new())
    }

    /// Features that were removed are put back as zeros for the operator, and cut off again.
    fn layer_norm(&mut self, name: &str, norm: &LayerNorm, input: &str) -> String {
        let params = ["weight", "bias"].map(|param| self.param(name, param));
        let attributes = vec![int("axis", -1), float("epsilon", norm.epsilon)];
        if norm.zeros == 0 {
            let inputs = [input, &params[0], &params[1]];
            return self.node("LayerNormalization", name, &inputs, attributes);
        }
        let at = |what: &str| format!("{name}/{what}");
        let pads = self.integers(at("pads"), &[0, norm.zeros.into()]);
        let last = self.integers(at("last"), &[-1]);
        let values = [("all", input), ("all-weight", &params[0]), ("all-bias", &params[1])];
        let all = values.map(|(what, value)| {
            let mode = vec![text("mode", "constant")];
            self.node("Pad", &at(what), &[value, &pads, "", &last], mode)
        });
        let all = all.each_ref().map(String::as_str);
        let normal = self.node("LayerNormalization", &at("normal"), &all, attributes);
        let from = self.integers(at("from"), &[0]);
        let to = self.integers(at("to"), &[norm.features.into()]);
        self.node("Slice", name, &[&normal, &from, &to, &last], Vec::new())
    }

    fn relu6(&mut self, name: &str, input: &str) -> String {
        let low = self.numbers(format!("{name}/min"), &[], &[0.0]);
        let high = self.numbers(format!("{name}/max"), &[], &[6.0]);
        self.node("Clip", name, &[input, &low, &high], Vec::new())
    }

    /// `x / 2 · (1 + erf(x / √2))`: the operator `Gelu` came with opset 20.
    fn gelu(&mut self, name: &str, input: &str) -> String {
        let scale = std::f32::consts::FRAC_1_SQRT_2;
        let scale = self.numbers(format!("{name}/scale"), &[], &[scale]);
        let one = self.numbers(format!("{name}/one"), &[], &[1.0]);
        let half = self.numbers(format!("{name}/half"), &[], &[0.5]);
        let step = |step: &str| format!("{name}/{step}");
        let scaled = self.node("Mul", &step("scaled"), &[input, &scale], Vec::new());
        let erf = self.node("Erf", &step("erf"), &[&scaled], Vec::new());
        let sum = self.node("Add", &step("sum"), &[&erf, &one], Vec::new());
        let halved = self.node("Mul", &step("halved"), &[input, &half], Vec::new());
        self.node("Mul", name, &[&halved, &sum], Vec::new())
    }

    /// Means over a grid are a product with a matrix along each axis: ONNX has no operator for them but that
    /// for one mean of each channel.
    fn adaptive_avg_pool2d(
        &mut self,
        name: &str,
        pool: &AdaptiveAvgPool2d,
        input: Value<'_>,
    ) -> String {
        if (pool.height, pool.width) == (1, 1) {
            return self.node("GlobalAveragePool", name, &[input.name], Vec::new());
        }
        let (height, width) = (input.shape[1], input.shape[2]);
        let rows = self.numbers(
            format!("{name}/rows"),
            &[pool.height, height],
            &means(height, pool.height),
        );
        let columns = self.numbers(
            format!("{name}/columns"),
            &[width, pool.width],
            &transposed(&means(width, pool.width), width as usize),
        );
        let by_rows =
            self.node("MatMul", &format!("{name}/by-rows"), &[&rows, input.name], Vec::new());
        self.node("MatMul", name, &[&by_rows, &columns], Vec::new())
    }

    fn upsample2d(&mut self, name: &str, upsample: &Upsample2d, input: &str) -> String {
        let sizes = [i64::from(upsample.height), i64::from(upsample.width)];
        let sizes = self.integers(format!("{name}/sizes"), &sizes);
        let mut attributes = vec![ints("axes", [2, 3])];
        attributes.extend(match upsample.mode {
            Interpolation::Nearest => vec![
                text("mode", "nearest"),
                text("coordinate_transformation_mode", "asymmetric"),
                text("nearest_mode", "floor"),
            ],
            Interpolation::Bilinear => {
                vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")]
            }
        });
        self.node("Resize", name, &[input, "", "", &sizes], attributes)
    }

    fn slice(&mut self, name: &str, slice: &Slice, input: &str) -> String {
        let mut one =
            |what: &str, value: u32| self.integers(format!("{name}/{what}"), &[value.into()]);
        let (from, to, axis) =
            (one("starts", slice.from), one("ends", slice.to), one("axes", slice.axis + 1));
        self.node("Slice", name, &[input, &from, &to, &axis], Vec::new())
    }

    fn channel_shuffle(
        &mut self,
        name: &str,
        shuffle: &ChannelShuffle,
        input: Value<'_>,
        output: &Shape,
    ) -> String {
        // Zero takes an extent from the input: the batch.
        let rest = input.shape[1..].iter().map(|&extent| i64::from(extent));
        let runs: Vec<i64> =
            [0, i64::from(shuffle.groups), i64::from(input.shape[0] / shuffle.groups)]
                .into_iter()
                .chain(rest)
                .collect();
        let whole: Vec<i64> =
            std::iter::once(0).chain(output.iter().map(|&extent| i64::from(extent))).collect();
        let runs = self.integers(format!("{name}/runs"), &runs);
        let whole = self.integers(format!("{name}/whole"), &whole);
        let split =
            self.node("Reshape", &format!("{name}/split"), &[input.name, &runs], Vec::new());
        let mut order: Vec<i64> = (0..=input.shape.len() as i64 + 1).collect();
        order.swap(1, 2);
        let order = vec![ints("perm", order)];
        let dealt = self.node("Transpose", &format!("{name}/dealt"), &[&split], order);
        self.node("Reshape", name, &[&dealt, &whole], Vec::new())
    }

    fn pad_channels(&mut self, name: &str, pad: &PadChannels, input: Value<'_>) -> String {
        // Zeros before each axis, then behind each; the batch is the first axis.
        let axes = input.shape.len() + 1;
        let mut pads = vec![0; 2 * axes];
        pads[1] = i64::from(pad.before);
        pads[axes + 1] = i64::from(pad.after);
        let pads = self.integers(format!("{name}/pads"), &pads);
        self.node("Pad", name, &[input.name, &pads], vec![text("mode", "constant")])
    }
}

fn conv2d(conv: &Conv2d) -> Vec<Attribute> {
    let own = [ints("dilations", [conv.dilation; 2]), int("group", conv.groups)];
    window(conv.kernel, conv.stride, conv.padding, own)
}

fn conv_transpose2d(conv: &ConvTranspose2d) -> Vec<Attribute> {
    let own = [ints("output_padding", [conv.output_padding; 2]), int("group", conv.groups)];
    window(conv.kernel, conv.stride, conv.padding, own)
}

fn max_pool2d(pool: &MaxPool2d) -> Vec<Attribute> {
    window(pool.kernel, pool.stride, pool.padding, [])
}

fn avg_pool2d(pool: &AvgPool2d) -> Vec<Attribute> {
    window(pool.kernel, pool.stride, pool.padding, [int("count_include_pad", 1)])
}

/// What all operators with a window are told, and an operator's own attributes.
fn window<const N: usize>(
    kernel: u32,
    stride: u32,
    padding: u32,
    own: [Attribute; N],
) -> Vec<Attribute> {
    let common = [
        ints("kernel_shape", [kernel; 2]),
        ints("strides", [stride; 2]),
        ints("pads", [padding; 4]),
    ];
    common.into_iter().chain(own).collect()
}

/// The matrix `[to, from]` whose product with `from` values in a row is their means over `to` windows,
/// window `i` from `⌊i · from / to⌋` up to `⌈(i + 1) · from / to⌉`, as in PyTorch.
fn means(from: u32, to: u32) -> Vec<f32> {
    let mut matrix = vec![0.0; from as usize * to as usize];
    let (from, to) = (from as usize, to as usize);
    for window in 0..to {
        let (start, end) = (window * from / to, ((window + 1) * from).div_ceil(to));
        matrix[window * from + start..window * from + end].fill(1.0 / (end - start) as f32);
    }
    matrix
}

/// A matrix with rows of a length, transposed.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns;
    (0..matrix.len()).map(|index| matrix[index % rows * columns + index / rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_a_grid_are_pytorchs() {
        // torch.nn.functional.adaptive_avg_pool1d(torch.eye(5)[None], 3)[0].T
        let third = 1.0 / 3.0;
        let expected =
            [[0.5, 0.5, 0.0, 0.0, 0.0], [0.0, third, third, third, 0.0], [0.0, 0.0, 0.0, 0.5, 0.5]];
        assert_eq!(means(5, 3), expected.concat());
        assert_eq!(means(1, 2), [1.0, 1.0]);
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
