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
//! - [`dataset`]: real datasets: where they are, how to get them, their bytes
//! - [`digest`]: content digests of files, remembered
//! - [`cli`]: the command line; prints and decides nothing
//!
//! LibTorch is only in the package `graftwork-engine`, which depends on this one.

pub mod cli;
pub mod dataset;
pub mod digest;
pub mod experiment;
pub mod ledger;
pub mod network;
pub mod plan;
pub mod protocol;
pub mod recipe;
pub mod schedule;
pub mod store;
pub mod table;
