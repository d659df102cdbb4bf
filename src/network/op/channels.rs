//! Operations that move channels and compute nothing.

use serde::{Deserialize, Serialize};

use crate::network::Shape;

/// Deals the channels of `groups` equal runs out in turn (Zhang et al. 2017, ShuffleNet): channel `j` of
/// run `i` becomes channel `j · groups + i`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ChannelShuffle {
    /// Number of runs.
    pub groups: u32,
}

impl ChannelShuffle {
    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        match input.first() {
            Some(channels) if self.groups > 0 && channels.is_multiple_of(self.groups) => {
                Ok(input.to_vec())
            }
            Some(channels) => {
                Err(format!("{channels} channels are not {} equal runs", self.groups))
            }
            None => Err("it takes channels".to_owned()),
        }
    }
}

/// Lays runs of `factor²` channels out as squares of one channel (Shi et al. 2016, sub-pixel convolution):
/// `[C · r², H, W]` to `[C, H · r, W · r]`, where channel `c · r² + i · r + j` is row `i`, column `j` of each
/// square, as PyTorch's `PixelShuffle` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PixelShuffle {
    /// By how much height and width grow.
    pub factor: u32,
}

impl PixelShuffle {
    /// Channels that one is made of.
    pub fn run(&self) -> u32 {
        self.factor.saturating_mul(self.factor)
    }

    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let [channels, height, width] = *input else {
            return Err("it takes channels of images".to_owned());
        };
        if self.run() == 0 || !channels.is_multiple_of(self.run()) {
            return Err(format!("{channels} channels are not runs of {}", self.run()));
        }
        let grown =
            |extent: u32| extent.checked_mul(self.factor).ok_or("the image would be too large");
        Ok(vec![channels / self.run(), grown(height)?, grown(width)?])
    }
}

/// Channels of zeros before and after: with a stride the parameter-free shortcut of He et al. 2015 (option A).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PadChannels {
    /// Channels of zeros before the first.
    pub before: u32,
    /// Channels of zeros behind the last.
    pub after: u32,
}

impl PadChannels {
    pub(super) fn output(&self, input: &[u32]) -> Result<Shape, String> {
        let (first, rest) = input.split_first().ok_or("it takes channels")?;
        let channels = first.checked_add(self.before).and_then(|sum| sum.checked_add(self.after));
        Ok([&[channels.ok_or("it would have too many channels")?], rest].concat())
    }
}
