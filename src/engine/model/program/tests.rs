use std::path::PathBuf;

use graftwork::network::Network;
use indexmap::IndexMap;
use tch::no_grad;

use super::*;
use crate::checkpoint;
use crate::model::{Mode, Model};

/// A file of `tests/parity/torchscript/`, which `tests/parity/programs.py` has made with PyTorch.
fn stored(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/torchscript")).join(file)
}

fn read(name: &str) -> (Model, IndexMap<String, Tensor>) {
    let (program, contents) = Program::load(&stored(&format!("{name}.pt")), Device::Cpu).unwrap();
    let network = Network::of_program(&[1, 8, 8], None, &[10]);
    let model = Model::of_program(network, program, contents, Device::Cpu);
    let reference = checkpoint::read_foreign(&stored(&format!("{name}.safetensors"))).unwrap();
    (model, reference)
}

#[track_caller]
fn agrees(name: &str, ours: &Tensor, theirs: &Tensor) {
    let theirs = theirs.to_kind(ours.kind());
    assert_eq!(ours.size(), theirs.size(), "{name}");
    let difference = (ours - &theirs).abs().max().to_kind(Kind::Double).double_value(&[]);
    assert!(difference < 1e-6, "{name} differs by {difference}");
}

/// One step of gradient descent in training mode, with what dropout draws from a seed.
fn step(model: &mut Model, reference: &IndexMap<String, Tensor>, seed: i64) {
    let _turn = crate::random::libtorchs_turn();
    tch::manual_seed(seed);
    let (input, labels) = (&reference["input"], &reference["labels"]);
    let loss = model.forward(input, Mode::Train, None).cross_entropy_for_logits(labels);
    let trained: Vec<Tensor> = model
        .params()
        .values()
        .filter(|parameter| parameter.is_trained())
        .map(|parameter| parameter.value.shallow_clone())
        .collect();
    let gradients = Tensor::run_backward(&[loss], &trained, false, false);
    no_grad(|| {
        for (mut value, gradient) in trained.into_iter().zip(gradients) {
            let _ = value.g_sub_(&(gradient * 0.1));
        }
    });
}

/// Reference: `tests/parity/programs.py`, function `trained`.
#[test]
fn a_program_computes_and_learns_as_in_pytorch() {
    for name in ["branching", "plain"] {
        let (mut model, reference) = read(name);
        let input = &reference["input"];
        let eval = |model: &Model| no_grad(|| model.forward(input, Mode::Eval, None));
        agrees("the output before", &eval(&model), &reference["before"]);
        for seed in 0..3 {
            step(&mut model, &reference, seed);
        }
        agrees("the output after", &eval(&model), &reference["after"]);
        let held =
            reference.iter().filter_map(|(name, value)| Some((name.strip_prefix("held.")?, value)));
        let held: IndexMap<&str, &Tensor> = held.collect();
        assert_eq!(held.len(), model.params().len());
        for (name, parameter) in model.params() {
            agrees(name, &parameter.value, held[name.as_str()]);
        }
    }
}

#[test]
fn what_a_program_holds_is_known_by_its_class() {
    let (_, contents) = Program::load(&stored("branching.pt"), Device::Cpu).unwrap();
    let roles: Vec<_> =
        contents.held.iter().map(|(name, held, _)| (name.as_str(), held.role)).collect();
    assert_eq!(
        roles,
        [
            ("shift", ParamRole::Other),
            ("share", ParamRole::Statistic),
            ("stem.weight", ParamRole::Weight),
            ("stem.bias", ParamRole::Bias),
            ("norm.weight", ParamRole::Scale),
            ("norm.bias", ParamRole::Shift),
            ("norm.running_mean", ParamRole::Statistic),
            ("norm.running_var", ParamRole::Statistic),
            ("norm.num_batches_tracked", ParamRole::Counter),
            ("blocks.0.weight", ParamRole::Weight),
            ("blocks.1.weight", ParamRole::Weight),
            ("gate.scale", ParamRole::Other),
            ("gate.calls", ParamRole::Counter),
            ("first.weight", ParamRole::Weight),
            ("first.bias", ParamRole::Bias),
            ("second.bias", ParamRole::Bias),
            ("classifier.weight", ParamRole::Weight),
            ("classifier.bias", ParamRole::Bias),
        ]
    );
    assert_eq!(contents.aliases, [("second.weight".to_owned(), "first.weight".to_owned())]);
    assert_eq!(contents.left, [("mask".to_owned(), Kind::Bool)]);
}

#[test]
fn two_models_of_one_program_keep_their_own_values() {
    let (model, reference) = read("branching");
    let input = &reference["input"];
    let eval = |model: &Model| no_grad(|| model.forward(input, Mode::Eval, None));
    let mut other = model.duplicate();
    step(&mut other, &reference, 0);
    assert!(!eval(&other).allclose(&reference["before"], 1e-3, 1e-3, false));
    agrees("the first", &eval(&model), &reference["before"]);
    assert_eq!(model.params()["gate.calls"].value.int64_value(&[]), 0);
    assert_eq!(other.params()["gate.calls"].value.int64_value(&[]), 1);
}

#[test]
fn frozen_modules_keep_their_statistics_and_stay_in_evaluation() {
    let (mut model, reference) = read("branching");
    let before = model.duplicate();
    crate::train::freeze(&mut model, &["norm".to_owned(), "stem.weight".to_owned()]);
    step(&mut model, &reference, 0);
    for (name, parameter) in model.params() {
        let is_frozen = name.starts_with("norm.") || name == "stem.weight";
        let constant = ["share"].contains(&name.as_str());
        let is_same = parameter.value.equal(&before.params()[name].value);
        assert_eq!(is_same, is_frozen || constant, "{name}");
    }
}

#[test]
fn a_checkpoint_of_a_program_has_it_beside_and_comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (mut model, reference) = read("branching");
    let input = &reference["input"];
    step(&mut model, &reference, 0);
    checkpoint::save(folder.path(), &model).unwrap();
    let program = folder.path().join("program.pt");
    assert_eq!(std::fs::read(&program).unwrap(), std::fs::read(stored("branching.pt")).unwrap());
    let read = checkpoint::load(folder.path(), Device::Cpu).unwrap();
    assert_eq!(read.network(), model.network());
    for (name, parameter) in model.params() {
        assert!(read.params()[name].value.equal(&parameter.value), "{name}");
    }
    let eval = |model: &Model| no_grad(|| model.forward(input, Mode::Eval, None));
    assert!(eval(&read).equal(&eval(&model)));

    std::fs::remove_file(&program).unwrap();
    std::fs::copy(stored("plain.pt"), &program).unwrap();
    let error = |folder: &Path| checkpoint::load(folder, Device::Cpu).unwrap_err().to_string();
    assert!(
        error(folder.path()).contains("program.pt is damaged: the program holds other parameters")
    );
    std::fs::write(&program, "no archive").unwrap();
    assert!(error(folder.path()).contains("program.pt is damaged: "));
}

#[test]
fn what_a_program_cannot_take_is_told_in_one_line() {
    let (model, _) = read("plain");
    let input = Tensor::zeros([2, 1, 9, 12], (Kind::Float, Device::Cpu));
    let error = model.run(model.program().unwrap(), &input, Mode::Eval).unwrap_err();
    assert_eq!(error, "mat1 and mat2 shapes cannot be multiplied (2x60 and 36x12)");
    let error = Program::load(&stored("plain.safetensors"), Device::Cpu).unwrap_err();
    assert!(error.contains("failed finding central directory"), "{error}");
}
