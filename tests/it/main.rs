//! The integration tests, in one binary so that it is linked once.
//!
//! Everything here goes through public doors: the library's rooms or the `graftwork` command.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends where something is not as it should be, and says what it skips"
)]

#[cfg(unix)]
mod behaviour;
#[cfg(unix)]
mod claims;
#[cfg(unix)]
mod commands;
mod datasets;
mod elf;
#[cfg(unix)]
mod engine;
mod house;
mod ladder;
mod language;
mod large;
mod meaning;
mod planning;
mod python;
mod rerunning;
mod results;
mod rewinding;
mod running;
mod scripted;
#[cfg(unix)]
mod views;
