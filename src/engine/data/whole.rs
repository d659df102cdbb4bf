//! A dataset as a network takes it, on the CPU, before it is split.

use graftwork::dataset::{Bag, Images, Loaded, Part, Recording, Text, Vocabulary};
use graftwork::experiment::spec::{AmazonReviews, Content, Data, Features, Fsdd, Newsgroups};
use graftwork::network::Extents;
use tch::Tensor;

use super::{DataError, images, labels, mel};

/// The examples of both splits of the owner, in the form in which they are stored, and their labels.
#[derive(Debug)]
pub(super) struct Whole {
    pub train: Tensor,        // [N, …]
    pub train_labels: Tensor, // as in `labels`
    pub test: Tensor,
    pub test_labels: Tensor,
}

impl Whole {
    /// - input: the network's input
    pub(super) fn new(loaded: Loaded, data: &Data, input: &[u32]) -> Result<Self, DataError> {
        match (data.content(), loaded) {
            (Content::Images(options, _), Loaded::Images(images)) => {
                Self::of_images(&images, options.size, input)
            }
            (Content::Recordings(options), Loaded::Recordings(recordings)) => {
                fits(data, input)?;
                let recordings = recordings.of_speakers(&options.speakers);
                let read = |part: &[Recording]| sounds(part, options);
                Ok(Self::of(&recordings.train, &recordings.test, read, |one| one.label))
            }
            (Content::Bags(options), Loaded::Bags(bags)) => {
                fits(data, input)?;
                let bags = bags.of_category(options.category);
                Ok(Self::of(&bags.train, &bags.test, counts, |one| one.label))
            }
            (Content::Texts(options), Loaded::Texts(texts)) => {
                fits(data, input)?;
                // Of all groups, so that a word has one number in all domains.
                let words = texts.train.iter().map(|text| text.text.as_str());
                let vocabulary = Vocabulary::new(words, options.vocabulary);
                let texts = texts.of_groups(&options.groups);
                let read = |part: &[Text]| tokens(part, &vocabulary, options);
                Ok(Self::of(&texts.train, &texts.test, read, |one| one.label))
            }
            (_, loaded) => unreachable!("`{}` is read as another kind: {loaded:?}", data.name()),
        }
    }

    /// - size: what the experiment resizes to
    pub(super) fn of_images(
        images: &Images,
        size: Option<[u32; 2]>,
        input: &[u32],
    ) -> Result<Self, DataError> {
        let input = input.try_into().map_err(|_| DataError::Shape {
            name: images.name.clone(),
            what: "images",
            given: Extents(&images.shape).to_string(),
            taken: Extents(input).to_string(),
        })?;
        let change = images::Change::new(&images.name, images.shape, size, input)?;
        let read = |part: &Part| (change.apply(part), labels::of_examples(&part.labels));
        let ((train, train_labels), (test, test_labels)) =
            (read(&images.train), read(&images.test));
        Ok(Self { train, train_labels, test, test_labels })
    }

    fn of<T>(
        train: &[T],
        test: &[T],
        read: impl Fn(&[T]) -> Tensor,
        label: impl Fn(&T) -> u8,
    ) -> Self {
        let labels =
            |part: &[T]| labels::of_examples(&part.iter().map(&label).collect::<Vec<u8>>());
        Self {
            train: read(train),
            train_labels: labels(train),
            test: read(test),
            test_labels: labels(test),
        }
    }
}

/// Whether the network takes what the dataset gives.
pub(super) fn fits(data: &Data, input: &[u32]) -> Result<(), DataError> {
    let given = data.shape();
    if given == input {
        return Ok(());
    }
    Err(DataError::Shape {
        name: data.name().to_owned(),
        what: data.what(),
        given: Extents(&given).to_string(),
        taken: Extents(input).to_string(),
    })
}

/// `[N, 1, mels, frames]`, logarithms; or `[N, 1, samples]`, 16-bit samples.
fn sounds(recordings: &[Recording], options: &Fsdd) -> Tensor {
    let length = options.samples() as usize;
    let mut samples: Vec<i16> = Vec::with_capacity(recordings.len() * length);
    for recording in recordings {
        let end = samples.len() + length;
        samples.extend(recording.samples.iter().take(length));
        samples.resize(end, 0);
    }
    let samples = Tensor::from_slice(&samples).view([recordings.len() as i64, 1, length as i64]);
    match &options.features {
        Features::LogMel(settings) => mel::log_mel(&samples, settings, Fsdd::RATE),
        Features::Raw(_) => samples,
    }
}

/// `[N, words]`, bytes.
fn counts(bags: &[Bag]) -> Tensor {
    let words = AmazonReviews::WORDS as usize;
    let mut counts = vec![0_u8; bags.len() * words];
    for (row, bag) in counts.chunks_exact_mut(words).zip(bags) {
        for &(word, count) in &bag.counts {
            row[word as usize] = count;
        }
    }
    Tensor::from_slice(&counts).view([bags.len() as i64, words as i64])
}

/// `[N, length]`, 32-bit integers.
fn tokens(texts: &[Text], vocabulary: &Vocabulary, options: &Newsgroups) -> Tensor {
    let length = options.length as usize;
    let numbers = texts.iter().flat_map(|text| vocabulary.encode(&text.text, length));
    let numbers: Vec<i32> = numbers.map(|number| number as i32).collect();
    Tensor::from_slice(&numbers).view([texts.len() as i64, length as i64])
}

#[cfg(test)]
mod tests {
    use graftwork::dataset::{Bags, Recordings, Texts};
    use graftwork::experiment::spec::{Category, Group, Speaker};
    use serde_json::json;
    use tch::{Device, Kind};

    use super::super::prepare;
    use super::*;

    fn data(value: serde_json::Value) -> Data {
        serde_json::from_value(value).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.to_kind(Kind::Double).contiguous().view([-1]).try_into().unwrap()
    }

    fn recordings() -> Loaded {
        let recording = |speaker, samples: &[i16], label| Recording {
            samples: samples.to_vec(),
            label,
            speaker,
        };
        let long = [300_i16; 900];
        let part = vec![
            recording(Speaker::Theo, &[100, -200], 3),
            recording(Speaker::Lucas, &[1], 4),
            recording(Speaker::Theo, &long, 5),
        ];
        Loaded::Recordings(Recordings { train: part.clone(), test: part })
    }

    #[test]
    fn recordings_of_the_speakers_are_cut_and_filled_with_silence() {
        let data = data(json!({
            "fsdd": { "speakers": ["theo"], "seconds": 0.1, "features": { "raw": {} } }
        }));
        let whole = Whole::new(recordings(), &data, &[1, 800]).unwrap();
        assert_eq!(whole.train.size(), [2, 1, 800]);
        assert_eq!(values(&whole.train_labels), [3.0, 5.0]);
        let samples = values(&whole.test);
        assert_eq!(samples[..3], [100.0, -200.0, 0.0]);
        assert_eq!(samples[799..801], [0.0, 300.0]);
        assert_eq!(samples[800..], [300.0; 800]);
        let splits = prepare(recordings(), &data, &[1, 800], Device::Cpu).unwrap();
        assert_eq!(
            (splits.name.as_str(), splits.classes, splits.train.len()),
            ("fsdd-theo", 10, 2)
        );
        let batch = splits.test.batches().next().unwrap();
        assert!((values(&batch.inputs)[1] + 200.0 / 32_768.0).abs() < 1e-7);
    }

    #[test]
    fn recordings_become_log_mels_of_mean_0() {
        let data = data(json!({ "fsdd": { "seconds": 0.1, "val-fraction": 0.0 } }));
        let splits = prepare(recordings(), &data, &data.shape(), Device::Cpu).unwrap();
        let batch = splits.train.as_set().batches().next().unwrap();
        assert_eq!(batch.inputs.size(), [3, 1, 40, 11]);
        assert!(batch.inputs.mean(Kind::Double).double_value(&[]).abs() < 1e-5);
    }

    #[test]
    fn bags_become_counts_of_all_words() {
        let bag = |category, counts: &[(u32, u8)], label| Bag {
            counts: counts.to_vec(),
            label,
            category,
        };
        let part =
            vec![bag(Category::Dvd, &[(1, 9)], 0), bag(Category::Books, &[(0, 2), (4999, 84)], 1)];
        let bags = Loaded::Bags(Bags { train: part.clone(), test: part });
        let data = data(json!({ "amazon-reviews": { "category": "books" } }));
        let splits = prepare(bags, &data, &[5000], Device::Cpu).unwrap();
        let batch = splits.train.batches(0, 1).next().unwrap();
        let counts = values(&batch.inputs);
        assert_eq!((counts.len(), counts[0], counts[1], counts[4999]), (5000, 2.0, 0.0, 84.0));
        assert_eq!(values(&batch.labels), [1.0]);
    }

    fn texts() -> Loaded {
        let text = |group, text: &str| Text { text: text.to_owned(), label: 0, group };
        let train = vec![
            text(Group::SciSpace, "moon moon moon"),
            text(Group::RecAutos, "car car moon"),
            text(Group::CompGraphics, "pixel car"),
        ];
        let test = vec![text(Group::CompGraphics, "pixel moon shader shader shader shader")];
        Loaded::Texts(Texts { train, test })
    }

    #[test]
    fn words_have_the_numbers_of_the_whole_training_split_and_none_of_the_test_split() {
        let data = data(json!({
            "newsgroups": { "groups": { "comp-vs-sci": {} }, "vocabulary": 9, "length": 4 }
        }));
        let splits = prepare(texts(), &data, &[4], Device::Cpu).unwrap();
        assert_eq!((splits.train.len(), splits.classes), (2, 2), "no cars");
        let train = splits.train.as_set().batches().next().unwrap();
        assert_eq!(train.inputs.kind(), Kind::Int64);
        // moon four times, car three times, pixel once.
        assert_eq!(values(&train.inputs), [2.0, 2.0, 2.0, 0.0, 4.0, 3.0, 0.0, 0.0]);
        assert_eq!(values(&train.labels), [1.0, 0.0]);
        let test = splits.test.batches().next().unwrap();
        assert_eq!(values(&test.inputs), [4.0, 2.0, 1.0, 1.0], "`shader` is unknown");
    }

    #[test]
    fn a_network_of_another_input_is_refused() {
        let data = data(json!({ "newsgroups": { "length": 4 } }));
        let error = prepare(texts(), &data, &[5], Device::Cpu).unwrap_err().to_string();
        let expected = "the network takes 5, and texts of `newsgroups` are 4; give it the data that it was trained on, read in the same way";
        assert_eq!(error, expected);
    }
}
