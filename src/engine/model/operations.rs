//! What each operation computes: the interpreter's arms.

use graftwork::network::Op;
use graftwork::network::op::{Interpolation, LayerNorm};
use tch::{Kind, Tensor, no_grad};

use super::{Mode, Model, Update, sequence};

/// A layer as a function of its input, its weight and its bias.
type Weighted<'a> = dyn Fn(&Tensor, &Tensor, Option<Tensor>) -> Tensor + 'a;

impl Model {
    /// The output of one node, from those that it reads.
    pub(crate) fn apply(
        &self,
        index: usize,
        op: &Op,
        inputs: &[&Tensor],
        mode: Mode,
        domain: Option<usize>,
    ) -> Tensor {
        let param = |name: &str| &self.params[&self.network.param_name(index, domain, name)];
        let value = |name: &str| &param(name).value;
        let train = mode == Mode::Train;
        // Fewer bits are for training alone; more are asked for where rounding would tell.
        let exact = self.compute == Kind::Double;
        let compute = if train || exact { self.compute } else { Kind::Float };
        let low = |tensor: &Tensor| tensor.to_kind(compute);
        let weighted = |bias: bool, layer: &Weighted<'_>| {
            let (input, weight) = (low(inputs[0]), value("weight"));
            let bias = bias.then(|| low(value("bias")));
            match self.updates.get(&index) {
                None => layer(&input, &low(weight), bias),
                Some(Update { value, dropout }) if train && *dropout > 0.0 => {
                    let dropped = input.dropout(*dropout, true);
                    layer(&input, &low(weight), bias) + layer(&dropped, &low(value), None)
                }
                Some(update) => layer(&input, &low(&(weight + &update.value)), bias),
            }
        };
        match op {
            Op::Input(_) => inputs[0].shallow_clone(),
            Op::Held(_) | Op::TorchScript(_) => unreachable!("a program is run as a whole"),
            Op::Conv2d(conv) => weighted(conv.bias, &|input, weight, bias| {
                input.conv2d(
                    weight,
                    bias,
                    [i64::from(conv.stride); 2],
                    [i64::from(conv.padding); 2],
                    [i64::from(conv.dilation); 2],
                    i64::from(conv.groups),
                )
            }),
            Op::ConvTranspose2d(conv) => low(inputs[0]).conv_transpose2d(
                &low(value("weight")),
                conv.bias.then(|| low(value("bias"))),
                [i64::from(conv.stride); 2],
                [i64::from(conv.padding); 2],
                [i64::from(conv.output_padding); 2],
                i64::from(conv.groups),
                [1, 1],
            ),
            Op::Linear(linear) => {
                weighted(linear.bias, &|input, weight, bias| input.linear(weight, bias))
            }
            Op::BatchNorm(norm) => {
                // A frozen layer keeps its statistics, or they would drift under fixed weights.
                let train = train && !param("weight").frozen;
                if train {
                    let _ =
                        no_grad(|| value("num_batches_tracked").shallow_clone().g_add_scalar_(1));
                }
                inputs[0].batch_norm(
                    Some(value("weight")),
                    Some(value("bias")),
                    Some(value("running_mean")),
                    Some(value("running_var")),
                    train,
                    norm.momentum,
                    norm.epsilon,
                    true,
                )
            }
            Op::LayerNorm(norm) => {
                let weight = value("weight");
                layer_norm(norm, &inputs[0].to_kind(weight.kind()), weight, value("bias"))
            }
            Op::Relu(_) => inputs[0].relu(),
            Op::Relu6(_) => inputs[0].clamp(0.0, 6.0),
            Op::LeakyRelu(leaky) => leaky_relu(inputs[0], leaky.slope),
            Op::Gelu(_) => inputs[0].gelu("none"),
            Op::Sigmoid(_) => inputs[0].sigmoid(),
            Op::Tanh(_) => inputs[0].tanh(),
            Op::Silu(_) => inputs[0].silu(),
            Op::HardSwish(_) => inputs[0].hardswish(),
            Op::HardSigmoid(_) => inputs[0].hardsigmoid(),
            Op::Softmax(softmax) => inputs[0].softmax(batched(softmax.axis), None::<Kind>),
            Op::MaxPool2d(pool) => inputs[0].max_pool2d(
                [i64::from(pool.kernel); 2],
                [i64::from(pool.stride); 2],
                [i64::from(pool.padding); 2],
                [1, 1],
                false,
            ),
            Op::AvgPool2d(pool) => inputs[0].avg_pool2d(
                [i64::from(pool.kernel); 2],
                [i64::from(pool.stride); 2],
                [i64::from(pool.padding); 2],
                false,
                true,
                None::<i64>,
            ),
            Op::AdaptiveAvgPool2d(pool) => {
                inputs[0].adaptive_avg_pool2d([i64::from(pool.height), i64::from(pool.width)])
            }
            Op::Upsample2d(upsample) => {
                let size = [i64::from(upsample.height), i64::from(upsample.width)];
                match upsample.mode {
                    Interpolation::Nearest => {
                        inputs[0].upsample_nearest2d(size, None::<f64>, None::<f64>)
                    }
                    Interpolation::Bilinear => {
                        inputs[0].upsample_bilinear2d(size, false, None::<f64>, None::<f64>)
                    }
                }
            }
            Op::Add(_) => {
                let first = inputs[0] + inputs[1];
                inputs[2..].iter().fold(first, |sum, input| sum + *input)
            }
            Op::Mul(_) => inputs[0] * inputs[1],
            Op::Concat(concat) => Tensor::cat(&kinds_alike(inputs), batched(concat.axis)),
            Op::Slice(slice) => inputs[0].narrow(
                batched(slice.axis),
                i64::from(slice.from),
                i64::from(slice.to - slice.from),
            ),
            Op::PixelShuffle(shuffle) => inputs[0].pixel_shuffle(i64::from(shuffle.factor)),
            Op::ChannelShuffle(shuffle) => channel_shuffle(inputs[0], i64::from(shuffle.groups)),
            Op::PadChannels(pad) => {
                // From the last axis on, two numbers each: zeros before, zeros behind.
                let mut zeros = vec![0; 2 * (inputs[0].dim() - 1)];
                let channels = zeros.len() - 2;
                zeros[channels] = i64::from(pad.before);
                zeros[channels + 1] = i64::from(pad.after);
                inputs[0].constant_pad_nd(zeros)
            }
            Op::Flatten(_) => inputs[0].flatten(1, -1),
            Op::Dropout(dropout) => inputs[0].dropout(dropout.p, train),
            Op::Conv1d(conv) => weighted(conv.bias, &|input, weight, bias| {
                let (stride, padding) = (i64::from(conv.stride), i64::from(conv.padding));
                input.conv1d(weight, bias, [stride], [padding], [1], 1)
            }),
            Op::MaxPool1d(pool) => inputs[0].max_pool1d(
                [i64::from(pool.kernel)],
                [i64::from(pool.stride)],
                [0],
                [1],
                false,
            ),
            Op::Embedding(_) => Tensor::embedding(value("weight"), inputs[0], -1, false, false),
            Op::Positions(_) => inputs[0] + value("weight"),
            Op::Columns(_) => inputs[0].flatten(1, 2).transpose(1, 2),
            Op::Transpose(_) => inputs[0].transpose(1, 2),
            Op::PoolSteps(pool) => sequence::pool(pool.how, inputs[0], inputs.get(1).copied()),
            Op::Gru(gru) => {
                let params = op.params();
                let params: Vec<&Tensor> = params.iter().map(|param| value(param.name)).collect();
                sequence::gru(gru, inputs[0], &params, train)
            }
            Op::Lstm(lstm) => {
                let params = op.params();
                let params: Vec<&Tensor> = params.iter().map(|param| value(param.name)).collect();
                sequence::lstm(lstm, inputs[0], &params, train)
            }
            Op::Attention(attention) => {
                let params = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"];
                let params = params.map(value);
                sequence::attention(attention.heads, inputs[0], inputs.get(1).copied(), params)
            }
        }
    }
}

/// An axis of one example as an axis of a batch.
fn batched(axis: u32) -> i64 {
    i64::from(axis) + 1
}

/// Normalisation over the last axis, in which removed features count as zeros.
fn layer_norm(norm: &LayerNorm, input: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let features = i64::from(norm.features);
    if norm.zeros == 0 {
        return input.layer_norm([features], Some(weight), Some(bias), norm.epsilon, true);
    }
    let (zeros, all) = (f64::from(norm.zeros), f64::from(norm.features + norm.zeros));
    let sum = |values: &Tensor| values.sum_dim_intlist([-1].as_slice(), true, input.kind());
    let mean = sum(input) / all;
    let centred = input - &mean;
    let variance = (sum(&centred.square()) + mean.square() * zeros) / all;
    centred * (variance + norm.epsilon).rsqrt() * weight + bias
}

/// `leaky_relu` of LibTorch has a fixed slope in tch.
fn leaky_relu(input: &Tensor, slope: f64) -> Tensor {
    input.clamp_min(0.0) + input.clamp_max(0.0) * slope
}

fn channel_shuffle(input: &Tensor, groups: i64) -> Tensor {
    let size = input.size();
    let runs = [&[size[0], groups, size[1] / groups], &size[2..]].concat();
    input.reshape(runs).transpose(1, 2).reshape(size)
}

/// Tensors in the widest of their kinds: layers that compute in fewer bits sit beside others.
fn kinds_alike(inputs: &[&Tensor]) -> Vec<Tensor> {
    let kinds: Vec<Kind> = inputs.iter().map(|input| input.kind()).collect();
    let kind = if kinds.windows(2).all(|pair| pair[0] == pair[1]) { kinds[0] } else { Kind::Float };
    inputs.iter().map(|input| input.to_kind(kind)).collect()
}
