//! How recordings of speech are read.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the Free Spoken Digit Dataset is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Fsdd {
    /// Recordings in a training batch. In `adapt`, recordings of each domain in a batch.
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Whose recordings are read; all six by default. Speakers are domains.
    #[schemars(length(min = 1))]
    pub speakers: BTreeSet<Speaker>,
    /// Length of an example, in seconds. A longer recording loses its end, a shorter one gets silence
    /// behind it; a network sees that silence as it sees the rest.
    #[schemars(range(min = 0.1, max = 10.0))]
    pub seconds: f64,
    /// What a network gets of a recording.
    pub features: Features,
    /// Share of the training split that becomes the validation split, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_fraction: f64,
    /// Seed of the choice of validation recordings; the same in all stages, so that none trains on what another holds out.
    pub split_seed: u64,
    /// Trains on this many recordings of each class alone, drawn by the seed of the stage: the 5 of a class
    /// are among its 20. What is counted or normalised over the training split is so over all of it, and the
    /// validation split stays whole: a choice made on it, as `keep = "best"`, sees more labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub labels_per_class: Option<u32>,
}

impl Default for Fsdd {
    fn default() -> Self {
        Self {
            batch_size: 64,
            speakers: Speaker::ALL.into(),
            seconds: 1.0,
            features: Features::LogMel(LogMel::default()),
            val_fraction: 0.1,
            split_seed: 0,
            labels_per_class: None,
        }
    }
}

impl Fsdd {
    /// Samples a second.
    pub const RATE: u32 = 8000;

    /// Number of samples in an example.
    pub fn samples(&self) -> u32 {
        (self.seconds * f64::from(Self::RATE)).round() as u32
    }

    /// Shape of one example: `[1, mels, frames]` or `[1, samples]`.
    pub(super) fn shape(&self) -> Vec<u32> {
        match &self.features {
            Features::LogMel(mel) => vec![1, mel.mels, 1 + self.samples() / mel.hop_samples()],
            Features::Raw(_) => vec![1, self.samples()],
        }
    }

    /// The speakers, as part of a domain's name, where they are not all.
    pub(super) fn part(&self) -> Option<String> {
        let names: Vec<&str> = self.speakers.iter().map(|speaker| speaker.as_str()).collect();
        (names.len() < Speaker::ALL.len()).then(|| names.join("-"))
    }
}

/// A speaker of the Free Spoken Digit Dataset.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Speaker {
    /// George.
    George,
    /// Jackson.
    Jackson,
    /// Lucas.
    Lucas,
    /// Nicolas.
    Nicolas,
    /// Theo.
    Theo,
    /// Yweweler.
    Yweweler,
}

impl Speaker {
    /// Everyone, in the order of the names.
    pub const ALL: [Self; 6] =
        [Self::George, Self::Jackson, Self::Lucas, Self::Nicolas, Self::Theo, Self::Yweweler];

    /// The name as in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::George => "george",
            Self::Jackson => "jackson",
            Self::Lucas => "lucas",
            Self::Nicolas => "nicolas",
            Self::Theo => "theo",
            Self::Yweweler => "yweweler",
        }
    }
}

/// What a network gets of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Features {
    /// Logarithms of the power in mel bands over time, `[1, mels, frames]`.
    LogMel(LogMel),
    /// The samples in −1..1, `[1, samples]`.
    Raw(Raw),
}

/// Settings of `log-mel`.
///
/// The natural logarithm of 10⁻⁶ plus the power spectrum in triangular bands that lie evenly on the
/// mel scale 2595 log₁₀(1 + f / 700) (HTK's, without area normalisation) from 0 to 4 kHz. Frames are
/// centred on multiples of `hop-ms`, the recording being reflected at its ends, under a periodic Hann
/// window, with zeros up to the next power of two: torchaudio's `MelSpectrogram`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LogMel {
    /// Number of bands.
    #[schemars(range(min = 1, max = 256))]
    pub mels: u32,
    /// Length of a frame's window, in milliseconds.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub window_ms: f64,
    /// Time from frame to frame, in milliseconds.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub hop_ms: f64,
    /// How the logarithms become a network's input.
    pub normalize: MelNormalize,
}

impl Default for LogMel {
    fn default() -> Self {
        Self { mels: 40, window_ms: 25.0, hop_ms: 10.0, normalize: MelNormalize::Standard }
    }
}

impl LogMel {
    /// Number of samples in a window.
    pub fn window_samples(&self) -> u32 {
        samples(self.window_ms)
    }

    /// Number of samples from frame to frame.
    pub fn hop_samples(&self) -> u32 {
        samples(self.hop_ms)
    }
}

fn samples(milliseconds: f64) -> u32 {
    ((milliseconds * f64::from(Fsdd::RATE) / 1000.0).round() as u32).max(1)
}

/// How logarithms of power become numbers of a usual size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MelNormalize {
    /// `(x − mean) / std` per band over the training split.
    #[default]
    Standard,
    /// As they are.
    None,
}

/// Settings of `raw`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Raw {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_from_the_settings() {
        let options = Fsdd::default();
        assert_eq!(options.shape(), [1, 40, 101]);
        let mel = LogMel { mels: 64, hop_ms: 16.0, ..LogMel::default() };
        let half = Fsdd { seconds: 0.5, features: Features::LogMel(mel), ..Fsdd::default() };
        assert_eq!(half.shape(), [1, 64, 32], "4,000 samples are 31 hops of 128 and a rest");
        let raw = Fsdd { features: Features::Raw(Raw {}), ..half };
        assert_eq!(raw.shape(), [1, 4000]);
    }

    #[test]
    fn speakers_name_the_domain_in_one_order() {
        let of = |speakers: &[Speaker]| Fsdd {
            speakers: speakers.iter().copied().collect(),
            ..Fsdd::default()
        };
        assert_eq!(of(&Speaker::ALL).part(), None);
        assert_eq!(of(&[Speaker::Theo]).part().as_deref(), Some("theo"));
        let two = of(&[Speaker::Theo, Speaker::George]);
        assert_eq!(two.part().as_deref(), Some("george-theo"));
        assert_eq!(two, of(&[Speaker::George, Speaker::Theo]));
    }
}
