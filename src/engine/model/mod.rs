//! Parameters, and the interpreter that walks a declared network with tensors.

mod operations;
pub(crate) mod program;
#[cfg(test)]
pub(crate) mod random_network;
mod removal;
mod sequence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;

use graftwork::network::{Init, NamedParam, Network, Op, ParamRole, ShapeError};
use indexmap::IndexMap;
use tch::{Device, Kind, TchError, Tensor, no_grad};

use crate::random;
use program::{Contents, Program, Value};
pub(crate) use removal::kept;

/// A network with its parameters on a device.
#[derive(Debug)]
pub struct Model {
    network: Network,
    params: IndexMap<String, Parameter>,
    /// What computes, where the network is a program.
    program: Option<Rc<Program>>,
    device: Device,
    /// For each node the index of the last node that reads it, after which its output is dropped.
    last_use: Vec<usize>,
    /// What convolutions and linear layers compute in while training.
    compute: Kind,
    /// What is added to the weights of layers, by node.
    updates: BTreeMap<usize, Update>,
}

/// What is added to the weight of a layer while it is trained, with a gradient of its own.
#[derive(Debug)]
pub struct Update {
    /// As the weight.
    pub value: Tensor,
    /// Share of the layer's inputs that are dropped at random before they meet it in training, in 0..1.
    pub dropout: f64,
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
        Self::starting_from(network, &IndexMap::new(), seed, device)
    }

    /// A new network that takes the values that fit it by name and shape, and draws the others as
    /// [`Model::new`] does.
    pub fn starting_from(
        network: Network,
        values: &IndexMap<String, Tensor>,
        seed: u64,
        device: Device,
    ) -> Self {
        let params = network.params().into_iter().map(|named| {
            let given = values.get(&named.name).filter(|value| value.size() == extents(&named));
            let value = match given {
                Some(value) => value.to_kind(kind(&named)).copy(),
                None => initial(&named, seed),
            };
            (named.name.clone(), parameter(&named, value.to_device(device)))
        });
        let params = params.collect();
        Self::assemble(network, params, None, device)
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
            let expected = extents(&named);
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
            None => Ok(Self::assemble(network, params, None, device)),
        }
    }

    /// A program as it was read, with the values of its file.
    ///
    /// - network: what it takes and gives, as [`Network::of_program`] says it
    pub fn of_program(
        network: Network,
        program: Program,
        contents: Contents,
        device: Device,
    ) -> Self {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (name, held, value) in contents.held {
            names.push((name, held));
            values.push(value);
        }
        let network = network.holding(names);
        let params =
            network.params().into_iter().zip(values).map(|(named, value)| {
                (named.name.clone(), parameter(&named, value.to_device(device)))
            });
        let params = params.collect();
        Self::assemble(network, params, Some(Rc::new(program)), device)
    }

    /// The same network with the program that computes it.
    ///
    /// # Errors
    /// If the program does not hold what the network has.
    pub fn running(mut self, program: Program, contents: &Contents) -> Result<Self, String> {
        let ours = self.network.params();
        let fits = ours.len() == contents.held.len()
            && ours.iter().zip(&contents.held).all(|(ours, (name, held, _))| {
                (&ours.name, &ours.param.shape) == (name, &held.shape)
            });
        if !fits {
            return Err("the program holds other parameters than the network".to_owned());
        }
        self.program = Some(Rc::new(program));
        Ok(self)
    }

    /// What computes, where the network is a program.
    pub fn program(&self) -> Option<&Program> {
        self.program.as_deref()
    }

    fn assemble(
        network: Network,
        params: IndexMap<String, Parameter>,
        program: Option<Rc<Program>>,
        device: Device,
    ) -> Self {
        let mut last_use = vec![usize::MAX; network.nodes.len()];
        for (index, node) in network.nodes.iter().enumerate() {
            for &input in &node.inputs {
                last_use[input] = index;
            }
        }
        let (compute, updates) = (Kind::Float, BTreeMap::new());
        let mut model = Self { network, params, program, device, last_use, compute, updates };
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

    /// Sets what convolutions and linear layers compute in under [`Mode::Train`]: 32 bits at first. In
    /// 64 bits they compute in both modes; then all floating-point values must have them.
    /// Parameters stay as they are, and so does the kind of the output. This is done here and not by
    /// LibTorch's autocast, since tch leaves that at 16-bit floats, which need a gradient scaler.
    pub fn compute_in(&mut self, kind: Kind) {
        self.compute = kind;
    }

    /// What convolutions and linear layers compute in.
    pub fn computes_in(&self) -> Kind {
        self.compute
    }

    /// Adds something to the weight of a node's layer from now on, in place of what was added before.
    ///
    /// - node: of a layer with an [`Op::weight_matrix`]
    pub fn update(&mut self, node: usize, update: Update) {
        debug_assert!(self.network.nodes[node].op.weight_matrix().is_some(), "it has one weight");
        self.updates.insert(node, update);
    }

    /// A network of the same parameters: what changes in one is changed in both.
    #[must_use]
    pub fn share(&self) -> Self {
        let params = self.params.iter().map(|(name, parameter)| {
            let same = Parameter {
                value: parameter.value.shallow_clone(),
                mask: parameter.mask.as_ref().map(Tensor::shallow_clone),
                ..*parameter
            };
            (name.clone(), same)
        });
        Self::assemble(self.network.clone(), params.collect(), self.program.clone(), self.device)
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
        Self::assemble(self.network.clone(), params.collect(), self.program.clone(), self.device)
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

    /// Replaces the layers with an output for each class by new ones for another number of classes.
    ///
    /// A new layer has no mask, is trained, and is drawn from the seed and its name.
    #[must_use]
    pub fn replace_head(self, classes: u32, seed: u64) -> Self {
        let heads = self.network.heads();
        let network = self.network.with_classes(classes);
        let mut old = self.params;
        let params = network.params().into_iter().map(|named| {
            let parameter = if heads.contains(&named.node) {
                parameter(&named, initial(&named, seed).to_device(self.device))
            } else {
                old.swap_remove(&named.name).expect("all layers but the heads stay")
            };
            (named.name, parameter)
        });
        let params = params.collect();
        Self::assemble(network, params, self.program, self.device)
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
        Self::assemble(network, params, self.program, self.device)
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
        Self::assemble(network, params, self.program, self.device)
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
        if let Some(program) = &self.program {
            assert!(taps.is_empty(), "nothing is seen inside a program");
            let output = self.run(program, input, mode).map_err(TchError::Torch);
            // As tch's own operations: the worker turns a panic into a failed stage.
            return (output.expect("a program runs as when it was imported"), Vec::new());
        }
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

    /// What one node puts out for what it reads, in evaluation; not of a program.
    pub fn output_of(&self, node: usize, inputs: &[&Tensor], domain: Option<usize>) -> Tensor {
        let op = &self.network.nodes[node].op;
        self.apply(node, op, inputs, Mode::Eval, domain).to_kind(Kind::Float)
    }

    /// The output for what a node would put out, from there on; the nodes after it must read nothing before
    /// it.
    pub fn forward_from(
        &self,
        node: usize,
        value: &Tensor,
        mode: Mode,
        domain: Option<usize>,
    ) -> Tensor {
        let mut outputs: Vec<Option<Tensor>> = (0..node).map(|_| None).collect();
        outputs.push(Some(value.shallow_clone()));
        for (index, node) in self.network.nodes.iter().enumerate().skip(node + 1) {
            let inputs = node.inputs.iter().map(|&input| outputs[input].as_ref());
            let inputs: Option<Vec<&Tensor>> = inputs.collect();
            let inputs = inputs.expect("what comes after the node reads it alone");
            let output = self.apply(index, &node.op, &inputs, mode, domain);
            outputs.push(Some(output));
        }
        let output = outputs.pop().flatten().expect("a network has a node");
        output.to_kind(Kind::Float)
    }

    /// The output of a program for a batch, if it has one.
    ///
    /// # Errors
    /// What is wrong, as a clause.
    pub fn run(&self, program: &Program, input: &Tensor, mode: Mode) -> Result<Tensor, String> {
        let values: Vec<Value<'_>> = self
            .params
            .values()
            .map(|parameter| Value {
                tensor: &parameter.value,
                is_parameter: parameter.role.is_trainable(),
                frozen: parameter.frozen,
            })
            .collect();
        let output = program.forward(&values, input, mode == Mode::Train)?;
        Ok(output.to_kind(Kind::Float))
    }

    /// The input of the head: what adaptation methods call features.
    pub fn feature_node(&self) -> usize {
        self.network.nodes[self.network.head()].inputs[0]
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
        let layers = self.network.layers()?;
        let is_known = !self.network.is_program();
        counts.macs = is_known.then(|| layers.iter().map(|layer| layer.macs).sum());
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
    /// Multiply-accumulates for one example, counting convolutions and linear layers, zeros included; not
    /// known of a program.
    pub macs: Option<u64>,
}

impl Counts {
    /// Fraction of the weights that are zero, in 0..=1.
    pub fn sparsity(&self) -> f64 {
        if self.weights == 0 { 0.0 } else { self.zero_weights as f64 / self.weights as f64 }
    }
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

/// A parameter's shape, as LibTorch has it.
pub(crate) fn extents(named: &NamedParam) -> Vec<i64> {
    named.param.shape.iter().map(|&extent| i64::from(extent)).collect()
}

/// The kind of a parameter's values.
fn kind(named: &NamedParam) -> Kind {
    if named.param.role == ParamRole::Counter { Kind::Int64 } else { Kind::Float }
}

fn initial(named: &NamedParam, seed: u64) -> Tensor {
    let shape = extents(named);
    match named.param.init {
        _ if named.param.role == ParamRole::Counter => {
            Tensor::zeros(shape, (Kind::Int64, Device::Cpu))
        }
        Init::Constant(value) => Tensor::full(shape, value, (Kind::Float, Device::Cpu)),
        Init::Bilinear => bilinear(&shape),
        Init::Uniform { bound } => {
            let mut rng = random::stream(seed, &format!("init {}", named.name), 0);
            random::uniform(&shape, -bound, bound, &mut rng)
        }
        Init::Normal { std } => {
            let mut rng = random::stream(seed, &format!("init {}", named.name), 0);
            random::normal(&shape, std, &mut rng)
        }
    }
}

/// The kernel of bilinear interpolation for each channel: a tent as wide as the kernel, in both directions.
///
/// - shape: `[channels, 1, kernel, kernel]`
fn bilinear(shape: &[i64]) -> Tensor {
    let kernel = shape[shape.len() - 1];
    let slope = (kernel + 1) / 2;
    let centre = (kernel - 1) as f64 / 2.0;
    let tent: Vec<f32> = (0..kernel)
        .map(|place| (1.0 - (place as f64 - centre).abs() / slope as f64) as f32)
        .collect();
    let tent = Tensor::from_slice(&tent);
    tent.outer(&tent).expand(shape, false).contiguous()
}
