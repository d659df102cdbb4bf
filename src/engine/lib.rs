//! The LibTorch executor of graftwork: trains, prunes and adapts, one stage at a time.
//!
//! - [`stage`]: one file per stage kind: reads a job, works, leaves a checkpoint in the draft
//! - [`model`]: parameters, and the interpreter that walks a declared network with tensors
//! - [`data`]: datasets on the device, batches, augmentation, splits
//! - [`train`]: the loop of all stages that train; optimizers, schedules, losses
//! - [`prune`]: criteria and masks
//! - [`adapt`]: domain adaptation methods
//! - [`checkpoint`]: networks and tensors on disk
//! - [`device`]: choosing it, and opening LibTorch's CUDA part
//! - [`random`]: where every random draw comes from
//! - [`worker`]: the process that speaks the protocol
//!
//! tch's short names panic on LibTorch errors. The engine uses them, since what a user can get
//! wrong (shapes, classes, names) is checked before tensors meet; the worker turns a panic that
//! remains into a failed stage with LibTorch's first line.

pub mod adapt;
pub mod checkpoint;
pub mod data;
pub mod device;
pub mod latency;
pub mod model;
pub mod prune;
pub mod random;
pub mod stage;
pub mod train;
pub mod worker;

/// Version of the LibTorch that the engine is built for, as tch 0.24 requires it.
pub const LIBTORCH: &str = "2.11.0";
