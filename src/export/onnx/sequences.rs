//! What reads sequences in the operators of ONNX.

use super::proto::{self, TensorProto};
use super::{Attribute, Value, Writer, int, ints, text};
use crate::network::op::{Attention, Conv1d, Gru, Lstm, MaxPool1d, PoolSteps, StepPooling};

/// Gates of a GRU in ONNX's order (update, reset, new), each by its place in PyTorch's.
const GRU_GATES: [usize; 3] = [1, 0, 2];
/// Gates of an LSTM in ONNX's order (input, output, forget, cell), each by its place in PyTorch's.
const LSTM_GATES: [usize; 4] = [0, 3, 1, 2];

/// A layer with a state, as its operator is told.
struct Recurrent<'a> {
    op_type: &'a str,
    /// For each gate of ONNX's, its place in PyTorch's order.
    gates: &'a [usize],
    hidden: u32,
    layers: u32,
    bidirectional: bool,
}

impl Writer<'_> {
    pub(super) fn conv1d(&mut self, name: &str, conv: &Conv1d, input: &str) -> String {
        let attributes = window(conv.kernel, conv.stride, conv.padding);
        self.weighted("Conv", name, input, conv.bias, attributes)
    }

    pub(super) fn max_pool1d(&mut self, name: &str, pool: &MaxPool1d, input: &str) -> String {
        self.node("MaxPool", name, &[input], window(pool.kernel, pool.stride, 0))
    }

    pub(super) fn embedding(&mut self, name: &str, words: &str) -> String {
        let weight = self.param(name, "weight");
        self.node("Gather", name, &[&weight, words], Vec::new())
    }

    pub(super) fn positions(&mut self, name: &str, input: &str) -> String {
        let weight = self.param(name, "weight");
        self.node("Add", name, &[input, &weight], Vec::new())
    }

    /// `[B, C, H, W]` becomes `[B, W, C · H]`.
    pub(super) fn columns(&mut self, name: &str, input: Value<'_>) -> String {
        let columns = self.permuted(&format!("{name}/columns"), input.name, [0, 3, 1, 2]);
        let (width, features) = (input.shape[2], input.shape[0] * input.shape[1]);
        self.reshaped(name, &columns, &[0, width.into(), features.into()])
    }

    pub(super) fn transpose(&mut self, name: &str, input: &str) -> String {
        self.permuted(name, input, [0, 2, 1])
    }

    /// - inputs: the steps, and the numbers of their words where padding (number 0) is not to count
    pub(super) fn pool_steps(
        &mut self,
        name: &str,
        pool: &PoolSteps,
        inputs: &[Value<'_>],
    ) -> String {
        let steps = inputs[0];
        match (pool.how, inputs.get(1)) {
            (StepPooling::Mean, None) => self.reduced("ReduceMean", name, steps.name),
            (StepPooling::Max, None) => self.reduced("ReduceMax", name, steps.name),
            (StepPooling::Last, None) => {
                let last = self.integer(format!("{name}/last"), i64::from(steps.shape[0]) - 1);
                self.node("Gather", name, &[steps.name, &last], vec![int("axis", 1)])
            }
            (StepPooling::Mean, Some(words)) => {
                let counts = self.counts(name, words.name, proto::element::FLOAT);
                let length = self.reduced("ReduceSum", &format!("{name}/length"), &counts);
                let counted = format!("{name}/counted");
                let counted = self.node("Mul", &counted, &[steps.name, &counts], Vec::new());
                let sum = self.reduced("ReduceSum", &format!("{name}/sum"), &counted);
                self.node("Div", name, &[&sum, &length], Vec::new())
            }
            (StepPooling::Max, Some(words)) => {
                let padding = self.padding(name, words.name, &[2]);
                let counted = self.without(&format!("{name}/counted"), &padding, steps.name);
                self.reduced("ReduceMax", name, &counted)
            }
            (StepPooling::Last, Some(words)) => {
                let counts = self.counts(name, words.name, proto::element::INT64);
                let length = self.reduced("ReduceSum", &format!("{name}/length"), &counts); // [B, 1]
                let one = self.integers(format!("{name}/one"), &[1]);
                let last = self.node("Sub", &format!("{name}/last"), &[&length, &one], Vec::new());
                let attributes = vec![int("batch_dims", 1)];
                self.node("GatherND", name, &[steps.name, &last], attributes)
            }
        }
    }

    pub(super) fn gru(&mut self, name: &str, gru: &Gru, input: &str) -> String {
        let &Gru { hidden, layers, bidirectional, .. } = gru;
        let gates = GRU_GATES.as_slice();
        self.recurrent(
            name,
            input,
            &Recurrent { op_type: "GRU", gates, hidden, layers, bidirectional },
        )
    }

    pub(super) fn lstm(&mut self, name: &str, lstm: &Lstm, input: &str) -> String {
        let &Lstm { hidden, layers, bidirectional, .. } = lstm;
        let gates = LSTM_GATES.as_slice();
        self.recurrent(
            name,
            input,
            &Recurrent { op_type: "LSTM", gates, hidden, layers, bidirectional },
        )
    }

    /// ONNX's operators have one layer each and take the steps first: `[steps, B, features]`; what they put
    /// out has an axis for the direction, `[steps, directions, B, hidden]`.
    fn recurrent(&mut self, name: &str, input: &str, layer: &Recurrent<'_>) -> String {
        let directions: &[&str] = if layer.bidirectional { &["", "_reverse"] } else { &[""] };
        let mut steps = self.permuted(&format!("{name}/steps"), input, [1, 0, 2]);
        for depth in 0..layer.layers {
            let at = |what: &str| format!("{name}/{what}_l{depth}");
            let params = ["weight_ih", "weight_hh"].map(|weight| {
                let parts = directions.iter().map(|reverse| format!("{weight}_l{depth}{reverse}"));
                self.gated(name, &at(weight), parts.map(|part| vec![part]), layer.gates)
            });
            let biases = directions.iter().map(|reverse| {
                ["bias_ih", "bias_hh"].map(|bias| format!("{bias}_l{depth}{reverse}")).to_vec()
            });
            let bias = self.gated(name, &at("bias"), biases, layer.gates);
            let direction = if layer.bidirectional { "bidirectional" } else { "forward" };
            let mut attributes =
                vec![int("hidden_size", layer.hidden), text("direction", direction)];
            if layer.op_type == "GRU" {
                // The reset gate is applied to the product, as in PyTorch.
                attributes.push(int("linear_before_reset", 1));
            }
            let inputs = [steps.as_str(), &params[0], &params[1], &bias];
            let states = self.node(layer.op_type, &at("states"), &inputs, attributes);
            let beside = self.permuted(&at("beside"), &states, [0, 2, 1, 3]);
            steps = self.reshaped(&at("steps"), &beside, &[0, 0, -1]);
        }
        self.permuted(name, &steps, [1, 0, 2])
    }

    /// Adds the parameters of a layer's directions as one tensor, its gates in ONNX's order.
    ///
    /// - directions: for each the names of the parameters that stand behind one another
    fn gated(
        &mut self,
        layer: &str,
        name: &str,
        directions: impl Iterator<Item = Vec<String>>,
        gates: &[usize],
    ) -> String {
        let (mut bytes, mut dims) = (Vec::new(), Vec::new());
        for parts in directions {
            let first = *dims.first().unwrap_or(&0) + 1;
            dims = vec![first, 0];
            for part in parts {
                let tensor = &self.checkpoint.tensors[&format!("{layer}.{part}")];
                let gate = tensor.bytes.len() / gates.len();
                let blocks: Vec<&[u8]> = tensor.bytes.chunks_exact(gate).collect();
                bytes.extend(gates.iter().flat_map(|&place| blocks[place]));
                dims[1] += tensor.shape[0] as i64;
                dims.truncate(2);
                dims.extend(tensor.shape[1..].iter().map(|&extent| extent as i64));
            }
        }
        self.initializers.push(TensorProto {
            dims,
            data_type: Some(proto::element::FLOAT),
            name: name.to_owned(),
            raw_data: Some(bytes),
        });
        name.to_owned()
    }

    /// - inputs: the steps, and the numbers of their words where no step looks at padding (number 0)
    pub(super) fn attention(
        &mut self,
        name: &str,
        attention: &Attention,
        inputs: &[Value<'_>],
    ) -> String {
        let (heads, size, inner) = (attention.heads, attention.width(), attention.inner());
        let at = |what: &str| format!("{name}/{what}");
        let projected = self.projected(&at("projected"), name, "in_proj_", inputs[0].name);
        let axis = self.integers(at("axis"), &[2]);
        // Keys are turned on their side: what a query is multiplied by.
        let parts = [("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])];
        let mut start = 0;
        let [query, key, value] = parts.map(|(part, order)| {
            let ends = [start, start + i64::from(inner)];
            start = ends[1];
            let [from, to] =
                [0, 1].map(|end| self.integers(format!("{name}/{part}/{end}"), &ends[end..=end]));
            let inputs = [projected.as_str(), &from, &to, &axis];
            let sliced =
                self.node("Slice", &format!("{name}/{part}/features"), &inputs, Vec::new());
            let heads = [0, 0, heads.into(), size.into()];
            let heads = self.reshaped(&format!("{name}/{part}/heads"), &sliced, &heads);
            self.permuted(&at(part), &heads, order)
        });
        let products = self.node("MatMul", &at("products"), &[&query, &key], Vec::new());
        let scale = self.numbers(at("scale"), &[], &[1.0 / (size as f32).sqrt()]);
        let mut scores = self.node("Mul", &at("scores"), &[&products, &scale], Vec::new());
        if let Some(words) = inputs.get(1) {
            let padding = self.padding(name, words.name, &[1, 2]);
            scores = self.without(&at("looked-at"), &padding, &scores);
        }
        let weights = self.node("Softmax", &at("weights"), &[&scores], vec![int("axis", -1)]);
        let mixed = self.node("MatMul", &at("mixed"), &[&weights, &value], Vec::new());
        let mixed = self.permuted(&at("steps"), &mixed, [0, 2, 1, 3]);
        let joined = self.reshaped(&at("joined"), &mixed, &[0, 0, inner.into()]);
        self.projected(name, name, "out_proj.", &joined)
    }

    /// A product with a weight of a layer, and its bias.
    fn projected(&mut self, name: &str, layer: &str, prefix: &str, input: &str) -> String {
        let [weight, bias] =
            ["weight", "bias"].map(|param| self.param(layer, &format!("{prefix}{param}")));
        let transposed =
            self.node("Transpose", &format!("{layer}/{prefix}weight"), &[&weight], Vec::new());
        let product = format!("{layer}/{prefix}product");
        let product = self.node("MatMul", &product, &[input, &transposed], Vec::new());
        self.node("Add", name, &[&product, &bias], Vec::new())
    }

    /// Which steps are padding, `[B, steps]` with further axes of one.
    fn padding(&mut self, name: &str, words: &str, axes: &[i64]) -> String {
        let none = self.integer(format!("{name}/none"), 0);
        let padding =
            self.node("Equal", &format!("{name}/is-padding"), &[words, &none], Vec::new());
        let axes = self.integers(format!("{name}/axes"), axes);
        self.node("Unsqueeze", &format!("{name}/padding"), &[&padding, &axes], Vec::new())
    }

    /// One for each step that counts and zero for padding, `[B, steps, 1]`.
    fn counts(&mut self, name: &str, words: &str, element: i32) -> String {
        let padding = self.padding(name, words, &[2]);
        let not = self.node("Not", &format!("{name}/is-word"), &[&padding], Vec::new());
        self.node("Cast", &format!("{name}/counts"), &[&not], vec![int("to", element)])
    }

    /// Minus infinity where padding is.
    fn without(&mut self, name: &str, padding: &str, values: &str) -> String {
        let lowest = self.numbers(format!("{name}/lowest"), &[], &[f32::NEG_INFINITY]);
        self.node("Where", name, &[padding, &lowest, values], Vec::new())
    }

    /// What an operator makes of all steps: the axis behind the batch is gone.
    fn reduced(&mut self, op_type: &str, name: &str, input: &str) -> String {
        let axes = self.integers(format!("{name}/steps"), &[1]);
        self.node(op_type, name, &[input, &axes], vec![int("keepdims", 0)])
    }

    fn permuted<const N: usize>(&mut self, name: &str, input: &str, order: [i64; N]) -> String {
        self.node("Transpose", name, &[input], vec![ints("perm", order)])
    }

    /// - shape: zero takes the extent from the input, minus one is what is left
    fn reshaped(&mut self, name: &str, input: &str, shape: &[i64]) -> String {
        let shape = self.integers(format!("{name}/shape"), shape);
        self.node("Reshape", name, &[input, &shape], Vec::new())
    }
}

fn window(kernel: u32, stride: u32, padding: u32) -> Vec<Attribute> {
    vec![ints("kernel_shape", [kernel]), ints("strides", [stride]), ints("pads", [padding; 2])]
}
