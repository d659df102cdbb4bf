//! U-Net: an image gets smaller and deeper, then larger again, and meets what it was on each level.
//!
//! Ronneberger, Fischer and Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
//! <https://arxiv.org/abs/1505.04597>, figure 1 and section 2. The paper's 3×3 convolutions have no padding,
//! so that its output is smaller than its input; here they keep the size, and each pixel of the input has
//! its scores. Where halving an odd extent loses a row, interpolation gives it back.

use super::start::{self, Kaiming};
use super::{ShapeError, bilinear, fit};
use crate::experiment::spec::{Unet, UnetUpsampling};
use crate::network::Network;
use crate::network::op::{BatchNorm, Concat, Conv2d, ConvTranspose2d, MaxPool2d, Relu};

pub(super) fn build(unet: &Unet, input: &[u32], classes: u32) -> Result<Network, ShapeError> {
    let mut network = Network::new("unet", input);
    let mut inputs = input.first().copied().unwrap_or(0);
    let mut levels = Vec::new();
    for level in 0..unet.depth {
        let channels = unet.channels << level;
        let prefix = format!("down{}", level + 1);
        levels.push(convolutions(&mut network, &prefix, [inputs, channels], unet.batch_norm));
        network.push(&format!("{prefix}.pool"), MaxPool2d::new(2));
        inputs = channels;
    }
    convolutions(&mut network, "bottom", [inputs, 2 * inputs], unet.batch_norm);
    for (level, skip) in levels.into_iter().enumerate().rev() {
        let channels = unet.channels << level;
        let prefix = format!("up{}", level + 1);
        let up = enlarged(&mut network, &prefix, channels, skip, unet.upsample)?;
        network.push_from(&format!("{prefix}.concat"), Concat { axis: 0 }, &[skip, up]);
        convolutions(&mut network, &prefix, [2 * channels, channels], unet.batch_norm);
    }
    network.push("classifier", Conv2d::new(unet.channels, classes, 1));
    // Section 3: a standard deviation of √(2 / N), where N values come into a neuron.
    start::convolutions(&mut network, Kaiming::FanIn);
    Ok(network)
}

/// Two 3×3 convolutions with ReLU; gives the node that ends them.
///
/// - channels: that are read, and that are put out
fn convolutions(
    network: &mut Network,
    prefix: &str,
    channels: [u32; 2],
    batch_norm: bool,
) -> usize {
    let [inputs, outputs] = channels;
    for (place, inputs) in [(1, inputs), (2, outputs)] {
        let conv = Conv2d { padding: 1, bias: !batch_norm, ..Conv2d::new(inputs, outputs, 3) };
        network.push(&format!("{prefix}.conv{place}"), conv);
        if batch_norm {
            network.push(&format!("{prefix}.bn{place}"), BatchNorm::new(outputs));
        }
        network.push(&format!("{prefix}.relu{place}"), Relu {});
    }
    network.nodes.len() - 1
}

/// The last node with half as many channels, as large as another node.
fn enlarged(
    network: &mut Network,
    prefix: &str,
    channels: u32,
    skip: usize,
    upsample: UnetUpsampling,
) -> Result<usize, ShapeError> {
    let (up, resize) = (format!("{prefix}.up"), format!("{prefix}.resize"));
    match upsample {
        UnetUpsampling::Transposed => {
            network.push(&up, ConvTranspose2d::new(2 * channels, channels, 2));
            fit(network, &resize, skip)
        }
        UnetUpsampling::Bilinear => {
            let shapes = network.shapes()?;
            bilinear(network, &resize, shapes[skip].get(1..).unwrap_or_default());
            let conv = Conv2d { padding: 1, ..Conv2d::new(2 * channels, channels, 3) };
            Ok(network.push(&up, conv))
        }
    }
}
