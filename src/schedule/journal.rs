//! What a run writes down, and the buffer before it.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Token;
use crate::ledger::{AttemptId, AttemptOutcome, Ledger, LedgerError, NewAttempt, RunId};
use crate::protocol::Point;

/// Points that are written together at most.
const BATCH: usize = 1000;
/// How long a value waits before it is written down.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where attempts and measured values are written down: the ledger, or a list in tests.
pub trait Journal {
    /// Writes down that an attempt begins.
    ///
    /// # Errors
    /// If it cannot be written now.
    fn begin(&mut self, attempt: &NewAttempt) -> Result<AttemptId, LedgerError>;

    /// Writes down that a run took the result in a checkpoint's folder for its own stage of this name.
    ///
    /// # Errors
    /// If the checkpoint cannot be read or it cannot be written now.
    fn adopt(&mut self, run: RunId, name: &str, folder: &Path) -> Result<(), LedgerError>;

    /// Writes down what an attempt measured.
    ///
    /// # Errors
    /// If it cannot be written now.
    fn points(&mut self, attempt: AttemptId, points: &[Point]) -> Result<(), LedgerError>;

    /// Writes down how an attempt ended.
    ///
    /// # Errors
    /// If it cannot be written now.
    fn end(
        &mut self,
        attempt: AttemptId,
        outcome: AttemptOutcome,
        error: Option<&str>,
        ended_ms: i64,
    ) -> Result<(), LedgerError>;
}

impl Journal for Ledger {
    fn begin(&mut self, attempt: &NewAttempt) -> Result<AttemptId, LedgerError> {
        self.begin_attempt(attempt)
    }

    fn adopt(&mut self, run: RunId, name: &str, folder: &Path) -> Result<(), LedgerError> {
        self.record_adoption(run, name, folder)
    }

    fn points(&mut self, attempt: AttemptId, points: &[Point]) -> Result<(), LedgerError> {
        self.record_points(attempt, points)
    }

    fn end(
        &mut self,
        attempt: AttemptId,
        outcome: AttemptOutcome,
        error: Option<&str>,
        ended_ms: i64,
    ) -> Result<(), LedgerError> {
        self.end_attempt(attempt, outcome, error, ended_ms)
    }
}

/// Entries for the journal in their order. What cannot be written now is kept and tried again, so that
/// a locked or full disk does not end a run and loses nothing while it lasts.
pub(super) struct Books<'a> {
    journal: &'a mut dyn Journal,
    entries: VecDeque<(Token, Entry)>,
    waiting_points: usize,
    ids: HashMap<Token, AttemptId>,
    written: Instant,
    error: Option<LedgerError>,
}

enum Entry {
    Begin(Box<NewAttempt>),
    Adopt { run: RunId, name: String, folder: PathBuf },
    Points(Vec<Point>),
    End(AttemptOutcome, Option<String>, i64),
}

impl<'a> Books<'a> {
    pub(super) fn new(journal: &'a mut dyn Journal) -> Self {
        let (entries, ids) = (VecDeque::new(), HashMap::new());
        Self { journal, entries, ids, waiting_points: 0, written: Instant::now(), error: None }
    }

    pub(super) fn begin(&mut self, token: Token, attempt: NewAttempt) {
        self.entries.push_back((token, Entry::Begin(Box::new(attempt))));
        self.write();
    }

    pub(super) fn adopt(&mut self, token: Token, run: RunId, name: String, folder: PathBuf) {
        self.entries.push_back((token, Entry::Adopt { run, name, folder }));
        self.write();
    }

    pub(super) fn points(&mut self, token: Token, points: Vec<Point>) {
        self.waiting_points += points.len();
        match self.entries.back_mut() {
            Some((last, Entry::Points(waiting))) if *last == token => waiting.extend(points),
            _ => self.entries.push_back((token, Entry::Points(points))),
        }
        self.write_if_due();
    }

    pub(super) fn end(
        &mut self,
        token: Token,
        outcome: AttemptOutcome,
        error: Option<String>,
        ended_ms: i64,
    ) {
        self.entries.push_back((token, Entry::End(outcome, error, ended_ms)));
        self.write();
    }

    pub(super) fn write_if_due(&mut self) {
        if self.waiting_points >= BATCH || self.written.elapsed() >= PATIENCE {
            self.write();
        }
    }

    fn write(&mut self) {
        self.written = Instant::now();
        self.waiting_points = 0;
        while let Some((token, entry)) = self.entries.front() {
            if let Err(error) = write(self.journal, &mut self.ids, *token, entry) {
                self.error = Some(error);
                return;
            }
            self.entries.pop_front();
        }
        self.error = None;
    }

    /// Writes what is left; says what could not be written and why.
    pub(super) fn close(mut self) -> Option<String> {
        self.write();
        let left = self.entries.len();
        self.error.map(|error| format!("{left} entries could not be written down: {error}"))
    }
}

fn write(
    journal: &mut dyn Journal,
    ids: &mut HashMap<Token, AttemptId>,
    token: Token,
    entry: &Entry,
) -> Result<(), LedgerError> {
    match entry {
        Entry::Begin(attempt) => {
            ids.insert(token, journal.begin(attempt)?);
            Ok(())
        }
        Entry::Adopt { run, name, folder } => journal.adopt(*run, name, folder),
        Entry::Points(points) => ids.get(&token).map_or(Ok(()), |id| journal.points(*id, points)),
        Entry::End(outcome, error, ended_ms) => {
            let Some(id) = ids.get(&token) else { return Ok(()) };
            journal.end(*id, *outcome, error.as_deref(), *ended_ms)?;
            ids.remove(&token);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;
    use crate::recipe::StageKey;

    /// Fails as often as it is told to, then writes lines.
    #[derive(Default)]
    struct Moody {
        failures: usize,
        lines: Vec<String>,
    }

    impl Moody {
        fn write(&mut self, line: String) -> Result<(), LedgerError> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(LedgerError::Query("disk full".to_owned()));
            }
            self.lines.push(line);
            Ok(())
        }
    }

    impl Journal for Moody {
        fn begin(&mut self, attempt: &NewAttempt) -> Result<AttemptId, LedgerError> {
            self.write(format!("begin {}", attempt.name)).map(|()| AttemptId(7))
        }

        fn adopt(&mut self, _: RunId, name: &str, _: &Path) -> Result<(), LedgerError> {
            self.write(format!("adopt {name}"))
        }

        fn points(&mut self, id: AttemptId, points: &[Point]) -> Result<(), LedgerError> {
            self.write(format!("{}: {} points", id.0, points.len()))
        }

        fn end(
            &mut self,
            id: AttemptId,
            outcome: AttemptOutcome,
            _: Option<&str>,
            _: i64,
        ) -> Result<(), LedgerError> {
            self.write(format!("{}: {outcome:?}", id.0))
        }
    }

    fn attempt() -> NewAttempt {
        let empty = String::new;
        NewAttempt {
            run: RunId(1),
            key: StageKey::from_str(&"0".repeat(64)).unwrap(),
            kind: "pretrain".to_owned(),
            name: "dense".to_owned(),
            device: empty(),
            engine: empty(),
            libtorch: empty(),
            threads: 1,
            host: empty(),
            started_ms: 0,
        }
    }

    fn points(n: usize) -> Vec<Point> {
        vec![Point { name: "train/loss".to_owned(), step: 0, value: 1.0 }; n]
    }

    #[test]
    fn what_cannot_be_written_is_written_later_in_the_same_order() {
        let mut journal = Moody { failures: 2, ..Moody::default() };
        let mut books = Books::new(&mut journal);
        books.begin(Token(1), attempt());
        books.points(Token(1), points(1000));
        books.points(Token(1), points(2));
        books.end(Token(1), AttemptOutcome::Done, None, 0);
        assert_eq!(books.close(), None);
        assert_eq!(journal.lines, ["begin dense", "7: 1002 points", "7: Done"]);
    }

    #[test]
    fn what_is_never_written_is_said() {
        let mut journal = Moody { failures: usize::MAX, ..Moody::default() };
        let mut books = Books::new(&mut journal);
        books.begin(Token(1), attempt());
        let said = books.close();
        assert_eq!(said.as_deref(), Some("1 entries could not be written down: disk full"));
    }

    #[test]
    fn few_points_wait_for_more() {
        let mut journal = Moody::default();
        let mut books = Books::new(&mut journal);
        books.begin(Token(1), attempt());
        for _ in 0..3 {
            books.points(Token(1), points(10));
        }
        drop(books);
        assert_eq!(journal.lines, ["begin dense"]);
    }
}
