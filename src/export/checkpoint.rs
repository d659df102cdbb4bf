//! A checkpoint's network and tensors, read without LibTorch.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use safetensors::SafeTensors;

use super::ExportError;
use crate::network::Network;

/// The file of a checkpoint that holds the network.
const MODEL: &str = "model.safetensors";
/// The entry of its header that is the network.
const HEADER: &str = "graftwork";

/// A network of one domain with its parameters and buffers.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The network, without domains.
    pub network: Network,
    /// Parameters and buffers by name, in the network's order.
    pub tensors: IndexMap<String, Tensor>,
    path: PathBuf,
}

/// A tensor as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// The type of its values.
    pub dtype: Dtype,
    /// Its extents; none for a scalar.
    pub shape: Vec<usize>,
    /// Its values, little-endian, the last axis fastest.
    pub bytes: Vec<u8>,
}

/// The type of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit floating point: parameters and statistics.
    F32,
    /// 64-bit integers: counters.
    I64,
}

impl Checkpoint {
    /// Reads the network that a stage left in its folder.
    ///
    /// `domain` picks the copies of a network that has layers of each domain's own.
    ///
    /// # Errors
    /// [`ExportError`] for a file that is not there or damaged, and for a domain that the network does not
    /// have.
    pub fn read(folder: &Path, domain: Option<&str>) -> Result<Self, ExportError> {
        let path = folder.join(MODEL);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ExportError::NoNetwork { folder: folder.to_owned() });
            }
            Err(error) => return Err(ExportError::Io { path, error }),
        };
        let damaged = |reason| ExportError::Damaged { path: path.clone(), reason };
        let (network, mut stored) = parse(&bytes).map_err(damaged)?;
        let domain = chosen(&network, domain)?;
        let mut shared = network.clone();
        shared.domains.clear();
        shared.nodes.iter_mut().for_each(|node| node.specific = false);
        let mut tensors = IndexMap::new();
        for named in shared.params() {
            let name = network.param_name(named.node, domain, named.param.name);
            let tensor =
                stored.remove(&name).ok_or_else(|| damaged(format!("`{name}` is missing")))?;
            let fits = tensor.shape.iter().map(|&extent| extent as u64).eq(named
                .param
                .shape
                .iter()
                .map(|&extent| u64::from(extent)));
            if !fits {
                return Err(damaged(format!("`{name}` has another shape than its network")));
            }
            tensors.insert(named.name, tensor);
        }
        Ok(Self { network: shared, tensors, path })
    }

    /// The content of a safetensors file that `load_state_dict(strict=True)` takes.
    pub(super) fn to_safetensors(&self) -> Result<Vec<u8>, ExportError> {
        // What PyTorch's own writers say of theirs.
        let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let written = safetensors::serialize(self.tensors.iter(), Some(format));
        written.map_err(|error| self.damaged(error.to_string()))
    }

    pub(super) fn damaged(&self, reason: String) -> ExportError {
        ExportError::Damaged { path: self.path.clone(), reason }
    }
}

fn parse(bytes: &[u8]) -> Result<(Network, HashMap<String, Tensor>), String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER));
    let header = header.ok_or_else(|| format!("its header has no `{HEADER}`"))?;
    let network = serde_json::from_str(header).map_err(|error| format!("its header: {error}"))?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let dtype = match view.dtype() {
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::I64 => Dtype::I64,
            other => return Err(format!("`{name}` has the type {other:?}; there are F32, I64")),
        };
        let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
        Ok((name, Tensor { dtype, shape, bytes }))
    });
    Ok((network, tensors.collect::<Result<_, String>>()?))
}

/// The index of the domain that is meant; none for a network without domains.
fn chosen(network: &Network, domain: Option<&str>) -> Result<Option<usize>, ExportError> {
    let domains = &network.domains;
    match domain {
        None if domains.is_empty() => Ok(None),
        None => Err(ExportError::NoDomain { domains: domains.clone() }),
        Some(domain) => match domains.iter().position(|each| each == domain) {
            Some(index) => Ok(Some(index)),
            None => Err(ExportError::UnknownDomain {
                domain: domain.to_owned(),
                domains: domains.clone(),
            }),
        },
    }
}

impl safetensors::View for &Tensor {
    fn dtype(&self) -> safetensors::Dtype {
        match self.dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::I64 => safetensors::Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (&self.bytes).into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::network::ParamRole;
    use crate::network::op::{Linear, Relu};

    /// A file as a stage leaves it, every parameter filled with numbers from 1 on, by the order of the names.
    pub(in super::super) fn stored(network: &Network) -> Vec<u8> {
        let mut number = 0.0f32;
        let tensors = network.params().into_iter().map(|named| {
            let len = named.param.len() as usize;
            let shape = named.param.shape.iter().map(|&extent| extent as usize).collect();
            let tensor = if named.param.role == ParamRole::Counter {
                Tensor { dtype: Dtype::I64, shape, bytes: 7i64.to_le_bytes().to_vec() }
            } else {
                let values = std::iter::repeat_with(|| {
                    number += 1.0;
                    number.to_le_bytes()
                });
                Tensor { dtype: Dtype::F32, shape, bytes: values.take(len).flatten().collect() }
            };
            (named.name, tensor)
        });
        let tensors: Vec<(String, Tensor)> = tensors.collect();
        let header = serde_json::to_string(network).unwrap();
        let header = HashMap::from([(HEADER.to_owned(), header)]);
        safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), Some(header))
            .unwrap()
    }

    /// What is read of a network that was stored.
    pub(in super::super) fn read(
        network: &Network,
        domain: Option<&str>,
    ) -> Result<Checkpoint, ExportError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(MODEL), stored(network)).unwrap();
        Checkpoint::read(folder.path(), domain)
    }

    fn network() -> Network {
        let mut network = Network::new("small", &[2]);
        network.push("fc1", Linear { bias: false, ..Linear::new(2, 2) });
        network.push("relu", Relu {});
        network.push("fc2", Linear::new(2, 1));
        network
    }

    fn names(checkpoint: &Checkpoint) -> Vec<&str> {
        checkpoint.tensors.keys().map(String::as_str).collect()
    }

    #[test]
    fn what_was_stored_is_read_and_written_under_the_same_names() {
        let read = read(&network(), None).unwrap();
        assert_eq!(names(&read), ["fc1.weight", "fc2.weight", "fc2.bias"]);
        let written = read.to_safetensors().unwrap();
        let file = SafeTensors::deserialize(&written).unwrap();
        let weight = file.tensor("fc2.weight").unwrap();
        assert_eq!(
            (weight.shape(), weight.data()),
            (&[1, 2][..], &read.tensors["fc2.weight"].bytes[..])
        );
        let (_, metadata) = SafeTensors::read_metadata(&written).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    }

    #[test]
    fn a_domains_own_layers_are_written_under_the_shared_names() {
        let mut network = network();
        network.domains = vec!["mnist".to_owned(), "usps".to_owned()];
        network.nodes[3].specific = true;
        let usps = read(&network, Some("usps")).unwrap();
        assert_eq!(names(&usps), ["fc1.weight", "fc2.weight", "fc2.bias"]);
        assert_eq!(usps.network, self::network());
        let mnist = read(&network, Some("mnist")).unwrap();
        assert_eq!(usps.tensors["fc1.weight"], mnist.tensors["fc1.weight"]);
        assert_ne!(usps.tensors["fc2.weight"], mnist.tensors["fc2.weight"]);
        let error = read(&network, None).unwrap_err().to_string();
        assert_eq!(
            error,
            "the network has layers of each domain's own; choose one with `--domain`: mnist, usps"
        );
        let error = read(&network, Some("svhn")).unwrap_err().to_string();
        assert_eq!(
            error,
            "the network has no layers of a domain `svhn`; its domains are: mnist, usps"
        );
    }

    #[test]
    fn a_file_that_is_no_checkpoint_is_told_from_one_that_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let error = |bytes: &[u8]| {
            std::fs::write(folder.path().join(MODEL), bytes).unwrap();
            Checkpoint::read(folder.path(), None).unwrap_err().to_string()
        };
        let whole = stored(&network());
        assert!(error(&whole[..whole.len() - 1]).contains("is damaged"));
        assert!(error(b"").contains("is damaged"));
        let foreign = read(&network(), None).unwrap().to_safetensors().unwrap();
        assert!(error(&foreign).contains("its header has no `graftwork`"));
        std::fs::remove_file(folder.path().join(MODEL)).unwrap();
        let error = Checkpoint::read(folder.path(), None).unwrap_err();
        assert!(matches!(error, ExportError::NoNetwork { .. }), "{error}");
    }
}
