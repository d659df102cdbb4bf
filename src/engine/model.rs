//! Parameters, and the interpreter that walks a declared network with tensors.

use graftwork::network::op::Interpolation;
use graftwork::network::{Init, NamedParam, Network, Op, ParamRole, ShapeError};
use indexmap::IndexMap;
use tch::{Device, Kind, Tensor, no_grad};

use crate::random;

/// A network with its parameters on a device.
#[derive(Debug)]
pub struct Model {
    network: Network,
    params: IndexMap<String, Parameter>,
    device: Device,
    /// For each node the index of the last node that reads it, after which its output is dropped.
    last_use: Vec<usize>,
    /// What convolutions and linear layers compute in while training.
    compute: Kind,
}

/// A parameter or buffer.
#[derive(Debug)]
pub struct Parameter {
    /// Its value, on the model's device.
    pub value: Tensor,
    /// What it is for.
    pub role: ParamRole,
    /// Index of its node.
    pub node: usize,
    /// The domain whose own copy it is, as an index into [`Network::domains`].
    pub domain: Option<usize>,
    /// One where the value may differ from zero, zero where it may not; same shape and kind.
    pub mask: Option<Tensor>,
    /// Whether training leaves it as it is.
    pub frozen: bool,
}

impl Parameter {
    /// Whether training changes it.
    pub fn is_trained(&self) -> bool {
        self.role.is_trainable() && !self.frozen
    }
}

/// How the network is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Dropout drops; batch-norm normalises by the batch and updates its statistics.
    Train,
    /// Dropout passes; batch-norm normalises by its statistics.
    Eval,
}

impl Model {
    /// A new network with initial weights.
    ///
    /// Each parameter's draw depends on the seed and its name alone, so that another layer more or
    /// less does not change it.
    pub fn new(network: Network, seed: u64, device: Device) -> Self {
        let params = network.params().into_iter().map(|named| {
            let value = initial(&named, seed).to_device(device);
            (named.name.clone(), parameter(&named, value))
        });
        let params = params.collect();
        Self::assemble(network, params, device)
    }

    /// A network with given parameters; every parameter of the network must be there in its shape.
    ///
    /// # Errors
    /// The first name that is missing or has another shape.
    pub fn from_tensors(
        network: Network,
        mut tensors: IndexMap<String, Tensor>,
        device: Device,
    ) -> Result<Self, String> {
        let mut params = IndexMap::new();
        for named in network.params() {
            let value = tensors
                .swap_remove(&named.name)
                .ok_or_else(|| format!("parameter `{}` is missing", named.name))?;
            let expected: Vec<i64> =
                named.param.shape.iter().map(|&extent| i64::from(extent)).collect();
            if value.size() != expected {
                return Err(format!(
                    "parameter `{}` is {:?}, the network has {expected:?}",
                    named.name,
                    value.size()
                ));
            }
            params.insert(named.name.clone(), parameter(&named, value.to_device(device)));
        }
        match tensors.first() {
            Some((name, _)) => Err(format!("`{name}` is no parameter of the network")),
            None => Ok(Self::assemble(network, params, device)),
        }
    }

    fn assemble(network: Network, params: IndexMap<String, Parameter>, device: Device) -> Self {
        let mut last_use = vec![usize::MAX; network.nodes.len()];
        for (index, node) in network.nodes.iter().enumerate() {
            for &input in &node.inputs {
                last_use[input] = index;
            }
        }
        let mut model = Self { network, params, device, last_use, compute: Kind::Float };
        model.update_gradient_flags();
        model
    }

    /// The declared network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Parameters and buffers by full name, in the network's order.
    pub fn params(&self) -> &IndexMap<String, Parameter> {
        &self.params
    }

    /// Parameters and buffers by full name. Call [`Model::update_gradient_flags`] after replacing a
    /// value or freezing.
    pub fn params_mut(&mut self) -> &mut IndexMap<String, Parameter> {
        &mut self.params
    }

    /// Sets what convolutions and linear layers compute in under [`Mode::Train`]: 32 bits at first.
    /// Parameters stay as they are, and so does the kind of the output. This is done here and not by
    /// LibTorch's autocast, since tch leaves that at 16-bit floats, which need a gradient scaler.
    pub fn compute_in(&mut self, kind: Kind) {
        self.compute = kind;
    }

    /// The domain whose own copies go with a dataset: the one of its name, else the last; none for a
    /// network of one domain.
    pub fn domain_for(&self, dataset: &str) -> Option<usize> {
        let domains = &self.network.domains;
        domains.iter().position(|domain| domain == dataset).or(domains.len().checked_sub(1))
    }

    /// Makes LibTorch record gradients for exactly the parameters that are trained.
    pub fn update_gradient_flags(&mut self) {
        for parameter in self.params.values_mut() {
            let trained = parameter.is_trained();
            if parameter.value.requires_grad() != trained {
                parameter.value = parameter.value.detach().set_requires_grad(trained);
            }
        }
    }

    /// A copy with parameters of its own.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let params = self.params.iter().map(|(name, parameter)| {
            let copy = Parameter {
                value: no_grad(|| parameter.value.detach().copy()),
                mask: parameter.mask.as_ref().map(Tensor::copy),
                ..*parameter
            };
            (name.clone(), copy)
        });
        Self::assemble(self.network.clone(), params.collect(), self.device)
    }

    /// Sets every masked value to exactly zero.
    pub fn apply_masks(&mut self) {
        no_grad(|| {
            for parameter in self.params.values_mut() {
                if let Some(mask) = &parameter.mask {
                    // Not a product with the mask alone: that would keep -0 and make NaN of ∞·0.
                    let _ = parameter.value.masked_fill_(&mask.eq(0.0), 0.0);
                }
            }
        });
    }

    /// Replaces the last layer by a new one for a number of classes.
    ///
    /// The new layer has no mask, is trained, and is drawn from the seed and its name.
    #[must_use]
    pub fn replace_head(self, classes: u32, seed: u64) -> Self {
        let head = self.network.head();
        let network = self.network.with_classes(classes);
        let mut old = self.params;
        let params = network.params().into_iter().map(|named| {
            let parameter = if named.node == head {
                parameter(&named, initial(&named, seed).to_device(self.device))
            } else {
                old.swap_remove(&named.name).expect("all layers but the head stay")
            };
            (named.name, parameter)
        });
        let params = params.collect();
        Self::assemble(network, params, self.device)
    }

    /// Gives every domain its own copy of the nodes that match a pattern, each starting from the
    /// shared one; the other nodes stay shared.
    #[must_use]
    pub fn split_domains(self, domains: &[String], patterns: &[String]) -> Self {
        let mut network = self.network;
        network.domains = domains.to_vec();
        for node in &mut network.nodes {
            let matches =
                patterns.iter().any(|pattern| graftwork::network::matches(pattern, &node.name));
            node.specific = matches && !node.op.params().is_empty();
        }
        let old = self.params;
        let params = network.params().into_iter().map(|named| {
            let shared = network.nodes[named.node].name.clone() + "." + named.param.name;
            let from = &old[&shared];
            let copy = Parameter {
                value: from.value.detach().copy(),
                mask: from.mask.as_ref().map(Tensor::copy),
                domain: named.domain,
                ..*from
            };
            (named.name, copy)
        });
        let params = params.collect();
        Self::assemble(network, params, self.device)
    }

    /// The network of one domain, with that domain's copies under the shared names.
    #[must_use]
    pub fn into_domain(self, domain: usize) -> Self {
        let mut network = self.network.clone();
        network.domains.clear();
        network.nodes.iter_mut().for_each(|node| node.specific = false);
        let mut old = self.params;
        let params = network.params().into_iter().map(|named| {
            let name = self.network.param_name(named.node, Some(domain), named.param.name);
            let parameter =
                old.swap_remove(&name).expect("every node has the domain's copy or a shared one");
            (named.name, Parameter { domain: None, ..parameter })
        });
        let params = params.collect();
        Self::assemble(network, params, self.device)
    }

    /// The output for a batch.
    ///
    /// `domain` picks the copies of domain-specific nodes and must be given where there are any.
    ///
    /// # Shapes
    /// - input: `[batch, …]`, the network's input shape
    /// - result: `[batch, classes]`
    pub fn forward(&self, input: &Tensor, mode: Mode, domain: Option<usize>) -> Tensor {
        self.forward_with(input, mode, domain, &[]).0
    }

    /// The output for a batch, and what the given nodes put out, in the order asked for.
    pub fn forward_with(
        &self,
        input: &Tensor,
        mode: Mode,
        domain: Option<usize>,
        taps: &[usize],
    ) -> (Tensor, Vec<Tensor>) {
        let mut outputs: Vec<Option<Tensor>> = Vec::with_capacity(self.network.nodes.len());
        let mut tapped: Vec<Option<Tensor>> = taps.iter().map(|_| None).collect();
        for (index, node) in self.network.nodes.iter().enumerate() {
            let inputs: Vec<&Tensor> = node
                .inputs
                .iter()
                .map(|&input| outputs[input].as_ref().expect("kept until its last use"))
                .collect();
            let output = match &node.op {
                Op::Input(_) => input.shallow_clone(),
                op => self.apply(index, op, &inputs, mode, domain),
            };
            for (place, _) in taps.iter().enumerate().filter(|(_, tap)| **tap == index) {
                tapped[place] = Some(output.shallow_clone());
            }
            outputs.push(Some(output));
            for &input in &node.inputs {
                if self.last_use[input] == index {
                    outputs[input] = None;
                }
            }
        }
        let output = outputs.pop().flatten().expect("a network has a node");
        let tapped = tapped.into_iter().map(|tensor| tensor.expect("every tap is a node"));
        (output.to_kind(Kind::Float), tapped.map(|tensor| tensor.to_kind(Kind::Float)).collect())
    }

    /// The input of the head: what adaptation methods call features.
    pub fn feature_node(&self) -> usize {
        self.network.nodes[self.network.head()].inputs[0]
    }

    fn apply(
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
        let compute = if train { self.compute } else { Kind::Float };
        let low = |tensor: &Tensor| tensor.to_kind(compute);
        match op {
            Op::Input(_) => inputs[0].shallow_clone(),
            Op::Conv2d(conv) => low(inputs[0]).conv2d(
                &low(value("weight")),
                conv.bias.then(|| low(value("bias"))),
                [i64::from(conv.stride); 2],
                [i64::from(conv.padding); 2],
                [i64::from(conv.dilation); 2],
                i64::from(conv.groups),
            ),
            Op::ConvTranspose2d(conv) => low(inputs[0]).conv_transpose2d(
                &low(value("weight")),
                conv.bias.then(|| low(value("bias"))),
                [i64::from(conv.stride); 2],
                [i64::from(conv.padding); 2],
                [i64::from(conv.output_padding); 2],
                i64::from(conv.groups),
                [1, 1],
            ),
            Op::Linear(linear) => low(inputs[0])
                .linear(&low(value("weight")), linear.bias.then(|| low(value("bias")))),
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
            Op::LayerNorm(norm) => inputs[0].to_kind(Kind::Float).layer_norm(
                [i64::from(norm.features)],
                Some(value("weight")),
                Some(value("bias")),
                norm.epsilon,
                true,
            ),
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
        }
    }

    /// Counts of the network as it is now.
    ///
    /// # Errors
    /// Never for a network that has been built; the shapes are inferred again.
    pub fn counts(&self) -> Result<Counts, ShapeError> {
        let mut counts = Counts::default();
        for parameter in self.params.values().filter(|parameter| parameter.role.is_trainable()) {
            let all = parameter.value.numel() as u64;
            let nonzero = parameter.value.count_nonzero(None::<i64>).int64_value(&[]) as u64;
            counts.params += all;
            counts.nonzero_params += nonzero;
            if parameter.role == ParamRole::Weight {
                counts.weights += all;
                counts.zero_weights += all - nonzero;
            }
        }
        counts.macs = self.network.layers()?.iter().map(|layer| layer.macs).sum();
        Ok(counts)
    }
}

/// Counts of a network; all its domains together, MACs of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Trainable parameters.
    pub params: u64,
    /// Trainable parameters that are not zero.
    pub nonzero_params: u64,
    /// Weights of convolutions and linear layers.
    pub weights: u64,
    /// Of these, exactly zero.
    pub zero_weights: u64,
    /// Multiply-accumulates for one example, counting convolutions and linear layers, zeros included.
    pub macs: u64,
}

impl Counts {
    /// Fraction of the weights that are zero, in 0..=1.
    pub fn sparsity(&self) -> f64 {
        if self.weights == 0 { 0.0 } else { self.zero_weights as f64 / self.weights as f64 }
    }
}

/// An axis of one example as an axis of a batch.
fn batched(axis: u32) -> i64 {
    i64::from(axis) + 1
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

fn parameter(named: &NamedParam, value: Tensor) -> Parameter {
    Parameter {
        value,
        role: named.param.role,
        node: named.node,
        domain: named.domain,
        mask: None,
        frozen: false,
    }
}

fn initial(named: &NamedParam, seed: u64) -> Tensor {
    let shape: Vec<i64> = named.param.shape.iter().map(|&extent| i64::from(extent)).collect();
    match named.param.init {
        _ if named.param.role == ParamRole::Counter => {
            Tensor::zeros(shape, (Kind::Int64, Device::Cpu))
        }
        Init::Constant(value) => Tensor::full(shape, value, (Kind::Float, Device::Cpu)),
        Init::Uniform { bound } => {
            let mut rng = random::stream(seed, &format!("init {}", named.name), 0);
            random::uniform(&shape, -bound, bound, &mut rng)
        }
    }
}

#[cfg(test)]
mod tests {
    use graftwork::network::op::{BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Relu};

    use super::*;

    fn network() -> Network {
        let mut network = Network::new("test", &[2, 7, 7]);
        network.push("conv", Conv2d { padding: 1, stride: 2, ..Conv2d::new(2, 4, 3) });
        network.push("depth", Conv2d { groups: 4, bias: false, ..Conv2d::new(4, 4, 2) });
        network.push("bn", BatchNorm::new(4));
        network.push("relu", Relu {});
        network.push("pool", MaxPool2d { kernel: 2, stride: 1, padding: 0 });
        network.push("flatten", Flatten {});
        network.push("dropout", Dropout { p: 0.5 });
        network.push("fc1", Linear { bias: false, ..Linear::new(16, 5) });
        network.push("bn1", BatchNorm::new(5));
        network.push("fc2", Linear::new(5, 3));
        network
    }

    fn model() -> Model {
        Model::new(network(), 5, Device::Cpu)
    }

    fn images(count: i64) -> Tensor {
        random::uniform(&[count, 2, 7, 7], -1.0, 1.0, &mut random::stream(0, "images", 0))
    }

    fn values(model: &Model, name: &str) -> Vec<f32> {
        Vec::try_from(model.params()[name].value.detach().reshape([-1])).unwrap()
    }

    #[track_caller]
    fn set(model: &mut Model, name: &str, values: &[f32]) {
        let parameter = &mut model.params_mut()[name];
        parameter.value = Tensor::from_slice(values).reshape(parameter.value.size());
    }

    #[test]
    fn every_operation_puts_out_the_shape_that_the_network_declares() {
        let model = model();
        let taps: Vec<usize> = (0..model.network().nodes.len()).collect();
        let shapes = model.network().shapes().unwrap();
        for mode in [Mode::Train, Mode::Eval] {
            let (output, tapped) = model.forward_with(&images(6), mode, None, &taps);
            for (tensor, shape) in tapped.iter().zip(&shapes) {
                let shape: Vec<i64> = shape.iter().map(|&extent| i64::from(extent)).collect();
                assert_eq!(tensor.size(), [&[6], shape.as_slice()].concat());
            }
            assert!(output.equal(tapped.last().unwrap()));
        }
    }

    #[test]
    fn a_forward_pass_by_hand() {
        let mut network = Network::new("test", &[1, 3, 3]);
        network.push("conv", Conv2d::new(1, 1, 2));
        network.push("bn", BatchNorm { epsilon: 0.0, ..BatchNorm::new(1) });
        network.push("relu", Relu {});
        network.push("pool", MaxPool2d::new(2));
        network.push("flatten", Flatten {});
        network.push("fc", Linear::new(1, 2));
        let mut model = Model::new(network, 0, Device::Cpu);
        set(&mut model, "conv.weight", &[1.0, 0.0, -1.0, 2.0]);
        set(&mut model, "conv.bias", &[0.5]);
        set(&mut model, "bn.weight", &[2.0]);
        set(&mut model, "bn.bias", &[1.0]);
        set(&mut model, "bn.running_mean", &[3.0]);
        set(&mut model, "bn.running_var", &[4.0]);
        set(&mut model, "fc.weight", &[3.0, -1.0]);
        set(&mut model, "fc.bias", &[0.0, 0.25]);
        // Windows of 1…9: 1−4+2·5+.5 = 7.5, 9.5, 13.5, 15.5; (15.5 − 3)/2 · 2 + 1 = 13.5 is the largest.
        let image = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let output = model.forward(&image.reshape([1, 1, 3, 3]), Mode::Eval, None);
        assert_eq!(Vec::<f32>::try_from(output.reshape([-1])).unwrap(), [40.5, -13.25]);
    }

    #[test]
    fn an_initial_weight_depends_on_the_seed_and_its_name_alone() {
        let one = model();
        let mut longer = network();
        longer.nodes.insert(9, longer.nodes[4].clone()); // a ReLU before the last layers
        longer.nodes[9].name = "more".to_owned();
        longer.nodes[9].inputs = vec![8];
        longer.nodes[10].inputs = vec![9];
        longer.nodes.last_mut().unwrap().inputs = vec![10];
        let mut deeper = longer.clone();
        deeper.push("fc3", Linear::new(3, 3));
        for other in [Model::new(longer, 5, Device::Cpu), Model::new(deeper, 5, Device::Cpu)] {
            for name in one.params().keys().filter(|name| !name.contains("bn")) {
                assert_eq!(values(&one, name), values(&other, name), "{name}");
            }
        }
        let other = Model::new(network(), 6, Device::Cpu);
        assert_ne!(values(&one, "fc2.weight"), values(&other, "fc2.weight"));
        let bound = 1.0 / 5.0f32.sqrt();
        assert!(values(&one, "fc2.weight").iter().all(|value| value.abs() <= bound));
    }

    #[test]
    fn a_new_head_is_drawn_from_the_seed_and_leaves_the_other_layers() {
        let mut before = model();
        before.params_mut()["conv.weight"].mask =
            Some(Tensor::zeros([4, 2, 3, 3], (Kind::Float, Device::Cpu)));
        before.params_mut()["fc2.weight"].mask =
            Some(Tensor::zeros([3, 5], (Kind::Float, Device::Cpu)));
        let kept = values(&before, "conv.weight");
        let after = before.replace_head(7, 9);
        assert_eq!(after.network().classes().unwrap(), 7);
        assert_eq!(values(&after, "conv.weight"), kept);
        assert!(after.params()["conv.weight"].mask.is_some());
        assert!(after.params()["fc2.weight"].mask.is_none());
        let mut wider = network();
        wider = wider.with_classes(7);
        let drawn = Model::new(wider, 9, Device::Cpu);
        assert_eq!(values(&after, "fc2.weight"), values(&drawn, "fc2.weight"));
        assert_eq!(after.forward(&images(2), Mode::Eval, None).size(), [2, 7]);
    }

    #[test]
    fn a_domain_gets_its_copy_and_gives_it_back() {
        let before = model();
        let (plain, images) = (before.forward(&images(3), Mode::Eval, None), images(3));
        let bias = values(&before, "conv.bias");
        let domains = ["mnist".to_owned(), "usps".to_owned()];
        let mut split = before.split_domains(&domains, &["conv".to_owned(), "bn*".to_owned()]);
        assert!(split.params().contains_key("private.usps.bn1.running_mean"));
        assert!(split.params().contains_key("fc1.weight"));
        for domain in [0, 1] {
            assert!(split.forward(&images, Mode::Eval, Some(domain)).equal(&plain));
        }
        no_grad(|| {
            let usps = split.params_mut()["private.usps.conv.bias"].value.shallow_clone();
            let _ = usps.detach().g_add_scalar_(1.0);
        });
        assert!(split.forward(&images, Mode::Eval, Some(0)).equal(&plain));
        let moved = split.forward(&images, Mode::Eval, Some(1));
        assert!(!moved.equal(&plain));
        assert_eq!((split.domain_for("usps"), split.domain_for("other")), (Some(1), Some(1)));
        assert_eq!(split.domain_for("mnist"), Some(0));

        let one = split.into_domain(1);
        assert_eq!(one.network(), &network());
        assert_eq!(one.domain_for("usps"), None);
        assert!(one.forward(&images, Mode::Eval, None).equal(&moved));
        let shifted: Vec<f32> = bias.iter().map(|value| value + 1.0).collect();
        assert_eq!(values(&one, "conv.bias"), shifted);
        assert!(one.params().values().all(|parameter| parameter.domain.is_none()));
    }

    #[test]
    fn a_duplicate_shares_no_memory() {
        let model = model();
        let copy = model.duplicate();
        let before = values(&model, "fc1.weight");
        let _ = no_grad(|| copy.params()["fc1.weight"].value.detach().fill_(0.0));
        assert_eq!(values(&model, "fc1.weight"), before);
    }

    #[test]
    fn a_mask_makes_exact_zeros_even_of_infinity() {
        let mut model = model();
        let mask = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0]);
        set(&mut model, "conv.bias", &[2.0, f32::INFINITY, -3.0, 4.0]);
        model.params_mut()["conv.bias"].mask = Some(mask);
        model.apply_masks();
        let bits: Vec<u32> =
            values(&model, "conv.bias").iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, [2.0f32.to_bits(), 0, 0, 4.0f32.to_bits()]);
        let counts = model.counts().unwrap();
        assert_eq!(counts.params - counts.nonzero_params, 2 + 9, "and the shifts of batch-norm");
        assert_eq!((counts.weights, counts.zero_weights), (72 + 16 + 80 + 15, 0));
    }

    #[test]
    fn tensors_that_do_not_fit_the_network_are_named() {
        let tensors = || -> IndexMap<String, Tensor> {
            let copy = |(name, parameter): (&String, &Parameter)| {
                (name.clone(), parameter.value.detach().copy())
            };
            model().params().iter().map(copy).collect()
        };
        let error = |tensors| Model::from_tensors(network(), tensors, Device::Cpu).unwrap_err();
        let mut missing = tensors();
        missing.swap_remove("bn.bias");
        assert_eq!(error(missing), "parameter `bn.bias` is missing");
        let mut other = tensors();
        other["bn.bias"] = Tensor::zeros([3], (Kind::Float, Device::Cpu));
        assert_eq!(error(other), "parameter `bn.bias` is [3], the network has [4]");
        let mut more = tensors();
        more.insert("fc9.bias".to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
        assert_eq!(error(more), "`fc9.bias` is no parameter of the network");
        assert!(Model::from_tensors(network(), tensors(), Device::Cpu).is_ok());
    }
}
