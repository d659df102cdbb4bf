//! Free Spoken Digit Dataset: recordings of spoken digits, six speakers, 8 kHz.
//!
//! Jackson et al., <https://github.com/Jakobovski/free-spoken-digit-dataset>. The owner's split: of
//! each speaker's fifty recordings of a digit the first five are for the test.

use std::path::{Path, PathBuf};

use super::entry::{Distribution, Entry, File, Read, needed};
use super::fetch::Origins;
use super::format::wav::{self, Named};
use super::mnist::DIGITS;
use super::{DatasetError, Kind, Recording};
use crate::experiment::spec::{Fsdd, Speaker};

pub(super) static FSDD: Entry = Entry {
    name: "fsdd",
    title: "Free Spoken Digit Dataset, recordings of spoken digits",
    kind: Kind::Recordings { rate: Fsdd::RATE },
    class_names: DIGITS,
    whole: [2700, 300],
    licence: "CC BY-SA 4.0",
    citation: "Jackson, Souza, Flaks, Pan, Nicolas, Thite 2018, \"Jakobovski/free-spoken-digit-dataset: \
               v1.0.8\", Zenodo",
    revision: 1,
    folders: &["free-spoken-digit-dataset"],
    // Any archive and any folder of recordings could be called so.
    named: false,
    system: None,
    origins: Origins {
        pip: None,
        urls: &[],
        system: None,
        repository: Some("https://github.com/Jakobovski/free-spoken-digit-dataset.git"),
    },
    distributions: &[
        Distribution {
            what: "archive of WAV files",
            files: &[File::needed(&[
                "fsdd-recordings.tar",
                "fsdd-recordings.tar.gz",
                "fsdd-recordings.tar.bz2",
            ])],
            read: Read::Recordings(read_archive),
        },
        Distribution {
            what: "folder of WAV files",
            files: &[File::folder(&["recordings"])],
            read: Read::Recordings(read_folder),
        },
    ],
};

/// Recordings of a digit by a speaker that are for the test.
const TESTED: u32 = 5;

type Splits = Result<(Vec<Recording>, Vec<Recording>), DatasetError>;

fn read_archive(paths: &[Option<PathBuf>]) -> Splits {
    let path = needed(paths, 0);
    split(wav::read_archive(path, Fsdd::RATE)?, path)
}

fn read_folder(paths: &[Option<PathBuf>]) -> Splits {
    let path = needed(paths, 0);
    split(wav::read_folder(path, Fsdd::RATE)?, path)
}

fn split(recordings: Vec<Named>, whole: &Path) -> Splits {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for Named { name, samples } in recordings {
        let Some((label, speaker, index)) = parse(&name) else {
            return Err(DatasetError::format(
                whole,
                "a file's name",
                format!("`{name}`"),
                format!("DIGIT_SPEAKER_INDEX.wav, SPEAKER being one of {}", speakers()),
            ));
        };
        let part = if index < TESTED { &mut test } else { &mut train };
        part.push(Recording { samples, label, speaker });
    }
    if train.is_empty() || test.is_empty() {
        return Err(DatasetError::format(
            whole,
            "all recordings",
            format!("{} to train on and {} to test with", train.len(), test.len()),
            format!("at least one of each; those of an index below {TESTED} are for the test"),
        ));
    }
    Ok((train, test))
}

/// Digit, speaker and index of `7_jackson_32.wav`.
fn parse(name: &str) -> Option<(u8, Speaker, u32)> {
    let mut parts = name.strip_suffix(".wav")?.split('_');
    let (digit, speaker, index) = (parts.next()?, parts.next()?, parts.next()?);
    let label = DIGITS.iter().position(|known| *known == digit)?;
    let speaker = Speaker::ALL.into_iter().find(|known| known.as_str() == speaker)?;
    parts.next().is_none().then_some(())?;
    Some((label as u8, speaker, index.parse().ok()?))
}

fn speakers() -> String {
    Speaker::ALL.map(Speaker::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::file;
    use super::super::format::wav::tests::{tar, wav};
    use super::super::load;
    use super::*;

    #[test]
    fn names_tell_digit_speaker_and_split() {
        let folder = tempfile::tempdir().unwrap();
        let recording = |sample| wav(&[sample], 8000);
        let files = [
            ("7_theo_4.wav", recording(1)),
            ("7_theo_5.wav", recording(2)),
            ("0_george_49.wav", recording(3)),
        ];
        file(&folder, "fsdd-recordings.tar", &tar(&files));
        let recordings = load("fsdd", folder.path()).unwrap().recordings().unwrap();
        let recording =
            |sample, label, speaker| Recording { samples: vec![sample], label, speaker };
        let theo = recording(2, 7, Speaker::Theo);
        assert_eq!(recordings.test, [recording(1, 7, Speaker::Theo)]);
        assert_eq!(recordings.train, [recording(3, 0, Speaker::George), theo.clone()]);
        let of_theo = recordings.of_speakers(&[Speaker::Theo].into());
        assert_eq!((of_theo.train, of_theo.test.len()), (vec![theo], 1));
    }

    #[test]
    fn a_folder_of_recordings_will_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("recordings")).unwrap();
        for name in ["recordings/1_lucas_0.wav", "recordings/1_lucas_9.wav"] {
            file(&folder, name, &wav(&[5], 8000));
        }
        assert_eq!(load("fsdd", folder.path()).unwrap().len(), [1, 1]);
        file(&folder, "recordings/10_lucas_1.wav", &wav(&[5], 8000));
        let error = load("fsdd", folder.path()).unwrap_err().to_string();
        assert!(error.contains("a file's name: `10_lucas_1.wav`; expected DIGIT_"), "{error}");
    }

    #[test]
    fn recordings_of_one_split_alone_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        file(&folder, "fsdd-recordings.tar", &tar(&[("1_lucas_9.wav", wav(&[5], 8000))]));
        let error = load("fsdd", folder.path()).unwrap_err().to_string();
        assert!(error.contains("1 to train on and 0 to test with; expected at least"), "{error}");
    }

    #[test]
    fn only_whole_names_are_names() {
        assert_eq!(parse("3_yweweler_12.wav"), Some((3, Speaker::Yweweler, 12)));
        for name in ["3_bob_1.wav", "33_theo_1.wav", "3_theo_x.wav", "3_theo.wav", "3_theo_1_2.wav"]
        {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
