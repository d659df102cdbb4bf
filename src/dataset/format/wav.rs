//! WAV files of one channel of 16-bit samples, in a folder or a `tar` archive.

use std::fs;
use std::io::Read;
use std::path::Path;

use hound::{SampleFormat, WavReader};

use super::{cannot_read, open};
use crate::dataset::DatasetError;

/// No recording here is larger; a file that goes on is damaged or hostile.
const LIMIT: u64 = 1 << 22;

/// A recording and the name of its file.
pub(crate) struct Named {
    pub name: String,
    pub samples: Vec<i16>,
}

/// Reads the `.wav` files of a folder, in the order of their names; other files are passed over.
///
/// # Errors
/// A file that cannot be read, or is no WAV file of one channel of 16 bits at `rate` samples a second.
pub(crate) fn read_folder(folder: &Path, rate: u32) -> Result<Vec<Named>, DatasetError> {
    let mut recordings = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot_read(folder))? {
        let path = entry.map_err(cannot_read(folder))?.path();
        if let Some(name) = wav_name(&path) {
            let mut file = fs::File::open(&path).map_err(cannot_read(&path))?;
            let bytes = bytes(&mut file).map_err(cannot_read(&path))?;
            recordings.push(Named { samples: samples(&bytes, rate, folder, &name)?, name });
        }
    }
    sorted(recordings, folder)
}

/// Reads the `.wav` files of an archive, in the order of their names; other files are passed over, and
/// of their paths only the last part counts.
///
/// # Errors
/// As [`read_folder`], and two files of one name.
pub(crate) fn read_archive(archive: &Path, rate: u32) -> Result<Vec<Named>, DatasetError> {
    let failed = cannot_read(archive);
    let mut recordings = Vec::new();
    for entry in tar::Archive::new(open(archive)?).entries().map_err(&failed)? {
        let mut entry = entry.map_err(&failed)?;
        let path = entry.path().map_err(&failed)?.into_owned();
        let Some(name) = wav_name(&path) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let bytes = bytes(&mut entry).map_err(&failed)?;
        recordings.push(Named { samples: samples(&bytes, rate, archive, &name)?, name });
    }
    sorted(recordings, archive)
}

/// The last part of a path that ends in `.wav`.
fn wav_name(path: &Path) -> Option<String> {
    let is_wav = path.extension().is_some_and(|extension| extension == "wav");
    is_wav.then(|| path.file_name()?.to_str().map(str::to_owned)).flatten()
}

fn bytes(reader: &mut dyn Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn sorted(mut recordings: Vec<Named>, whole: &Path) -> Result<Vec<Named>, DatasetError> {
    recordings.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    if let Some(twice) = recordings.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let place = format!("file {}", twice[0].name);
        return Err(DatasetError::format(whole, place, "a second file of this name", "one"));
    }
    Ok(recordings)
}

fn samples(bytes: &[u8], rate: u32, whole: &Path, name: &str) -> Result<Vec<i16>, DatasetError> {
    let expected = || format!("a WAV file of one channel, 16 bits, {rate} samples a second");
    let fault =
        |found: String| DatasetError::format(whole, format!("file {name}"), found, expected());
    let reader = WavReader::new(bytes).map_err(|error| fault(error.to_string()))?;
    let spec = reader.spec();
    let is_usual = (spec.channels, spec.bits_per_sample, spec.sample_rate) == (1, 16, rate);
    if !is_usual || spec.sample_format != SampleFormat::Int {
        return Err(fault(format!(
            "{} channels, {} bits, {} samples a second",
            spec.channels, spec.bits_per_sample, spec.sample_rate
        )));
    }
    // The header's count claims no memory: a `Result` is collected item by item.
    let samples: Result<Vec<i16>, _> = reader.into_samples::<i16>().collect();
    samples.map_err(|error| fault(error.to_string()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use hound::{WavSpec, WavWriter};

    use super::super::tests::{file, gzip};
    use super::*;

    /// A WAV file of one channel.
    pub(crate) fn wav(samples: &[i16], sample_rate: u32) -> Vec<u8> {
        let spec = WavSpec {
            channels: 1,
            sample_rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        for &sample in samples {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    pub(crate) fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, content.as_slice()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn pairs(recordings: Vec<Named>) -> Vec<(String, Vec<i16>)> {
        recordings.into_iter().map(|Named { name, samples }| (name, samples)).collect()
    }

    #[test]
    fn a_folder_and_an_archive_hold_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("b.wav", wav(&[1, -2], 8000)),
            ("a.wav", wav(&[i16::MIN, i16::MAX], 8000)),
            ("README", b"text".to_vec()),
        ];
        for (name, bytes) in &files {
            file(&folder, name, bytes);
        }
        let expected =
            [("a.wav".to_owned(), vec![i16::MIN, i16::MAX]), ("b.wav".to_owned(), vec![1, -2])];
        assert_eq!(pairs(read_folder(folder.path(), 8000).unwrap()), expected);
        let below = files.map(|(name, bytes)| (format!("x/recordings/{name}"), bytes));
        let below: Vec<(&str, Vec<u8>)> =
            below.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        for archive in [tar(&below), gzip(&tar(&below))] {
            let path = file(&folder, "archive", &archive);
            assert_eq!(pairs(read_archive(&path, 8000).unwrap()), expected);
        }
    }

    #[test]
    fn every_way_to_be_wrong_has_its_message() {
        #[track_caller]
        fn refuses(bytes: &[u8], message: &str) {
            let folder = tempfile::tempdir().unwrap();
            file(&folder, "a.wav", bytes);
            let error = read_folder(folder.path(), 8000).err().unwrap().to_string();
            assert!(error.contains(message), "{error}");
            assert!(
                error.contains("file a.wav: ") && error.contains("; expected a WAV file of one")
            );
        }
        refuses(&wav(&[1, 2], 16_000), "1 channels, 16 bits, 16000 samples a second");
        refuses(b"", "Failed to read enough bytes");
        refuses(b"ID3 this is no WAV file at all, it seems", "no RIFF tag found");
        let whole = wav(&[1, 2, 3], 8000);
        refuses(&whole[..whole.len() - 2], "Failed to read enough bytes");
        let mut claims = whole;
        claims[40..44].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        refuses(&claims, "Failed to read enough bytes");
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let one = wav(&[1], 8000);
        let archive = tar(&[("x/a.wav", one.clone()), ("y/a.wav", one)]);
        let path = file(&folder, "archive.tar", &archive);
        let error = read_archive(&path, 8000).err().unwrap().to_string();
        assert!(error.ends_with("file a.wav: a second file of this name; expected one"), "{error}");
    }
}
