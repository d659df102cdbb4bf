//! How a process died, in one line.

use std::collections::VecDeque;
use std::process::ExitStatus;

/// Lines that are kept.
const LINES: usize = 5;
/// Bytes of a line that are kept.
const WIDTH: usize = 2000;

/// The last lines of what a process wrote to its standard error.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    lines: VecDeque<Vec<u8>>,
    /// Whether the last line goes on.
    open: bool,
}

impl LastWords {
    /// Takes in what was written.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            if !self.open {
                if self.lines.len() == LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(Vec::new());
            }
            if let Some(line) = self.lines.back_mut() {
                let room = WIDTH.saturating_sub(line.len());
                line.extend_from_slice(&text[..text.len().min(room)]);
            }
            self.open = text.len() == piece.len();
        }
    }

    /// The last line that says something.
    fn last(&self) -> Option<String> {
        let lines = self.lines.iter().rev().map(|line| String::from_utf8_lossy(line));
        lines.map(|line| line.trim().to_owned()).find(|line| !line.is_empty())
    }
}

/// Says how a process died; `who` is what it is called.
pub(super) fn death(who: &str, status: Option<ExitStatus>, last_words: &LastWords) -> String {
    let how = match status {
        Some(status) if signal(status) == Some(9) => {
            format!("{who} was killed (signal 9), perhaps for want of memory")
        }
        Some(status) => match (signal(status), status.code()) {
            (Some(signal), _) => format!("{who} died of signal {signal}"),
            (None, Some(code)) => format!("{who} ended with exit code {code}"),
            (None, None) => format!("{who} ended"),
        },
        None => format!("{who} is gone"),
    };
    match last_words.last() {
        Some(words) => format!("{how}; its last words: {words}"),
        None => how,
    }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_status: ExitStatus) -> Option<i32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_counts_however_it_came() {
        let mut words = LastWords::default();
        assert_eq!(words.last(), None);
        for piece in ["a\nb\nc\nd\ne\nfi", "nal", " line\n", "\n", "  \n"] {
            words.hear(piece.as_bytes());
        }
        assert_eq!(words.last().as_deref(), Some("final line"));
        assert_eq!(words.lines.len(), LINES);
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut words = LastWords::default();
        for _ in 0..100 {
            words.hear(&[b'x'; 1000]);
        }
        assert_eq!(words.last().map(|line| line.len()), Some(WIDTH));
    }
}
