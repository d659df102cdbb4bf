//! USPS: digits from envelopes, 16×16 grey.
//!
//! Hull 1994, "A Database for Handwritten Text Recognition Research", IEEE TPAMI 16(5).

use std::path::{Path, PathBuf};

use super::entry::{Distribution, Entry, File, Read, ReadSplits, needed};
use super::fetch::{Origins, Remote};
use super::format::libsvm;
use super::mnist::DIGITS;
use super::{DatasetError, Kind, Part};

pub(super) static USPS: Entry = Entry {
    name: "usps",
    title: "USPS, digits from envelopes",
    kind: Kind::Images { shape: [1, 16, 16] },
    class_names: DIGITS,
    whole: [7291, 2007],
    licence: "none stated by its owner",
    citation: "Hull 1994, \"A database for handwritten text recognition research\", \
               IEEE TPAMI 16(5); prepared as in Le Cun et al. 1990",
    revision: 1,
    folders: &[],
    named: true,
    system: None,
    origins: Origins {
        pip: None,
        urls: &[
            Remote {
                urls: &[
                    "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.bz2",
                ],
                sha256: "3771e9dd6ba685185f89867b6e249233dd74652389f263963b3b741e994b034f",
                members: &[],
            },
            Remote {
                urls: &[
                    "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.t.bz2",
                ],
                sha256: "a9c0164e797d60142a50604917f0baa604f326e9a689698763793fa5d12ffc4e",
                members: &[],
            },
        ],
        system: None,
        repository: None,
    },
    distributions: &[Distribution {
        what: "official split, LIBSVM text",
        files: &[File::needed(&["usps.bz2", "usps"]), File::needed(&["usps.t.bz2", "usps.t"])],
        read: Read::Images(read),
    }],
};

const PIXELS: usize = 16 * 16;

const LIMITS: libsvm::Limits = libsvm::Limits {
    first: 1,
    features: PIXELS,
    values: [-1.0, 1.0],
    whole: false,
    labels: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    labels_in_words: "an integer from 1 to 10",
};

fn read(paths: &[Option<PathBuf>]) -> ReadSplits {
    Ok((read_split(needed(paths, 0))?, read_split(needed(paths, 1))?))
}

/// Labels are written 1 to 10 for the digits 0 to 9, grey values −1 (black) to 1.
fn read_split(path: &Path) -> Result<Part, DatasetError> {
    let examples = libsvm::read(path, &LIMITS)?;
    let mut part = Part::default();
    for example in examples {
        let mut pixels = [byte(0.0); PIXELS];
        for (index, value) in example.features {
            pixels[index as usize] = byte(value);
        }
        part.pixels.extend(pixels);
        part.labels.push((example.label - 1) as u8);
    }
    Ok(part)
}

fn byte(value: f32) -> u8 {
    ((value + 1.0) * 127.5).round() as u8
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::{bzip2, file};
    use super::*;

    #[test]
    fn grey_values_become_bytes_and_labels_count_from_zero() {
        assert_eq!([-1.0, -0.5, 0.0, 0.862, 1.0].map(byte), [0, 64, 128, 237, 255]);
        let folder = tempfile::tempdir().unwrap();
        let line = (1..=256).fold("10".to_owned(), |line, index| format!("{line} {index}:1"));
        file(&folder, "usps.bz2", &bzip2(line.as_bytes()));
        file(&folder, "usps.t", b"1 1:-1 256:1\n");
        let images = super::super::load("usps", folder.path()).unwrap().images().unwrap();
        assert_eq!(images.train, Part { pixels: vec![255; 256], labels: vec![9] });
        assert_eq!(images.test.labels, [0]);
        assert_eq!(images.test.pixels[0], 0);
        assert_eq!(images.test.pixels[255], 255);
    }
}
