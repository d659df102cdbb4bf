//! Networks from files that other programs wrote.

use std::collections::HashMap;

use graftwork::digest;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use serde_json::json;
use tch::Device;

use super::*;

/// A tensor of a file: its type, shape and bytes.
type Entry = (Dtype, Vec<usize>, Vec<u8>);

fn entry(tensor: &Tensor) -> Entry {
    let (dtype, width) = match tensor.kind() {
        Kind::Half => (Dtype::F16, 2),
        Kind::BFloat16 => (Dtype::BF16, 2),
        Kind::Float => (Dtype::F32, 4),
        Kind::Double => (Dtype::F64, 8),
        Kind::Int64 => (Dtype::I64, 8),
        Kind::Int => (Dtype::I32, 4),
        other => panic!("no test writes {other:?}"),
    };
    let tensor = tensor.detach().contiguous();
    let mut bytes = vec![0; tensor.numel() * width];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    (dtype, tensor.size().iter().map(|&extent| extent as usize).collect(), bytes)
}

impl Lab {
    /// Writes `elsewhere.safetensors` as `safetensors.torch.save_file` does, and plans with it.
    fn write(&mut self, entries: &HashMap<String, Entry>) {
        let views = entries.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let path = self.folder.path().join("elsewhere.safetensors");
        std::fs::write(&path, serialize(views, None).unwrap()).unwrap();
        self.files.insert("file".to_owned(), digest::digest(&path).unwrap());
    }
}

/// The parameters of a network, in a type.
fn state_dict(model: &Model, kind: Kind) -> HashMap<String, Entry> {
    let params = model.params().iter();
    let cast = |value: &Tensor| {
        if value.kind() == Kind::Int64 { value.shallow_clone() } else { value.to_kind(kind) }
    };
    params.map(|(name, parameter)| (name.clone(), entry(&cast(&parameter.value)))).collect()
}

fn import(settings: &Value) -> Value {
    let mut stage = json!({
        "file": "elsewhere.safetensors",
        "model": mlp(),
        "data": {"mnist": {}},
    });
    merge(&mut stage, settings);
    json!({"import": stage})
}

#[test]
fn an_imported_network_is_the_one_that_was_saved_and_is_measured() {
    let mut lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]);
    lab.write(&state_dict(&dense.model(), Kind::Float));
    let taken = lab.run("taken", &import(&json!({})), &[]);
    assert_eq!(taken.bytes(), dense.bytes());
    for what in ["mnist:val/accuracy", "mnist:val/loss", "mnist:test/accuracy", "mnist:test/loss"] {
        assert!((taken.value(what, 0) - dense.value(what, 4)).abs() < 1e-12, "{what}");
    }
    assert_eq!((taken.value("import/loaded", 0), taken.value("import/missing", 0)), (9.0, 0.0));
}

#[test]
fn other_formats_of_numbers_become_32_bit_floats() {
    let mut lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]).model();
    for kind in [Kind::Half, Kind::BFloat16, Kind::Double] {
        lab.write(&state_dict(&dense, kind));
        let taken = lab.run(&format!("{kind:?}"), &import(&json!({})), &[]).model();
        for (name, parameter) in dense.params() {
            let expected = parameter.value.to_kind(kind).to_kind(parameter.value.kind());
            assert!(same(&taken.params()[name].value, &expected), "{kind:?} {name}");
        }
    }
}

#[test]
fn a_file_that_does_not_fit_is_refused_with_what_does_not() {
    let mut lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]).model();
    let mut entries = state_dict(&dense, Kind::Float);
    entries.remove("bn1.bias");
    for name in ["bn9.bias", "bn7.bias", "bn8.bias"] {
        entries.insert(name.to_owned(), entry(&Tensor::from_slice(&[1.0f32])));
    }
    entries.insert(
        "fc2.weight".to_owned(),
        entry(&Tensor::zeros([7, 16], (Kind::Float, Device::Cpu))),
    );
    lab.write(&entries);
    let taken = lab.run("taken", &import(&json!({})), &[]);
    assert_eq!(
        taken.result.unwrap_err(),
        "`elsewhere.safetensors` does not fit `mlp`: missing: bn1.bias; unexpected: bn7.bias, bn8.bias, bn9.bias; \
         of another shape: fc2.weight (7×16 in the file, 10×16 in the network); \
         log.txt lists all; `strict = false` takes what fits and gives the rest new initial values"
    );
    let log = std::fs::read_to_string(taken.draft.join("log.txt")).unwrap();
    assert!(
        log.starts_with(
            "loaded 7 parameters\nmissing: bn1.bias\nunexpected: bn7.bias, bn8.bias, bn9.bias\n"
        ),
        "{log}"
    );
}

#[test]
fn what_does_not_fit_is_new_where_that_is_allowed() {
    let mut lab = Lab::new();
    let dense = lab.run("dense", &pretrain(&json!({})), &[]).model();
    let fresh = lab.run("fresh", &pretrain(&json!({"epochs": 0})), &[]).model();
    let mut entries = state_dict(&dense, Kind::Float);
    entries.insert(
        "fc2.weight".to_owned(),
        entry(&Tensor::zeros([7, 16], (Kind::Float, Device::Cpu))),
    );
    entries.remove("fc2.bias");
    lab.write(&entries);
    let outcome = lab.run("taken", &import(&json!({"strict": false})), &[]);
    let taken = outcome.model();
    for (name, parameter) in taken.params() {
        let source = if name.starts_with("fc2.") { &fresh } else { &dense };
        assert!(same(&parameter.value, &source.params()[name].value), "{name}");
    }
    let counts = ["loaded", "missing", "mismatched", "unexpected"];
    let counts = counts.map(|name| outcome.value(&format!("import/{name}"), 0) as u32);
    assert_eq!(counts, [7, 1, 1, 0]);

    lab.write(&HashMap::from([("x".to_owned(), entry(&Tensor::from_slice(&[1.0f32])))]));
    let error = lab.run("nothing", &import(&json!({"strict": false})), &[]).result.unwrap_err();
    assert!(error.contains("unexpected: x; rename its tensors as PyTorch's"), "{error}");
}

#[test]
fn a_file_that_is_no_network_or_not_the_planned_one_is_told() {
    let mut lab = Lab::new();
    let whole = HashMap::from([("fc1.weight".to_owned(), entry(&Tensor::from_slice(&[1i32])))]);
    lab.write(&whole);
    let error = |lab: &Lab| {
        let error = lab.run("taken", &import(&json!({})), &[]).result.unwrap_err();
        error.replace(&lab.folder.path().display().to_string(), "…")
    };
    assert_eq!(
        error(&lab),
        "…/elsewhere.safetensors is no safetensors file with the parameters of a network: \
         `fc1.weight` has the type I32; there are F16, BF16, F32, F64, I64; \
         write one with `safetensors.torch.save_file(model.state_dict(), PATH)`"
    );
    let path = lab.folder.path().join("elsewhere.safetensors");
    std::fs::write(&path, "pickled").unwrap();
    let changed = "`elsewhere.safetensors` changed after the run was planned; run again";
    assert_eq!(error(&lab), changed);
    lab.files.insert("file".to_owned(), digest::digest(&path).unwrap());
    assert!(error(&lab).starts_with("…/elsewhere.safetensors is no safetensors file"));
}
