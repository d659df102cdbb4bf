//! graftwork: a declarative experiment orchestrator for research on compressing, transferring and
//! adapting neural networks.
//!
//! The straight path, a room each:
//!
//! ```text
//! text ─experiment→ Trials ─plan→ Plan ─schedule→ engine processes ─Event→ store · ledger ─table→ answers
//! ```
//!
//! - [`experiment`]: the language; TOML text to checked trials (pure)
//! - [`network`]: declared networks: shapes, parameters, counts, dependency groups (pure)
//! - [`recipe`]: what decides a stage's result, and its key (pure)
//! - [`plan`]: trials to one graph in which equal recipes are one node; why a node must run (pure)
//! - [`schedule`]: the run loop and the engine processes
//! - [`protocol`]: the messages between orchestrator and engine
//! - [`store`]: checkpoints on disk, whole or absent
//! - [`ledger`]: SQLite: runs, trials, attempts, metrics, lineage
//! - [`table`]: results to tables (pure)
//! - [`export`]: checkpoints for PyTorch and ONNX
//! - [`dataset`]: real datasets: where they are, how to get them, their bytes
//! - [`digest`]: content digests of files, remembered
//! - [`cli`]: the command line; prints and decides nothing
//!
//! The pure rooms plan without the command line, a file or a clock:
//!
//! ```
//! use graftwork::experiment::{self, Alone};
//! use graftwork::plan;
//!
//! let text = r#"
//!     name = "digits"
//!     seeds = [0, 1]
//!     [sweep]
//!     "thin.sparsity" = [0.5, 0.9]
//!     [stage.dense.pretrain]
//!     model.lenet5 = {}
//!     data.mnist = {}
//!     epochs = 10
//!     [stage.thin.prune]
//!     from = "dense"
//!     criterion.magnitude = {}
//!     sparsity = 0.9
//! "#;
//! let checked = experiment::load("digits.toml", text, &[], &Alone)?;
//! // The content of a dataset, and of a file that a stage names, enters the keys of its readers.
//! let digest = |name: &str| Some(format!("the digest of {name}"));
//! let digests = plan::Digests { data: &digest, files: &digest };
//! let plan = plan::plan(&checked.trials(), digests);
//! for node in plan.order() {
//!     println!("{} {}", plan.graph[node].key.short(), plan.title(node, &experiment::label));
//! }
//! let counts = plan.counts();
//! // Both sparsities share the dense network of their seed.
//! assert_eq!((counts.trials, counts.naive, counts.distinct), (4, 8, 6));
//! # Ok::<(), experiment::Faults>(())
//! ```
//!
//! LibTorch is only in the package `graftwork-engine`, which depends on this one.

pub mod cli;
pub mod dataset;
pub mod digest;
pub mod experiment;
pub mod export;
pub mod ledger;
pub mod network;
pub mod plan;
pub mod protocol;
pub mod recipe;
pub mod schedule;
pub mod store;
pub mod table;
