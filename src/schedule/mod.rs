//! The run loop and the engine processes.
//!
//! [`survey`] looks what of a plan is there, [`queue`] decides what runs next, an [`Executor`] runs it,
//! [`run`] is the one thread that owns the queue, the store and the journal. Everything that happens elsewhere reaches it as a [`Signal`].

pub mod queue;

mod death;
mod journal;
mod layout;
mod local;
mod program;
mod run;
mod survey;

pub use journal::Journal;
pub use layout::{Layout, layout};
pub use local::{Launch, Local};
pub use run::{Failure, Policy, Summary, Work, run};
pub use survey::survey;

use petgraph::graph::NodeIndex;

use crate::protocol::{Event, Job, Point, Progress};

/// The number of a start, so that late words of a dead worker are not taken for its successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Runs stages somewhere: in processes here, or as a script in tests.
///
/// What becomes of a stage arrives as signals in the channel that the executor was made with. Nothing
/// here fails: a stage that cannot start has died.
pub trait Executor {
    /// How many stages can run at once.
    fn slots(&self) -> usize;

    /// Starts a stage on an idle slot.
    fn start(&mut self, slot: usize, token: Token, job: Job);

    /// Asks every running stage to save its progress and stop.
    fn stop(&mut self);

    /// Ends every running stage now.
    fn kill(&mut self);
}

/// What the coordinator hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// A message of the engine that runs the start.
    Event(Token, Event),
    /// A line that the engine wrote outside of the protocol.
    Said(Token, String),
    /// The engine that ran the start is gone; says how.
    Died(Token, String),
    /// The user wants the run to stop; the second time, at once.
    Interrupt,
}

/// Is told what happens in a run.
pub trait Observer {
    /// Something happened.
    fn notice(&mut self, notice: &Notice<'_>);
}

/// What happens in a run, for people to see.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice<'a> {
    /// A stage starts.
    Started {
        /// The stage.
        node: NodeIndex,
        /// Whether it goes on from the progress of an earlier attempt.
        resumed: bool,
    },
    /// A stage got further.
    Progress {
        /// The stage.
        node: NodeIndex,
        /// How far it is.
        progress: &'a Progress,
    },
    /// A stage measured something.
    Measured {
        /// The stage.
        node: NodeIndex,
        /// The values.
        points: &'a [Point],
    },
    /// Another run computes this stage; its result is waited for.
    Waiting {
        /// The stage.
        node: NodeIndex,
    },
    /// Another run has computed this stage in the meantime.
    Taken {
        /// The stage.
        node: NodeIndex,
    },
    /// Its inputs came out as those of a checkpoint that is there, so its result is that one.
    Adopted {
        /// The stage.
        node: NodeIndex,
    },
    /// Its inputs were made anew and came out as they were, so its checkpoint stays.
    Kept {
        /// The stage.
        node: NodeIndex,
    },
    /// A stage is finished and its checkpoint in the store.
    Done {
        /// The stage.
        node: NodeIndex,
        /// How long the attempt took.
        seconds: f64,
    },
    /// An attempt failed.
    Failed {
        /// The stage.
        node: NodeIndex,
        /// What went wrong.
        error: &'a str,
        /// Whether it is tried again.
        retry: bool,
    },
    /// A stage cannot run because a stage before it failed.
    Skipped {
        /// The stage.
        node: NodeIndex,
        /// The stage that failed.
        because: NodeIndex,
    },
    /// A stage saved its progress and stopped.
    Stopped {
        /// The stage.
        node: NodeIndex,
    },
    /// The run stops: running stages save their progress.
    Stopping,
    /// The run stops at once.
    Killing,
}
