//! The declared network: a graph of typed operations, as data.
//!
//! A [`Network`] is all that is needed to rebuild a network: it lies in the header of every
//! checkpoint. Shapes, parameter names, counts and dependency groups are functions of it; nothing
//! here computes with tensors or touches a file. Parameter names follow torchvision's.

mod depth;
pub mod dot;
pub mod groups;
mod head;
pub mod op;
pub mod zoo;

pub use head::Task;
pub use op::{Init, Op, Param, ParamRole};

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Extents of one example, without the batch: `[channels, height, width]` or `[features]`.
pub type Shape = Vec<u32>;

/// A network as a list of operations in topological order; the last node is the output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Network {
    /// The architecture's name, for people.
    pub arch: String,
    /// The operations; each reads nodes before it.
    pub nodes: Vec<Node>,
    /// The domains that domain-specific nodes have a copy for, in order; empty for a network of one domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
}

/// One operation of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// Name, dotted as in torchvision: `layer1.0.conv1`. Unique in the network.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Indices of the nodes that it reads.
    pub inputs: Vec<usize>,
    /// Whether each of [`Network::domains`] has its own parameters for this node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub specific: bool,
    /// Initial values of its parameters, by name, where they are not those of the operation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub initial: BTreeMap<String, Init>,
}

impl Node {
    fn new(name: &str, op: Op, inputs: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
            specific: false,
            initial: BTreeMap::new(),
        }
    }

    /// Its parameters and buffers, in torchvision's order.
    pub fn params(&self) -> Vec<Param> {
        let mut params = self.op.params();
        for param in &mut params {
            if let Some(init) = self.initial.get(param.name) {
                param.init = *init;
            }
        }
        params
    }
}

/// A parameter or buffer of a network with its full name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedParam {
    /// Full name: `conv1.weight`, or `private.<domain>.conv1.weight` for a domain's own copy.
    pub name: String,
    /// Index of the node that it belongs to.
    pub node: usize,
    /// The domain whose copy it is, as an index into [`Network::domains`].
    pub domain: Option<usize>,
    /// Shape, role and initial value.
    pub param: Param,
}

/// One line of the table of a network's layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Name of the node.
    pub name: String,
    /// Name of the operation.
    pub op: &'static str,
    /// Shape of one example's output.
    pub output: Shape,
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates for one example, counting convolutions and linear layers only.
    pub macs: u64,
    /// Operations for one example that [`Op::macs`] does not count, as [`Op::other_operations`].
    pub other_operations: u64,
}

/// Why a network cannot be built for an input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("layer `{node}` ({op}) cannot take an input of {}: {reason}", shapes(.inputs))]
pub struct ShapeError {
    /// Name of the node.
    pub node: String,
    /// Name of its operation.
    pub op: &'static str,
    /// The shapes that it was given.
    pub inputs: Vec<Shape>,
    /// What is wrong, as a clause.
    pub reason: String,
}

fn shapes(inputs: &[Shape]) -> String {
    let each = inputs.iter().map(|shape| Extents(shape).to_string());
    each.collect::<Vec<_>>().join(" and ")
}

/// Shows a shape as `1×28×28`.
pub struct Extents<'a>(pub &'a [u32]);

impl fmt::Display for Extents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, extent) in self.0.iter().enumerate() {
            write!(f, "{}{extent}", if index > 0 { "×" } else { "" })?;
        }
        Ok(())
    }
}

impl Network {
    /// An empty network that takes examples of one shape.
    pub fn new(arch: &str, input: &[u32]) -> Self {
        let op = Op::Input(op::Input { shape: input.to_vec(), tokens: None });
        Self {
            arch: arch.to_owned(),
            nodes: vec![Node::new("input", op, &[])],
            domains: Vec::new(),
        }
    }

    /// A network that is a program: nothing of it is known but what it takes and gives, until the program
    /// has been read and said what it [holds](Network::holding).
    ///
    /// - tokens: how many numbers of words there are, where an example is numbers of words
    pub fn of_program(input: &[u32], tokens: Option<u32>, output: &[u32]) -> Self {
        let mut network = Self::new("torchscript", input);
        network.nodes[0].op = Op::Input(op::Input { shape: input.to_vec(), tokens });
        network.push("program", op::TorchScript { output: output.to_vec() });
        network
    }

    /// The same program with all that it holds, by PyTorch's names, in the program's order.
    #[must_use]
    pub fn holding(mut self, held: impl IntoIterator<Item = (String, op::Held)>) -> Self {
        let program = self.nodes.pop().expect("a network of a program ends in it");
        for (name, held) in held {
            self.push_from(&name, held, &[]);
        }
        let inputs = (0..self.nodes.len()).collect();
        self.nodes.push(Node { inputs, ..program });
        self
    }

    /// Whether the network is a program, of whose layers nothing is known.
    pub fn is_program(&self) -> bool {
        matches!(self.nodes.last(), Some(Node { op: Op::TorchScript(_), .. }))
    }

    /// An empty network that takes numbers of words, all below `tokens`.
    pub fn of_words(arch: &str, input: &[u32], tokens: u32) -> Self {
        let mut network = Self::new(arch, input);
        network.nodes[0].op = Op::Input(op::Input { shape: input.to_vec(), tokens: Some(tokens) });
        network
    }

    /// Where an example is numbers of words: how many numbers there are.
    pub fn tokens(&self) -> Option<u32> {
        match &self.nodes[0].op {
            Op::Input(input) => input.tokens,
            _ => unreachable!("a network starts with its input"),
        }
    }

    /// Appends an operation that reads the last node; returns its index.
    pub fn push(&mut self, name: &str, op: impl Into<Op>) -> usize {
        let last = self.nodes.len() - 1;
        self.push_from(name, op, &[last])
    }

    /// Appends an operation that reads the named nodes; returns its index.
    pub fn push_from(&mut self, name: &str, op: impl Into<Op>, inputs: &[usize]) -> usize {
        debug_assert!(
            inputs.iter().all(|&input| input < self.nodes.len()),
            "nodes read nodes before them"
        );
        self.nodes.push(Node::new(name, op.into(), inputs));
        self.nodes.len() - 1
    }

    /// The shape of one example.
    pub fn input_shape(&self) -> &[u32] {
        match &self.nodes[0].op {
            Op::Input(input) => &input.shape,
            _ => unreachable!("a network starts with its input"),
        }
    }

    /// The output shape of every node.
    ///
    /// # Errors
    /// The first node that cannot take its input.
    pub fn shapes(&self) -> Result<Vec<Shape>, ShapeError> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<&[u32]> =
                node.inputs.iter().map(|&input| shapes[input].as_slice()).collect();
            shapes.push(self.output_of(node, &inputs)?);
        }
        Ok(shapes)
    }

    /// What a node of this network puts out for inputs of some shapes.
    fn output_of(&self, node: &Node, inputs: &[&[u32]]) -> Result<Shape, ShapeError> {
        let output = self.takes_words(node).and_then(|()| node.op.output(inputs));
        output.map_err(|reason| ShapeError {
            node: node.name.clone(),
            op: node.op.name(),
            inputs: inputs.iter().map(|shape| shape.to_vec()).collect(),
            reason,
        })
    }

    /// Whether a node may read what it reads, where that is numbers of words: they are names and no
    /// quantities, so that only an embedding can begin with them.
    fn takes_words(&self, node: &Node) -> Result<(), String> {
        let tokens = self.tokens().filter(|_| node.inputs.first() == Some(&0));
        match (&node.op, tokens) {
            (Op::Embedding(embedding), Some(tokens)) if embedding.rows < tokens => Err(format!(
                "it has vectors for {} numbers of words, of which there are {tokens}",
                embedding.rows
            )),
            (Op::Embedding(_), Some(_)) => Ok(()),
            (Op::TorchScript(_), Some(_)) => Ok(()),
            (Op::Embedding(_), None) => Err("it takes the numbers of words in a row".to_owned()),
            (_, Some(_)) => Err("numbers of words need an embedding first".to_owned()),
            (_, None) => Ok(()),
        }
    }

    /// Every parameter and buffer, node by node; a specific node's once per domain.
    pub fn params(&self) -> Vec<NamedParam> {
        let mut params = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let copies: Vec<Option<usize>> = if node.specific {
                (0..self.domains.len()).map(Some).collect()
            } else {
                vec![None]
            };
            for domain in copies {
                for param in node.params() {
                    let name = self.param_name(index, domain, param.name);
                    params.push(NamedParam { name, node: index, domain, param });
                }
            }
        }
        params
    }

    /// The full name of a node's parameter; `domain` is ignored by a shared node.
    pub fn param_name(&self, node: usize, domain: Option<usize>, param: &str) -> String {
        let node = &self.nodes[node];
        match domain {
            Some(domain) if node.specific => {
                format!("private.{}.{}.{param}", self.domains[domain], node.name)
            }
            _ if param.is_empty() => node.name.clone(),
            _ => format!("{}.{param}", node.name),
        }
    }

    /// Number of trainable parameters.
    pub fn param_count(&self) -> u64 {
        self.params()
            .iter()
            .filter(|param| param.param.role.is_trainable())
            .map(|param| param.param.len())
            .sum()
    }

    /// The table of layers: every node with its shape, parameters (of one domain) and MACs.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn layers(&self) -> Result<Vec<Layer>, ShapeError> {
        let shapes = self.shapes()?;
        let layers = self.nodes.iter().enumerate().map(|(index, node)| {
            let trainable = node.op.params().into_iter().filter(|param| param.role.is_trainable());
            let inputs: Vec<&[u32]> =
                node.inputs.iter().map(|&input| shapes[input].as_slice()).collect();
            Layer {
                name: node.name.clone(),
                op: node.op.name(),
                output: shapes[index].clone(),
                params: trainable.map(|param| param.len()).sum(),
                macs: node.op.macs(&inputs, &shapes[index]),
                other_operations: node.op.other_operations(&inputs, &shapes[index]),
            }
        });
        Ok(layers.collect())
    }

    /// Names of all nodes with parameters: what a layer pattern can match.
    pub fn layer_names(&self) -> Vec<&str> {
        self.nodes
            .iter()
            .filter(|node| !node.op.params().is_empty())
            .map(|node| node.name.as_str())
            .collect()
    }
}

/// Whether a layer's name matches a pattern: equal, or below it (`layer1` matches `layer1.0.conv1`),
/// where `*` stands for any run of characters.
pub fn matches(pattern: &str, name: &str) -> bool {
    glob(pattern.as_bytes(), name.as_bytes())
}

/// What holds for a layer: the rule of the pattern with the most characters besides `*` among those
/// that match, of equals the first in the alphabet.
///
/// The order of the patterns in the file does not count, since it does not enter a stage's key.
pub fn most_exact<'a>(rules: &'a IndexMap<String, f64>, layer: &str) -> Option<&'a f64> {
    let matching = rules.iter().filter(|(pattern, _)| matches(pattern, layer));
    let most_exact = matching.max_by_key(|(pattern, _)| {
        (pattern.chars().filter(|&character| character != '*').count(), Reverse(*pattern))
    });
    most_exact.map(|(_, rule)| rule)
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty() || name[0] == b'.',
        Some((b'*', rest)) => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
        Some((first, rest)) => name.first() == Some(first) && glob(rest, &name[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::op::{BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Relu};
    use super::*;

    fn small() -> Network {
        let mut network = Network::new("small", &[2, 8, 8]);
        network.push("conv1", Conv2d::new(2, 3, 3));
        network.push("bn1", BatchNorm::new(3));
        network.push("relu1", Relu {});
        network.push("pool1", MaxPool2d::new(2));
        network.push("flatten", Flatten {});
        network.push("dropout", Dropout { p: 0.5 });
        network.push("fc", Linear::new(27, 4));
        network
    }

    #[test]
    fn shapes_parameters_and_counts_follow_from_the_graph() {
        let network = small();
        let layers = network.layers().unwrap();
        let table: Vec<String> = layers
            .iter()
            .map(|layer| {
                format!(
                    "{} {} {} {} {}",
                    layer.name,
                    layer.op,
                    Extents(&layer.output),
                    layer.params,
                    layer.macs
                )
            })
            .collect();
        assert_eq!(
            table,
            [
                "input input 2×8×8 0 0",
                "conv1 conv2d 3×6×6 57 1944",
                "bn1 batch-norm 3×6×6 6 0",
                "relu1 relu 3×6×6 0 0",
                "pool1 max-pool2d 3×3×3 0 0",
                "flatten flatten 27 0 0",
                "dropout dropout 27 0 0",
                "fc linear 4 112 108",
            ]
        );
        assert_eq!(network.param_count(), 175);
        assert_eq!(network.layer_names(), ["conv1", "bn1", "fc"]);
        assert_eq!((network.classes().unwrap(), network.head()), (4, 7));
        assert_eq!(network.input_shape(), [2, 8, 8]);
    }

    #[test]
    fn parameters_have_torchvisions_names_and_order() {
        let names: Vec<String> = small().params().into_iter().map(|param| param.name).collect();
        assert_eq!(
            names,
            [
                "conv1.weight",
                "conv1.bias",
                "bn1.weight",
                "bn1.bias",
                "bn1.running_mean",
                "bn1.running_var",
                "bn1.num_batches_tracked",
                "fc.weight",
                "fc.bias",
            ]
        );
    }

    #[test]
    fn a_specific_layer_has_a_copy_of_its_parameters_for_each_domain() {
        let mut network = small();
        network.domains = vec!["mnist".to_owned(), "usps".to_owned()];
        network.nodes[7].specific = true;
        let params = network.params();
        let copies: Vec<(&str, Option<usize>)> = params
            .iter()
            .filter(|param| param.node == 7)
            .map(|param| (param.name.as_str(), param.domain))
            .collect();
        assert_eq!(
            copies,
            [
                ("private.mnist.fc.weight", Some(0)),
                ("private.mnist.fc.bias", Some(0)),
                ("private.usps.fc.weight", Some(1)),
                ("private.usps.fc.bias", Some(1)),
            ]
        );
        assert_eq!(network.param_name(1, Some(1), "weight"), "conv1.weight", "it is shared");
    }

    #[test]
    fn a_program_is_what_it_holds_and_nothing_is_known_of_its_layers() {
        let unread = Network::of_program(&[1, 8, 8], None, &[10]);
        assert!(unread.is_program() && unread.layer_names().is_empty());
        assert_eq!((unread.classes(), unread.head(), unread.param_count()), (Ok(10), 1, 0));
        let held = |shape: &[u32], role| op::Held { shape: shape.to_vec(), role };
        let read = unread.holding([
            ("stem.weight".to_owned(), held(&[4, 1, 3, 3], ParamRole::Weight)),
            ("count".to_owned(), held(&[], ParamRole::Counter)),
        ]);
        let names: Vec<String> = read.params().into_iter().map(|param| param.name).collect();
        assert_eq!(names, ["stem.weight", "count"]);
        assert_eq!((read.classes(), read.head(), read.param_count()), (Ok(10), 3, 36));
        assert_eq!(read.nodes[3].inputs, [0, 1, 2]);
        assert!(matches("stem", read.layer_names()[0]));
        assert_eq!((read.heads(), groups::groups(&read)), (Vec::new(), Ok(Vec::new())));
        assert!(!small().is_program());
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Network>(&written).unwrap(), read);
        let words = Network::of_program(&[30], Some(100), &[2]);
        assert_eq!(words.classes(), Ok(2));
    }

    #[test]
    fn an_initial_value_of_a_node_takes_the_place_of_the_operations() {
        let mut network = small();
        network.nodes[1].initial.insert("bias".to_owned(), Init::Constant(0.0));
        let init = |name: &str| {
            let params = network.params();
            params.iter().find(|param| param.name == name).unwrap().param.init
        };
        assert_eq!(init("conv1.bias"), Init::Constant(0.0));
        assert_eq!(init("conv1.weight"), Init::fan_in(18));
        assert_eq!(init("fc.bias"), Init::fan_in(27));
    }

    #[test]
    fn more_classes_change_the_head_alone() {
        let (network, other) = (small(), small().with_classes(9));
        assert_eq!(other.classes().unwrap(), 9);
        assert_eq!(network.nodes[..7], other.nodes[..7]);
    }

    #[test]
    fn a_shape_error_names_the_layer_the_input_and_what_it_takes() {
        let mut network = small();
        network.push("fc2", Linear::new(5, 2));
        let error = network.shapes().unwrap_err().to_string();
        assert_eq!(error, "layer `fc2` (linear) cannot take an input of 4: it takes 5 features");
        network.nodes[0].op = Op::Input(op::Input { shape: vec![3, 8, 8], tokens: None });
        let error = network.shapes().unwrap_err().to_string();
        assert_eq!(
            error,
            "layer `conv1` (conv2d) cannot take an input of 3×8×8: it takes 2 channels"
        );
    }

    #[test]
    fn numbers_of_words_are_no_quantities() {
        let embedded = |rows, tokens| {
            let mut network = Network::of_words("words", &[7], tokens);
            network.push("embedding", op::Embedding { rows, features: 4 });
            network.shapes().map_err(|error| error.reason)
        };
        assert_eq!(embedded(9, 9), Ok(vec![vec![7], vec![7, 4]]));
        let few = "it has vectors for 8 numbers of words, of which there are 9";
        assert_eq!(embedded(8, 9), Err(few.to_owned()));
        let mut network = Network::of_words("words", &[7], 9);
        network.push("fc", Linear::new(7, 2));
        let error = network.shapes().unwrap_err().to_string();
        let expected = "layer `fc` (linear) cannot take an input of 7: numbers of words need an embedding first";
        assert_eq!(error, expected);
        let mut network = Network::new("values", &[7]);
        network.push("embedding", op::Embedding { rows: 9, features: 4 });
        assert_eq!(network.shapes().unwrap_err().reason, "it takes the numbers of words in a row");
    }

    #[test]
    fn a_network_survives_its_json() {
        let mut network = small();
        network.domains = vec!["mnist".to_owned(), "usps".to_owned()];
        network.nodes[1].specific = true;
        network.nodes[1].initial.insert("weight".to_owned(), Init::Normal { std: 0.1 });
        network.nodes[1].initial.insert("bias".to_owned(), Init::Constant(0.0));
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), network);
    }

    #[test]
    fn a_pattern_matches_a_name_what_is_below_it_and_stars() {
        let matching = [
            ("conv1", "conv1"),
            ("layer1", "layer1.0.conv1"),
            ("layer1.*", "layer1.0.conv1"),
            ("*", "fc"),
            ("conv*", "conv12"),
            ("*.conv1", "layer1.0.conv1"),
            ("l*1.*.c*", "layer1.0.conv1"),
        ];
        for (pattern, name) in matching {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        let others = [
            ("conv1", "conv12"),
            ("conv1", "conv"),
            ("layer1.*", "layer1"),
            ("*2", "fc1"),
            ("", "fc1"),
        ];
        for (pattern, name) in others {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
