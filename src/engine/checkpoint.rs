//! Networks and tensors on disk, as safetensors files.
//!
//! `model.safetensors` holds the parameters and buffers under torchvision's names; its header holds
//! the network, so that the file alone rebuilds it. `masks.safetensors` beside it holds one byte per
//! masked weight; `epoch-N.safetensors` the network as it was after an epoch; `program.pt` what computes a
//! network that is a TorchScript program. Nothing of Python's is ever unpickled. The same tensors give the
//! same bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use graftwork::network::Network;
use graftwork::protocol::{PROGRAM_FILE, epoch_file};
use indexmap::IndexMap;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};
use thiserror::Error;

use crate::model::Model;
use crate::model::program::Program;

/// The one entry of the header. A single one, since the order of several would vary.
const HEADER: &str = "graftwork";
const MODEL: &str = "model.safetensors";
const MASKS: &str = "masks.safetensors";

/// Why a checkpoint cannot be read or written.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file system said no.
    #[error("cannot access {}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The user's file is none that networks are taken from.
    #[error(
        "{} is no safetensors file with the parameters of a network: {reason}; write one with `safetensors.torch.save_file(model.state_dict(), PATH)`",
        .path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file is not what it should be.
    #[error("{} is damaged: {reason}; delete its folder and run again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        reason: String,
    },
}

/// Writes a model into a draft. What commits the draft brings it to the disk.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save(folder: &Path, model: &Model) -> Result<(), CheckpointError> {
    let write = |name: &str, bytes: io::Result<Vec<u8>>| {
        let path = folder.join(name);
        let written = bytes.and_then(|bytes| std::fs::write(&path, bytes));
        written.map_err(|error| CheckpointError::Io { path, error })
    };
    link_program(folder, model)?;
    write(MODEL, serialized(values(model), &header(model)))?;
    let masks: Vec<(&str, Tensor)> = model
        .params()
        .iter()
        .filter_map(|(name, parameter)| {
            Some((name.as_str(), parameter.mask.as_ref()?.to_kind(Kind::Uint8)))
        })
        .collect();
    if masks.is_empty() {
        return Ok(());
    }
    write(MASKS, serialized(masks.iter().map(|(name, mask)| (*name, mask)), "masks"))
}

/// Writes a model as it is after an epoch beside what its training will come to, whole or not at all: an
/// attempt that goes on from a later epoch must find it.
///
/// What is masked is zero in it; the masks are those of the folder.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn save_epoch(folder: &Path, epoch: u32, model: &Model) -> Result<(), CheckpointError> {
    write_tensors(&folder.join(epoch_file(epoch)), values(model), &header(model))
}

fn values(model: &Model) -> impl Iterator<Item = (&str, &Tensor)> {
    model.params().iter().map(|(name, parameter)| (name.as_str(), &parameter.value))
}

fn header(model: &Model) -> String {
    serde_json::to_string(model.network()).expect("a network is plain JSON")
}

fn read_model(path: &Path, device: Device) -> Result<Model, CheckpointError> {
    let damaged = |reason| CheckpointError::Damaged { path: path.to_owned(), reason };
    let (tensors, header) = read_tensors(path)?;
    let network: Network =
        serde_json::from_str(&header).map_err(|error| damaged(format!("its header: {error}")))?;
    let is_program = network.is_program();
    let model = Model::from_tensors(network, tensors, device).map_err(damaged)?;
    if !is_program {
        return Ok(model);
    }
    let path = path.with_file_name(PROGRAM_FILE);
    let program = Program::load(&path, device);
    let model = program.and_then(|(program, contents)| model.running(program, &contents));
    model.map_err(|reason| CheckpointError::Damaged { path, reason })
}

/// Puts the program of a network, if it is one, beside it. It is the same file all the way from the import on.
fn link_program(folder: &Path, model: &Model) -> Result<(), CheckpointError> {
    let Some(from) = model.program().map(Program::path) else { return Ok(()) };
    let to = folder.join(PROGRAM_FILE);
    if from == to {
        return Ok(());
    }
    let linked = match std::fs::remove_file(&to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // Some disks have no links.
        _ => std::fs::hard_link(from, &to).or_else(|_| std::fs::copy(from, &to).map(drop)),
    };
    linked.map_err(|error| CheckpointError::Io { path: to, error })
}

/// Reads the model that a folder has of an epoch, without masks.
///
/// # Errors
/// [`CheckpointError`].
pub fn load_epoch(folder: &Path, epoch: u32, device: Device) -> Result<Model, CheckpointError> {
    read_model(&folder.join(epoch_file(epoch)), device)
}

/// Reads the model of a folder; every parameter is trained.
///
/// # Errors
/// [`CheckpointError`].
pub fn load(folder: &Path, device: Device) -> Result<Model, CheckpointError> {
    let mut model = read_model(&folder.join(MODEL), device)?;
    let masks = folder.join(MASKS);
    if masks.exists() {
        for (name, mask) in read_tensors(&masks)?.0 {
            let parameter = model.params_mut().get_mut(&name);
            let Some(parameter) =
                parameter.filter(|parameter| parameter.value.size() == mask.size())
            else {
                let reason = format!("`{name}` masks no parameter of that shape");
                return Err(CheckpointError::Damaged { path: masks, reason });
            };
            parameter.mask = Some(mask.to_device(device).to_kind(Kind::Float));
        }
    }
    Ok(model)
}

/// Size of the model file, bytes.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn size(folder: &Path) -> Result<u64, CheckpointError> {
    let path = folder.join(MODEL);
    std::fs::metadata(&path)
        .map(|meta| meta.len())
        .map_err(|error| CheckpointError::Io { path, error })
}

/// Writes tensors (`f32`, `f64`, `i64`, `u8`) and a text into a file, whole or not at all.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    header: &str,
) -> Result<(), CheckpointError> {
    let temporary = path.with_extension("partial");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(&serialized(tensors, header)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| CheckpointError::Io { path: path.to_owned(), error })
}

/// The content of a safetensors file.
fn serialized<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    header: &str,
) -> io::Result<Vec<u8>> {
    let views: Vec<(&str, View)> = tensors.map(|(name, tensor)| (name, View::of(tensor))).collect();
    let metadata = HashMap::from([(HEADER.to_owned(), header.to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(io::Error::other)
}

/// Reads the tensors (on the CPU) and the text of a file that [`write_tensors`] wrote.
///
/// # Errors
/// [`CheckpointError`].
pub fn read_tensors(path: &Path) -> Result<(IndexMap<String, Tensor>, String), CheckpointError> {
    let bytes = std::fs::read(path)
        .map_err(|error| CheckpointError::Io { path: path.to_owned(), error })?;
    let damaged = |reason| CheckpointError::Damaged { path: path.to_owned(), reason };
    let (_, metadata) =
        SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER));
    let header = header.cloned().ok_or_else(|| damaged(format!("its header has no `{HEADER}`")))?;
    let known = |dtype| match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        Dtype::I64 => Some(Kind::Int64),
        Dtype::U8 => Some(Kind::Uint8),
        _ => None,
    };
    let tensors = tensors(&bytes, known, "F32, F64, I64, U8").map_err(damaged)?;
    Ok((tensors, header))
}

/// Reads the tensors (on the CPU) of a safetensors file that another program wrote, by name: floating-point
/// numbers of 16, 32 or 64 bits, and 64-bit integers.
///
/// # Errors
/// [`CheckpointError::Io`], [`CheckpointError::Foreign`].
pub fn read_foreign(path: &Path) -> Result<IndexMap<String, Tensor>, CheckpointError> {
    let bytes = std::fs::read(path)
        .map_err(|error| CheckpointError::Io { path: path.to_owned(), error })?;
    let known = |dtype| match dtype {
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        Dtype::I64 => Some(Kind::Int64),
        _ => None,
    };
    tensors(&bytes, known, "F16, BF16, F32, F64, I64")
        .map_err(|reason| CheckpointError::Foreign { path: path.to_owned(), reason })
}

/// The tensors of a file's content; the reason if it is none, or has one of a type that is not `known`.
fn tensors(
    bytes: &[u8],
    known: impl Fn(Dtype) -> Option<Kind>,
    legal: &str,
) -> Result<IndexMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    // The library has them in an order of chance.
    let mut names = file.names();
    names.sort_unstable();
    let mut tensors = IndexMap::new();
    for name in names {
        let view = file.tensor(name).map_err(|error| error.to_string())?;
        let kind = known(view.dtype()).ok_or_else(|| {
            format!("`{name}` has the type {:?}; there are {legal}", view.dtype())
        })?;
        let shape: Vec<i64> = view.shape().iter().map(|&extent| extent as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind);
        tensors.insert(name.to_owned(), tensor.map_err(|error| error.to_string())?);
    }
    Ok(tensors)
}

/// A tensor's bytes, as the safetensors crate takes them.
struct View {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View {
    fn of(tensor: &Tensor) -> Self {
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let (dtype, width) = match tensor.kind() {
            Kind::Float => (Dtype::F32, 4),
            Kind::Double => (Dtype::F64, 8),
            Kind::Int64 => (Dtype::I64, 8),
            Kind::Uint8 => (Dtype::U8, 1),
            other => unreachable!("the engine saves no tensors of kind {other:?}"),
        };
        let mut bytes = vec![0; tensor.numel() * width];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        Self { dtype, shape: tensor.size().iter().map(|&extent| extent as usize).collect(), bytes }
    }
}

impl safetensors::View for View {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        (&self.bytes).into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use graftwork::network::op::{BatchNorm, Linear};

    use super::*;
    use crate::random;

    fn model() -> Model {
        let mut network = Network::new("test", &[3]);
        network.push("fc", Linear::new(3, 4));
        network.push("bn", BatchNorm::new(4));
        let mut model = Model::new(network, 2, Device::Cpu);
        let parameter = &mut model.params_mut()["fc.weight"];
        parameter.mask =
            Some(Tensor::from_slice(&[1.0f32, 0.0, 1.0, 1.0]).repeat([3]).view([4, 3]));
        model.params_mut()["bn.num_batches_tracked"].value =
            Tensor::from(i64::MAX).set_requires_grad(false);
        model.apply_masks();
        model
    }

    fn damage(error: &CheckpointError, folder: &Path) -> String {
        error.to_string().replace(&folder.display().to_string(), "…")
    }

    #[track_caller]
    fn check(folder: &Path, expected: &str) {
        let error = load(folder, Device::Cpu).unwrap_err();
        assert_eq!(damage(&error, folder), expected);
    }

    #[test]
    fn a_model_comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let model = model();
        save(folder.path(), &model).unwrap();
        let read = load(folder.path(), Device::Cpu).unwrap();
        assert_eq!(read.network(), model.network());
        for (name, parameter) in model.params() {
            let other = &read.params()[name];
            assert_eq!(View::of(&parameter.value).bytes, View::of(&other.value).bytes, "{name}");
            assert_eq!(parameter.mask.is_some(), other.mask.is_some());
        }
        let masks = |model: &Model| View::of(model.params()["fc.weight"].mask.as_ref().unwrap());
        assert_eq!(masks(&read).bytes, masks(&model).bytes);
        let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let first = (bytes(MODEL), bytes(MASKS));
        save(folder.path(), &read).unwrap();
        assert_eq!((bytes(MODEL), bytes(MASKS)), first, "the same tensors give the same bytes");
        assert_eq!(size(folder.path()).unwrap() as usize, first.0.len());
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(files.len(), 2, "nothing is left of the writing");
    }

    #[test]
    fn a_model_without_masks_has_no_file_of_masks() {
        let folder = tempfile::tempdir().unwrap();
        let mut model = model();
        model.params_mut()["fc.weight"].mask = None;
        save(folder.path(), &model).unwrap();
        assert!(!folder.path().join(MASKS).exists());
        assert!(load(folder.path(), Device::Cpu).unwrap().params()["fc.weight"].mask.is_none());
    }

    #[test]
    fn tensors_of_every_kind_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress.safetensors");
        let kinds = [Kind::Float, Kind::Double, Kind::Int64, Kind::Uint8];
        let draw = random::uniform(&[2, 3], 0.0, 250.0, &mut random::stream(0, "x", 0));
        let tensors: Vec<(String, Tensor)> =
            kinds.iter().map(|&kind| (format!("{kind:?}"), draw.to_kind(kind))).collect();
        write_tensors(&path, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)), "note")
            .unwrap();
        let (read, header) = read_tensors(&path).unwrap();
        assert_eq!(header, "note");
        for (name, tensor) in &tensors {
            assert!(read[name].kind() == tensor.kind() && read[name].equal(tensor), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        check(
            folder.path(),
            "cannot access …/model.safetensors: No such file or directory (os error 2)",
        );
    }

    #[test]
    fn a_file_that_is_cut_short_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &model()).unwrap();
        let path = folder.path().join(MODEL);
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 5, 60, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = damage(&load(folder.path(), Device::Cpu).unwrap_err(), folder.path());
            assert!(error.starts_with("…/model.safetensors is damaged: "), "{error}");
            assert!(error.ends_with("; delete its folder and run again"), "{error}");
        }
    }

    #[test]
    fn a_file_of_another_program_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MODEL);
        let tensor = Tensor::from_slice(&[1.0f32]);
        std::fs::write(&path, safetensors::serialize([("x", View::of(&tensor))], None).unwrap())
            .unwrap();
        check(
            folder.path(),
            "…/model.safetensors is damaged: its header has no `graftwork`; delete its folder and run again",
        );
        write_tensors(&path, [("x", &tensor)].into_iter(), "{}").unwrap();
        check(
            folder.path(),
            "…/model.safetensors is damaged: its header: missing field `arch` at line 1 column 2; delete its folder and run again",
        );
    }

    #[test]
    fn a_mask_of_no_parameter_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &model()).unwrap();
        let mask = Tensor::from_slice(&[1u8]);
        write_tensors(&folder.path().join(MASKS), [("fc.bias", &mask)].into_iter(), "masks")
            .unwrap();
        check(
            folder.path(),
            "…/masks.safetensors is damaged: `fc.bias` masks no parameter of that shape; delete its folder and run again",
        );
    }
}
