//! Logarithms of the power in mel bands over time.
//!
//! As torchaudio's `MelSpectrogram` with its defaults has it (and librosa's with `htk=True, norm=None`):
//! a periodic Hann window in the middle of a transform of the next power of two, frames centred on
//! multiples of the hop, the signal reflected at its ends, power, triangular bands that lie evenly on
//! HTK's mel scale.

use graftwork::experiment::spec::LogMel;
use tch::{Device, Kind, Tensor};

/// What is added to a power before its logarithm is taken: silence is −13.8.
const FLOOR: f64 = 1e-6;

/// Recordings that are transformed together, so that the spectra of a large set are never all there.
const CHUNK: i64 = 256;

/// - samples: `[N, 1, samples]`, 16-bit, on the CPU
/// - result: `[N, 1, mels, 1 + samples / hop]`, `f32`
pub(super) fn log_mel(samples: &Tensor, settings: &LogMel, rate: u32) -> Tensor {
    let window = settings.window_samples();
    let transform = window.next_power_of_two().max(2);
    let bands = bands(settings.mels, transform, rate);
    let chunks: Vec<Tensor> = samples
        .split(CHUNK, 0)
        .iter()
        .map(|chunk| {
            let signal = chunk.squeeze_dim(1).to_kind(Kind::Float) / 32_768.0;
            let power = power(&signal, transform, window, settings.hop_samples());
            (bands.matmul(&power) + FLOOR).log_().unsqueeze(1)
        })
        .collect();
    Tensor::cat(&chunks, 0)
}

/// - signal: `[N, samples]`
/// - result: `[N, transform / 2 + 1, frames]`
fn power(signal: &Tensor, transform: u32, window: u32, hop: u32) -> Tensor {
    let half = i64::from(transform / 2);
    let hann = Tensor::hann_window_periodic(i64::from(window), true, (Kind::Float, Device::Cpu));
    signal
        .reflection_pad1d([half, half])
        .stft(
            i64::from(transform),
            i64::from(hop),
            i64::from(window),
            Some(hann),
            false,
            true,
            true,
            false,
        )
        .abs()
        .square()
}

/// The weight of every frequency in every band, `[mels, transform / 2 + 1]`: triangles from the middle
/// of the band below to that of the band above, of height 1.
fn bands(mels: u32, transform: u32, rate: u32) -> Tensor {
    let top = mel(f64::from(rate) / 2.0);
    let middle = |band: u32| hertz(top * f64::from(band) / f64::from(mels + 1));
    let frequencies = transform / 2 + 1;
    let mut weights = Vec::with_capacity((mels * frequencies) as usize);
    for band in 1..=mels {
        let (below, own, above) = (middle(band - 1), middle(band), middle(band + 1));
        for bin in 0..frequencies {
            let frequency = f64::from(bin) * f64::from(rate) / f64::from(transform);
            let (up, down) =
                ((frequency - below) / (own - below), (above - frequency) / (above - own));
            weights.push(up.min(down).max(0.0) as f32);
        }
    }
    Tensor::from_slice(&weights).view([i64::from(mels), i64::from(frequencies)])
}

fn mel(hertz: f64) -> f64 {
    2595.0 * (1.0 + hertz / 700.0).log10()
}

fn hertz(mel: f64) -> f64 {
    700.0 * (10_f64.powf(mel / 2595.0) - 1.0)
}

#[cfg(test)]
mod tests {
    use graftwork::experiment::spec::MelNormalize;

    use super::*;

    fn settings(mels: u32) -> LogMel {
        LogMel { mels, window_ms: 25.0, hop_ms: 10.0, normalize: MelNormalize::None }
    }

    /// Two tones of 0.1 s, as 16-bit samples.
    fn tones() -> Tensor {
        let samples: Vec<i16> = (0..800)
            .map(|n| {
                let turns = |hertz: f64| 2.0 * std::f64::consts::PI * hertz * f64::from(n) / 8000.0;
                (8000.0 * turns(440.0).sin() + 3000.0 * (turns(1500.0) + 1.0).sin()).round() as i16
            })
            .collect();
        Tensor::from_slice(&samples).view([1, 1, 800])
    }

    /// librosa 0.11, in Python:
    ///
    /// ```python
    /// n = np.arange(800)
    /// x = np.round(8000 * np.sin(2 * np.pi * 440 * n / 8000) + 3000 * np.sin(2 * np.pi * 1500 * n / 8000 + 1))
    /// m = librosa.feature.melspectrogram(
    ///     y=(x / 32768).astype(np.float32), sr=8000, n_fft=256, win_length=200, hop_length=80,
    ///     window="hann", center=True, pad_mode="reflect", power=2.0, n_mels=8, fmin=0, fmax=4000,
    ///     htk=True, norm=None)
    /// print(np.log(m + 1e-6)[:, [0, 5, 10]].T)
    /// ```
    #[test]
    fn the_numbers_are_librosas() {
        let found = log_mel(&tones(), &settings(8), 8000);
        assert_eq!(found.size(), [1, 1, 8, 11]);
        let expected = [
            (0, [3.14043, 5.21694, 4.2562, 0.48094, 3.14144, 2.63833, -0.83891, -1.55249]),
            (5, [-4.16901, 5.32364, 4.39396, -8.61359, 3.20563, 2.7448, -12.72674, -13.66478]),
            (10, [3.08309, 5.33827, 4.09541, -0.05264, 3.07791, 2.75765, -0.15919, -0.96366]),
        ];
        for (frame, bands) in expected {
            let column: Vec<f64> = found.select(3, frame).view([-1]).try_into().unwrap();
            for (found, expected) in column.into_iter().zip(bands) {
                assert!((found - expected).abs() < 1e-3, "frame {frame}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn silence_is_the_logarithm_of_the_floor() {
        let silence = Tensor::zeros([2, 1, 800], (Kind::Int16, Device::Cpu));
        let found = log_mel(&silence, &settings(40), 8000);
        assert_eq!(found.size(), [2, 1, 40, 11]);
        assert!((found - FLOOR.ln()).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn a_tone_is_loudest_in_its_band_and_twice_as_loud_is_four_times_the_power() {
        let tone = |amplitude: f64| {
            let samples: Vec<i16> = (0..1600)
                .map(|n| {
                    let turns = 2.0 * std::f64::consts::PI * 1000.0 * f64::from(n) / 8000.0;
                    (amplitude * turns.sin()) as i16
                })
                .collect();
            log_mel(&Tensor::from_slice(&samples).view([1, 1, 1600]), &settings(40), 8000)
        };
        let (quiet, loud) = (tone(5000.0).select(3, 10), tone(10_000.0).select(3, 10));
        // 1000 Hz are 1000 mel; 40 bands lie 2146 / 41 mel apart, so the nearest middle is the 19th.
        assert_eq!(quiet.argmax(None, false).int64_value(&[]), 18);
        let louder = (&loud - &quiet).view([-1]).double_value(&[18]);
        assert!((louder - 4_f64.ln()).abs() < 1e-3, "{louder}");
    }

    #[test]
    fn every_frequency_between_the_outer_bands_has_the_whole_weight() {
        let sums: Vec<f64> =
            bands(40, 256, 8000).sum_dim_intlist(0, false, None).try_into().unwrap();
        let middles = [1, 40].map(|band| hertz(mel(4000.0) * f64::from(band) / 41.0));
        for (bin, sum) in sums.iter().enumerate() {
            let frequency = bin as f64 * 31.25;
            if (middles[0]..=middles[1]).contains(&frequency) {
                assert!((sum - 1.0).abs() < 1e-6, "{frequency} Hz: {sum}");
            }
        }
    }

    #[test]
    fn more_recordings_than_a_chunk_keep_their_order() {
        let scale = Tensor::arange(300, (Kind::Int16, Device::Cpu)).view([300, 1, 1]);
        let samples = Tensor::ones([300, 1, 800], (Kind::Int16, Device::Cpu)) * scale;
        let all = log_mel(&samples, &settings(4), 8000);
        let one = log_mel(&samples.narrow(0, 277, 1), &settings(4), 8000);
        assert!(all.narrow(0, 277, 1).allclose(&one, 1e-5, 1e-5, false));
    }
}
