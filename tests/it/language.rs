//! Faults of experiment files, as a user sees them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use expect_test::expect_file;
use graftwork::experiment::{self, Alone, Checked, Faults, Files, LiesThere};

/// The files of the disk, as the command line gives them.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).into_iter().flatten();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

/// Loads an experiment and looks at the files that it names.
fn load(file: &Path, text: &str) -> Result<Checked, Faults> {
    let checked = experiment::load(&file.display().to_string(), text, &[], &Disk)?;
    let folder = file.parent().expect("the file is in a folder");
    checked.look_beside(&|path| match folder.join(path) {
        path if path.is_dir() => LiesThere::Folder,
        path if path.is_file() => LiesThere::File,
        _ => LiesThere::Nothing,
    })?;
    Ok(checked)
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
        let faults = load(&file, &text).unwrap_err();
        let snapshot = fs::canonicalize(&file).unwrap().with_extension("txt");
        expect_file![snapshot].assert_eq(&format!("{faults}\n"));
    }
}

#[test]
fn every_experiment_of_the_repository_loads() {
    for file in files("experiments") {
        let text = fs::read_to_string(&file).unwrap();
        if let Err(faults) = load(&file, &text) {
            panic!("{faults}");
        }
    }
}

#[test]
fn the_experiment_of_the_readme_loads() {
    let readme = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let block = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    if let Err(faults) = experiment::load("README.md", block.expect("an example"), &[], &Alone) {
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
    graftwork_in(Path::new("."), args)
}

fn graftwork_in(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_graftwork"));
    let output = command.args(args).current_dir(folder).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("messages are UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_prints_all_faults_of_all_files_and_exits_with_1() {
    let files = ["tests/malformed/loops.toml", "tests/malformed/missing-keys.toml"];
    let (code, text, _) = graftwork(&["check", files[0], files[1]]);
    assert_eq!(code, Some(1));
    assert!(text.contains("2 faults in tests/malformed/loops.toml"), "{text}");
    assert!(text.contains("5 faults in tests/malformed/missing-keys.toml"), "{text}");

    let (code, text, _) = graftwork(&["check", "--json", files[0], files[1]]);
    let faults: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((code, faults.len()), (Some(1), 7));
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

#[test]
fn check_shows_faults_where_they_stand_and_an_experiment_in_one_piece() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bases")).unwrap();
    let base = "name = 'base'\n[vars]\nepochs = 1\n[stage.dense.pretrain]\nmodel.lenet5 = {}\n\
        data.mnist = {}\nepochs = '$epochs'\n";
    fs::write(folder.path().join("bases/base.toml"), base).unwrap();
    let own = "extends = 'bases/base.toml'\nname = 'own'\n";
    fs::write(folder.path().join("own.toml"), own).unwrap();
    let (code, text, _) =
        graftwork_in(folder.path(), &["check", "own.toml", "--resolved", "--set", "vars.epochs=3"]);
    assert_eq!(code, Some(0));
    let resolved = "# own.toml\nname = \"own\"\n\n[stage.dense.pretrain]\nmodel.lenet5 = {}\n\
        data.mnist = {}\nepochs = 3\n\n";
    assert_eq!(text, resolved);

    let sets = ["--set", "vars.epochs=many"];
    let (code, text, _) =
        graftwork_in(folder.path(), &[&["check", "own.toml"], &sets[..]].concat());
    assert_eq!(code, Some(1));
    assert!(text.contains("::: bases/base.toml:7:11"), "the use in the base: {text}");
    let (code, _, said) =
        graftwork_in(folder.path(), &["--json", "check", "own.toml", "--resolved"]);
    assert_eq!(code, Some(2), "{said}");

    fs::write(folder.path().join("bases/base.toml"), base.replace("epochs = 1", "epoch = 1"))
        .unwrap();
    let (code, text, _) = graftwork_in(folder.path(), &["--json", "check", "own.toml"]);
    let faults: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((code, faults.len()), (Some(1), 1));
    assert_eq!(
        (&faults[0]["code"], &faults[0]["file"]),
        (&"E050".into(), &"bases/base.toml".into())
    );
}

#[test]
fn init_writes_an_experiment_without_faults_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, said) = graftwork_in(folder.path(), &["init", "my-study.toml"]);
    assert_eq!(code, Some(0), "{said}");
    let text = fs::read_to_string(folder.path().join("my-study.toml")).unwrap();
    let checked = experiment::load("my-study.toml", &text, &[], &Alone);
    let checked = checked.unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(checked.experiment.name, "my-study");
    let same = |name: &str| Some(name.to_owned());
    let digests = graftwork::plan::Digests { data: &same, files: &same };
    let plan = graftwork::plan::plan(&checked.trials(), digests);
    let counts = plan.counts();
    // 2 dense; magnitude draws nothing but reads another network for each seed.
    assert_eq!((counts.trials, counts.distinct), (8, 2 + 8 + 8 + 8));

    fs::write(folder.path().join("my-study.toml"), "mine").unwrap();
    let (code, _, said) = graftwork_in(folder.path(), &["init", "my-study.toml"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("`my-study.toml` is there already"), "{said}");
    assert_eq!(fs::read_to_string(folder.path().join("my-study.toml")).unwrap(), "mine");
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, said) = graftwork(&["completions", shell]);
        assert_eq!(code, Some(0), "{said}");
        for command in ["run", "plan", "check", "table", "init", "completions"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("until"), "{shell}: options too");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    for args in [&["schema"][..], &["completions", "zsh"], &["--help"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graftwork"));
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args:?}");
        assert!(output.status.success(), "{args:?}");
    }
}
