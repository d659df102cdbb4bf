//! The ledger's tables and how an older ledger gets them.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::LedgerError;

/// Marks a SQLite file as a ledger: "grft".
const APPLICATION_ID: i64 = 0x6772_6674;

/// One script per version; number `n` takes a ledger from version `n` to `n + 1`. Scripts that have
/// been released never change.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../schemas/ledger.sql"),
    include_str!("../../schemas/ledger-2.sql"),
    include_str!("../../schemas/ledger-3.sql"),
];

/// The version that this graftwork writes.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// The version of a file; 0 for one without tables of ours.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Refuses files that are no ledger, or newer than this program.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    match state(connection, path)? {
        State::Version(VERSION) => Ok(()),
        // Whoever made the file was killed before the tables were in it: there are no results yet.
        State::Empty => {
            Err(LedgerError::Absent { folder: path.parent().unwrap_or(path).to_owned() })
        }
        State::Version(found) => {
            Err(LedgerError::Older { path: path.to_owned(), found, known: VERSION })
        }
    }
}

/// Whether a file is a ledger that an older graftwork wrote.
pub(super) fn is_older(connection: &Connection, path: &Path) -> Result<bool, LedgerError> {
    Ok(matches!(state(connection, path)?, State::Version(version) if version < VERSION))
}

/// Brings a file to the version that this program writes.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    if let State::Version(VERSION) = state(connection, path)? {
        return Ok(());
    }
    let failed = |source| LedgerError::Sqlite {
        action: "make the tables of the ledger",
        path: path.to_owned(),
        source,
    };
    log_ahead(connection).map_err(failed)?;
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Another process may have been faster while this one waited for the lock.
    let from = match state(&transaction, path)? {
        State::Empty => 0,
        State::Version(version) => version,
    };
    for script in &MIGRATIONS[from as usize..] {
        transaction.execute_batch(script).map_err(failed)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Sets the journal mode, which the file keeps from now on; it cannot be changed within a transaction.
///
/// Where another process opens the new file at the same time, SQLite refuses at once instead of waiting
/// (it would have to wait for itself), so the waiting is done here.
fn log_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let pause = Duration::from_millis(10);
    let mut tries = super::BUSY_TIMEOUT.as_millis() / pause.as_millis();
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error) if super::is_code(&error, 5) && tries > 0 => {
                tries -= 1;
                std::thread::sleep(pause);
            }
            other => return other,
        }
    }
}

enum State {
    Empty,
    Version(i64),
}

fn state(connection: &Connection, path: &Path) -> Result<State, LedgerError> {
    let not_a_ledger = |reason: String| LedgerError::NotALedger { path: path.to_owned(), reason };
    let failed = |source: rusqlite::Error| {
        // 11 is a damaged file, 26 a file that is no database at all.
        if super::is_code(&source, 11) || super::is_code(&source, 26) {
            not_a_ledger(source.to_string())
        } else {
            LedgerError::Sqlite { action: "read the version", path: path.to_owned(), source }
        }
    };
    let (version, application, tables) = marks(connection).map_err(failed)?;
    if application == APPLICATION_ID {
        if version > VERSION {
            return Err(LedgerError::Newer {
                path: path.to_owned(),
                found: version,
                known: VERSION,
            });
        }
        return Ok(State::Version(version));
    }
    if tables > 0 || version > 0 {
        return Err(not_a_ledger("it is a database of another program".to_owned()));
    }
    Ok(State::Empty)
}

/// The version of a file, whose it is, and how many tables it has.
///
/// Asked in one statement: between two, another process may make the tables.
fn marks(connection: &Connection) -> rusqlite::Result<(i64, i64, i64)> {
    let all = "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema) \
               FROM pragma_user_version, pragma_application_id";
    connection.query_row(all, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    #[test]
    fn a_new_ledger_is_strict_and_logs_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(version(&ledger.connection).unwrap(), VERSION);
        let text = |sql: &str| -> String {
            ledger.connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
        };
        assert_eq!(text("PRAGMA journal_mode"), "wal");
        assert_eq!(
            text(
                "SELECT coalesce(group_concat(name), '') FROM pragma_table_list \
                 WHERE type = 'table' AND strict = 0 AND name NOT LIKE 'sqlite%'"
            ),
            "",
            "every table is strict"
        );
    }

    #[test]
    fn a_newer_ledger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let ledger = Ledger::open(&path).unwrap();
        ledger.connection.pragma_update(None, "user_version", VERSION + 3).unwrap();
        drop(ledger);
        for error in [Ledger::open(&path).unwrap_err(), Ledger::open_read_only(&path).unwrap_err()]
        {
            let message = error.to_string().replace(path.to_str().unwrap(), "FILE");
            assert_eq!(
                message,
                "`FILE` has version 6, this graftwork knows versions up to 3; update graftwork"
            );
        }
    }

    #[test]
    fn an_older_ledger_is_brought_up_to_date_by_whoever_opens_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        for open in [Ledger::open, Ledger::open_read_only] {
            let _ = std::fs::remove_file(&path);
            let old = Connection::open(&path).unwrap();
            old.execute_batch(MIGRATIONS[0]).unwrap();
            old.execute_batch("INSERT INTO experiment (name) VALUES ('digits')").unwrap();
            old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
            old.pragma_update(None, "user_version", 1).unwrap();
            drop(old);
            let ledger = open(&path).unwrap();
            assert_eq!(version(&ledger.connection).unwrap(), VERSION);
            let names = "SELECT count(adopted) + (SELECT count(*) FROM experiment) FROM attempt";
            let kept: i64 = ledger.connection.query_row(names, [], |row| row.get(0)).unwrap();
            assert_eq!(kept, 1);
        }
    }

    #[test]
    fn another_programs_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
        let error = Ledger::open(&path).unwrap_err().to_string();
        assert!(error.contains("a database of another program"), "{error}");
        std::fs::write(&path, "name = \"digits\"\n".repeat(100)).unwrap();
        let error = Ledger::open_read_only(&path).unwrap_err().to_string();
        assert!(error.contains("not a ledger of graftwork"), "{error}");
    }
}
