//! A `TorchScript` program: read from a file, run with the values of a [`Model`](super::Model).
//!
//! tch runs such programs, but reaches neither their buffers nor the places of their parameters, so
//! that a network's values could not be saved, masked and brought back as those of any other. What it
//! lacks is in `program.cpp`. The program is used as a function of the input and of all that it holds:
//! no state of it outlives a call.

mod ffi;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use graftwork::network::ParamRole;
use graftwork::network::op::Held;
use tch::{Device, Kind, Tensor};

/// A program, and where it keeps what it holds.
pub struct Program {
    raw: NonNull<ffi::Program>,
    path: PathBuf,
    places: Vec<Place>,
    modules: usize,
}

/// A place of the program that keeps a tensor.
#[derive(Debug)]
struct Place {
    /// Which of the [held](Contents::held) values belongs there; none for what is left as it is in the file.
    held: Option<usize>,
    /// The module that the place is in, by number.
    module: usize,
}

/// What was found in a program.
#[derive(Debug, Default)]
pub struct Contents {
    /// The parameters and buffers by PyTorch's names, with their values in the file: 32-bit floats on the
    /// CPU, or 64-bit integers.
    pub held: Vec<(String, Held, Tensor)>,
    /// Tensors under a second name, with their first one.
    pub aliases: Vec<(String, String)>,
    /// Tensors of kinds that are no numbers to the engine, which stay as they are in the file.
    pub left: Vec<(String, Kind)>,
}

impl Program {
    /// Reads a file of `torch.jit.save`.
    ///
    /// # Errors
    /// The reason, as LibTorch gives it.
    pub fn load(path: &Path, device: Device) -> Result<(Self, Contents), String> {
        let raw = ffi::load(path, device)?;
        let mut this = Self { raw, path: path.to_owned(), places: Vec::new(), modules: 0 };
        let contents = this.look()?;
        Ok((this, contents))
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds all places.
    fn look(&mut self) -> Result<Contents, String> {
        let mut contents = Contents::default();
        // A tensor is known by where its values lie; one without values shares nothing.
        let mut known: HashMap<(*mut std::ffi::c_void, Vec<i64>, Vec<i64>), usize> = HashMap::new();
        let mut modules: HashMap<String, usize> = HashMap::new();
        for found in ffi::tensors(self.raw)? {
            let ffi::Found { name, class, is_parameter, value } = found;
            let count = modules.len();
            let module = name.rsplit_once('.').map_or("", |(module, _)| module);
            let module = *modules.entry(module.to_owned()).or_insert(count);
            let held = if is_number(value.kind()) {
                let next = contents.held.len();
                let place = (value.data_ptr(), value.size(), value.stride());
                let first =
                    if value.numel() > 0 { *known.entry(place).or_insert(next) } else { next };
                if first == next {
                    let role = role(&name, &class, is_parameter, &value);
                    let shape = value.size().iter().map(|&extent| extent as u32).collect();
                    let kind = if value.is_floating_point() { Kind::Float } else { Kind::Int64 };
                    let value = tch::no_grad(|| value.to_kind(kind).to_device(Device::Cpu).copy());
                    contents.held.push((name, Held { shape, role }, value));
                } else {
                    contents.aliases.push((name, contents.held[first].0.clone()));
                }
                Some(first)
            } else {
                contents.left.push((name, value.kind()));
                None
            };
            self.places.push(Place { held, module });
        }
        self.modules = modules.len();
        Ok(contents)
    }

    /// What it puts out for a batch.
    ///
    /// - values: what it holds, in the order of [`Contents::held`], each with whether it is frozen
    /// - train: whether it runs as in training: buffers among the values are changed then; modules whose
    ///   parameters are all frozen stay in evaluation
    ///
    /// # Errors
    /// What LibTorch says of it, in one line.
    pub fn forward(
        &self,
        values: &[Value<'_>],
        input: &Tensor,
        train: bool,
    ) -> Result<Tensor, String> {
        let frozen = if train { self.frozen(values) } else { vec![false; self.modules] };
        let given: Vec<_> = self
            .places
            .iter()
            .map(|place| ffi::Given {
                value: place.held.map(|held| values[held].tensor),
                frozen: frozen[place.module],
            })
            .collect();
        ffi::forward(self.raw, &given, input, train).map_err(|error| clause(&error))
    }

    /// For each module whether it has parameters and all of them are frozen.
    fn frozen(&self, values: &[Value<'_>]) -> Vec<bool> {
        let mut frozen: Vec<Option<bool>> = vec![None; self.modules];
        for place in &self.places {
            let Some(value) = place.held.map(|held| &values[held]) else { continue };
            if value.is_parameter {
                let module = &mut frozen[place.module];
                *module = Some(module.unwrap_or(true) && value.frozen);
            }
        }
        frozen.into_iter().map(|frozen| frozen == Some(true)).collect()
    }
}

/// One of the values that a program runs with.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// The tensor itself, of the kind that [`Contents::held`] gave.
    pub tensor: &'a Tensor,
    /// Whether it can be trained.
    pub is_parameter: bool,
    /// Whether training leaves it as it is.
    pub frozen: bool,
}

impl Drop for Program {
    fn drop(&mut self) {
        ffi::free(self.raw);
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("path", &self.path)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 | Kind::Int64)
}

/// What a tensor is for, as far as its module's class and its name tell.
fn role(name: &str, class: &str, is_parameter: bool, value: &Tensor) -> ParamRole {
    let last = name.rsplit('.').next().unwrap_or(name);
    if !value.is_floating_point() {
        return ParamRole::Counter;
    }
    if !is_parameter {
        return ParamRole::Statistic;
    }
    let multiplies = class.starts_with("Conv") || class.ends_with("Linear");
    match last {
        "weight" if multiplies && value.dim() > 1 => ParamRole::Weight,
        "weight" if class.contains("Norm") => ParamRole::Scale,
        "bias" if class.contains("Norm") => ParamRole::Shift,
        "bias" => ParamRole::Bias,
        _ => ParamRole::Other,
    }
}

/// The one line of an error that says what is wrong: the last one, of a Python-like traceback.
fn clause(error: &str) -> String {
    let line = error.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or(error);
    line.strip_prefix("RuntimeError: ").unwrap_or(line).to_owned()
}

/// A null pointer for nothing.
fn or_null(tensor: Option<&Tensor>) -> *mut torch_sys::C_tensor {
    tensor.map_or(ptr::null_mut(), |tensor| tensor.as_ptr().cast_mut())
}

#[cfg(test)]
mod tests;
