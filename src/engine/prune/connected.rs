//! Which weights are on a path: whether what is left of a network still leads from its input to its output.
//!
//! A layer can have weights left and pass nothing on, when none of them reads what the layers before it
//! make. Counts of zeros do not show that; Tanaka et al. 2020, <https://arxiv.org/abs/2006.05467>, section 4,
//! call it layer collapse. Two walks over the network find it: forwards, which values anything of the input
//! reaches; backwards, which values reach the output. Both take patterns of zero and one through each node by
//! its own arithmetic, place by place, so that a weight that only ever meets padding counts as what it is.
//!
//! A normalisation or an activation passes a value on; a gate passes on what reaches either of its sides.
//! Biases are no source: what they make does not depend on the input.

use graftwork::network::op::{AvgPool2d, PoolSteps, StepPooling};
use graftwork::network::{Op, ParamRole};
use indexmap::IndexMap;
use tch::{Kind, Tensor, no_grad};

use crate::model::{Mode, Model};

/// The fraction of the weights other than zero that lie on a path of such weights from the input to the
/// output; 0 where no path is left. None for networks that look words up, pass states on or are programs.
pub fn connected(model: &Model) -> Option<f64> {
    let on_paths = weights_on_paths(model)?;
    let weights = model.params().values().filter(|parameter| parameter.role == ParamRole::Weight);
    let nonzero = weights.map(|weight| count(&weight.value.detach().ne(0.0))).sum::<i64>();
    let connected = on_paths.values().map(count).sum::<i64>();
    Some(if nonzero == 0 { 0.0 } else { connected as f64 / nonzero as f64 })
}

fn count(flags: &Tensor) -> i64 {
    flags.sum(Kind::Int64).int64_value(&[])
}

/// For each weight by its full name, which of its values lie on a path.
pub fn weights_on_paths(model: &Model) -> Option<IndexMap<String, Tensor>> {
    if !model.network().nodes.iter().all(|node| has_rule(&node.op)) {
        return None;
    }
    let pattern = pattern(model);
    let mut found: IndexMap<String, Tensor> = IndexMap::new();
    let domains: Vec<Option<usize>> = match model.network().domains.len() {
        0 => vec![None],
        n => (0..n).map(Some).collect(),
    };
    for domain in domains {
        for (name, flags) in (Walk { pattern: &pattern, domain }).on_paths() {
            let all = found.swap_remove(&name).map(|before| before.logical_or(&flags));
            found.insert(name, all.unwrap_or(flags));
        }
    }
    Some(found)
}

/// Whether it is known how an operation passes a pattern on.
fn has_rule(op: &Op) -> bool {
    !matches!(
        op,
        Op::Embedding(_)
            | Op::Gru(_)
            | Op::Lstm(_)
            | Op::Attention(_)
            | Op::Held(_)
            | Op::TorchScript(_)
    )
}

/// The network with one in place of every weight other than zero, and zero in place of all else that it adds.
fn pattern(model: &Model) -> Model {
    let mut pattern = model.duplicate();
    // Sums of ones are exact, and products are taken one node at a time.
    pattern.compute_in(Kind::Double);
    for parameter in pattern.params_mut().values_mut() {
        let is_weight = parameter.role == ParamRole::Weight;
        let value = parameter.value.detach();
        let value = if is_weight { value.ne(0.0) } else { value.zeros_like() };
        parameter.value = value.to_kind(Kind::Double).set_requires_grad(is_weight);
    }
    pattern
}

/// The two walks through one domain's network.
struct Walk<'a> {
    pattern: &'a Model,
    domain: Option<usize>,
}

impl Walk<'_> {
    fn on_paths(&self) -> IndexMap<String, Tensor> {
        let reached = self.forwards();
        let nodes = &self.pattern.network().nodes;
        let mut needed: Vec<Tensor> = reached.iter().map(Tensor::zeros_like).collect();
        if let Some(output) = needed.last_mut() {
            *output = output.ones_like();
        }
        let mut found = IndexMap::new();
        for (index, node) in nodes.iter().enumerate().rev() {
            if node.inputs.is_empty() {
                continue;
            }
            let inputs: Vec<Tensor> = node
                .inputs
                .iter()
                .map(|&input| reached[input].copy().set_requires_grad(true))
                .collect();
            let output = self.pass(index, &node.op, &inputs.iter().collect::<Vec<_>>());
            let flow = (output * &needed[index]).sum(Kind::Double);
            let name = self.pattern.network().param_name(index, self.domain, "weight");
            let weight = self.pattern.params().get(&name);
            let weight = weight.filter(|parameter| parameter.role == ParamRole::Weight);
            let sources: Vec<&Tensor> =
                inputs.iter().chain(weight.map(|parameter| &parameter.value)).collect();
            let gradients = Tensor::run_backward(&[flow], &sources, false, false);
            let (of_inputs, of_weight) = gradients.split_at(inputs.len());
            for (&input, gradient) in
                node.inputs.iter().zip(of_inputs).filter(|(_, gradient)| gradient.defined())
            {
                needed[input] = is_there(&(&needed[input] + gradient));
            }
            if let (Some(weight), Some(gradient)) = (weight, of_weight.first()) {
                let flags = (gradient * weight.value.detach()).gt(THRESHOLD);
                found.insert(name, flags);
            }
        }
        found
    }

    /// One where something of the input reaches a value, for every node.
    fn forwards(&self) -> Vec<Tensor> {
        let network = self.pattern.network();
        let shape = network.input_shape().iter().map(|&extent| i64::from(extent));
        let shape: Vec<i64> = std::iter::once(1).chain(shape).collect();
        let input = Tensor::ones(shape, (Kind::Double, self.pattern.device()));
        let mut reached: Vec<Tensor> = Vec::with_capacity(network.nodes.len());
        for (index, node) in network.nodes.iter().enumerate() {
            let inputs: Vec<&Tensor> = node.inputs.iter().map(|&input| &reached[input]).collect();
            let output = match &node.op {
                Op::Input(_) => input.shallow_clone(),
                op => no_grad(|| is_there(&self.pass(index, op, &inputs))),
            };
            reached.push(output);
        }
        reached
    }

    /// What a node passes on: more than zero where any of what it reads there is.
    fn pass(&self, index: usize, op: &Op, inputs: &[&Tensor]) -> Tensor {
        let apply = |op: &Op| self.pattern.apply(index, op, inputs, Mode::Eval, self.domain);
        match op {
            Op::MaxPool2d(pool) => apply(&Op::AvgPool2d(AvgPool2d {
                kernel: pool.kernel,
                stride: pool.stride,
                padding: pool.padding,
            })),
            Op::MaxPool1d(pool) => inputs[0].avg_pool1d(
                [i64::from(pool.kernel)],
                [i64::from(pool.stride)],
                [0],
                false,
                true,
            ),
            Op::PoolSteps(pool) if pool.how == StepPooling::Max => {
                apply(&Op::PoolSteps(PoolSteps { how: StepPooling::Mean }))
            }
            Op::Mul(_) => inputs[0] + inputs[1],
            Op::Softmax(softmax) => mixed(inputs[0], i64::from(softmax.axis) + 1),
            Op::LayerNorm(_) => mixed(inputs[0], -1),
            Op::BatchNorm(_) | Op::Dropout(_) | Op::Positions(_) => inputs[0].shallow_clone(),
            op if op.is_activation() => inputs[0].shallow_clone(),
            op => apply(op),
        }
    }
}

/// Every value along an axis depends on all.
fn mixed(input: &Tensor, axis: i64) -> Tensor {
    input.mean_dim([axis].as_slice(), true, Kind::Double).expand_as(input)
}

/// Means of ones over an image are larger, and what arithmetic leaves of a zero is smaller.
const THRESHOLD: f64 = 1e-9;

fn is_there(flow: &Tensor) -> Tensor {
    flow.detach().gt(THRESHOLD).to_kind(Kind::Double)
}

#[cfg(test)]
mod tests {
    use graftwork::network::Network;
    use graftwork::network::op::{Add, Conv2d, Flatten, Linear, Relu};
    use rand::RngExt;
    use rand_chacha::ChaCha8Rng;
    use tch::Device;

    use super::*;
    use crate::model::random_network::random_network;
    use crate::prune::{prunable, synflow};
    use crate::random::{stream, uniform};

    fn bare(inputs: u32, outputs: u32) -> Linear {
        Linear { bias: false, ..Linear::new(inputs, outputs) }
    }

    /// Zeroes every weight with a probability.
    fn thin(model: &mut Model, probability: f64, rng: &mut ChaCha8Rng) {
        for parameter in model.params_mut().values_mut() {
            if parameter.role == ParamRole::Weight {
                let draw = uniform(&parameter.value.size(), 0.0, 1.0, rng);
                let kept = draw.ge(probability);
                parameter.value = parameter.value.detach() * kept;
            }
        }
    }

    fn set(model: &mut Model, name: &str, values: &[f32]) {
        let parameter = &mut model.params_mut()[name];
        parameter.value = Tensor::from_slice(values).reshape(parameter.value.size());
    }

    fn flags(found: &IndexMap<String, Tensor>, name: &str) -> Vec<bool> {
        Vec::try_from(found[name].reshape([-1])).unwrap()
    }

    /// Two inputs, two units, one output: the second unit is made of nothing and the first input is read by
    /// nobody but it.
    ///
    /// ```text
    /// x1 ──1──> h1 ──1──> y      x1 → h1, x2 → h1, h1 → y are on a path,
    /// x2 ──1──> h1               h2 → y is not: nothing reaches h2
    ///           h2 ──1──> y
    /// ```
    #[test]
    fn a_unit_that_nothing_reaches_is_on_no_path() {
        let mut network = Network::new("test", &[2]);
        network.push("fc1", bare(2, 2));
        network.push("relu", Relu {});
        network.push("fc2", bare(2, 1));
        let mut model = Model::new(network, 0, Device::Cpu);
        set(&mut model, "fc1.weight", &[1.0, -2.0, 0.0, 0.0]);
        set(&mut model, "fc2.weight", &[-1.0, 1.0]);
        let found = weights_on_paths(&model).unwrap();
        assert_eq!(flags(&found, "fc1.weight"), [true, true, false, false]);
        assert_eq!(flags(&found, "fc2.weight"), [true, false]);
        assert!((connected(&model).unwrap() - 0.75).abs() < 1e-12);
        // Both layers have weights, and none of them meet.
        set(&mut model, "fc2.weight", &[0.0, 1.0]);
        assert!(connected(&model).unwrap().abs() < 1e-12, "collapsed");
        set(&mut model, "fc1.weight", &[0.0; 4]);
        set(&mut model, "fc2.weight", &[0.0; 2]);
        assert!(connected(&model).unwrap().abs() < 1e-12, "nothing is left");
    }

    /// A 3×3 kernel on an image of one pixel sees padding but for its middle.
    #[test]
    fn a_weight_that_meets_padding_alone_is_on_no_path() {
        let mut network = Network::new("test", &[1, 1, 1]);
        network.push("conv", Conv2d { padding: 1, ..Conv2d::new(1, 1, 3) });
        network.push("flatten", Flatten {});
        network.push("fc", bare(1, 2));
        let mut model = Model::new(network, 0, Device::Cpu);
        set(&mut model, "conv.weight", &[1.0; 9]);
        set(&mut model, "fc.weight", &[1.0, 0.0]);
        let found = weights_on_paths(&model).unwrap();
        let middle: Vec<bool> = (0..9).map(|place| place == 4).collect();
        assert_eq!(flags(&found, "conv.weight"), middle);
        assert_eq!(flags(&found, "fc.weight"), [true, false]);
        set(&mut model, "conv.weight", &[1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        assert!(connected(&model).unwrap().abs() < 1e-12);
    }

    #[test]
    fn a_shortcut_leads_around_a_layer_that_is_empty() {
        let mut network = Network::new("test", &[3]);
        let first = network.push("fc1", bare(3, 3));
        let second = network.push("fc2", bare(3, 3));
        network.push_from("add", Add {}, &[first, second]);
        network.push("fc3", bare(3, 1));
        let mut model = Model::new(network, 0, Device::Cpu);
        set(&mut model, "fc1.weight", &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        set(&mut model, "fc2.weight", &[0.0; 9]);
        set(&mut model, "fc3.weight", &[1.0; 3]);
        assert!((connected(&model).unwrap() - 1.0).abs() < 1e-12);
    }

    /// Every path of a small network, one by one: a unit of each layer, and the weights between them.
    fn brute_force(weights: &[Vec<Vec<bool>>]) -> Vec<Vec<Vec<bool>>> {
        let mut found: Vec<Vec<Vec<bool>>> = weights
            .iter()
            .map(|rows| rows.iter().map(|row| vec![false; row.len()]).collect())
            .collect();
        let mut widths = vec![weights[0][0].len()];
        widths.extend(weights.iter().map(Vec::len));
        for number in 0..widths.iter().product::<usize>() {
            let mut rest = number;
            let units: Vec<usize> = widths
                .iter()
                .map(|width| {
                    let unit = rest % width;
                    rest /= width;
                    unit
                })
                .collect();
            let steps = || units.windows(2).enumerate();
            if steps().all(|(layer, step)| weights[layer][step[1]][step[0]]) {
                steps().for_each(|(layer, step)| found[layer][step[1]][step[0]] = true);
            }
        }
        found
    }

    #[test]
    fn small_networks_have_the_paths_that_counting_them_finds() {
        let (mut partly, mut collapsed) = (0, 0);
        for seed in 0..500 {
            let mut rng = stream(seed, "paths", 0);
            let widths: Vec<u32> =
                (0..rng.random_range(2..6)).map(|_| rng.random_range(1..5)).collect();
            let mut network = Network::new("test", &[widths[0]]);
            for (layer, width) in widths.windows(2).enumerate() {
                network.push(&format!("fc{layer}"), Linear::new(width[0], width[1]));
                network.push(&format!("relu{layer}"), Relu {});
            }
            let mut model = Model::new(network, seed, Device::Cpu);
            let probability = rng.random_range(0.1..0.8);
            thin(&mut model, probability, &mut rng);
            let layers = prunable(&model, &[]).unwrap();
            let weights: Vec<Vec<Vec<bool>>> = layers
                .iter()
                .map(|layer| Vec::<Vec<f32>>::try_from(layer.weight(&model)).unwrap())
                .map(|rows| {
                    rows.iter()
                        .map(|row| row.iter().map(|&weight| weight != 0.0).collect())
                        .collect()
                })
                .collect();
            let expected = brute_force(&weights);
            let found = weights_on_paths(&model).unwrap();
            for (layer, expected) in layers.iter().zip(&expected) {
                assert_eq!(flags(&found, &layer.param), expected.concat(), "seed {seed}");
            }
            let count =
                |all: &[Vec<Vec<bool>>]| all.concat().concat().iter().filter(|&&it| it).count();
            let (on_path, nonzero) = (count(&expected), count(&weights));
            let share = if nonzero == 0 { 0.0 } else { on_path as f64 / nonzero as f64 };
            assert!((connected(&model).unwrap() - share).abs() < 1e-12, "seed {seed}");
            collapsed += usize::from(on_path == 0);
            partly += usize::from(on_path > 0 && on_path < nonzero);
        }
        assert!(partly > 50 && collapsed > 50, "{partly} {collapsed}");
    }

    /// Flow is more than zero just where a path is, as long as nothing of it is lost to rounding.
    #[test]
    fn small_convolutional_networks_have_paths_where_synaptic_flow_is() {
        for seed in 0..100 {
            let mut rng = stream(seed, "flow", 0);
            let width = rng.random_range(1..4);
            let mut network = Network::new("test", &[2, 6, 6]);
            let stride = rng.random_range(1..3);
            network.push(
                "conv1",
                Conv2d { bias: false, padding: 1, stride, ..Conv2d::new(2, width, 3) },
            );
            network.push("relu1", Relu {});
            network.push(
                "conv2",
                Conv2d { bias: false, padding: 1, stride: 3, ..Conv2d::new(width, 3, 3) },
            );
            network.push("pool", AvgPool2d { kernel: 1, stride: 1, padding: 0 });
            network.push("conv3", Conv2d { bias: false, padding: 1, ..Conv2d::new(3, 2, 3) });
            network.push("flatten", Flatten {});
            let side = network.shapes().unwrap().pop().unwrap()[0];
            network.push("fc", bare(side, 2));
            let mut model = Model::new(network, seed, Device::Cpu);
            thin(&mut model, rng.random_range(0.3..0.95), &mut rng);
            let layers = prunable(&model, &[]).unwrap();
            let found = weights_on_paths(&model).unwrap();
            for (layer, scores) in layers.iter().zip(synflow::scores(&model, &layers)) {
                assert!(found[&layer.param].equal(&scores.gt(0.0)), "seed {seed}: {}", layer.name);
            }
        }
    }

    /// Nothing that is on no path has a part in what a network without biases puts out.
    #[test]
    fn what_is_on_no_path_can_go() {
        let (mut seen, mut gone) = (0, 0);
        for seed in 0..400 {
            let network = random_network(seed);
            // Those make something of nothing.
            let is_source =
                |op: &Op| matches!(op, Op::Sigmoid(_) | Op::HardSigmoid(_) | Op::Softmax(_));
            if network.nodes.iter().any(|node| is_source(&node.op)) {
                continue;
            }
            let mut rng = stream(seed, "go", 0);
            let mut model = Model::new(network, seed, Device::Cpu);
            thin(&mut model, rng.random_range(0.5..0.95), &mut rng);
            for parameter in model.params_mut().values_mut() {
                if matches!(parameter.role, ParamRole::Bias | ParamRole::Shift) {
                    parameter.value = parameter.value.detach().zeros_like();
                }
            }
            let shape = model.network().input_shape().iter().map(|&extent| i64::from(extent));
            let shape: Vec<i64> = std::iter::once(2).chain(shape).collect();
            let input = uniform(&shape, -1.0, 1.0, &mut rng);
            let before = no_grad(|| model.forward(&input, Mode::Eval, None));
            for (name, flags) in weights_on_paths(&model).unwrap() {
                let parameter = &mut model.params_mut()[&name];
                let value = parameter.value.detach();
                gone += count(&(value.ne(0.0)).logical_and(&flags.logical_not()));
                parameter.value = value * flags;
            }
            let after = no_grad(|| model.forward(&input, Mode::Eval, None));
            let change = (&after - &before).abs().max().double_value(&[]);
            assert!(change <= 1e-6, "seed {seed}: {change}");
            seen += 1;
        }
        assert!(seen > 100 && gone > 1000, "{seen} {gone}");
    }
}
