//! What layers see when training images pass through the network, without labels.

use graftwork::network::Op;
use tch::{Device, Kind, Tensor, no_grad};

use super::Prunable;
use crate::model::{Mode, Model};

/// Examples that pass through the network at a time, and values of theirs; their patches are held at
/// once.
const CHUNK: i64 = 128;
const CHUNK_VALUES: i64 = 128 * 3 * 32 * 32;

/// Sums of what a layer's weights are multiplied with.
///
/// A convolution sees a patch for each place of the window; its channel groups see patches of their
/// own. Linear layers are one group.
#[derive(Debug)]
pub struct Inputs {
    /// For each channel group: `Σ x xᵀ` over patches, `[d, d]`, `f64`, on the CPU. Empty where it was not
    /// asked for.
    pub grams: Vec<Tensor>,
    /// For each channel group: `Σ x`, `[d]`, `f64`, on the CPU.
    pub sums: Vec<Tensor>,
    /// Number of patches.
    pub patches: f64,
    /// Number of images.
    pub images: f64,
}

/// What is summed over the patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collect {
    /// The mean alone.
    Sums,
    /// Second moments, too.
    Grams,
}

/// Collects the inputs of layers, which must be of operations that have patches ([`has_patches`]).
///
/// In a network with domains the images pass through every domain's copy; a shared layer sees them all.
///
/// # Shapes
/// - images: `[n, …]`, the network's input
pub fn inputs(
    model: &Model,
    images: &Tensor,
    layers: &[Prunable],
    collect: Collect,
) -> Vec<Inputs> {
    let taps: Vec<usize> =
        layers.iter().map(|layer| model.network().nodes[layer.node].inputs[0]).collect();
    let mut all: Vec<Option<Inputs>> = layers.iter().map(|_| None).collect();
    each_chunk(model, images, &taps, &mut |domain, tapped| {
        for (index, layer) in layers.iter().enumerate() {
            if layer.domain.is_none() || layer.domain == domain {
                let patches = patches(&model.network().nodes[layer.node].op, &tapped[index]);
                add(&mut all[index], &patches, tapped[index].size()[0], collect);
            }
        }
    });
    // Sums are made on the model's device and brought over once.
    let on_cpu = |inputs: Inputs| Inputs {
        grams: inputs.grams.iter().map(|gram| gram.to_device(Device::Cpu)).collect(),
        sums: inputs.sums.iter().map(|sum| sum.to_device(Device::Cpu)).collect(),
        ..inputs
    };
    all.into_iter().map(|inputs| on_cpu(inputs.expect("there is an image"))).collect()
}

/// The outputs of nodes, averaged over all axes of an example but the given one, `[n, channels]` each,
/// `f64`, on the CPU.
///
/// In a network with domains: the rows of every domain's pass below each other.
pub fn activations(model: &Model, images: &Tensor, taps: &[(usize, usize)]) -> Vec<Tensor> {
    let mut chunks: Vec<Vec<Tensor>> = taps.iter().map(|_| Vec::new()).collect();
    let nodes: Vec<usize> = taps.iter().map(|(node, _)| *node).collect();
    each_chunk(model, images, &nodes, &mut |_, tapped| {
        for ((chunks, output), (_, axis)) in chunks.iter_mut().zip(tapped).zip(taps) {
            let rows = output.transpose(1, *axis as i64 + 1).flatten(1, -1);
            let rows = rows.reshape([output.size()[0], output.size()[axis + 1], -1]);
            let means = rows.mean_dim([2].as_slice(), false, Kind::Double);
            chunks.push(means.to_device(Device::Cpu));
        }
    });
    chunks.iter().map(|chunks| Tensor::cat(chunks, 0)).collect()
}

/// Passes images through every domain's network, a chunk at a time: `sink` gets the domain and the outputs of
/// the nodes `taps`.
pub(super) fn each_chunk(
    model: &Model,
    images: &Tensor,
    taps: &[usize],
    sink: &mut dyn FnMut(Option<usize>, &[Tensor]),
) {
    let domains: Vec<Option<usize>> = match model.network().domains.len() {
        0 => vec![None],
        n => (0..n).map(Some).collect(),
    };
    let values: i64 = images.size()[1..].iter().product();
    let chunk = (CHUNK_VALUES / values.max(1)).clamp(1, CHUNK);
    no_grad(|| {
        for domain in domains {
            for chunk in images.split(chunk, 0) {
                let (_, tapped) =
                    model.forward_with(&chunk.to_device(model.device()), Mode::Eval, domain, taps);
                sink(domain, &tapped);
            }
        }
    });
}

/// Whether every output of an operation is a row of its weight times a patch of its input.
pub fn has_patches(op: &Op) -> bool {
    matches!(op, Op::Conv1d(_) | Op::Conv2d(_) | Op::Linear(_))
}

/// The patches that a layer's weights are multiplied with, `[d, patches]` for each channel group.
fn patches(op: &Op, input: &Tensor) -> Vec<Tensor> {
    match op {
        Op::Conv2d(conv) => {
            let kernel = [i64::from(conv.kernel); 2];
            let columns = input.im2col(
                kernel,
                [i64::from(conv.dilation); 2],
                [i64::from(conv.padding); 2],
                [i64::from(conv.stride); 2],
            ); // [batch, channels · kernel², places], channels slowest
            let columns = columns.transpose(0, 1).flatten(1, -1);
            let per_group = columns.size()[0] / i64::from(conv.groups);
            columns.split(per_group, 0)
        }
        Op::Conv1d(conv) => {
            // As an image of one row.
            let columns = input.unsqueeze(2).im2col(
                [1, i64::from(conv.kernel)],
                [1, 1],
                [0, i64::from(conv.padding)],
                [1, i64::from(conv.stride)],
            );
            vec![columns.transpose(0, 1).flatten(1, -1)]
        }
        Op::Linear(linear) => vec![input.reshape([-1, i64::from(linear.inputs)]).tr()],
        _ => unreachable!("`{}` is no operation with patches", op.name()),
    }
}

fn add(inputs: &mut Option<Inputs>, patches: &[Tensor], images: i64, collect: Collect) {
    let patches: Vec<Tensor> = patches.iter().map(|x| x.to_kind(Kind::Double)).collect();
    let inputs = inputs.get_or_insert_with(|| {
        let zeros = |x: &Tensor, shape: &[i64]| Tensor::zeros(shape, (Kind::Double, x.device()));
        let d = patches[0].size()[0];
        Inputs {
            grams: match collect {
                Collect::Sums => Vec::new(),
                Collect::Grams => patches.iter().map(|x| zeros(x, &[d, d])).collect(),
            },
            sums: patches.iter().map(|x| zeros(x, &[d])).collect(),
            patches: 0.0,
            images: 0.0,
        }
    });
    for (gram, x) in inputs.grams.iter_mut().zip(&patches) {
        let _ = gram.addmm_(x, &x.tr());
    }
    for (sum, x) in inputs.sums.iter_mut().zip(&patches) {
        *sum += x.sum_dim_intlist([1].as_slice(), false, Kind::Double);
    }
    inputs.patches += patches[0].size()[1] as f64;
    inputs.images += images as f64;
}

#[cfg(test)]
mod tests {
    use graftwork::network::Network;
    use graftwork::network::op::{Conv1d, Conv2d, Flatten, Linear, Relu};

    use super::*;
    use crate::prune::prunable;
    use crate::random;

    /// The gram of a layer's inputs explains its output: `‖W x‖² = tr(W G Wᵀ)`.
    #[track_caller]
    fn check(network: Network, layers_with_weights: &[usize]) {
        let shape: Vec<i64> = network.input_shape().iter().map(|&extent| extent.into()).collect();
        let model = Model::new(network, 3, Device::Cpu);
        let shape = [&[200], shape.as_slice()].concat();
        let images = random::uniform(&shape, -1.0, 1.0, &mut random::stream(1, "x", 0));
        let layers = prunable(&model, &[]).unwrap();
        let inputs = inputs(&model, &images, &layers, Collect::Grams);
        let (_, outputs) = model.forward_with(&images, Mode::Eval, None, layers_with_weights);
        for (index, output) in outputs.iter().enumerate() {
            let energy = output.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
            let weight = layers[index].weight(&model).to_kind(Kind::Double).flatten(1, -1);
            let rows = weight.size()[0] / inputs[index].grams.len() as i64;
            let explained: f64 = weight
                .split(rows, 0)
                .iter()
                .zip(&inputs[index].grams)
                .map(|(w, gram)| (w.matmul(gram) * w).sum(Kind::Double).double_value(&[]))
                .sum();
            assert!((energy / explained - 1.0).abs() < 1e-5, "{energy} {explained}");
            assert_eq!(inputs[index].images as i64, 200);
        }
    }

    #[test]
    fn second_moments_explain_sequences_step_by_step() {
        let mut network = Network::new("test", &[3, 11]);
        let conv = Conv1d { padding: 2, stride: 2, bias: false, ..Conv1d::new(3, 4, 5) };
        let conv = network.push("conv", conv);
        let rows = network.push("rows", Linear { bias: false, ..Linear::new(6, 5) });
        network.push("flatten", Flatten {});
        let fc = network.push("fc", Linear { bias: false, ..Linear::new(20, 3) });
        check(network, &[conv, rows, fc]);
    }

    /// Also for strides, padding, dilation and channel groups.
    #[test]
    fn the_second_moments_explain_the_energy_of_every_output() {
        let mut network = Network::new("test", &[2, 9, 9]);
        let conv =
            Conv2d { padding: 1, stride: 2, dilation: 2, bias: false, ..Conv2d::new(2, 4, 3) };
        let conv = network.push("conv", conv);
        network.push("relu", Relu {});
        let grouped =
            network.push("grouped", Conv2d { groups: 2, bias: false, ..Conv2d::new(4, 6, 2) });
        network.push("flatten", Flatten {});
        let features = network.shapes().unwrap().last().unwrap()[0];
        let fc = network.push("fc", Linear { bias: false, ..Linear::new(features, 3) });
        check(network, &[conv, grouped, fc]);
    }
}
