//! A network as an ONNX model, opset 18, with any number of examples in a batch.
//!
//! Values are called as the network's nodes, parameters as in PyTorch. Dropout is left out: the model is
//! for evaluation.

mod operations;
mod proto;
mod sequences;

use prost::Message as _;

use super::ExportError;
use super::checkpoint::{Checkpoint, Dtype, Tensor};
use crate::network::{Op, Shape};
use proto::{Attribute, Dimension, Extent, Graph, Node, OperatorSet, TensorProto, ValueInfo};

/// The version of the operators: the first in which `Resize` takes the extents of some axes only.
const OPSET: i64 = 18;
/// The version of the format that came with it.
const IR_VERSION: i64 = 8;
/// Name of the one output.
const OUTPUT: &str = "output";

pub(super) fn write(checkpoint: &Checkpoint) -> Result<Vec<u8>, ExportError> {
    let network = &checkpoint.network;
    if network.is_program() {
        return Err(ExportError::Program);
    }
    let shapes = network.shapes().map_err(|error| checkpoint.damaged(error.to_string()))?;
    let mut writer = Writer { checkpoint, nodes: Vec::new(), initializers: Vec::new() };
    let mut values: Vec<String> = Vec::with_capacity(network.nodes.len());
    for (index, node) in network.nodes.iter().enumerate() {
        let inputs: Vec<Value<'_>> = node
            .inputs
            .iter()
            .map(|&input| Value { name: &values[input], shape: &shapes[input] })
            .collect();
        let value = writer.operation(&node.name, &node.op, &inputs, &shapes[index]);
        values.push(value);
    }
    let last = values.pop().expect("a network has its input");
    writer.node("Identity", OUTPUT, &[&last], Vec::new());
    let output = shapes.last().expect("a network has its input");
    let input_element = match &network.nodes[0].op {
        Op::Input(input) if input.tokens.is_some() => proto::element::INT64,
        _ => proto::element::FLOAT,
    };
    let graph = Graph {
        node: writer.nodes,
        name: network.arch.clone(),
        initializer: writer.initializers,
        input: vec![value_info(&network.nodes[0].name, network.input_shape(), input_element)],
        output: vec![value_info(OUTPUT, output, proto::element::FLOAT)],
    };
    let model = proto::Model {
        ir_version: Some(IR_VERSION),
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: Some(String::new()), version: Some(OPSET) }],
    };
    Ok(model.encode_to_vec())
}

/// A value that a node reads, and its shape without the batch.
#[derive(Clone, Copy)]
struct Value<'a> {
    name: &'a str,
    shape: &'a Shape,
}

/// The model as far as it is written.
struct Writer<'a> {
    checkpoint: &'a Checkpoint,
    nodes: Vec<Node>,
    initializers: Vec<TensorProto>,
}

impl Writer<'_> {
    /// Appends a node with one output; gives the output's name, which is also the node's.
    fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<Attribute>,
    ) -> String {
        self.nodes.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
        name.to_owned()
    }

    /// Adds a parameter of a node; gives its name.
    fn param(&mut self, node: &str, param: &str) -> String {
        let name = format!("{node}.{param}");
        let Tensor { dtype, shape, bytes } = &self.checkpoint.tensors[&name];
        self.initializers.push(TensorProto {
            dims: shape.iter().map(|&extent| extent as i64).collect(),
            data_type: Some(match dtype {
                Dtype::F32 => proto::element::FLOAT,
                Dtype::I64 => proto::element::INT64,
            }),
            name: name.clone(),
            raw_data: Some(bytes.clone()),
        });
        name
    }

    /// Adds integers that an operator takes as an input; gives their name.
    fn integers(&mut self, name: String, values: &[i64]) -> String {
        self.initializers.push(TensorProto {
            dims: vec![values.len() as i64],
            data_type: Some(proto::element::INT64),
            name: name.clone(),
            raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        });
        name
    }

    /// Adds one integer without axes that an operator takes as an input; gives its name.
    fn integer(&mut self, name: String, value: i64) -> String {
        let name = self.integers(name, &[value]);
        if let Some(added) = self.initializers.last_mut() {
            added.dims.clear();
        }
        name
    }

    /// Adds numbers that an operator takes as an input, of a shape (none for a scalar); gives their name.
    fn numbers(&mut self, name: String, shape: &[u32], values: &[f32]) -> String {
        self.initializers.push(TensorProto {
            dims: shape.iter().map(|&extent| i64::from(extent)).collect(),
            data_type: Some(proto::element::FLOAT),
            name: name.clone(),
            raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        });
        name
    }
}

fn value_info(name: &str, shape: &[u32], element: i32) -> ValueInfo {
    let batch = Dimension { value: Some(Extent::Parameter("batch".to_owned())) };
    let extents =
        shape.iter().map(|&extent| Dimension { value: Some(Extent::Value(extent.into())) });
    let shape = proto::TensorShape { dim: std::iter::once(batch).chain(extents).collect() };
    let tensor = proto::TensorType { elem_type: Some(element), shape: Some(shape) };
    ValueInfo { name: name.to_owned(), r#type: Some(proto::Type { tensor_type: Some(tensor) }) }
}

fn int(name: &str, value: impl Into<i64>) -> Attribute {
    Attribute {
        name: name.to_owned(),
        i: Some(value.into()),
        kind: Some(proto::kind::INT),
        ..Attribute::default()
    }
}

fn ints(name: &str, values: impl IntoIterator<Item = impl Into<i64>>) -> Attribute {
    Attribute {
        name: name.to_owned(),
        ints: values.into_iter().map(Into::into).collect(),
        kind: Some(proto::kind::INTS),
        ..Attribute::default()
    }
}

fn float(name: &str, value: f64) -> Attribute {
    Attribute {
        name: name.to_owned(),
        f: Some(value as f32),
        kind: Some(proto::kind::FLOAT),
        ..Attribute::default()
    }
}

fn text(name: &str, value: &str) -> Attribute {
    Attribute {
        name: name.to_owned(),
        s: Some(value.as_bytes().to_vec()),
        kind: Some(proto::kind::STRING),
        ..Attribute::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::tests::read;
    use super::proto::Type;
    use super::*;
    use crate::network::Network;
    use crate::network::op::{
        Add, BatchNorm, ChannelShuffle, Columns, Conv2d, Dropout, Embedding, Flatten, Gru, Linear,
        PoolSteps, Relu6, StepPooling,
    };

    /// Operator, inputs and output of every node of the model of a network.
    fn nodes(network: &Network) -> Vec<String> {
        let model = write(&read(network, None).unwrap()).unwrap();
        let graph = proto::Model::decode(model.as_slice()).unwrap().graph.unwrap();
        let line = |node: &Node| {
            format!("{} {} -> {}", node.op_type, node.input.join(" "), node.output.join(" "))
        };
        graph.node.iter().map(line).collect()
    }

    #[test]
    fn a_network_is_written_node_by_node_with_its_parameters() {
        let mut network = Network::new("small", &[2, 4, 4]);
        let conv = Conv2d { padding: 1, bias: false, ..Conv2d::new(2, 4, 3) };
        let conv = network.push("conv", conv);
        let bn = network.push("bn", BatchNorm::new(4));
        network.push_from("sum", Add {}, &[bn, conv]);
        network.push("relu", Relu6 {});
        network.push("shuffle", ChannelShuffle { groups: 2 });
        network.push("flatten", Flatten {});
        network.push("dropout", Dropout { p: 0.5 });
        network.push("fc", Linear::new(64, 3));
        assert_eq!(
            nodes(&network),
            [
                "Conv input conv.weight -> conv",
                "BatchNormalization conv bn.weight bn.bias bn.running_mean bn.running_var -> bn",
                "Sum bn conv -> sum",
                "Clip sum relu/min relu/max -> relu",
                "Reshape relu shuffle/runs -> shuffle/split",
                "Transpose shuffle/split -> shuffle/dealt",
                "Reshape shuffle/dealt shuffle/whole -> shuffle",
                "Flatten shuffle -> flatten",
                "Gemm flatten fc.weight fc.bias -> fc",
                "Identity fc -> output",
            ]
        );
        let checkpoint = read(&network, None).unwrap();
        let model = proto::Model::decode(write(&checkpoint).unwrap().as_slice()).unwrap();
        assert_eq!((model.ir_version, model.opset_import[0].version), (Some(8), Some(18)));
        let graph = model.graph.unwrap();
        let weight = graph.initializer.iter().find(|tensor| tensor.name == "fc.weight").unwrap();
        assert_eq!(weight.dims, [3, 64]);
        assert_eq!(weight.raw_data.as_ref(), Some(&checkpoint.tensors["fc.weight"].bytes));
        let Some(Type { tensor_type: Some(input) }) = &graph.input[0].r#type else {
            panic!("the input is a tensor")
        };
        let dims: Vec<_> =
            input.shape.as_ref().unwrap().dim.iter().map(|dim| dim.value.clone()).collect();
        let extents = [2, 4, 4].map(|extent| Some(Extent::Value(extent)));
        assert_eq!(dims[0], Some(Extent::Parameter("batch".to_owned())));
        assert_eq!(dims[1..], extents);
    }

    #[test]
    fn padding_of_a_text_is_told_from_its_words() {
        let mut network = Network::of_words("text", &[6], 9);
        network.push("embedding", Embedding { rows: 9, features: 4 });
        network.push_from("mean", PoolSteps { how: StepPooling::Mean }, &[1, 0]);
        network.push("fc", Linear::new(4, 3));
        assert_eq!(
            nodes(&network),
            [
                "Gather embedding.weight input -> embedding",
                "Equal input mean/none -> mean/is-padding",
                "Unsqueeze mean/is-padding mean/axes -> mean/padding",
                "Not mean/padding -> mean/is-word",
                "Cast mean/is-word -> mean/counts",
                "ReduceSum mean/counts mean/length/steps -> mean/length",
                "Mul embedding mean/counts -> mean/counted",
                "ReduceSum mean/counted mean/sum/steps -> mean/sum",
                "Div mean/sum mean/length -> mean",
                "Gemm mean fc.weight fc.bias -> fc",
                "Identity fc -> output",
            ]
        );
    }

    /// Rows of PyTorch's gates (reset, update, new) in ONNX's order (update, reset, new), direction by
    /// direction; biases of the input and of the state behind one another.
    #[test]
    fn gates_of_a_recurrent_layer_stand_in_the_order_of_onnx() {
        let mut network = Network::new("sound", &[1, 2, 6]);
        network.push("columns", Columns {});
        network.push("gru", Gru { inputs: 2, hidden: 1, layers: 1, bidirectional: true });
        let checkpoint = read(&network, None).unwrap();
        let model = proto::Model::decode(write(&checkpoint).unwrap().as_slice()).unwrap();
        let graph = model.graph.unwrap();
        let rows = |name: &str, order: [usize; 3]| {
            let bytes = &checkpoint.tensors[&format!("gru.{name}")].bytes;
            let rows: Vec<&[u8]> = bytes.chunks_exact(bytes.len() / 3).collect();
            order.map(|row| rows[row]).concat()
        };
        let order = [1, 0, 2];
        for (name, dims, parts) in [
            ("gru/weight_ih_l0", vec![2, 3, 2], vec!["weight_ih_l0", "weight_ih_l0_reverse"]),
            ("gru/weight_hh_l0", vec![2, 3, 1], vec!["weight_hh_l0", "weight_hh_l0_reverse"]),
            (
                "gru/bias_l0",
                vec![2, 6],
                vec!["bias_ih_l0", "bias_hh_l0", "bias_ih_l0_reverse", "bias_hh_l0_reverse"],
            ),
        ] {
            let tensor = graph.initializer.iter().find(|tensor| tensor.name == name).unwrap();
            assert_eq!(tensor.dims, dims, "{name}");
            let expected: Vec<u8> = parts.iter().flat_map(|part| rows(part, order)).collect();
            assert_eq!(tensor.raw_data.as_ref(), Some(&expected), "{name}");
        }
    }
}
