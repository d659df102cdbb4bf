//! Random networks for tests: chains of blocks with branches, as the zoo has them.

use graftwork::network::op::{
    AdaptiveAvgPool2d, Add, AvgPool2d, BatchNorm, ChannelShuffle, Concat, Conv2d, ConvTranspose2d,
    Dropout, Flatten, Gelu, HardSigmoid, HardSwish, Interpolation, LayerNorm, LeakyRelu, Linear,
    MaxPool2d, Mul, PadChannels, PixelShuffle, Relu, Relu6, Sigmoid, Silu, Slice, Softmax, Tanh,
    Upsample2d,
};
use graftwork::network::{Network, Op};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::random::stream;

/// A network for images of `[1..=3, 12, 12]` with three classes, of the image or of each pixel.
pub(crate) fn random_network(seed: u64) -> Network {
    let mut rng = stream(seed, "network", 0);
    let channels = upto(&mut rng, 3);
    let mut builder = Builder { network: Network::new("random", &[channels, 12, 12]), rng };
    builder.conv(3, 1);
    for _ in 0..builder.upto(4) {
        builder.block();
    }
    builder.head();
    builder.network
}

fn upto(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    1 + rng.random::<u32>() % n
}

struct Builder {
    network: Network,
    rng: ChaCha8Rng,
}

impl Builder {
    fn upto(&mut self, n: u32) -> u32 {
        upto(&mut self.rng, n)
    }

    fn push(&mut self, op: impl Into<Op>) -> usize {
        let last = self.network.nodes.len() - 1;
        self.push_from(op, &[last])
    }

    fn push_from(&mut self, op: impl Into<Op>, inputs: &[usize]) -> usize {
        let name = format!("n{}", self.network.nodes.len());
        self.network.push_from(&name, op, inputs)
    }

    fn last(&self) -> usize {
        self.network.nodes.len() - 1
    }

    fn shape(&self) -> Vec<u32> {
        self.network.shapes().unwrap().pop().unwrap()
    }

    fn channels(&self) -> u32 {
        self.shape()[0]
    }

    /// A convolution that keeps the image's size, to an even number of channels, and sometimes more.
    fn conv(&mut self, kernel: u32, dilation: u32) -> usize {
        let (inputs, outputs, bias) = (self.channels(), 2 * self.upto(3), self.upto(2) == 1);
        let padding = dilation * (kernel / 2);
        self.push(Conv2d { padding, dilation, bias, ..Conv2d::new(inputs, outputs, kernel) });
        if self.upto(2) == 1 {
            self.push(BatchNorm::new(outputs));
        }
        self.activation()
    }

    fn activation(&mut self) -> usize {
        let op: Op = match self.upto(9) {
            1 => Relu6 {}.into(),
            2 => LeakyRelu { slope: 0.1 }.into(),
            3 => Gelu {}.into(),
            4 => Tanh {}.into(),
            5 => Silu {}.into(),
            6 => HardSwish {}.into(),
            _ => Relu {}.into(),
        };
        self.push(op)
    }

    fn block(&mut self) {
        match self.upto(15) {
            1 => self.residual(),
            2 => self.concat(),
            3 => self.gate(),
            4 => self.grouped(),
            5 => self.depthwise(),
            6 => {
                self.push(ChannelShuffle { groups: 2 });
            }
            7 => self.smaller(),
            8 => self.larger(),
            9 => {
                let dilation = self.upto(2);
                self.conv(3, dilation);
            }
            10 => self.transposed(),
            11 => self.skip(),
            12 => self.split(),
            13 => self.padded_shortcut(),
            14 => self.sub_pixel(),
            _ => {
                let axis = self.upto(3) - 1;
                self.push(Softmax { axis });
            }
        }
    }

    fn residual(&mut self) {
        let (shortcut, channels) = (self.last(), self.channels());
        self.conv(3, 1);
        let inputs = self.channels();
        let body = self.push(Conv2d { padding: 1, ..Conv2d::new(inputs, channels, 3) });
        self.push_from(Add {}, &[body, shortcut]);
        self.activation();
    }

    fn concat(&mut self) {
        let start = self.last();
        let left = self.conv(1, 1);
        let inputs = self.network.shapes().unwrap()[start][0];
        let right = Conv2d { padding: 1, ..Conv2d::new(inputs, 2, 3) };
        let right = self.push_from(right, &[start]);
        self.push_from(Concat { axis: 0 }, &[left, right, start]);
        // An even number, for what divides it.
        self.conv(1, 1);
    }

    fn gate(&mut self) {
        let (value, channels) = (self.last(), self.channels());
        self.push(AdaptiveAvgPool2d::global());
        self.push(Conv2d::new(channels, 2, 1));
        self.activation();
        let gates = if self.upto(4) == 1 { 1 } else { channels };
        self.push(Conv2d::new(2, gates, 1));
        let gate =
            if self.upto(2) == 1 { self.push(Sigmoid {}) } else { self.push(HardSigmoid {}) };
        self.push_from(Mul {}, &[value, gate]);
    }

    fn grouped(&mut self) {
        let inputs = self.channels();
        self.push(Conv2d { groups: 2, ..Conv2d::new(inputs, 4, 1) });
        self.activation();
    }

    fn depthwise(&mut self) {
        let (inputs, multiplier) = (self.channels(), self.upto(2));
        self.push(Conv2d {
            groups: inputs,
            padding: 1,
            ..Conv2d::new(inputs, inputs * multiplier, 3)
        });
        self.activation();
    }

    fn smaller(&mut self) {
        if self.shape()[1] < 4 {
            return;
        }
        let inputs = self.channels();
        match self.upto(4) {
            1 => self.push(MaxPool2d { kernel: 3, stride: 2, padding: 1 }),
            2 => self.push(AvgPool2d::new(2)),
            3 => self.push(AdaptiveAvgPool2d { height: 3, width: 5 }),
            _ => self.push(Conv2d { stride: 2, ..Conv2d::new(inputs, 4, 3) }),
        };
    }

    fn larger(&mut self) {
        let [_, height, width] = self.shape()[..] else { unreachable!("an image") };
        let mode = if self.upto(2) == 1 { Interpolation::Nearest } else { Interpolation::Bilinear };
        self.push(Upsample2d { height: height + 1, width: (2 * width).min(16), mode });
    }

    /// Channels that are laid out as squares, and the image as small as before.
    fn sub_pixel(&mut self) {
        let channels = self.channels();
        self.push(Conv2d::new(channels, 4 * channels, 1));
        self.push(PixelShuffle { factor: 2 });
        self.push(MaxPool2d::new(2));
    }

    fn transposed(&mut self) {
        let inputs = self.channels();
        let groups = if self.upto(2) == 1 { 2 } else { 1 };
        let (outputs, padding) = (4, self.upto(2) - 1);
        self.push(ConvTranspose2d {
            groups,
            padding,
            stride: 1,
            ..ConvTranspose2d::new(inputs, outputs, 3)
        });
        self.activation();
    }

    /// A smaller image, made as large as before and put beside what it was (U-Net).
    fn skip(&mut self) {
        let (start, shape) = (self.last(), self.shape());
        let [_, height, width] = shape[..] else { unreachable!("an image") };
        if height.min(width) < 4 {
            return;
        }
        self.push(MaxPool2d::new(2));
        self.conv(3, 1);
        let inputs = self.channels();
        if self.upto(2) == 1 {
            self.push(ConvTranspose2d::new(inputs, 4, 2));
        }
        self.push(Upsample2d { height, width, mode: Interpolation::Bilinear });
        let up = self.last();
        self.push_from(Concat { axis: 0 }, &[start, up]);
        // An even number, for what divides it.
        self.conv(1, 1);
    }

    /// Halves of the channels; one is convolved, both are joined and shuffled (ShuffleNetV2).
    fn split(&mut self) {
        let (start, channels) = (self.last(), self.channels());
        let half = channels / 2;
        let left = self.push_from(Slice { axis: 0, from: 0, to: half }, &[start]);
        self.push_from(Slice { axis: 0, from: half, to: channels }, &[start]);
        let right = self.push(Conv2d::new(half, half, 1));
        self.push_from(Concat { axis: 0 }, &[left, right]);
        self.push(ChannelShuffle { groups: 2 });
    }

    /// The shortcut without parameters of He et al. 2015.
    fn padded_shortcut(&mut self) {
        let (start, channels) = (self.last(), self.channels());
        let shortcut = self.push_from(PadChannels { before: 1, after: 1 }, &[start]);
        let body = Conv2d { padding: 1, ..Conv2d::new(channels, channels + 2, 3) };
        let body = self.push_from(body, &[start]);
        self.push_from(Add {}, &[body, shortcut]);
        self.activation();
    }

    /// Scores of each pixel: of this resolution and of a coarser one, which are added (FCN).
    fn pixel_head(&mut self) {
        let (start, shape) = (self.last(), self.shape());
        let [channels, height, width] = shape[..] else { unreachable!("an image") };
        self.push(AvgPool2d { kernel: 2, stride: 1, padding: 1 });
        self.push(Conv2d::new(channels, 3, 1));
        self.push(ConvTranspose2d { groups: 3, bias: false, ..ConvTranspose2d::new(3, 3, 2) });
        let mode = Interpolation::Bilinear;
        let coarse = self.push(Upsample2d { height, width, mode });
        let fine = self.push_from(Conv2d::new(channels, 3, 1), &[start]);
        self.push_from(Add {}, &[coarse, fine]);
        self.push(Upsample2d { height: 12, width: 12, mode });
    }

    fn head(&mut self) {
        if self.upto(4) == 1 {
            return self.pixel_head();
        }
        if self.upto(2) == 1 {
            self.push(AdaptiveAvgPool2d { height: 2, width: 1 });
        }
        if self.upto(4) == 1 {
            let width = self.shape()[2];
            self.push(LayerNorm::new(width));
            self.push(Linear::new(width, 3));
        }
        self.push(Flatten {});
        let mut features = self.channels();
        for _ in 1..self.upto(3) {
            let units = self.upto(6);
            self.push(Linear::new(features, units));
            if self.upto(2) == 1 {
                self.push(BatchNorm::new(units));
            }
            self.push(Relu {});
            self.push(Dropout { p: 0.5 });
            features = units;
        }
        self.push(Linear::new(features, 3));
    }
}
