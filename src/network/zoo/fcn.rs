//! Fully convolutional networks: a classifier's layers at every place of an image, and their scores enlarged.
//!
//! Long, Shelhamer and Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation",
//! <https://arxiv.org/abs/1411.4038>, section 4 and figure 3. Layers are called as in the paper's code, those
//! of VGG-16 as in torchvision.
//!
//! What differs from the paper: it pads the image by 100 pixels and cuts the scores back; here the first
//! hidden convolution is padded, so that scores stay aligned with the image. Its intermediate upsampling,
//! learned from bilinear interpolation, could mix classes and starts without doing so; here each class is
//! enlarged by a kernel of its own. The last upsampling is fixed to bilinear interpolation, as in section
//! 4.3, to the size of the image whatever it is. Layers of scores start at zero, as there.

use super::resnet;
use super::start::{self, Kaiming};
use super::vgg;
use super::{ShapeError, bilinear, dropout, fit};
use crate::experiment::spec::{Fcn, FcnResnet50, Resnet};
use crate::network::Network;
use crate::network::op::{Add, BatchNorm, Conv2d, ConvTranspose2d, Init, Relu};

/// - skips: how many of the finer layers `pool4` and `pool3` have scores that are added
pub(super) fn build(
    arch: &str,
    skips: usize,
    fcn: &Fcn,
    input: &[u32],
    classes: u32,
) -> Result<Network, ShapeError> {
    let mut network = Network::new(arch, input);
    let [.., pool3, pool4, (_, channels)] =
        vgg::features(&mut network, vgg::VGG16, fcn.channels, fcn.batch_norm);
    let (kernel, padding) = (2 * fcn.reach + 1, fcn.reach);
    network.push("fc6", Conv2d { padding, ..Conv2d::new(channels, fcn.hidden, kernel) });
    network.push("relu6", Relu {});
    dropout(&mut network, "drop6", fcn.dropout);
    network.push("fc7", Conv2d::new(fcn.hidden, fcn.hidden, 1));
    network.push("relu7", Relu {});
    dropout(&mut network, "drop7", fcn.dropout);
    start::convolutions(&mut network, Kaiming::FanOut);

    let last = network.nodes.len() - 1;
    scores(&mut network, "score_fr", (last, fcn.hidden), classes);
    let finer = [("upscore2", "pool4", pool4), ("upscore_pool4", "pool3", pool3)];
    for (up, pool, skip) in finer.into_iter().take(skips) {
        let double = ConvTranspose2d {
            stride: 2,
            padding: 1,
            groups: classes,
            bias: false,
            ..ConvTranspose2d::new(classes, classes, 4)
        };
        let node = network.push(up, double);
        start::set(&mut network.nodes[node], "weight", Init::Bilinear);
        let coarse = fit(&mut network, &format!("{up}_resize"), skip.0)?;
        let fine = scores(&mut network, &format!("score_{pool}"), skip, classes);
        network.push_from(&format!("fuse_{pool}"), Add {}, &[coarse, fine]);
    }
    bilinear(&mut network, "upscore", input.get(1..).unwrap_or_default());
    Ok(network)
}

/// Scores of each class, from a node with a number of channels.
fn scores(network: &mut Network, name: &str, from: (usize, u32), classes: u32) -> usize {
    let node = network.push_from(name, Conv2d::new(from.1, classes, 1), &[from.0]);
    for param in ["weight", "bias"] {
        start::set(&mut network.nodes[node], param, Init::Constant(0.0));
    }
    node
}

/// The dilated ResNet-50 of torchvision with its `FCNHead`: scores of an eighth of the image's size.
pub(super) fn resnet50(fcn: &FcnResnet50, input: &[u32], classes: u32) -> Network {
    let mut network = Network::new("fcn-resnet50", input);
    let resnet = Resnet::default();
    let channels = resnet::trunk(&mut network, "backbone.", &resnet::RESNET50, &resnet, true);
    start::convolutions(&mut network, Kaiming::FanOut);
    let hidden = channels / 4;
    let conv = Conv2d { padding: 1, bias: false, ..Conv2d::new(channels, hidden, 3) };
    network.push("classifier.0", conv);
    network.push("classifier.1", BatchNorm::new(hidden));
    network.push("classifier.2", Relu {});
    dropout(&mut network, "classifier.3", fcn.dropout);
    network.push("classifier.4", Conv2d::new(hidden, classes, 1));
    bilinear(&mut network, "upsample", input.get(1..).unwrap_or_default());
    network
}
