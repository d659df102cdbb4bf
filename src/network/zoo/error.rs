//! Why a network cannot be built.

use std::fmt;

use thiserror::Error;

use crate::network::ShapeError;

/// One step of the way from `model.layers` to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A key of a table.
    Key(&'static str),
    /// An item of a list, from 0.
    Index(usize),
}

/// Why a network cannot be built, and where the layer stands that is the reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{fault}", Path(.place))]
pub struct BuildError {
    /// The way to the layer in `model.layers`; empty for the network as a whole and for architectures by name.
    pub place: Vec<Place>,
    /// What is wrong.
    pub fault: BuildFault,
}

/// What is wrong with a network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BuildFault {
    /// A layer cannot take what it is given.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Two layers have one name.
    #[error("there are two layers `{0}`")]
    SameName(String),
    /// There are more operations than allowed.
    #[error("the network has more than {0} operations")]
    TooLong(usize),
    /// The last layer with parameters does not put out one value for each class.
    #[error(
        "the last layer with parameters does not give the outputs of the network, one for each class"
    )]
    NoHead,
    /// The network tells another number of classes apart.
    #[error("the network puts out {outputs} values, and the data has {classes} classes")]
    Classes {
        /// What the network puts out.
        outputs: u32,
        /// What the data has.
        classes: u32,
    },
}

impl From<ShapeError> for BuildError {
    fn from(error: ShapeError) -> Self {
        Self { place: Vec::new(), fault: error.into() }
    }
}

/// Shows a way as `model.layers[2].residual.body[0].conv2d: `, and no way as nothing.
struct Path<'a>(&'a [Place]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str("model.layers")?;
        for place in self.0 {
            match place {
                Place::Key(key) => write!(f, ".{key}")?,
                Place::Index(index) => write!(f, "[{index}]")?,
            }
        }
        f.write_str(": ")
    }
}
