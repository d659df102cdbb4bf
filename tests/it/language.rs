//! Faults of experiment files, as a user sees them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use expect_test::expect_file;
use graftwork::experiment;

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

/// The messages of `tests/malformed/NAME.toml` are in `NAME.txt` beside it.
///
/// `UPDATE_EXPECT=1 cargo nextest run malformed` writes them anew; read them as a user would.
#[test]
fn every_malformed_file_gives_its_messages() {
    let files = files("tests/malformed");
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let faults = experiment::load(&file.display().to_string(), &text, &[]).unwrap_err();
        let snapshot = fs::canonicalize(&file).unwrap().with_extension("txt");
        expect_file![snapshot].assert_eq(&format!("{faults}\n"));
    }
}

#[test]
fn every_experiment_of_the_repository_loads() {
    for file in files("experiments") {
        let text = fs::read_to_string(&file).unwrap();
        if let Err(faults) = experiment::load(&file.display().to_string(), &text, &[]) {
            panic!("{faults}");
        }
    }
}

#[test]
fn the_experiment_of_the_readme_loads() {
    let readme = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let block = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    if let Err(faults) = experiment::load("README.md", block.expect("an example"), &[]) {
        panic!("{faults}");
    }
}

/// `UPDATE_EXPECT=1 cargo nextest run schema` writes the file anew; so does
/// `graftwork schema > schemas/experiment.schema.json`.
#[test]
fn the_schema_in_the_repository_is_that_of_the_spec_types() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas/experiment.schema.json");
    expect_file![path].assert_eq(&format!("{:#}\n", experiment::schema()));
}

fn graftwork(args: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_graftwork")).args(args).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("messages are UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_prints_all_faults_of_all_files_and_exits_with_1() {
    let files = ["tests/malformed/loops.toml", "tests/malformed/missing-keys.toml"];
    let (code, text, _) = graftwork(&["check", files[0], files[1]]);
    assert_eq!(code, Some(1));
    assert!(text.contains("2 faults in tests/malformed/loops.toml"), "{text}");
    assert!(text.contains("6 faults in tests/malformed/missing-keys.toml"), "{text}");

    let (code, text, _) = graftwork(&["check", "--json", files[0], files[1]]);
    let faults: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((code, faults.len()), (Some(1), 8));
    assert_eq!(faults[0]["code"], "E011");
    assert_eq!(faults[0]["line"], 5);
    assert_eq!(faults[0]["file"], files[0]);
}

#[test]
fn check_says_what_a_sound_file_has_and_takes_sets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    let text =
        "name = 'small'\n[stage.dense.pretrain]\nmodel.lenet5 = {}\ndata.mnist = {}\nepochs = 1\n";
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (code, text, _) = graftwork(&["check", file, "--set", "seeds=[0, 1]"]);
    assert_eq!(code, Some(0));
    assert_eq!(text, format!("{file}: fine: 1 stage, 2 trials (0 axes, 2 seeds)\n"));
    let (code, text, _) = graftwork(&["check", file, "--set", "dense.epochs=many"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("--> --set:1:14"), "{text}");
    let (code, _, error) = graftwork(&["check", "no-such-file.toml"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("no-such-file.toml"), "{error}");
}
