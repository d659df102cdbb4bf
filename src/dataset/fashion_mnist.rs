//! Fashion-MNIST: clothes, 28×28 grey.
//!
//! Xiao, Rasul and Vollgraf 2017, <https://arxiv.org/abs/1708.07747>.

use super::entry::{Distribution, Entry, Read};
use super::fetch::{Origins, Remote};
use super::{Kind, mnist};

pub(super) static FASHION_MNIST: Entry = Entry {
    name: "fashion-mnist",
    title: "Fashion-MNIST, clothes",
    kind: Kind::Images { shape: [1, 28, 28] },
    class_names: &[
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ],
    whole: [60_000, 10_000],
    licence: "MIT",
    citation: "Xiao, Rasul, Vollgraf 2017, \"Fashion-MNIST: a novel image dataset for \
               benchmarking machine learning algorithms\", arXiv:1708.07747",
    revision: 1,
    folders: &["FashionMNIST/raw"],
    // Its files have the names of MNIST's.
    named: false,
    system: Some("/usr/share/datasets/fashion-mnist"),
    origins: Origins {
        pip: None,
        urls: &[
            Remote {
                urls: &[
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
                ],
                sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                members: &[],
            },
            Remote {
                urls: &[
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
                ],
                sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                members: &[],
            },
            Remote {
                urls: &[
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
                ],
                sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                members: &[],
            },
            Remote {
                urls: &[
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
                ],
                sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                members: &[],
            },
        ],
        system: Some("dataset-fashion-mnist"),
        repository: None,
    },
    distributions: &[Distribution {
        what: "official idx files",
        files: mnist::OFFICIAL,
        read: Read::Images(mnist::read_idx),
    }],
};
