//! Datasets of recorded speech.

use std::collections::BTreeSet;

use crate::experiment::spec::Speaker;

/// Recordings of several speakers in memory, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recordings {
    /// The training split.
    pub train: Vec<Recording>,
    /// The test split.
    pub test: Vec<Recording>,
}

/// A recording of one speaker, of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The samples, in −32768..=32767.
    pub samples: Vec<i16>,
    /// What is said.
    pub label: u8,
    /// Who says it.
    pub speaker: Speaker,
}

impl Recordings {
    /// Those of some speakers, in their order.
    #[must_use]
    pub fn of_speakers(mut self, speakers: &BTreeSet<Speaker>) -> Self {
        for part in [&mut self.train, &mut self.test] {
            part.retain(|recording| speakers.contains(&recording.speaker));
        }
        self
    }
}
