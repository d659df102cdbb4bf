//! A network that an experiment file writes layer by layer: sizes of inputs follow from the layers before.

use std::collections::{BTreeMap, HashSet};

use super::{BuildError, BuildFault, Place};
use crate::experiment::spec::layers::{self as spec, Join, Layer};
use crate::network::op::{
    AdaptiveAvgPool2d, Add, Attention, AvgPool2d, BatchNorm, ChannelShuffle, Columns, Concat,
    Conv1d, Conv2d, ConvTranspose2d, Dropout, Embedding, Flatten, Gelu, Gru, HardSigmoid,
    HardSwish, LayerNorm, LeakyRelu, Linear, Lstm, MaxPool1d, MaxPool2d, Mul, PadChannels,
    PixelShuffle, PoolSteps, Positions, Relu, Relu6, Sigmoid, Silu, Slice, Softmax, Tanh,
    Transpose, Upsample2d,
};
use crate::network::{Network, Op, Shape};

/// More operations than any network has; a block that repeats blocks that repeat comes here soon.
const MOST_NODES: usize = 20_000;

pub(super) fn build(
    layers: &[Layer],
    input: &[u32],
    tokens: Option<u32>,
    classes: u32,
) -> Result<Network, BuildError> {
    let network = match tokens {
        Some(tokens) => Network::of_words("layers", input, tokens),
        None => Network::new("layers", input),
    };
    let mut builder = Builder {
        shapes: vec![input.to_vec()],
        names: HashSet::from(["input".to_owned()]),
        place: Vec::new(),
        classes,
        has_pixel_classifier: false,
        network,
    };
    builder.sequence("", layers, 0)?;
    builder.check_head()?;
    Ok(builder.network)
}

struct Builder {
    network: Network,
    /// Of each node, as far as the network goes.
    shapes: Vec<Shape>,
    names: HashSet<String>,
    /// Where the layer stands that is being built.
    place: Vec<Place>,
    classes: u32,
    /// Whether the classes are meant to be those of each pixel: an image at the end is no accident then.
    has_pixel_classifier: bool,
}

impl Builder {
    fn fail<T>(&self, fault: BuildFault) -> Result<T, BuildError> {
        Err(BuildError { place: self.place.clone(), fault })
    }

    /// Appends layers that follow each other; gives the node that ends them.
    fn sequence(
        &mut self,
        prefix: &str,
        layers: &[Layer],
        mut from: usize,
    ) -> Result<usize, BuildError> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for (index, layer) in layers.iter().enumerate() {
            let (key, base, name) = naming(layer);
            let name = name.map_or_else(
                || {
                    let count = counts.entry(base).or_default();
                    *count += 1;
                    format!("{prefix}{base}{count}")
                },
                |name| format!("{prefix}{name}"),
            );
            self.place.extend([Place::Index(index), Place::Key(key)]);
            from = self.layer(&name, layer, from)?;
            self.place.truncate(self.place.len() - 2);
        }
        Ok(from)
    }

    /// A list of layers that a layer has under a key.
    fn inner(
        &mut self,
        keys: &[Place],
        prefix: &str,
        layers: &[Layer],
        from: usize,
    ) -> Result<usize, BuildError> {
        self.place.extend(keys);
        let end = self.sequence(prefix, layers, from)?;
        self.place.truncate(self.place.len() - keys.len());
        Ok(end)
    }

    fn branches(
        &mut self,
        name: &str,
        branches: &[Vec<Layer>],
        from: usize,
    ) -> Result<Vec<usize>, BuildError> {
        let ends = branches.iter().enumerate().map(|(index, branch)| {
            let keys = [Place::Key("branches"), Place::Index(index)];
            self.inner(&keys, &format!("{name}.{index}."), branch, from)
        });
        ends.collect()
    }

    fn push(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[usize],
    ) -> Result<usize, BuildError> {
        if self.network.nodes.len() >= MOST_NODES {
            return self.fail(BuildFault::TooLong(MOST_NODES));
        }
        if !self.names.insert(name.to_owned()) {
            return self.fail(BuildFault::SameName(name.to_owned()));
        }
        let node = self.network.push_from(name, op, inputs);
        let shapes: Vec<&[u32]> =
            inputs.iter().map(|&input| self.shapes[input].as_slice()).collect();
        match self.network.output_of(&self.network.nodes[node], &shapes) {
            Ok(output) => self.shapes.push(output),
            Err(error) => return self.fail(BuildFault::Shape(error)),
        }
        Ok(node)
    }

    /// Extent of what a node puts out along an axis; zero where it has no such axis, which no layer takes.
    fn extent(&self, node: usize, axis: usize) -> u32 {
        self.shapes[node].get(axis).copied().unwrap_or(0)
    }

    fn features(&self, node: usize) -> u32 {
        self.shapes[node].last().copied().unwrap_or(0)
    }

    fn layer(&mut self, name: &str, layer: &Layer, from: usize) -> Result<usize, BuildError> {
        let channels = self.extent(from, 0);
        let op: Op = match layer {
            Layer::Residual(residual) => return self.residual(name, residual, from),
            Layer::Block(block) => return self.block(name, block, from),
            Layer::Concat(concat) => {
                let ends = self.branches(name, &concat.branches, from)?;
                return self.push(name, Concat { axis: concat.axis }, &ends);
            }
            Layer::Parallel(parallel) => return self.parallel(name, parallel, from),
            Layer::Conv2d(conv) => Conv2d {
                inputs: channels,
                outputs: conv.channels,
                kernel: conv.kernel,
                stride: conv.stride,
                padding: conv.padding,
                dilation: conv.dilation,
                groups: conv.groups,
                bias: conv.bias,
            }
            .into(),
            Layer::DepthwiseConv2d(conv) => Conv2d {
                inputs: channels,
                outputs: channels.saturating_mul(conv.multiplier),
                kernel: conv.kernel,
                stride: conv.stride,
                padding: conv.padding,
                dilation: conv.dilation,
                groups: channels,
                bias: conv.bias,
            }
            .into(),
            Layer::ConvTranspose2d(conv) => ConvTranspose2d {
                inputs: channels,
                outputs: conv.channels,
                kernel: conv.kernel,
                stride: conv.stride.unwrap_or(conv.kernel),
                padding: conv.padding,
                output_padding: conv.output_padding,
                groups: conv.groups,
                bias: conv.bias,
            }
            .into(),
            Layer::Linear(linear) => {
                Linear { inputs: self.features(from), outputs: linear.features, bias: linear.bias }
                    .into()
            }
            Layer::Classifier(classifier) if classifier.per_pixel => {
                self.has_pixel_classifier = true;
                Conv2d { bias: classifier.bias, ..Conv2d::new(channels, self.classes, 1) }.into()
            }
            Layer::Classifier(classifier) => {
                Linear { inputs: self.features(from), outputs: self.classes, bias: classifier.bias }
                    .into()
            }
            Layer::BatchNorm(norm) => {
                BatchNorm { features: channels, epsilon: norm.epsilon, momentum: norm.momentum }
                    .into()
            }
            Layer::LayerNorm(norm) => {
                LayerNorm { epsilon: norm.epsilon, ..LayerNorm::new(self.features(from)) }.into()
            }
            Layer::Relu(_) => Relu {}.into(),
            Layer::Relu6(_) => Relu6 {}.into(),
            Layer::LeakyRelu(leaky) => LeakyRelu { slope: leaky.slope }.into(),
            Layer::Gelu(_) => Gelu {}.into(),
            Layer::Sigmoid(_) => Sigmoid {}.into(),
            Layer::Tanh(_) => Tanh {}.into(),
            Layer::Silu(_) => Silu {}.into(),
            Layer::HardSwish(_) => HardSwish {}.into(),
            Layer::HardSigmoid(_) => HardSigmoid {}.into(),
            Layer::Softmax(softmax) => Softmax { axis: softmax.axis }.into(),
            Layer::MaxPool2d(pool) => MaxPool2d {
                kernel: pool.kernel,
                stride: pool.stride.unwrap_or(pool.kernel),
                padding: pool.padding,
            }
            .into(),
            Layer::AvgPool2d(pool) => AvgPool2d {
                kernel: pool.kernel,
                stride: pool.stride.unwrap_or(pool.kernel),
                padding: pool.padding,
            }
            .into(),
            Layer::AdaptiveAvgPool2d(pool) => {
                AdaptiveAvgPool2d { height: pool.height, width: pool.width }.into()
            }
            Layer::Upsample2d(upsample) => Upsample2d {
                height: self.extent(from, 1).saturating_mul(upsample.factor),
                width: self.extent(from, 2).saturating_mul(upsample.factor),
                mode: upsample.mode,
            }
            .into(),
            Layer::Resize2d(resize) => {
                Upsample2d { height: resize.height, width: resize.width, mode: resize.mode }.into()
            }
            Layer::Slice(slice) => {
                Slice { axis: slice.axis, from: slice.from, to: slice.to }.into()
            }
            Layer::ChannelShuffle(shuffle) => ChannelShuffle { groups: shuffle.groups }.into(),
            Layer::PixelShuffle(shuffle) => PixelShuffle { factor: shuffle.factor }.into(),
            Layer::PadChannels(pad) => PadChannels { before: pad.before, after: pad.after }.into(),
            Layer::Embedding(embedding) => {
                Embedding { rows: self.network.tokens().unwrap_or(0), features: embedding.features }
                    .into()
            }
            Layer::Positions(_) => {
                Positions { steps: channels, features: self.features(from) }.into()
            }
            Layer::Columns(_) => Columns {}.into(),
            Layer::Transpose(_) => Transpose {}.into(),
            Layer::Conv1d(conv) => Conv1d {
                inputs: channels,
                outputs: conv.channels,
                kernel: conv.kernel,
                stride: conv.stride,
                padding: conv.padding,
                bias: conv.bias,
            }
            .into(),
            Layer::MaxPool1d(pool) => {
                MaxPool1d { kernel: pool.kernel, stride: pool.stride.unwrap_or(pool.kernel) }.into()
            }
            Layer::Gru(gru) => Gru {
                inputs: self.features(from),
                hidden: gru.hidden,
                layers: gru.layers,
                bidirectional: gru.bidirectional,
            }
            .into(),
            Layer::Lstm(lstm) => Lstm {
                inputs: self.features(from),
                hidden: lstm.hidden,
                layers: lstm.layers,
                bidirectional: lstm.bidirectional,
            }
            .into(),
            Layer::Attention(attention) => {
                let op = Attention::new(self.features(from), attention.heads);
                return self.push(name, op, &self.with_words(from));
            }
            Layer::PoolSteps(pool) => {
                return self.push(name, PoolSteps { how: pool.how }, &self.with_words(from));
            }
            Layer::Flatten(_) => Flatten {}.into(),
            Layer::Dropout(dropout) => Dropout { p: dropout.p }.into(),
        };
        self.push(name, op, &[from])
    }

    /// What reads a sequence, and its words as long as the steps are those of the text.
    fn with_words(&self, from: usize) -> Vec<usize> {
        let is_text = self.network.tokens().is_some() && self.shapes[0] == [self.extent(from, 0)];
        if is_text { vec![from, 0] } else { vec![from] }
    }

    fn residual(
        &mut self,
        name: &str,
        residual: &spec::Residual,
        from: usize,
    ) -> Result<usize, BuildError> {
        let body =
            self.inner(&[Place::Key("body")], &format!("{name}.body."), &residual.body, from)?;
        let shortcut = &residual.shortcut;
        let shortcut =
            self.inner(&[Place::Key("shortcut")], &format!("{name}.shortcut."), shortcut, from)?;
        self.push(name, Add {}, &[body, shortcut])
    }

    fn parallel(
        &mut self,
        name: &str,
        parallel: &spec::Parallel,
        from: usize,
    ) -> Result<usize, BuildError> {
        let ends = self.branches(name, &parallel.branches, from)?;
        if parallel.join == Join::Sum {
            return self.push(name, Add {}, &ends);
        }
        let (&first, gates) = ends.split_first().expect("the language asks for two branches");
        let (&last, gates) = gates.split_last().expect("the language asks for two branches");
        let mut product = first;
        for (index, &gate) in gates.iter().enumerate() {
            product = self.push(&format!("{name}.product{index}"), Mul {}, &[product, gate])?;
        }
        self.push(name, Mul {}, &[product, last])
    }

    fn block(
        &mut self,
        name: &str,
        block: &spec::Block,
        mut from: usize,
    ) -> Result<usize, BuildError> {
        for time in 0..block.repeat {
            let prefix =
                if block.repeat == 1 { format!("{name}.") } else { format!("{name}.{time}.") };
            from = self.inner(&[Place::Key("layers")], &prefix, &block.layers, from)?;
        }
        Ok(from)
    }

    /// Whether the outputs are the classes, and can become those of other data.
    fn check_head(&self) -> Result<(), BuildError> {
        let output = self.shapes.last().expect("a network has its input");
        let outputs = match output[..] {
            [outputs] => outputs,
            [outputs, _, _] if self.has_pixel_classifier => outputs,
            _ => return self.fail(BuildFault::NoHead),
        };
        if !self.network.can_change_classes() {
            return self.fail(BuildFault::NoHead);
        }
        if outputs != self.classes {
            return self.fail(BuildFault::Classes { outputs, classes: self.classes });
        }
        Ok(())
    }
}

/// A layer's key in the file, what it is called if it has no name, and the name that it has.
fn naming(layer: &Layer) -> (&'static str, &'static str, Option<&str>) {
    let (key, base, name) = match layer {
        Layer::Conv2d(layer) => ("conv2d", "conv", &layer.name),
        Layer::DepthwiseConv2d(layer) => ("depthwise-conv2d", "depthwise", &layer.name),
        Layer::ConvTranspose2d(layer) => ("conv-transpose2d", "up", &layer.name),
        Layer::Linear(layer) => ("linear", "fc", &layer.name),
        Layer::Classifier(layer) => ("classifier", "classifier", &layer.name),
        Layer::BatchNorm(layer) => ("batch-norm", "bn", &layer.name),
        Layer::LayerNorm(layer) => ("layer-norm", "norm", &layer.name),
        Layer::Relu(layer) => ("relu", "relu", &layer.name),
        Layer::Relu6(layer) => ("relu6", "relu", &layer.name),
        Layer::LeakyRelu(layer) => ("leaky-relu", "relu", &layer.name),
        Layer::Gelu(layer) => ("gelu", "gelu", &layer.name),
        Layer::Sigmoid(layer) => ("sigmoid", "sigmoid", &layer.name),
        Layer::Tanh(layer) => ("tanh", "tanh", &layer.name),
        Layer::Silu(layer) => ("silu", "silu", &layer.name),
        Layer::HardSwish(layer) => ("hard-swish", "swish", &layer.name),
        Layer::HardSigmoid(layer) => ("hard-sigmoid", "sigmoid", &layer.name),
        Layer::Softmax(layer) => ("softmax", "softmax", &layer.name),
        Layer::MaxPool2d(layer) => ("max-pool2d", "pool", &layer.name),
        Layer::AvgPool2d(layer) => ("avg-pool2d", "pool", &layer.name),
        Layer::AdaptiveAvgPool2d(layer) => ("adaptive-avg-pool2d", "pool", &layer.name),
        Layer::Upsample2d(layer) => ("upsample2d", "upsample", &layer.name),
        Layer::Resize2d(layer) => ("resize2d", "resize", &layer.name),
        Layer::Slice(layer) => ("slice", "slice", &layer.name),
        Layer::ChannelShuffle(layer) => ("channel-shuffle", "shuffle", &layer.name),
        Layer::PixelShuffle(layer) => ("pixel-shuffle", "pixels", &layer.name),
        Layer::PadChannels(layer) => ("pad-channels", "pad", &layer.name),
        Layer::Flatten(layer) => ("flatten", "flatten", &layer.name),
        Layer::Dropout(layer) => ("dropout", "dropout", &layer.name),
        Layer::Embedding(layer) => ("embedding", "embedding", &layer.name),
        Layer::Positions(layer) => ("positions", "positions", &layer.name),
        Layer::Columns(layer) => ("columns", "columns", &layer.name),
        Layer::Transpose(layer) => ("transpose", "transpose", &layer.name),
        Layer::Conv1d(layer) => ("conv1d", "conv", &layer.name),
        Layer::MaxPool1d(layer) => ("max-pool1d", "pool", &layer.name),
        Layer::Gru(layer) => ("gru", "gru", &layer.name),
        Layer::Lstm(layer) => ("lstm", "lstm", &layer.name),
        Layer::Attention(layer) => ("attention", "attention", &layer.name),
        Layer::PoolSteps(layer) => ("pool-steps", "pool", &layer.name),
        Layer::Residual(layer) => ("residual", "residual", &layer.name),
        Layer::Concat(layer) => ("concat", "concat", &layer.name),
        Layer::Parallel(layer) => ("parallel", "parallel", &layer.name),
        Layer::Block(layer) => ("block", "block", &layer.name),
    };
    (key, base, name.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Extents, Task};

    #[track_caller]
    fn layers(text: &str) -> Vec<Layer> {
        #[derive(serde::Deserialize)]
        struct File {
            layers: Vec<Layer>,
        }
        toml::from_str::<File>(text).unwrap().layers
    }

    /// Name, operation, shape and parameters of every node.
    #[track_caller]
    fn table(text: &str, input: &[u32]) -> Vec<String> {
        let network = build(&layers(text), input, None, 10).unwrap();
        let line = |layer: crate::network::Layer| {
            format!("{} {} {} {}", layer.name, layer.op, Extents(&layer.output), layer.params)
        };
        network.layers().unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn sizes_follow_from_the_layers_before() {
        let lenet5 = "layers = [
            { conv2d = { channels = 20, kernel = 5 } }, { relu = {} }, { max-pool2d = { kernel = 2 } },
            { conv2d = { channels = 50, kernel = 5 } }, { relu = {} }, { max-pool2d = { kernel = 2 } },
            { flatten = {} },
            { linear = { features = 500 } }, { relu = {} },
            { classifier = { name = 'fc2' } },
        ]";
        let expected = [
            "input input 1×28×28 0",
            "conv1 conv2d 20×24×24 520",
            "relu1 relu 20×24×24 0",
            "pool1 max-pool2d 20×12×12 0",
            "conv2 conv2d 50×8×8 25050",
            "relu2 relu 50×8×8 0",
            "pool2 max-pool2d 50×4×4 0",
            "flatten1 flatten 800 0",
            "fc1 linear 500 400500",
            "relu3 relu 500 0",
            "fc2 linear 10 5010",
        ];
        assert_eq!(table(lenet5, &[1, 28, 28]), expected);
    }

    #[test]
    fn branches_and_blocks_give_their_names_to_what_is_in_them() {
        let text = "layers = [
            { block = { name = 'stem', layers = [{ conv2d = { channels = 4, kernel = 3 } }] } },
            { residual = { body = [{ depthwise-conv2d = { kernel = 3, padding = 1 } }] } },
            { concat = { name = 'skip', branches = [
                [],
                [{ max-pool2d = { kernel = 2 } }, { upsample2d = {} }],
            ] } },
            { parallel = { join = 'product', branches = [
                [{ block = { repeat = 2, layers = [{ conv2d = { channels = 2, kernel = 1 } }] } }],
                [{ adaptive-avg-pool2d = {} }, { conv2d = { channels = 2, kernel = 1 } }, { sigmoid = {} }],
                [{ conv2d = { channels = 1, kernel = 1, bias = false } }],
            ] } },
            { flatten = {} }, { classifier = {} },
        ]";
        let expected = [
            "input input 1×6×6 0",
            "stem.conv1 conv2d 4×4×4 40",
            "residual1.body.depthwise1 conv2d 4×4×4 40",
            "residual1 add 4×4×4 0",
            "skip.1.pool1 max-pool2d 4×2×2 0",
            "skip.1.upsample1 upsample2d 4×4×4 0",
            "skip concat 8×4×4 0",
            "parallel1.0.block1.0.conv1 conv2d 2×4×4 18",
            "parallel1.0.block1.1.conv1 conv2d 2×4×4 6",
            "parallel1.1.pool1 adaptive-avg-pool2d 8×1×1 0",
            "parallel1.1.conv1 conv2d 2×1×1 18",
            "parallel1.1.sigmoid1 sigmoid 2×1×1 0",
            "parallel1.2.conv1 conv2d 1×4×4 8",
            "parallel1.product0 mul 2×4×4 0",
            "parallel1 mul 2×4×4 0",
            "flatten1 flatten 32 0",
            "classifier1 linear 10 330",
        ];
        assert_eq!(table(text, &[1, 6, 6]), expected);
    }

    #[test]
    fn every_layer_of_the_language_can_be_built() {
        let text = "layers = [
            { conv2d = { channels = 4, kernel = 3, stride = 1, padding = 1, dilation = 1, groups = 1, bias = false } },
            { batch-norm = { momentum = 0.2 } }, { relu6 = {} },
            { conv-transpose2d = { channels = 6, kernel = 2 } }, { leaky-relu = { slope = 0.2 } },
            { avg-pool2d = { kernel = 2 } }, { gelu = {} }, { tanh = {} }, { silu = {} },
            { hard-swish = {} }, { hard-sigmoid = {} }, { softmax = {} },
            { resize2d = { height = 4, width = 6, mode = 'nearest' } },
            { channel-shuffle = { groups = 3 } }, { pad-channels = { after = 2 } },
            { pixel-shuffle = { factor = 2 } }, { conv2d = { channels = 8, kernel = 2, stride = 2 } },
            { slice = { from = 1, to = 5 } }, { layer-norm = {} }, { linear = { features = 3 } },
            { flatten = {} }, { dropout = {} }, { classifier = { bias = false } },
        ]";
        let built = table(text, &[2, 8, 8]);
        assert_eq!(built.len(), 24);
        assert_eq!(built.last().unwrap(), "classifier1 linear 10 480");
    }

    #[test]
    fn texts_and_sounds_are_read_step_by_step() {
        let text = "layers = [
            { embedding = { features = 8 } }, { positions = {} },
            { residual = { body = [{ layer-norm = {} }, { attention = { heads = 2 } }] } },
            { gru = { hidden = 3, layers = 2, bidirectional = true } }, { lstm = { hidden = 4 } },
            { pool-steps = { how = 'last' } }, { classifier = {} },
        ]";
        let network = build(&layers(text), &[12], Some(50), 10).unwrap();
        let names: Vec<&str> = network.nodes.iter().map(|node| node.name.as_str()).collect();
        let expected = [
            "input",
            "embedding1",
            "positions1",
            "residual1.body.norm1",
            "residual1.body.attention1",
            "residual1",
            "gru1",
            "lstm1",
            "pool1",
            "classifier1",
        ];
        assert_eq!(names, expected);
        assert_eq!(network.tokens(), Some(50));
        // Attention and pooling see which words are padding.
        assert_eq!(
            (network.nodes[4].inputs.as_slice(), network.nodes[8].inputs.as_slice()),
            (&[3, 0][..], &[7, 0][..])
        );
        assert_eq!(network.layers().unwrap()[1].params, 400);
        assert_eq!(network.shapes().unwrap()[6], [12, 6]);

        let sound = "layers = [
            { columns = {} }, { transpose = {} },
            { conv1d = { channels = 6, kernel = 3, padding = 1 } }, { relu = {} },
            { max-pool1d = { kernel = 2 } }, { transpose = {} }, { pool-steps = {} }, { classifier = {} },
        ]";
        let expected = [
            "input input 1×4×9 0",
            "columns1 columns 9×4 0",
            "transpose1 transpose 4×9 0",
            "conv1 conv1d 6×9 78",
            "relu1 relu 6×9 0",
            "pool1 max-pool1d 6×4 0",
            "transpose2 transpose 4×6 0",
            "pool2 pool-steps 6 0",
            "classifier1 linear 10 70",
        ];
        assert_eq!(table(sound, &[1, 4, 9]), expected);
        let words = build(&layers("layers = [{ classifier = {} }]"), &[12], Some(50), 10);
        let error = words.unwrap_err().to_string();
        assert!(error.ends_with("numbers of words need an embedding first"), "{error}");
    }

    #[test]
    fn a_fault_says_where_its_layer_stands() {
        let text = "layers = [
            { relu = {} },
            { residual = { body = [{ relu = {} }, { conv2d = { channels = 2, kernel = 9 } }] } },
        ]";
        let error = build(&layers(text), &[1, 6, 6], None, 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "model.layers[1].residual.body[1].conv2d: layer `residual1.body.conv1` (conv2d) \
             cannot take an input of 1×6×6: its 9×9 kernel does not fit"
        );
    }

    #[test]
    fn a_classifier_of_pixels_ends_a_segmentation_network() {
        // An FCN with a skip: scores of two resolutions are added, and enlarged to the image.
        let text = "layers = [
            { conv2d = { channels = 4, kernel = 3, padding = 1 } }, { relu = {} }, { max-pool2d = { kernel = 2 } },
            { parallel = { branches = [
                [{ max-pool2d = { kernel = 2 } }, { classifier = { per-pixel = true } }, { upsample2d = {} }],
                [{ classifier = { name = 'fine', per-pixel = true, bias = false } }],
            ] } },
            { upsample2d = {} },
        ]";
        let expected = [
            "input input 3×8×12 0",
            "conv1 conv2d 4×8×12 112",
            "relu1 relu 4×8×12 0",
            "pool1 max-pool2d 4×4×6 0",
            "parallel1.0.pool1 max-pool2d 4×2×3 0",
            "parallel1.0.classifier1 conv2d 10×2×3 50",
            "parallel1.0.upsample1 upsample2d 10×4×6 0",
            "parallel1.1.fine conv2d 10×4×6 40",
            "parallel1 add 10×4×6 0",
            "upsample1 upsample2d 10×8×12 0",
        ];
        assert_eq!(table(text, &[3, 8, 12]), expected);
        let network = build(&layers(text), &[3, 8, 12], None, 10).unwrap();
        let other = build(&layers(text), &[3, 8, 12], None, 4).unwrap();
        assert_eq!((network.task(), network.with_classes(4)), (Ok(Task::Segmentation), other));

        let ends = |last: &str| {
            let text = format!("layers = [{{ relu = {{}} }}, {last}]");
            build(&layers(&text), &[1, 2, 2], None, 10).map_err(|error| error.fault)
        };
        // An image at the end that no classifier of pixels makes lacks `flatten`, or the classifier.
        assert_eq!(ends("{ conv2d = { channels = 10, kernel = 1 } }"), Err(BuildFault::NoHead));
        let pixels = "{ classifier = { per-pixel = true } }";
        assert_eq!(ends(&format!("{pixels}, {{ batch-norm = {{}} }}")), Err(BuildFault::NoHead));
        let more = format!("{pixels}, {{ conv-transpose2d = {{ channels = 4, kernel = 2 }} }}");
        assert_eq!(ends(&more), Err(BuildFault::Classes { outputs: 4, classes: 10 }));
        let flat = ends(&format!("{{ flatten = {{}} }}, {pixels}")).unwrap_err().to_string();
        assert!(flat.ends_with("it takes channels, height and width"), "{flat}");
        let pooled =
            ends(&format!("{pixels}, {{ adaptive-avg-pool2d = {{}} }}, {{ flatten = {{}} }}"));
        assert_eq!(pooled.unwrap().task(), Ok(Task::Classification));
    }

    #[test]
    fn what_ends_a_network_can_be_replaced_for_other_classes() {
        let ends = |last: &str| {
            let text = format!("layers = [{{ flatten = {{}} }}, {last}]");
            build(&layers(&text), &[1, 2, 2], None, 10).map_err(|error| error.fault)
        };
        let network = ends("{ linear = { features = 10 } }, { softmax = {} }").unwrap();
        assert_eq!(network.with_classes(3).classes(), Ok(3));
        assert_eq!(ends("{ relu = {} }"), Err(BuildFault::NoHead));
        assert_eq!(ends("{ classifier = {} }, { batch-norm = {} }"), Err(BuildFault::NoHead));
        let gated = "{ parallel = { join = 'product', branches = [[], [{ classifier = {} }]] } }";
        assert!(ends(gated).is_err());
        let classes = BuildFault::Classes { outputs: 4, classes: 10 };
        assert_eq!(ends("{ linear = { features = 4 } }"), Err(classes));
    }
}
