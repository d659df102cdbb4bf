//! Python itself says whether two programs mean the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use graftwork::digest::meaning;

/// Compares the syntax trees of the programs in two folders, and prints the names of those that differ.
const COMPARE: &str = "\
import ast, pathlib, sys, warnings
warnings.simplefilter('ignore')
ours, theirs = map(pathlib.Path, sys.argv[1:])
for path in sorted(ours.glob('*.py')):
    read = lambda path: ast.dump(ast.parse(path.read_bytes()))
    if read(path) != read(theirs / path.name):
        print(path.name)
";

fn python(args: &[&str]) -> String {
    let output = Command::new("python3").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The modules of Python's own library.
fn library() -> Vec<PathBuf> {
    let folder = python(&["-c", "import os; print(os.path.dirname(os.__file__))"]);
    let entries = fs::read_dir(folder.trim()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "py")).collect()
}

#[test]
fn pythons_own_library_without_its_comments_means_the_same_to_python() {
    let folder = tempfile::tempdir().unwrap();
    let modules = library();
    let mut shorter = 0;
    for path in &modules {
        let program = fs::read(path).unwrap();
        let kept = meaning(&program);
        shorter += usize::from(kept.len() < program.len());
        fs::write(folder.path().join(path.file_name().unwrap()), kept).unwrap();
    }
    let theirs = modules[0].parent().unwrap_or(Path::new("."));
    let text = |path: &Path| path.display().to_string();
    let differing = python(&["-c", COMPARE, &text(folder.path()), &text(theirs)]);
    assert_eq!(differing, "");
    // Programs that stay as they are, for doubt, are the exception.
    assert!(shorter * 10 > modules.len() * 8, "{shorter} of {}", modules.len());
}
