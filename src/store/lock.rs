//! The right to compute a key, held by one process at a time and given back by the system if it dies.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{StoreError, at};
use crate::recipe::StageKey;

/// The right to compute a key; dropping it gives it back.
#[derive(Debug)]
pub struct Lock {
    key: StageKey,
    path: PathBuf,
    /// Closing it unlocks.
    _file: File,
}

impl Lock {
    /// The key that this is the right to compute.
    pub fn key(&self) -> &StageKey {
        &self.key
    }

    pub(super) fn take(folder: &Path, key: &StageKey) -> Result<Option<Self>, StoreError> {
        fs::create_dir_all(folder).map_err(at("create", folder))?;
        let path = folder.join(key.to_string());
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(at("create", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
            }
            // Between opening and locking, the last holder may have removed the file: a lock on a file
            // that no one else can open would be worth nothing.
            if is_still_at(&file, &path).map_err(at("lock", &path))? {
                return Ok(Some(Self { key: *key, path, _file: file }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held, so that no one has locked this file in the meantime. A file that stays
        // does no harm.
        if cfg!(unix) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_still_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}
