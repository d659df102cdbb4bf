//! Bases and variables.

mod properties;
mod sweeps;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};

use crate::experiment::spec::Stage;
use crate::experiment::{Alone, Checked, Code, Faults, Files, load, name};

/// Files by path.
#[derive(Default)]
struct Shelf(BTreeMap<PathBuf, String>);

impl Shelf {
    fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned()));
        Self(files.collect())
    }
}

impl Files for Shelf {
    fn read(&self, path: &Path) -> io::Result<String> {
        let text = self.0.get(&self.identity(path)).cloned();
        text.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self, folder: &Path) -> Vec<String> {
        let here = self.0.keys().filter(|path| path.parent() == Some(folder));
        here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
    }
}

fn load_child(text: &str, files: &[(&str, &str)], sets: &[&str]) -> Result<Checked, Faults> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load("child.toml", text, &sets, &Shelf::new(files))
}

/// A file and those that it extends, in one piece; and the same once more from that.
#[track_caller]
fn check(text: &str, files: &[(&str, &str)], sets: &[&str], expect: &Expect) -> Checked {
    let checked = load_child(text, files, sets).unwrap_or_else(|faults| panic!("{faults}"));
    let resolved = checked.to_toml();
    expect.assert_eq(&resolved);
    let again =
        load("again.toml", &resolved, &[], &Alone).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(again.trials(), checked.trials(), "{resolved}");
    assert_eq!(again.to_toml(), resolved);
    checked
}

#[track_caller]
fn check_faults(text: &str, files: &[(&str, &str)], sets: &[&str], expect: &Expect) {
    let faults = load_child(text, files, sets).unwrap_err();
    expect.assert_eq(&format!("{faults}\n"));
}

fn codes(faults: &Faults) -> Vec<&'static str> {
    faults.0.iter().map(|fault| fault.code).collect()
}

fn axes(checked: &Checked) -> Vec<&str> {
    checked.experiment.sweep.axes().map(|(name, _)| name).collect()
}

const SMALL: &str = "
name = 'small'
seeds = [0, 1]
[sweep]
'dense.epochs' = [1, 2]
'dense.optimizer.sgd.learning-rate' = [0.1, 0.2]
[stage.dense.pretrain]
model.lenet5 = { batch-norm = true }
data.mnist = { batch-size = 64, augment = [{ horizontal-flip = {} }] }
epochs = 1
optimizer.sgd = { learning-rate = 0.1, momentum = 0.5 }
[stage.thin.prune]
from = 'dense'
criterion.magnitude = {}
sparsity = 0.5
";

#[test]
fn tables_are_merged_and_all_else_is_replaced() {
    check(
        "extends = 'base.toml'
        seeds = [7]
        [stage.dense.pretrain]
        data.mnist.augment = []
        precision = 'bf16'
        [stage.tuned.finetune]
        from = 'thin'
        data.mnist = {}
        epochs = 2",
        &[("base.toml", SMALL)],
        &[],
        &expect![[r#"
            name = "small"
            seeds = [7]

            [sweep]
            "dense.epochs" = [1, 2]
            "dense.optimizer.sgd.learning-rate" = [0.1, 0.2]

            [stage.dense.pretrain]
            model.lenet5 = { batch-norm = true }
            data.mnist = { batch-size = 64, augment = [] }
            epochs = 1
            optimizer.sgd = { learning-rate = 0.1, momentum = 0.5 }
            precision = "bf16"

            [stage.thin.prune]
            from = "dense"
            criterion.magnitude = {}
            sparsity = 0.5

            [stage.tuned.finetune]
            from = "thin"
            data.mnist = {}
            epochs = 2
        "#]],
    );
}

#[test]
fn another_alternative_comes_with_its_own_settings_and_without_axes_over_the_old_ones() {
    check(
        "extends = 'base.toml'
        [stage.dense.pretrain]
        optimizer.adam = { learning-rate = 0.01 }
        [stage.thin.evaluate]
        from = 'dense'
        data.mnist = {}",
        &[("base.toml", SMALL)],
        &[],
        &expect![[r#"
            name = "small"
            seeds = [0, 1]

            [sweep]
            "dense.epochs" = [1, 2]

            [stage.dense.pretrain]
            model.lenet5 = { batch-norm = true }
            data.mnist = { batch-size = 64, augment = [{ horizontal-flip = {} }] }
            epochs = 1
            optimizer.adam = { learning-rate = 0.01 }

            [stage.thin.evaluate]
            from = "dense"
            data.mnist = {}
        "#]],
    );
}

#[test]
fn what_a_file_states_is_swept_by_none_of_its_bases() {
    let stated = "extends = 'base.toml'\n[stage.dense.pretrain]\nepochs = 5\n";
    let checked = load_child(stated, &[("base.toml", SMALL)], &[]).unwrap();
    assert_eq!(axes(&checked), ["dense.optimizer.sgd.learning-rate"]);
    let swept = format!("{stated}[sweep]\n'dense.epochs' = [5, 6, 7]");
    let checked = load_child(&swept, &[("base.toml", SMALL)], &[]).unwrap();
    let both = ["dense.epochs", "dense.optimizer.sgd.learning-rate"];
    assert_eq!(axes(&checked), both, "the axis stays where it was");
    assert_eq!(checked.trials().len(), 3 * 2 * 2);
}

#[test]
fn stages_axes_and_settings_can_be_left_out_and_stated_anew() {
    check(
        "extends = 'base.toml'
        without = ['stage.thin', 'sweep.dense.epochs', 'stage.dense.pretrain.data.mnist.augment', 'seeds']
        [stage.thin.prune]
        from = 'dense'
        criterion.random = {}
        sparsity = 0.1",
        &[("base.toml", SMALL)],
        &[],
        &expect![[r#"
            name = "small"

            [sweep]
            "dense.optimizer.sgd.learning-rate" = [0.1, 0.2]

            [stage.dense.pretrain]
            model.lenet5 = { batch-norm = true }
            data.mnist = { batch-size = 64 }
            epochs = 1
            optimizer.sgd = { learning-rate = 0.1, momentum = 0.5 }

            [stage.thin.prune]
            from = "dense"
            criterion.random = {}
            sparsity = 0.1
        "#]],
    );
    let all = "extends = 'base.toml'\nwithout = ['sweep']";
    let checked = load_child(all, &[("base.toml", SMALL)], &[]).unwrap();
    assert_eq!(checked.trials().len(), 2);
    let alone = format!("without = ['stage.thin']\n{SMALL}");
    assert_eq!(codes(&load_child(&alone, &[], &[]).unwrap_err()), ["E057"]);
}

#[test]
fn a_base_extends_others_from_its_own_folder_and_a_shared_one_lies_below_all() {
    let files = [
        ("bases/left.toml", "extends = 'root.toml'\nseeds = [1]\ndescription = 'left'"),
        ("bases/right.toml", "extends = '../bases/root.toml'\ndescription = 'right'"),
        ("bases/root.toml", SMALL),
    ];
    let child = "extends = ['bases/left.toml', 'bases/right.toml']\nname = 'child'";
    let checked = load_child(child, &files, &[]).unwrap();
    let experiment = &checked.experiment;
    assert_eq!(experiment.description.as_deref(), Some("right"), "later ones win");
    assert_eq!(experiment.seeds, [1], "the shared base is not laid over what extends it");
    assert_eq!(name("child.toml", child, &Shelf::new(&files)).as_deref(), Some("child"));
    let nameless = "extends = 'bases/left.toml'";
    assert_eq!(name("child.toml", nameless, &Shelf::new(&files)).as_deref(), Some("small"));
}

#[test]
fn sets_come_after_all_files() {
    let child = "extends = 'base.toml'\n[stage.dense.pretrain]\nepochs = 5\n";
    let sets = ["dense.epochs=6", "dense.optimizer.adam.learning-rate=0.5", "seeds=[3]"];
    let checked = load_child(child, &[("base.toml", SMALL)], &sets);
    // `--set` leaves the axis of the old alternative, and says so.
    assert_eq!(codes(&checked.unwrap_err()), ["E020"]);
    let sets = ["dense.epochs=6", "seeds=[3]"];
    let checked = load_child(child, &[("base.toml", SMALL)], &sets).unwrap();
    assert_eq!(checked.experiment.seeds, [3]);
    check_faults(
        child,
        &[("base.toml", SMALL)],
        &["extends='other.toml'"],
        &expect![[r#"
        error[E030]: `extends` can be stated in a file alone
         --> --set:1:1
          |
        1 | extends='other.toml'
          | ^^^^^^^ cannot be set
          |
          = help: write a file that extends this one

        1 fault in --set
    "#]],
    );
}

const VARIABLES: &str = "
name = 'v-${version}${suffix}'
description = '$$epochs is ${epochs}, $5, ${flag}, ${rate}'
seeds = ['$first', 1]
[vars]
version = 2
suffix = '-${version}x'
epochs = 3
first = 0
flag = true
rate = 0.00001
half = '$sparse'
sparse = 0.5
sgd = { learning-rate = '$rate', momentum = 0.9 }
flips = [{ horizontal-flip = {} }]
[sweep]
'thin.sparsity' = ['$half', 0.9]
[stage.dense.pretrain]
model.lenet5 = {}
data.mnist.augment = '$flips'
epochs = '${epochs}'
optimizer.sgd = '$sgd'
[stage.thin.prune]
from = 'dense'
criterion = { magnitude = {} }
sparsity = '$sparse'
";

#[test]
fn variables_stand_for_values_of_any_type() {
    check(
        VARIABLES,
        &[],
        &[],
        &expect![[r#"
        name = "v-2-2x"
        description = "$$epochs is 3, $$5, true, 1e-5"
        seeds = [0, 1]

        [sweep]
        "thin.sparsity" = [0.5, 0.9]

        [stage.dense.pretrain]
        model.lenet5 = {}
        data.mnist = { augment = [{ horizontal-flip = {} }] }
        epochs = 3
        optimizer.sgd = { learning-rate = 1e-5, momentum = 0.9 }

        [stage.thin.prune]
        from = "dense"
        criterion.magnitude = {}
        sparsity = 0.5
    "#]],
    );
}

#[test]
fn variables_of_the_extending_file_and_of_sets_win() {
    let files = [("base.toml", VARIABLES)];
    let child = "extends = 'base.toml'\n[vars]\nepochs = 4\nversion = 'three'\n";
    let checked = load_child(child, &files, &[]).unwrap();
    assert_eq!(checked.experiment.name, "v-three-threex");
    let sets = ["vars.epochs=5", "vars.sgd.momentum=0.1", "thin.sparsity=$rate"];
    let checked = load_child(child, &files, &sets).unwrap();
    let text = checked.to_toml();
    for line in [
        "description = \"$$epochs is 5, $$5, true, 1e-5\"",
        "epochs = 5",
        "optimizer.sgd = { learning-rate = 1e-5, momentum = 0.1 }",
        "sparsity = 1e-5",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(checked.experiment.sweep.is_empty());
}

#[test]
fn a_variable_of_a_base_is_the_same_as_its_value() {
    let base = SMALL
        .replace("{ learning-rate = 0.1, momentum = 0.5 }", "'$sgd'")
        .replace("[sweep]", "[vars]\nsgd = { learning-rate = 0.1, momentum = 0.5 }\n[sweep]");
    let child = "extends = 'base.toml'\n[stage.dense.pretrain.optimizer.sgd]\nmomentum = 0.8";
    let of_value = load_child(child, &[("base.toml", SMALL)], &[]).unwrap();
    let of_variable = load_child(child, &[("base.toml", &base)], &[]).unwrap();
    assert_eq!(of_variable.trials(), of_value.trials());
    assert_eq!(of_variable.to_toml(), of_value.to_toml());
}

#[test]
fn a_base_can_have_variables_that_one_child_does_not_use() {
    let base = format!("{SMALL}[vars]\nunused = 1\nepochs = 2");
    let child = "extends = 'base.toml'\n[stage.dense.pretrain]\nepochs = '$epochs'";
    assert!(load_child(child, &[("base.toml", &base)], &[]).is_ok());
    check_faults(
        &format!("{child}\n[vars]\nunused = 2"),
        &[("base.toml", &base)],
        &["vars.epoch=7"],
        &expect![[r#"
            error[E052]: the variable `unused` is used nowhere
             --> child.toml:5:1
              |
            5 | unused = 2
              | ^^^^^^ not used
              |
              = help: leave it out, or use it: `"$unused"` as a whole value, `${unused}` in a text

            error[E052]: the variable `epoch` is used nowhere
             --> --set:1:6
              |
            1 | vars.epoch=7
              |      ^^^^^ did you mean `epochs`?
              |
              = help: leave it out, or use it: `"$epoch"` as a whole value, `${epoch}` in a text

            2 faults in child.toml and --set
        "#]],
    );
}

#[test]
fn a_fault_of_one_piece_leaves_the_others_to_be_checked() {
    check_faults(
        "extends = 'base.toml'\n[stage.dense.pretrain]\nepochs = '$epoch'\nmodel = '$net'\n[vars]\nnet = { lenet = {} }",
        &[("base.toml", &format!("{SMALL}scop = 'layer'\n[vars]\nepochs = 1"))],
        &[],
        &expect![[r#"
            error[E050]: `$epoch` is a variable that no file states
             --> child.toml:3:11
              |
            3 | epochs = '$epoch'
              |           ^^^^^^ did you mean `$epochs`?
              |
              = help: variables are epochs, net
                      a text that is to start with a dollar sign has two: `$$`

            error[E006]: stage `dense`: `model` cannot be `lenet`
             --> child.toml:6:9
              |
            4 | model = '$net'
              |          ---- used here
            5 | [vars]
            6 | net = { lenet = {} }
              |         ^^^^^ did you mean `lenet5`?
              |
              = help: choose one of alexnet, audio-cnn, audio-cnn-1d, cnn, densenet-bc-40-12, densenet121, fcn-resnet50, fcn16s, fcn32s, fcn8s, gru, layers, lenet5, lstm, mlp, mobilenet-v2, resnet18, resnet18-cifar, resnet20, resnet32, resnet34, resnet50, resnet56, shufflenet-v2, text-cnn, text-mean, transformer-encoder, unet, vgg11, vgg13, and 2 more

            error[E002]: stage `thin`: `prune` has no key `scop`
              --> base.toml:16:1
               |
            16 | scop = 'layer'
               | ^^^^ did you mean `scope`?
               |
               = help: legal keys are allocation, budget, criterion, data, exclude, floors, from, granularity, layer-sparsity, reinitialise, remove, rewind-to, scope, seed, shuffle, sparsity

            3 faults in child.toml and base.toml
        "#]],
    );
}

#[test]
fn a_slip_in_a_key_that_another_text_states_is_told_what_was_meant() {
    check_faults(
        "extends = 'base.toml'\n[stage.dense.pretrain]\nepoch = 5",
        &[("base.toml", SMALL)],
        &["thin.sprsity=0.8"],
        &expect![[r#"
            error[E002]: stage `dense`: `pretrain` has no key `epoch`
             --> child.toml:3:1
              |
            3 | epoch = 5
              | ^^^^^ did you mean `epochs`?
              |
              = help: legal keys are clip-norm, data, early-stopping, epochs, freeze, keep, l1, learning-rate-factors, loss, model, optimizer, precision, schedule, seed, sparsify

            error[E002]: stage `thin`: `prune` has no key `sprsity`
             --> --set:1:6
              |
            1 | thin.sprsity=0.8
              |      ^^^^^^^ did you mean `sparsity`?
              |
              = help: legal keys are allocation, budget, criterion, data, exclude, floors, from, granularity, layer-sparsity, reinitialise, remove, rewind-to, scope, seed, shuffle, sparsity

            2 faults in child.toml and --set
        "#]],
    );
    let twice = SMALL.replace("sparsity = 0.5", "sparsity = 0.5\nsprsity = 0.6");
    let faults = load_child(&twice, &[], &[]).unwrap_err();
    assert_eq!(faults.0[0].label, "unknown", "the file has both");
}

fn lines(numbers: Range<usize>, line: impl Fn(usize) -> String) -> String {
    numbers.map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_few_lines_cannot_grow_without_end() {
    let lists = lines(1..60, |n| format!("v{n} = ['$v{0}', '$v{0}']", n - 1));
    let texts = lines(1..60, |n| format!("v{n} = '${{v{0}}}${{v{0}}}'", n - 1));
    let long = lines(1..500, |n| format!("v{n} = ['$v{}']", n - 1));
    let chain = lines(1..60_000, |n| format!("v{n} = '$v{}'", n - 1));
    for (vars, last) in [(lists, 59), (texts, 59), (long, 499), (chain, 59_999)] {
        let text = format!("{SMALL}[vars]\nv0 = 'x'\n{vars}")
            .replace("name = 'small'", &format!("name = '$v{last}'"));
        let start = Instant::now();
        let faults = load("growth.toml", &text, &[], &Alone).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(codes(&faults), [Code::TooLarge.as_str()]);
    }
    let files: Vec<(String, String)> =
        (0..200).map(|n| (format!("{n}.toml"), format!("extends = '{}.toml'", n + 1))).collect();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let faults = load_child("extends = '0.toml'\nname = 'x'", &files, &[]).unwrap_err();
    assert_eq!(codes(&faults), [Code::TooLarge.as_str()]);
}

#[test]
fn programs_keep_their_dollar_signs_and_their_placeholders() {
    let program =
        "program = ['sh', '-c', 'echo $$HOME', '$GRAFTWORK_OUT/x $HOME', '{lr} ${lr}', '$lr']";
    let text = format!(
        "name = 'c'\n[vars]\nlr = 'fast'\n[stage.c.command]\n{program}\nparams = {{ lr = 0.1 }}"
    );
    let checked = load_child(&text, &[], &[]).unwrap_or_else(|faults| panic!("{faults}"));
    let Stage::Command(command) = &checked.experiment.stage["c"] else { panic!("no command") };
    let expected = ["sh", "-c", "echo $HOME", "$GRAFTWORK_OUT/x $HOME", "{lr} fast", "fast"];
    assert_eq!(command.program, expected);
    let whole = text.replace("echo $$HOME", "$HOME");
    assert_eq!(codes(&load_child(&whole, &[], &[]).unwrap_err()), ["E050"]);
}
