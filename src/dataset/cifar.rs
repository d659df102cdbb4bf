//! CIFAR-10 and CIFAR-100: photographs, 32×32 colour.
//!
//! Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".

use std::path::PathBuf;

use super::entry::{Distribution, Entry, File, Read, ReadSplits, needed};
use super::fetch::{Origins, Remote};
use super::format::cifar::{self, Label};
use super::{Kind, Part};

pub(super) static CIFAR10: Entry = Entry {
    name: "cifar10",
    title: "CIFAR-10, photographs of 10 kinds of things",
    kind: Kind::Images { shape: [3, 32, 32] },
    class_names: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    whole: [50_000, 10_000],
    licence: LICENCE,
    citation: CITATION,
    revision: 1,
    folders: &["cifar-10-batches-bin"],
    named: true,
    system: None,
    origins: Origins {
        pip: None,
        urls: &[Remote {
            urls: &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            members: &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
                "test_batch.bin",
            ],
        }],
        system: None,
        repository: None,
    },
    distributions: &[Distribution {
        what: "official binary files",
        files: &[
            File::needed(&["test_batch.bin"]),
            File::optional(&["data_batch_1.bin"]),
            File::optional(&["data_batch_2.bin"]),
            File::optional(&["data_batch_3.bin"]),
            File::optional(&["data_batch_4.bin"]),
            File::optional(&["data_batch_5.bin"]),
        ],
        read: Read::Images(read_10),
    }],
};

pub(super) static CIFAR100: Entry = Entry {
    name: "cifar100",
    title: "CIFAR-100, photographs of 100 kinds of things",
    kind: Kind::Images { shape: [3, 32, 32] },
    class_names: FINE,
    whole: [50_000, 10_000],
    licence: LICENCE,
    citation: CITATION,
    revision: 1,
    folders: &["cifar-100-binary"],
    named: true,
    system: None,
    origins: Origins {
        pip: None,
        urls: &[Remote {
            urls: &["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"],
            sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            members: &["train.bin", "test.bin"],
        }],
        system: None,
        repository: None,
    },
    distributions: &[Distribution {
        what: "official binary files",
        files: &[File::needed(&["train.bin"]), File::needed(&["test.bin"])],
        read: Read::Images(read_100),
    }],
};

const LICENCE: &str = "none stated by its owner";
const CITATION: &str = "Krizhevsky 2009, \"Learning multiple layers of features from tiny images\", \
                        technical report, University of Toronto";

fn read_10(paths: &[Option<PathBuf>]) -> ReadSplits {
    let labels = [Label { what: "label", classes: 10 }];
    let mut train = Part::default();
    for path in paths[1..].iter().flatten() {
        train.append(cifar::read(path, &labels)?);
    }
    Ok((train, cifar::read(needed(paths, 0), &labels)?))
}

fn read_100(paths: &[Option<PathBuf>]) -> ReadSplits {
    let labels =
        [Label { what: "coarse label", classes: 20 }, Label { what: "fine label", classes: 100 }];
    Ok((cifar::read(needed(paths, 0), &labels)?, cifar::read(needed(paths, 1), &labels)?))
}

/// The fine classes, in the owner's order.
#[rustfmt::skip]
const FINE: &[&str] = &[
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard",
    "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse",
    "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
    "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray",
    "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
    "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
    "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

#[cfg(test)]
mod tests {
    use super::super::format::tests::file;
    use super::super::load;

    fn record(label: u8, pixel: u8) -> Vec<u8> {
        let mut bytes = vec![label];
        bytes.resize(3073, pixel);
        bytes
    }

    #[test]
    fn some_of_the_training_batches_are_enough_and_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        file(&folder, "test_batch.bin", &record(7, 0));
        assert!(load("cifar10", folder.path()).is_err());
        file(&folder, "data_batch_4.bin", &record(4, 44));
        file(&folder, "data_batch_2.bin", &[record(2, 22), record(3, 33)].concat());
        let images = load("cifar10", folder.path()).unwrap().images().unwrap();
        assert_eq!(images.train.labels, [2, 3, 4]);
        assert_eq!(images.train.pixels.len(), 3 * 3072);
        assert_eq!(images.test.labels, [7]);
    }
}
