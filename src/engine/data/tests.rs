//! The whole way from images in memory to batches.

use graftwork::dataset::{Images, Loaded, Part};
use graftwork::experiment::spec::{
    Augment, Data, DigitsOnPhotographs, HorizontalFlip, ImageOptions, Normalize, RandomAffine,
    RandomCrop,
};
use tch::{Device, Kind, Tensor};

use super::*;

/// `n` grey images of 3×4 whose pixels tell which image and which place they are; the classes turn.
fn images(n: usize) -> Images {
    let part = |n: usize| Part {
        pixels: (0..n)
            .flat_map(|image| (0..12).map(move |place| (image * 12 + place) as u8))
            .collect(),
        labels: (0..n).map(|image| (image % 2) as u8).collect(),
    };
    Images {
        name: "usps".to_owned(),
        shape: [1, 3, 4],
        classes: 2,
        class_names: vec!["even".to_owned(), "odd".to_owned()],
        train: part(n),
        test: part(2),
    }
}

fn data(change: impl FnOnce(&mut ImageOptions)) -> Data {
    // Zero and one as they are: `Unit` divides by 255, which the tests multiply with.
    let mut options =
        ImageOptions { val_fraction: 0.0, normalize: Normalize::Unit, ..ImageOptions::default() };
    change(&mut options);
    Data::Usps(options)
}

fn splits(n: usize, change: impl FnOnce(&mut ImageOptions)) -> Splits {
    prepare(Loaded::Images(images(n)), &data(change), &[1, 3, 4], Device::Cpu).unwrap()
}

/// The bytes that a batch's images were made of.
fn bytes(images: &Tensor) -> Vec<u8> {
    (images * 255).round().to_kind(Kind::Uint8).contiguous().view([-1]).try_into().unwrap()
}

fn labels(batch: &Batch) -> Vec<i64> {
    (&batch.labels).try_into().unwrap()
}

/// The number of the image that each image of a batch is.
fn which(images: &Tensor) -> Vec<u8> {
    bytes(images).chunks_exact(12).map(|pixels| pixels[0] / 12).collect()
}

#[test]
fn an_epoch_holds_every_image_once_with_its_label_in_an_order_of_its_own() {
    let splits = splits(10, |options| options.batch_size = 4);
    let epoch = |seed, epoch| -> Vec<u8> {
        let batches = splits.train.batches(seed, epoch);
        assert_eq!(batches.len(), splits.train.steps());
        let mut seen = Vec::new();
        for batch in batches {
            let images = which(&batch.inputs);
            let expected: Vec<i64> = images.iter().map(|image| i64::from(image % 2)).collect();
            assert_eq!(labels(&batch), expected);
            seen.extend(images);
        }
        seen
    };
    let first = epoch(0, 1);
    assert_eq!(epoch(0, 1), first);
    assert_ne!(epoch(0, 2), first);
    assert_ne!(epoch(1, 1), first);
    let mut sorted = first;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..10).collect::<Vec<u8>>());
}

#[test]
fn a_last_batch_of_one_image_is_left_out() {
    let sizes = |n, batch_size| -> Vec<usize> {
        let splits = splits(n, |options| options.batch_size = batch_size);
        splits.train.batches(0, 0).map(|batch| batch.labels.size()[0] as usize).collect()
    };
    assert_eq!(sizes(10, 4), [4, 4, 2]);
    assert_eq!(sizes(9, 4), [4, 4]);
    assert_eq!(sizes(8, 4), [4, 4]);
    assert_eq!(sizes(3, 4), [3]);
    assert_eq!(sizes(1, 4), [1], "there would be no batch at all");
    assert_eq!(sizes(3, 1), [1, 1, 1], "the batch size that was asked for");
}

#[test]
fn measuring_goes_through_all_images_in_their_order_and_changes_nothing() {
    let splits = splits(20, |options| {
        options.val_fraction = 0.2;
        options.augment = vec![Augment::RandomCrop(RandomCrop { padding: 2 })];
    });
    let order =
        |set: &Set| -> Vec<u8> { set.batches().flat_map(|batch| which(&batch.inputs)).collect() };
    let (train, val) = (order(splits.train.as_set()), order(&splits.val));
    assert_eq!((train.len(), val.len()), (16, 4));
    assert!(train.is_sorted() && val.is_sorted());
    let mut all = [train, val].concat();
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<u8>>());
    assert_eq!(order(&splits.test), [0, 1]);
    assert!(!splits.test.is_empty() && !splits.val.is_empty());
}

#[test]
fn large_sets_are_measured_in_batches_of_a_thousand() {
    let mut large = images(2);
    large.test = Part { pixels: vec![7; 2001 * 12], labels: vec![1; 2001] };
    let splits = prepare(Loaded::Images(large), &data(|_| {}), &[1, 3, 4], Device::Cpu).unwrap();
    let sizes: Vec<i64> = splits.test.batches().map(|batch| batch.inputs.size()[0]).collect();
    assert_eq!(sizes, [1000, 1000, 1]);
}

#[test]
fn a_crop_is_a_shift_with_black_outside() {
    let splits = splits(8, |options| {
        options.batch_size = 3;
        options.augment = vec![Augment::RandomCrop(RandomCrop { padding: 2 })];
    });
    let shifted = |image: i32, [down, right]: [i32; 2]| -> Vec<u8> {
        let place = |row: i32, column: i32| match (row - down, column - right) {
            (row @ 0..3, column @ 0..4) => (image * 12 + row * 4 + column) as u8,
            _ => 0,
        };
        (0..12).map(|at| place(at / 4, at % 4)).collect()
    };
    let shifts: Vec<[i32; 2]> =
        (-2..=2).flat_map(|down| (-2..=2).map(move |right| [down, right])).collect();
    let mut seen = std::collections::BTreeSet::new();
    for epoch in 0..20 {
        // Without the crop the same epoch tells which image is where.
        let plain = self::splits(8, |options| options.batch_size = 3);
        let pairs = splits.train.batches(5, epoch).zip(plain.train.batches(5, epoch));
        for (changed, plain) in pairs {
            assert_eq!(labels(&changed), labels(&plain));
            let changed = bytes(&changed.inputs);
            for (pixels, image) in changed.chunks_exact(12).zip(which(&plain.inputs)) {
                let shift =
                    shifts.iter().find(|shift| shifted(i32::from(image), **shift) == pixels);
                seen.insert(*shift.unwrap_or_else(|| panic!("image {image} became {pixels:?}")));
            }
        }
    }
    assert_eq!(seen.len(), 25, "every shift is drawn: {seen:?}");
}

#[test]
fn a_flip_mirrors_left_and_right_as_often_as_it_should() {
    let splits = splits(20, |options| {
        options.augment = vec![Augment::HorizontalFlip(HorizontalFlip { probability: 0.25 })];
    });
    let mut flipped = 0;
    for epoch in 0..50 {
        for batch in splits.train.batches(1, epoch) {
            for pixels in bytes(&batch.inputs).chunks_exact(12) {
                let first = pixels[0] / 12 * 12;
                let row = |row: u8| [0, 1, 2, 3].map(|column| first + row * 4 + column);
                let mut expected = [row(0), row(1), row(2)];
                if pixels[0] > pixels[3] {
                    flipped += 1;
                    expected = expected.map(|[a, b, c, d]| [d, c, b, a]);
                }
                assert_eq!(pixels, expected.concat());
            }
        }
    }
    assert!((200..=300).contains(&flipped), "{flipped} of 1000");
}

#[test]
fn adding_a_change_leaves_the_draws_of_those_before_it() {
    let crop = Augment::RandomCrop(RandomCrop { padding: 1 });
    let never = Augment::HorizontalFlip(HorizontalFlip { probability: 0.0 });
    let epoch = |augment: Vec<Augment>, batch_size| -> Vec<u8> {
        let splits = splits(8, |options| {
            options.augment = augment;
            options.batch_size = batch_size;
        });
        splits.train.batches(2, 3).flat_map(|batch| bytes(&batch.inputs)).collect()
    };
    let alone = epoch(vec![crop.clone()], 8);
    assert_eq!(epoch(vec![crop.clone(), never], 8), alone);
    assert_eq!(epoch(vec![crop], 4), alone, "the batch size does not enter the draws");
}

#[test]
fn unlabelled_images_have_draws_of_their_own() {
    let labelled = splits(10, |_| {}).train;
    let with: Vec<u8> = labelled.batches(0, 0).flat_map(|batch| which(&batch.inputs)).collect();
    let unlabelled = labelled.into_unlabelled();
    assert_eq!((unlabelled.len(), unlabelled.steps(), unlabelled.is_empty()), (10, 1, false));
    let mut without: Vec<u8> =
        unlabelled.batches(0, 0).flat_map(|batch| which(&batch.inputs)).collect();
    assert_ne!(with, without);
    without.sort_unstable();
    assert_eq!(without, (0..10).collect::<Vec<u8>>());
}

#[test]
fn normalisation_is_as_named_and_its_constants_are_the_training_splits() {
    #[track_caller]
    fn check(normalize: Normalize, expected: [f32; 3]) {
        let mut images = images(2);
        images.train.pixels = [[0; 12], [255; 12]].concat();
        images.test.pixels = vec![51; 24];
        let data = data(|options| options.normalize = normalize);
        let splits = prepare(Loaded::Images(images), &data, &[1, 3, 4], Device::Cpu).unwrap();
        let values = |set: &Set| -> Vec<f32> {
            let batch = set.batches().next().unwrap();
            batch.inputs.view([-1]).try_into().unwrap()
        };
        let (train, test) = (values(splits.train.as_set()), values(&splits.test));
        for (found, expected) in [train[0], train[12], test[0]].into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{found} is not {expected}");
        }
    }
    check(Normalize::Unit, [0.0, 1.0, 0.2]);
    check(Normalize::Symmetric, [-1.0, 1.0, -0.6]);
    // Mean and deviation are 127.5.
    check(Normalize::Standard, [-1.0, 1.0, -0.6]);
}

/// 20 images, of which 4 are held out; those that are drawn are of the other 16.
#[test]
fn few_labels_are_of_the_training_split_and_leave_the_others_and_the_normalisation_as_they_are() {
    let options = |labels_per_class| {
        data(|options| {
            options.val_fraction = 0.2;
            options.normalize = Normalize::Standard;
            options.labels_per_class = labels_per_class;
        })
    };
    let all =
        |data: &Data| prepare(Loaded::Images(images(20)), data, &[1, 3, 4], Device::Cpu).unwrap();
    let inputs = |set: &Set| -> Vec<Vec<f32>> {
        let batches = set.batches().flat_map(|batch| {
            let rows: Vec<Tensor> = batch.inputs.split(1, 0);
            rows.into_iter().map(|row| Vec::try_from(row.view([-1])).unwrap())
        });
        batches.collect()
    };
    let (whole, wanted) = (all(&options(None)), options(Some(3)));
    let few = all(&wanted).with_few_labels(&wanted, 5).unwrap();
    let again = all(&wanted).with_few_labels(&wanted, 5).unwrap();
    let other = all(&wanted).with_few_labels(&wanted, 6).unwrap();
    assert_eq!(few.train.len(), 6);
    let batch = few.train.as_set().batches().next().unwrap();
    assert_eq!(labels(&batch).iter().sum::<i64>(), 3, "three of each of two classes");
    let train = inputs(whole.train.as_set());
    let chosen = inputs(few.train.as_set());
    assert!(chosen.iter().all(|image| train.contains(image)), "with the same numbers");
    assert_eq!(inputs(again.train.as_set()), chosen);
    assert_ne!(inputs(other.train.as_set()), chosen);
    for set in [(&whole.val, &few.val), (&whole.test, &few.test)] {
        assert_eq!(inputs(set.0), inputs(set.1));
    }
}

#[test]
fn a_class_of_too_few_images_is_named() {
    let data = data(|options| options.labels_per_class = Some(3));
    let error = splits(5, |_| {}).with_few_labels(&data, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "labels-per-class = 3 asks for 3 images of each class, and of class 1 (counted from 0) the training split of `usps` has 2; lower it to at most 2"
    );
}

#[test]
fn nothing_to_train_on_is_an_error() {
    let data = data(|options| options.val_fraction = 0.9);
    let error = prepare(Loaded::Images(images(2)), &data, &[1, 3, 4], Device::Cpu);
    assert_eq!(
        error.unwrap_err().to_string(),
        "dataset `usps`: val-fraction = 0.9 leaves none of 2 images to train on; make it smaller"
    );
}

#[test]
fn the_domain_is_named_after_a_size_of_its_own() {
    let splits = splits(4, |options| options.size = Some([8, 8]));
    assert_eq!((splits.name.as_str(), splits.classes), ("usps-8x8", 2));
}

/// Scenes whose first channel is the mask, 0 to 9, and whose masks have 10 there instead of 0.
fn masked(n: i64, settings: &DigitsOnPhotographs) -> Set {
    let options = (Kind::Uint8, Device::Cpu);
    let mask = Tensor::randint(10, [n, 6, 8], (Kind::Int64, Device::Cpu)).to_kind(Kind::Uint8);
    let rest = Tensor::zeros([n, 2, 6, 8], options);
    let pixels = Tensor::cat(&[mask.unsqueeze(1), rest], 1);
    let mask = mask.where_self(&mask.ne(0), &Tensor::full([1], 10, options));
    let data = Data::DigitsOnPhotographs(settings.clone());
    let numbers = Numbers::new(data.content(), &pixels, Device::Cpu);
    Set::new(pixels, mask, numbers)
}

#[test]
fn masks_change_as_their_images_and_what_is_padded_has_no_class() {
    let augment = vec![
        Augment::RandomCrop(RandomCrop { padding: 2 }),
        Augment::HorizontalFlip(HorizontalFlip::default()),
    ];
    let settings = DigitsOnPhotographs {
        normalize: Normalize::Unit,
        batch_size: 4,
        augment,
        ..Default::default()
    };
    let set = TrainSet::new(masked(10, &settings), &Data::DigitsOnPhotographs(settings));
    let (mut padded, mut seen) = (0, 0);
    for batch in set.batches(0, 1) {
        seen += batch.labels.size()[0];
        assert_eq!(batch.labels.kind(), Kind::Int64);
        let pixels = bytes(&batch.inputs.select(1, 0));
        let labels = Vec::<i64>::try_from(batch.labels.view([-1])).unwrap();
        assert_eq!(pixels.len(), labels.len());
        for (pixel, label) in pixels.into_iter().zip(labels) {
            padded += usize::from(label == i64::from(IGNORED));
            match label {
                label if label == i64::from(IGNORED) => assert_eq!(pixel, 0, "black"),
                10 => assert_eq!(pixel, 0),
                label => assert_eq!(i64::from(pixel), label),
            }
        }
    }
    assert_eq!(seen, 10);
    assert!(padded > 0);
}

#[test]
fn an_affine_change_takes_masks_where_it_takes_their_images() {
    let affine = Augment::RandomAffine(RandomAffine { deviation: 0.1, shift: 1.5 });
    let settings = DigitsOnPhotographs {
        normalize: Normalize::Unit,
        batch_size: 8,
        augment: vec![affine],
        ..Default::default()
    };
    let options = (Kind::Uint8, Device::Cpu);
    let pixels = Tensor::full([40, 3, 6, 8], 100, options);
    let data = Data::DigitsOnPhotographs(settings);
    let numbers = Numbers::new(data.content(), &pixels, Device::Cpu);
    let set = TrainSet::new(Set::new(pixels, Tensor::full([40, 6, 8], 7, options), numbers), &data);
    let (mut beyond, mut within) = (0, 0);
    for batch in set.batches(0, 1) {
        let pixels = bytes(&batch.inputs.select(1, 0));
        let labels = Vec::<i64>::try_from(batch.labels.view([-1])).unwrap();
        for (pixel, label) in pixels.into_iter().zip(labels) {
            // The nearest place is in the image where at least half is in each direction.
            if label == i64::from(IGNORED) {
                beyond += 1;
                assert!(pixel <= 51, "{pixel}");
            } else {
                within += 1;
                assert!(label == 7 && pixel >= 24, "{label}: {pixel}");
            }
        }
    }
    assert!(beyond > 50 && within > 1000, "{beyond} beyond, {within} within");
}

#[test]
fn an_affine_change_of_nothing_leaves_every_byte() {
    let still = Augment::RandomAffine(RandomAffine { deviation: 0.0, shift: 0.0 });
    let epoch = |augment: Vec<Augment>| -> Vec<u8> {
        let splits = splits(8, |options| options.augment = augment);
        splits.train.batches(2, 3).flat_map(|batch| bytes(&batch.inputs)).collect()
    };
    assert_eq!(epoch(vec![still]), epoch(Vec::new()));
}

#[test]
fn large_examples_are_measured_in_smaller_batches() {
    let set = masked(3, &DigitsOnPhotographs::default());
    assert!(set.has_masks());
    assert_eq!(set.at_once(), (6 << 20) / (3 * 6 * 8));
    assert_eq!(set.batches().next().unwrap().labels.size(), [3, 6, 8]);
}
