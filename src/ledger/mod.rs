//! The ledger: what was run, with which settings, how it ended, and every measured value. SQLite.
//!
//! One file, `<results>/ledger.sqlite`, written by one coordinator per run and read by whoever
//! likes. `schemas/ledger.sql` describes the tables and the view `result`. Checkpoints are not here
//! but in the store, from which [`Ledger::rebuild`] restores everything but runs and trials.
//!
//! Time comes in as milliseconds since 1970; this room reads no clock.

mod param;
mod query;
mod read;
mod rebuild;
mod schema;
#[cfg(test)]
mod tests;
mod write;

pub use query::Answer;
pub use read::{
    AttemptRecord, LastRun, MetricValue, PreviousTrial, RunRecord, StageRecord, StageState,
    TrialResult,
};
pub use rebuild::Rebuilt;
pub use write::{AttemptOutcome, NewAttempt, NewRun, TrialRecord};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// How long a writer or reader waits for another before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// An open ledger.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
    /// Ids of metric names that this connection has met.
    metric_names: HashMap<String, i64>,
}

/// The number of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub i64);

/// The number of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub i64);

/// Why the ledger cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no ledger.
    #[error("no results in `{}` yet; run `graftwork run FILE`, or name another folder with --results", folder.display())]
    Absent {
        /// The results folder.
        folder: PathBuf,
    },
    /// A newer graftwork wrote it.
    #[error(
        "`{}` has version {found}, this graftwork knows versions up to {known}; update graftwork",
        path.display()
    )]
    Newer {
        /// The ledger's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest known version.
        known: i64,
    },
    /// An older graftwork wrote it, and it cannot be written to.
    #[error(
        "`{}` has version {found} and cannot be brought to version {known}, since it cannot be written; \
         copy the results folder to where it can, and name it with --results",
        path.display()
    )]
    Older {
        /// The ledger's file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this graftwork reads.
        known: i64,
    },
    /// The file is something else.
    #[error(
        "`{}` is not a ledger of graftwork or is damaged ({reason}); \
         move it away and run `graftwork ledger rebuild`",
        path.display()
    )]
    NotALedger {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// SQLite could not do it.
    #[error("cannot {action} in `{}`: {source}", path.display())]
    Sqlite {
        /// What was to be done, as a verb and its object.
        action: &'static str,
        /// The ledger's file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A query that is wrong or would write.
    #[error("{0}")]
    Query(String),
    /// A file or folder cannot be read or made.
    #[error("cannot read or make `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A value in the ledger is not what graftwork writes.
    #[error("`{}` holds a value that graftwork does not write: {what}", path.display())]
    Strange {
        /// The ledger's file.
        path: PathBuf,
        /// Which value, and why it is strange.
        what: String,
    },
}

impl Ledger {
    /// Opens a ledger for writing; makes it, and its folder, where there is none.
    ///
    /// # Errors
    /// If the file is no ledger, was written by a newer graftwork, or cannot be made.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|source| LedgerError::Io { path: folder.to_owned(), source })?;
        }
        let connection = Connection::open(path).map_err(|source| LedgerError::Sqlite {
            action: "open the ledger",
            path: path.to_owned(),
            source,
        })?;
        Self::prepare(connection, path)
    }

    /// Opens a ledger that lives in memory and ends with the value, for tests.
    ///
    /// # Errors
    /// If SQLite cannot make it.
    pub fn in_memory() -> Result<Self, LedgerError> {
        let path = Path::new(":memory:");
        let connection = Connection::open_in_memory().map_err(|source| LedgerError::Sqlite {
            action: "open the ledger",
            path: path.to_owned(),
            source,
        })?;
        Self::prepare(connection, path)
    }

    /// Opens a ledger that only answers.
    ///
    /// # Errors
    /// [`LedgerError::Absent`] where there is none; otherwise as [`Ledger::open`].
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        if !path.exists() {
            let folder = path.parent().unwrap_or(path).to_owned();
            return Err(LedgerError::Absent { folder });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |source| LedgerError::Sqlite {
            action: "open the ledger",
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        let version = schema::version(&connection);
        if version.as_ref().is_err_and(|error| is_code(error, 8)) {
            // A writer was killed in the middle of a transaction, which has to be taken back first.
            let writer = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
            let writer = writer.map_err(failed)?;
            writer
                .busy_timeout(BUSY_TIMEOUT)
                .and_then(|()| schema::version(&writer))
                .map_err(failed)?;
        }
        if version.is_err_and(|error| is_code(&error, 14)) {
            // A ledger in WAL mode in a folder that we may not write into, where SQLite cannot make
            // its index of the log: nobody else can be writing there either.
            let uri = format!("file:{}?immutable=1", uri_path(path));
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            connection = Connection::open_with_flags(uri, flags).map_err(failed)?;
        }
        if schema::is_older(&connection, path)? {
            // Where it cannot be written to, the check below says so.
            let _ = Self::open(path);
        }
        let ledger = Self { connection, path: path.to_owned(), metric_names: HashMap::new() };
        ledger.connection.busy_timeout(BUSY_TIMEOUT).map_err(ledger.failed("set up the reader"))?;
        plan_once(&ledger.connection).map_err(ledger.failed("set up the reader"))?;
        schema::check(&ledger.connection, path)?;
        let read_only = ledger.connection.pragma_update(None, "query_only", true);
        read_only.map_err(ledger.failed("set up the reader"))?;
        Ok(ledger)
    }

    /// The ledger's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn prepare(connection: Connection, path: &Path) -> Result<Self, LedgerError> {
        let mut ledger = Self { connection, path: path.to_owned(), metric_names: HashMap::new() };
        ledger.connection.busy_timeout(BUSY_TIMEOUT).map_err(ledger.failed("set up the writer"))?;
        plan_once(&ledger.connection).map_err(ledger.failed("set up the writer"))?;
        schema::migrate(&mut ledger.connection, path)?;
        let pragmas = "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;";
        ledger.connection.execute_batch(pragmas).map_err(ledger.failed("set up the writer"))?;
        Ok(ledger)
    }

    /// Says what was to be done when SQLite refuses.
    fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> LedgerError + use<> {
        let path = self.path.clone();
        move |source| LedgerError::Sqlite { action, path: path.clone(), source }
    }

    fn strange(&self, what: impl Into<String>) -> LedgerError {
        LedgerError::Strange { path: self.path.clone(), what: what.into() }
    }
}

/// Makes SQLite keep the plan of a prepared statement. It plans anew when a value is bound that might give
/// a better plan, which is never so here (no statistics are kept) and cost three quarters of a look-up.
fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Whether SQLite failed with this primary result code.
fn is_code(error: &rusqlite::Error, code: i32) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, _) if failure.extended_code & 0xff == code)
}

/// A path as SQLite's URIs write it.
fn uri_path(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}
