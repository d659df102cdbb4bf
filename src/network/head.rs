//! What a network says of an example, and the layers that depend on how many classes there are.

use std::collections::{BTreeMap, BTreeSet};

use super::op::{Conv2d, ConvTranspose2d};
use super::{Network, Node, Op, Shape, ShapeError};

/// What a network is asked for, as the shape of its output says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// One class for each example: the output is `[classes]`.
    Classification,
    /// One class for each pixel: the output is `[classes, height, width]`.
    Segmentation,
}

impl Task {
    /// Its name: `classification`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Segmentation => "segmentation",
        }
    }
}

impl Network {
    /// What the network is asked for: an output with three axes has a score of each class for each pixel.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn task(&self) -> Result<Task, ShapeError> {
        let output = self.shapes()?.pop().unwrap_or_default();
        Ok(if output.len() == 3 { Task::Segmentation } else { Task::Classification })
    }

    /// Number of classes: the first extent of the output.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn classes(&self) -> Result<u32, ShapeError> {
        Ok(self.shapes()?.last().and_then(|shape| shape.first().copied()).unwrap_or(0))
    }

    /// The last layer that makes class scores; of a program, the program.
    pub fn head(&self) -> usize {
        if self.is_program() {
            return self.nodes.len() - 1;
        }
        let makes = |&&node: &&usize| !is_depthwise(&self.nodes[node].op);
        let heads = self.heads();
        let last = heads.iter().rev().find(makes).or(heads.last());
        *last.expect("a network has a layer with parameters")
    }

    /// All layers with an output channel for each class, in order: those that make class scores (several in
    /// a network that adds scores of several resolutions), and those that pass each class on by itself (the
    /// upsampling between them). Where the classes cannot be followed back from the output, it is the last
    /// layer with parameters. Of a program none is known.
    pub fn heads(&self) -> Vec<usize> {
        if self.is_program() {
            return Vec::new();
        }
        let found = self.shapes().ok().and_then(|shapes| self.followed_back(&shapes));
        let last = || self.nodes.iter().rposition(|node| !node.op.params().is_empty());
        found.unwrap_or_else(|| last().into_iter().collect())
    }

    /// Whether all layers that depend on the number of classes are known, so that it can be changed.
    pub(super) fn can_change_classes(&self) -> bool {
        let Ok(shapes) = self.shapes() else { return false };
        let Some(classes) = shapes.last().and_then(|shape| shape.first()) else { return false };
        self.followed_back(&shapes).is_some()
            && self.clone().with_classes(classes + 1).classes() == Ok(classes + 1)
    }

    /// The same network with another number of classes; the parameters of [`Network::heads`] get other shapes.
    #[must_use]
    pub fn with_classes(mut self, classes: u32) -> Self {
        for head in self.heads() {
            let op = &mut self.nodes[head].op;
            let passes_each_on = is_depthwise(op);
            match op {
                Op::Linear(linear) => linear.outputs = classes,
                Op::Conv2d(Conv2d { inputs, outputs, groups, .. })
                | Op::ConvTranspose2d(ConvTranspose2d { inputs, outputs, groups, .. }) => {
                    *outputs = classes;
                    if passes_each_on {
                        (*inputs, *groups) = (classes, classes);
                    }
                }
                _ => unreachable!("a head is a linear layer or a convolution"),
            }
        }
        self
    }

    /// Follows the axis of the classes from the output back to the layers that make it.
    fn followed_back(&self, shapes: &[Shape]) -> Option<Vec<usize>> {
        let mut heads = BTreeSet::new();
        let mut axes = BTreeMap::from([(self.nodes.len() - 1, 0)]);
        // From the end: what reads a node comes behind it.
        while let Some((index, axis)) = axes.pop_last() {
            let node = &self.nodes[index];
            if makes(node, axis, &shapes[index]) || is_depthwise(&node.op) {
                heads.insert(index);
            }
            if makes(node, axis, &shapes[index]) {
                continue;
            }
            for (input, axis) in passed(node, axis, shapes)? {
                if *axes.entry(input).or_insert(axis) != axis {
                    return None;
                }
            }
        }
        Some(heads.into_iter().collect())
    }
}

/// Whether a layer makes the values along an axis of its output anew.
fn makes(node: &Node, axis: usize, output: &[u32]) -> bool {
    match &node.op {
        Op::Linear(_) => axis + 1 == output.len(),
        Op::Conv2d(conv) => axis == 0 && conv.groups == 1,
        Op::ConvTranspose2d(conv) => axis == 0 && conv.groups == 1,
        _ => false,
    }
}

/// Whether a convolution makes one channel of each.
fn is_depthwise(op: &Op) -> bool {
    match op {
        Op::Conv2d(conv) => [conv.inputs, conv.outputs] == [conv.groups; 2] && conv.groups > 1,
        Op::ConvTranspose2d(conv) => {
            [conv.inputs, conv.outputs] == [conv.groups; 2] && conv.groups > 1
        }
        _ => false,
    }
}

/// The nodes and axes whose values, in their order, are those along an axis of a node's output; none where
/// they are no single axis of what it reads.
fn passed(node: &Node, axis: usize, shapes: &[Shape]) -> Option<Vec<(usize, usize)>> {
    let first = *node.inputs.first()?;
    let input = &shapes[first];
    let same = || Some(vec![(first, axis)]);
    let channels = || if axis == 0 { same() } else { None };
    match &node.op {
        op if op.is_activation() => same(),
        op if is_depthwise(op) => channels(),
        Op::Dropout(_) | Op::Softmax(_) | Op::Linear(_) => same(),
        Op::MaxPool2d(_)
        | Op::AvgPool2d(_)
        | Op::AdaptiveAvgPool2d(_)
        | Op::Upsample2d(_)
        | Op::MaxPool1d(_) => channels(),
        Op::Add(_) => Some(node.inputs.iter().map(|&input| (input, axis)).collect()),
        // A gate with one value for all classes has none of them.
        Op::Mul(_) => {
            let has_classes = |node: &&usize| shapes[**node][axis] == input[axis];
            Some(node.inputs.iter().filter(has_classes).map(|&input| (input, axis)).collect())
        }
        Op::Concat(concat) if concat.axis as usize != axis => {
            Some(node.inputs.iter().map(|&input| (input, axis)).collect())
        }
        Op::Slice(slice) if slice.axis as usize != axis => same(),
        Op::Flatten(_) => {
            let values: u32 = input.iter().product();
            input.iter().position(|&extent| extent == values).map(|axis| vec![(first, axis)])
        }
        Op::Columns(_) if axis == 1 && input[1] == 1 => Some(vec![(first, 0)]),
        Op::Transpose(_) => Some(vec![(first, 1 - axis)]),
        Op::PoolSteps(_) => Some(vec![(first, 1)]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::groups::{Part, Unit, groups};
    use crate::network::op::{
        AdaptiveAvgPool2d, Add, BatchNorm, Columns, Concat, Flatten, Interpolation, Linear,
        MaxPool2d, Mul, PoolSteps, Relu, Sigmoid, StepPooling, Upsample2d,
    };

    /// `input → stem → …`
    fn after(layers: impl FnOnce(&mut Network, usize)) -> Network {
        let mut network = Network::new("test", &[1, 8, 12]);
        let stem = network.push("stem", Conv2d { padding: 1, ..Conv2d::new(1, 4, 3) });
        layers(&mut network, stem);
        network
    }

    #[track_caller]
    fn check(network: &Network, task: Task, heads: &[&str], head: &str) {
        assert_eq!((network.task(), network.classes()), (Ok(task), Ok(3)));
        let names: Vec<&str> =
            network.heads().iter().map(|&node| network.nodes[node].name.as_str()).collect();
        assert_eq!((names.as_slice(), network.nodes[network.head()].name.as_str()), (heads, head));
        assert!(network.can_change_classes());
        let (old, new) = (network.shapes().unwrap(), network.clone().with_classes(7));
        let output = new.shapes().unwrap().pop().unwrap();
        assert_eq!(output[0], 7);
        assert_eq!(output[1..], old.last().unwrap()[1..]);
        for (index, (one, other)) in network.nodes.iter().zip(&new.nodes).enumerate() {
            assert_eq!(one == other, !network.heads().contains(&index), "{}", one.name);
        }
        // What a class is made by stays when units go: heads only read them.
        let groups = groups(network).unwrap();
        let slices = groups.iter().flat_map(|group| &group.units).flat_map(Unit::slices);
        for slice in slices.filter(|slice| network.heads().contains(&slice.node)) {
            assert_eq!(slice.part, Part::Reads, "{}", slice.param);
        }
    }

    #[test]
    fn a_row_of_scores_is_classification_and_an_image_of_them_segmentation() {
        let linear = after(|network, _| {
            network.push("pool", AdaptiveAvgPool2d::global());
            network.push("flatten", Flatten {});
            network.push("fc", Linear::new(4, 3));
        });
        check(&linear, Task::Classification, &["fc"], "fc");
        assert_eq!(linear.task().unwrap().as_str(), "classification");
        let pooled = after(|network, _| {
            network.push("conv", Conv2d::new(4, 3, 1));
            network.push("pool", AdaptiveAvgPool2d::global());
            network.push("flatten", Flatten {});
        });
        check(&pooled, Task::Classification, &["conv"], "conv");
        let steps = after(|network, _| {
            network.push("columns", Columns {});
            network.push("fc", Linear::new(32, 3));
            network.push("mean", PoolSteps { how: StepPooling::Mean });
        });
        check(&steps, Task::Classification, &["fc"], "fc");
        let pixels = after(|network, _| {
            network.push("pool", MaxPool2d::new(2));
            network.push("up", ConvTranspose2d::new(4, 3, 2));
            network.push("relu", Relu {});
        });
        check(&pixels, Task::Segmentation, &["up"], "up");
        assert_eq!(pixels.task().unwrap().as_str(), "segmentation");
    }

    #[test]
    fn scores_of_several_resolutions_and_the_upsampling_between_depend_on_the_classes() {
        let network = after(|network, stem| {
            network.push("pool", MaxPool2d::new(2));
            network.push("deep", Conv2d::new(4, 3, 1));
            let up = ConvTranspose2d { groups: 3, bias: false, ..ConvTranspose2d::new(3, 3, 2) };
            let up = network.push("up", up);
            let skip = network.push_from("skip", Conv2d::new(4, 3, 1), &[stem]);
            network.push_from("add", Add {}, &[up, skip]);
            let mode = Interpolation::Bilinear;
            network.push("resize", Upsample2d { height: 16, width: 24, mode });
        });
        check(&network, Task::Segmentation, &["deep", "up", "skip"], "skip");
    }

    #[test]
    fn a_gate_of_all_classes_is_none_of_them_and_one_for_each_is() {
        let gated = |gates| {
            after(|network, stem| {
                let scores = network.push("scores", Conv2d::new(4, 3, 1));
                network.push_from("gates", Conv2d::new(4, gates, 1), &[stem]);
                let gate = network.push("sigmoid", Sigmoid {});
                network.push_from("mul", Mul {}, &[scores, gate]);
            })
        };
        check(&gated(1), Task::Segmentation, &["scores"], "scores");
        check(&gated(3), Task::Segmentation, &["scores", "gates"], "gates");
    }

    #[test]
    fn classes_that_cannot_be_followed_cannot_be_changed() {
        let joined = after(|network, stem| {
            let one = network.push("one", Conv2d::new(4, 1, 1));
            let two = network.push_from("two", Conv2d::new(4, 2, 1), &[stem]);
            network.push_from("concat", Concat { axis: 0 }, &[one, two]);
        });
        assert!(!joined.can_change_classes());
        let normalised = after(|network, _| {
            network.push("scores", Conv2d::new(4, 3, 1));
            network.push("bn", BatchNorm::new(3));
        });
        assert!(!normalised.can_change_classes());
        // Scores that another layer reads, too: it would have to take others.
        let read_twice = after(|network, _| {
            let scores = network.push("scores", Conv2d::new(4, 3, 1));
            let more = network.push("more", Conv2d::new(3, 3, 1));
            network.push_from("add", Add {}, &[scores, more]);
        });
        assert!(!read_twice.can_change_classes());
    }
}
