//! How what is stored becomes the numbers that a network gets.
//!
//! The constants are computed on the CPU, so that they are the same on every device.

use graftwork::experiment::spec::{
    Content, Features, MelNormalize, Normalize, RowNormalize, Weights,
};
use tch::{Device, Kind, Tensor};

/// How what is stored becomes a network's input.
#[derive(Debug)]
pub(super) enum Numbers {
    /// Bytes, logarithms or values: `(x − shift) / scale`, per channel, band or column.
    Scaled {
        /// `f32`, of one value along all axes of an example but one.
        shift: Tensor,
        scale: Tensor,
    },
    /// 16-bit samples: `x / 32768`.
    Samples,
    /// Counts of words, bytes.
    Counts(Weights),
    /// Numbers of words, which stay whole numbers.
    Tokens,
}

impl Numbers {
    /// The constants of a training split, `[N, …]` on the CPU.
    pub(super) fn new(content: Content<'_>, train: &Tensor, device: Device) -> Self {
        match content {
            Content::Images(options, _) => Self::of_pixels(options.normalize, train, device),
            Content::Recordings(options) => match &options.features {
                Features::LogMel(mel) => match mel.normalize {
                    MelNormalize::None => Self::unchanged(device),
                    MelNormalize::Standard => Self::standard(train, &[0, 1, 3], device),
                },
                Features::Raw(_) => Self::Samples,
            },
            Content::Bags(options) => Self::Counts(options.weights),
            Content::Texts(_) => Self::Tokens,
            Content::Scenes(options) => Self::of_pixels(options.normalize, train, device),
            Content::Folder(options) => Self::of_pixels(options.normalize, train, device),
            Content::Masks(options) => Self::of_pixels(options.normalize, train, device),
            Content::Rows(options) => match options.normalize {
                RowNormalize::None => Self::unchanged(device),
                RowNormalize::Standard => Self::standard(train, &[0], device),
            },
        }
    }

    /// - train: `[N, C, H, W]`, bytes
    fn of_pixels(normalize: Normalize, train: &Tensor, device: Device) -> Self {
        let channels = train.size()[1];
        let [shift, scale] = match normalize {
            Normalize::Unit => [vec![0.0; channels as usize], vec![255.0; channels as usize]],
            Normalize::Symmetric => {
                [vec![127.5; channels as usize], vec![127.5; channels as usize]]
            }
            Normalize::Standard => mean_and_std(train),
        };
        let tensor =
            |values: &[f32]| Tensor::from_slice(values).view([channels, 1, 1]).to_device(device);
        Self::Scaled { shift: tensor(&shift), scale: tensor(&scale) }
    }

    fn unchanged(device: Device) -> Self {
        let options = (Kind::Float, device);
        Self::Scaled { shift: Tensor::zeros([1], options), scale: Tensor::ones([1], options) }
    }

    /// Mean 0 and standard deviation 1 for each band of logarithms, or each column of a table.
    ///
    /// - train: `[N, …]`, `f32`
    /// - axes: those that examples and the values of one band are along
    fn standard(train: &Tensor, axes: &[i64], device: Device) -> Self {
        let train = train.to_kind(Kind::Double);
        let mean = train.mean_dim(axes, true, None); // [1, 1, mels, 1], or [1, features]
        let std = train.std_dim(axes, false, true);
        // A band of one value has the deviation 1, so that it becomes 0.
        let std = std.where_self(&std.gt(0.0), &std.ones_like());
        let constant = |values: &Tensor| values.squeeze_dim(0).to_kind(Kind::Float);
        Self::Scaled {
            shift: constant(&mean).to_device(device),
            scale: constant(&std).to_device(device),
        }
    }

    /// The network's input of what is stored, of the same shape: `f32`, tokens `i64`.
    pub(super) fn apply(&self, stored: &Tensor) -> Tensor {
        match self {
            Self::Scaled { shift, scale } if stored.kind() == Kind::Float => {
                (stored - shift).g_div_(scale)
            }
            Self::Scaled { shift, scale } => {
                stored.to_kind(Kind::Float).g_sub_(shift).g_div_(scale)
            }
            Self::Samples => stored.to_kind(Kind::Float) / 32_768.0,
            Self::Counts(Weights::Counts) => stored.to_kind(Kind::Float),
            Self::Counts(Weights::Binary) => stored.ne(0).to_kind(Kind::Float),
            Self::Counts(Weights::Log) => stored.to_kind(Kind::Float).log1p_(),
            Self::Tokens => stored.to_kind(Kind::Int64),
        }
    }

    pub(super) fn shallow_clone(&self) -> Self {
        match self {
            Self::Scaled { shift, scale } => {
                Self::Scaled { shift: shift.shallow_clone(), scale: scale.shallow_clone() }
            }
            Self::Samples => Self::Samples,
            Self::Counts(weights) => Self::Counts(*weights),
            Self::Tokens => Self::Tokens,
        }
    }
}

/// Mean and standard deviation of each channel, from a histogram of its bytes: exact sums, whatever
/// the size of the set. A channel of one value has the deviation 1, so that it becomes 0.
fn mean_and_std(pixels: &Tensor) -> [Vec<f32>; 2] {
    let mut constants = [Vec::new(), Vec::new()];
    for channel in 0..pixels.size()[1] {
        let values = pixels.narrow(1, channel, 1).contiguous().view([-1]);
        let counts = values.bincount::<&Tensor>(None, 256);
        let counts: Vec<i64> = Vec::try_from(&counts).expect("counts are integers");
        let moment = |power: u32| {
            let terms = counts.iter().zip(0_i64..);
            terms.map(|(count, value)| count * value.pow(power)).sum::<i64>() as f64
        };
        let mean = moment(1) / moment(0);
        let variance = moment(2) / moment(0) - mean * mean;
        let std = variance.max(0.0).sqrt();
        constants[0].push(mean as f32);
        constants[1].push(if std > 0.0 { std as f32 } else { 1.0 });
    }
    constants
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python: `statistics.mean([1, 2, 4, 9])`, `statistics.pstdev([1, 2, 4, 9])`.
    #[test]
    fn the_constants_of_each_channel_are_mean_and_deviation() {
        let pixels = Tensor::from_slice(&[1_u8, 2, 5, 5, 4, 9, 5, 5]).view([2, 2, 1, 2]);
        let [mean, std] = mean_and_std(&pixels);
        assert_eq!(mean, [4.0, 5.0]);
        assert!((std[0] - 3.082_207).abs() < 1e-6, "{std:?}");
        assert!((std[1] - 1.0).abs() < f32::EPSILON, "a channel of one value");
    }

    #[test]
    fn every_band_has_mean_0_and_deviation_1_and_a_silent_one_is_0() {
        let logs = [1.0_f32, 3.0, -13.8, -13.8, 5.0, 7.0, -13.8, -13.8];
        let logs = Tensor::from_slice(&logs).view([2, 1, 2, 2]);
        let numbers = Numbers::standard(&logs, &[0, 1, 3], Device::Cpu);
        let found: Vec<f32> = numbers.apply(&logs).view([-1]).try_into().unwrap();
        // Of 1, 3, 5, 7 the mean is 4 and the deviation √5.
        let expected = [-3.0, -1.0, 0.0, 0.0, 1.0, 3.0, 0.0, 0.0].map(|x: f32| x / 5_f32.sqrt());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
        let kept: Vec<f32> = logs.view([-1]).try_into().unwrap();
        assert!((kept[0] - 1.0).abs() < f32::EPSILON, "what is stored stays as it is");
        let plain = Numbers::unchanged(Device::Cpu);
        assert!(plain.apply(&logs).equal(&logs));
    }

    #[test]
    fn counts_are_weighed_as_they_are_asked_to_be() {
        let counts = Tensor::from_slice(&[0_u8, 1, 7]);
        let weighed =
            |weights| -> Vec<f32> { Numbers::Counts(weights).apply(&counts).try_into().unwrap() };
        assert_eq!(weighed(Weights::Counts), [0.0, 1.0, 7.0]);
        assert_eq!(weighed(Weights::Binary), [0.0, 1.0, 1.0]);
        assert_eq!(weighed(Weights::Log), [0.0, 2_f32.ln(), 8_f32.ln()]);
    }

    #[test]
    fn samples_lie_between_minus_one_and_one() {
        let samples = Tensor::from_slice(&[i16::MIN, 0, 16_384]);
        let numbers: Vec<f32> = Numbers::Samples.apply(&samples).try_into().unwrap();
        assert_eq!(numbers, [-1.0, 0.0, 0.5]);
    }
}
