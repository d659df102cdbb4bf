//! What operations on sequences compute.

use graftwork::network::op::{Gru, Lstm, StepPooling};
use tch::{Kind, Tensor};

/// One vector of each sequence.
///
/// # Shapes
/// - input: `[B, steps, features]`
/// - words: `[B, steps]`; steps of number 0 do not count, and stand at the end
/// - result: `[B, features]`
pub(super) fn pool(how: StepPooling, input: &Tensor, words: Option<&Tensor>) -> Tensor {
    let Some(words) = words else {
        return match how {
            StepPooling::Mean => input.mean_dim([1_i64].as_slice(), false, None),
            StepPooling::Max => input.amax([1], false),
            StepPooling::Last => input.select(1, -1),
        };
    };
    let counts = words.ne(0).unsqueeze(-1); // [B, steps, 1]
    let length = counts.sum_dim_intlist([1_i64].as_slice(), true, Kind::Int64); // [B, 1, 1]
    match how {
        StepPooling::Mean => {
            let sum = (input * &counts).sum_dim_intlist([1_i64].as_slice(), false, None);
            sum / length.squeeze_dim(1)
        }
        StepPooling::Max => {
            input.masked_fill(&counts.logical_not(), f64::NEG_INFINITY).amax([1], false)
        }
        StepPooling::Last => {
            let last = (length - 1).expand([-1, 1, input.size()[2]], false);
            input.gather(1, &last, false).squeeze_dim(1)
        }
    }
}

/// - input: `[B, steps, inputs]`
/// - params: as the layer names them
/// - train: whether gradients are asked for, which cuDNN must know beforehand
/// - result: `[B, steps, outputs]`
pub(super) fn gru(gru: &Gru, input: &Tensor, params: &[&Tensor], train: bool) -> Tensor {
    let start = start(input, gru.hidden, gru.layers, gru.bidirectional);
    let input = input.to_kind(Kind::Float);
    let layers = i64::from(gru.layers);
    input.gru(&start, params, true, layers, 0.0, train, gru.bidirectional, true).0
}

/// As [`gru`].
pub(super) fn lstm(lstm: &Lstm, input: &Tensor, params: &[&Tensor], train: bool) -> Tensor {
    let start = || start(input, lstm.hidden, lstm.layers, lstm.bidirectional);
    let (hidden, cell) = (start(), start());
    let input = input.to_kind(Kind::Float);
    let layers = i64::from(lstm.layers);
    input.lstm(&[&hidden, &cell], params, true, layers, 0.0, train, lstm.bidirectional, true).0
}

/// The state before the first step: zeros.
fn start(input: &Tensor, hidden: u32, layers: u32, bidirectional: bool) -> Tensor {
    let runs = i64::from(layers) * (1 + i64::from(bidirectional));
    Tensor::zeros([runs, input.size()[0], i64::from(hidden)], (Kind::Float, input.device()))
}

/// Self-attention of several heads.
///
/// # Shapes
/// - input and result: `[B, steps, features]`
/// - words: `[B, steps]`; no step looks at one of number 0
/// - params: weight and bias of the three projections in, and of the one out
pub(super) fn attention(
    heads: u32,
    input: &Tensor,
    words: Option<&Tensor>,
    [in_weight, in_bias, out_weight, out_bias]: [&Tensor; 4],
) -> Tensor {
    let input = input.to_kind(Kind::Float);
    let (batch, steps, _) = input.size3().expect("a sequence has three dimensions");
    let (heads, inner) = (i64::from(heads), out_weight.size()[1]);
    let projected = input.linear(in_weight, Some(in_bias)).chunk(3, -1);
    let [query, key, value] = [0, 1, 2]
        .map(|part| projected[part].reshape([batch, steps, heads, inner / heads]).transpose(1, 2)); // [B, heads, steps, inner / heads]
    let scale = ((inner / heads) as f64).sqrt();
    let mut scores = query.matmul(&key.transpose(-2, -1)) / scale; // [B, heads, steps, steps]
    if let Some(words) = words {
        let padding = words.eq(0).view([batch, 1, 1, steps]);
        scores = scores.masked_fill(&padding, f64::NEG_INFINITY);
    }
    let mixed = scores.softmax(-1, None::<Kind>).matmul(&value);
    mixed.transpose(1, 2).reshape([batch, steps, inner]).linear(out_weight, Some(out_bias))
}

#[cfg(test)]
mod tests {
    use graftwork::network::Network;
    use graftwork::network::op::{
        Attention, Columns, Conv1d, Embedding, Linear, MaxPool1d, PoolSteps, Positions, Relu,
        Transpose,
    };
    use tch::Device;

    use super::super::{Mode, Model};
    use super::*;
    use crate::random;

    fn uniform(shape: &[i64], name: &str) -> Tensor {
        random::uniform(shape, -1.0, 1.0, &mut random::stream(3, name, 0))
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.to_kind(Kind::Double).contiguous().view([-1]).try_into().unwrap()
    }

    #[track_caller]
    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn every_operation_puts_out_the_shape_that_the_network_declares() {
        let mut text = Network::of_words("text", &[6], 9);
        text.push("embedding", Embedding { rows: 9, features: 4 });
        text.push("positions", Positions { steps: 6, features: 4 });
        text.push_from("attention", Attention::new(4, 2), &[2, 0]);
        text.push("gru", Gru { inputs: 4, hidden: 3, layers: 2, bidirectional: true });
        text.push("transpose", Transpose {});
        text.push("conv", Conv1d { padding: 1, stride: 2, ..Conv1d::new(6, 5, 3) });
        text.push("pool", MaxPool1d { kernel: 2, stride: 1 });
        text.push("back", Transpose {});
        text.push("lstm", Lstm { inputs: 5, hidden: 3, layers: 1, bidirectional: false });
        text.push("mean", PoolSteps { how: StepPooling::Mean });
        text.push("fc", Linear::new(3, 2));
        let words = Tensor::from_slice(&[2_i64, 8, 1, 0, 0, 0, 3, 3, 4, 5, 6, 7]).view([2, 6]);
        check_shapes(text, &words);

        let mut sound = Network::new("sound", &[2, 3, 5]);
        sound.push("columns", Columns {});
        sound.push("last", PoolSteps { how: StepPooling::Last });
        sound.push("relu", Relu {});
        sound.push("fc", Linear::new(6, 2));
        check_shapes(sound, &uniform(&[2, 2, 3, 5], "sound"));
    }

    fn check_shapes(network: Network, input: &Tensor) {
        let model = Model::new(network, 5, Device::Cpu);
        let taps: Vec<usize> = (1..model.network().nodes.len()).collect();
        let shapes = model.network().shapes().unwrap();
        for mode in [Mode::Train, Mode::Eval] {
            let (_, tapped) = model.forward_with(input, mode, None, &taps);
            for (tensor, shape) in tapped.iter().zip(&shapes[1..]) {
                let shape: Vec<i64> = shape.iter().map(|&extent| i64::from(extent)).collect();
                assert_eq!(tensor.size(), [&[2], shape.as_slice()].concat());
            }
        }
    }

    /// The formulas of PyTorch's documentation, one number after the other.
    #[test]
    fn a_gru_is_its_formulas() {
        let layer = Gru { inputs: 1, hidden: 1, layers: 1, bidirectional: false };
        let (w, u, b, c) = ([0.5, -0.3, 0.8], [0.2, 0.7, -0.4], [0.1, 0.0, -0.2], [0.0, 0.3, 0.6]);
        let column = |values: [f64; 3]| Tensor::from_slice(&values.map(|x| x as f32)).view([3, 1]);
        let row = |values: [f64; 3]| Tensor::from_slice(&values.map(|x| x as f32));
        let params = [column(w), column(u), row(b), row(c)];
        let inputs = [1.0, -2.0, 0.5];
        let input = Tensor::from_slice(&inputs.map(|x| x as f32)).view([1, 3, 1]);
        let found = gru(&layer, &input, &params.each_ref(), false);
        let mut hidden = 0.0;
        let expected = inputs.map(|x| {
            let reset = sigmoid(w[0] * x + b[0] + u[0] * hidden + c[0]);
            let update = sigmoid(w[1] * x + b[1] + u[1] * hidden + c[1]);
            let new = (w[2] * x + b[2] + reset * (u[2] * hidden + c[2])).tanh();
            hidden = (1.0 - update) * new + update * hidden;
            hidden
        });
        close(&values(&found), &expected);
    }

    #[test]
    fn an_lstm_is_its_formulas() {
        let layer = Lstm { inputs: 1, hidden: 1, layers: 1, bidirectional: false };
        let (w, u, b) = ([0.5, -0.3, 0.8, 1.0], [0.2, 0.7, -0.4, 0.3], [0.1, 0.0, -0.2, 0.4]);
        let column = |values: [f64; 4]| Tensor::from_slice(&values.map(|x| x as f32)).view([4, 1]);
        let row = |values: [f64; 4]| Tensor::from_slice(&values.map(|x| x as f32));
        let params = [column(w), column(u), row(b), row([0.0; 4])];
        let inputs = [1.0, -2.0, 0.5];
        let input = Tensor::from_slice(&inputs.map(|x| x as f32)).view([1, 3, 1]);
        let found = lstm(&layer, &input, &params.each_ref(), false);
        let (mut hidden, mut cell) = (0.0, 0.0);
        let expected = inputs.map(|x| {
            let gate = |index: usize| w[index] * x + u[index] * hidden + b[index];
            cell = sigmoid(gate(1)) * cell + sigmoid(gate(0)) * gate(2).tanh();
            hidden = sigmoid(gate(3)) * f64::tanh(cell);
            hidden
        });
        close(&values(&found), &expected);
    }

    #[test]
    fn the_second_direction_reads_the_sequence_from_its_end() {
        let layer = Gru { inputs: 2, hidden: 3, layers: 1, bidirectional: true };
        let one = [[9, 2].as_slice(), &[9, 3], &[9], &[9]];
        let shapes = one.iter().chain(&one).enumerate();
        let params: Vec<Tensor> =
            shapes.map(|(index, shape)| uniform(shape, &index.to_string())).collect();
        let input = uniform(&[2, 5, 2], "input");
        let both = gru(&layer, &input, &params.iter().collect::<Vec<_>>(), false);
        let single = Gru { bidirectional: false, ..layer };
        let backwards =
            gru(&single, &input.flip([1]), &params[4..].iter().collect::<Vec<_>>(), false);
        assert!(both.narrow(2, 3, 3).allclose(&backwards.flip([1]), 1e-6, 1e-6, false));
    }

    #[test]
    fn padding_does_not_count() {
        let input = uniform(&[3, 5, 4], "input");
        let lengths = [5, 2, 1];
        let words: Vec<i64> =
            lengths.iter().flat_map(|&n| (0..5).map(move |step| i64::from(step < n))).collect();
        let words = Tensor::from_slice(&words).view([3, 5]);
        for how in [StepPooling::Mean, StepPooling::Max, StepPooling::Last] {
            let found = pool(how, &input, Some(&words));
            for (index, length) in (0..).zip(lengths) {
                let alone = input.narrow(0, index, 1).narrow(1, 0, length);
                let expected = values(&pool(how, &alone, None));
                close(&values(&found.narrow(0, index, 1)), &expected);
            }
        }
    }

    /// softmax(q kᵀ / √d) v for each head, step by step.
    #[test]
    fn an_attention_is_its_formula_and_looks_at_no_padding() {
        let params = [[12, 4].as_slice(), &[12], &[4, 4], &[4]];
        let params: Vec<Tensor> = params
            .iter()
            .enumerate()
            .map(|(index, shape)| uniform(shape, &index.to_string()))
            .collect();
        let params: [&Tensor; 4] = params.iter().collect::<Vec<_>>().try_into().unwrap();
        let input = uniform(&[1, 3, 4], "input");
        let words = Tensor::from_slice(&[5_i64, 7, 0]).view([1, 3]);
        let found = attention(2, &input, Some(&words), params);
        let projected = values(&input.linear(params[0], Some(params[1]))); // [3, 12]
        let at =
            |step: usize, part: usize, feature: usize| projected[step * 12 + part * 4 + feature];
        let mut mixed = Vec::new();
        for step in 0..3 {
            for feature in 0..4 {
                let head = feature / 2 * 2;
                let score = |other: usize| {
                    (0..2).map(|k| at(step, 0, head + k) * at(other, 1, head + k)).sum::<f64>()
                        / 2_f64.sqrt()
                };
                let weights = [score(0).exp(), score(1).exp()];
                let sum = weights[0] * at(0, 2, feature) + weights[1] * at(1, 2, feature);
                mixed.push((sum / (weights[0] + weights[1])) as f32);
            }
        }
        let mixed = Tensor::from_slice(&mixed).view([1, 3, 4]);
        close(&values(&found), &values(&mixed.linear(params[2], Some(params[3]))));
    }
}
