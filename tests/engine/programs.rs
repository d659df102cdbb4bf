//! A `TorchScript` program that PyTorch has written: imported, trained, pruned, taught, measured, exported.

use std::fs;
use std::path::Path;

use graftwork::ledger::Ledger;

use super::{Place, check, said};

const JOB: &str = r#"
name = "programs"
seeds = [0]

[stage.taken.import]
file = "plain.pt"
data.mnist = { size = [8, 8], batch-size = 32 }

[stage.tuned.finetune]
from = "taken"
data.mnist = { size = [8, 8], batch-size = 32 }
epochs = 30
optimizer.adam = { learning-rate = 0.01 }
learning-rate-factors = { "0" = 0.5 }
keep = "best"

[stage.thin.prune]
from = "tuned"
criterion.magnitude = {}
sparsity = 0.5
exclude = ["6"]

[stage.sparse.prune]
from = "tuned"
criterion.sparse-opt = { epochs = 2, debias-epochs = 1 }
sparsity = 0.5

[stage.healed.finetune]
from = "thin"
teacher = "tuned"
loss.distillation = {}
data.mnist = { size = [8, 8], batch-size = 32 }
epochs = 2
freeze = ["0", "6.bias"]

[stage.back.prune]
from = "tuned"
criterion.random = {}
sparsity = 0.3
rewind-to = { stage = "tuned", epoch = 1 }

[stage.measured.evaluate]
from = "healed"
data.mnist = { size = [8, 8], batch-size = 32 }
"#;

fn copy(name: &str, to: &Path) {
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/torchscript");
    fs::copy(Path::new(from).join(name), to).unwrap();
}

#[test]
fn a_program_is_trained_pruned_taught_and_measured_as_other_networks() {
    let Some(place) = Place::new() else { return };
    let root = place.folder.path();
    copy("plain.pt", &root.join("plain.pt"));
    place.write(JOB);
    let all = ["taken", "tuned", "thin", "sparse", "healed", "back", "measured"];
    check(&place.run("results", &[]), &all.map(|name| (name, 1)));
    let ledger = Ledger::open_read_only(&root.join("results/ledger.sqlite")).unwrap();
    let last = |stage: &str, metric: &str| {
        let query = format!(
            "SELECT value FROM metric JOIN metric_name AS name ON name.id = metric.name \
             JOIN attempt ON attempt.id = metric.attempt \
             WHERE attempt.name = '{stage}' AND name.name = '{metric}' ORDER BY step DESC LIMIT 1"
        );
        let answer = ledger.query(&query).unwrap();
        answer.rows.first().and_then(|row| row[0].as_f64())
    };
    let accuracy = |stage| last(stage, "mnist-8x8:test/accuracy").unwrap();
    assert!(accuracy("taken") < 0.3 && accuracy("tuned") > 0.8, "{}", accuracy("tuned"));
    assert!(accuracy("healed") > 0.6, "{}", accuracy("healed"));
    let is_the_same = last("measured", "mnist-8x8:test/accuracy") == Some(accuracy("healed"));
    assert!(is_the_same, "{} is not {}", accuracy("measured"), accuracy("healed"));
    for (stage, expected) in
        [("taken", 0.0), ("thin", 0.5 * 468.0 / 588.0), ("sparse", 0.5), ("back", 0.3)]
    {
        let sparsity = last(stage, "sparsity").unwrap();
        assert!((sparsity - expected).abs() < 0.005, "{stage}: {sparsity}, not {expected}");
    }
    assert_eq!(last("healed", "sparsity"), last("thin", "sparsity"), "the masks hold");
    assert_eq!(last("healed", "macs"), None, "nobody knows them");

    // Content decides, its place does not; a checkpoint without its program is made again.
    fs::rename(root.join("plain.pt"), root.join("net.pt")).unwrap();
    place.write(&JOB.replace("plain.pt", "net.pt"));
    check(&place.run("results", &[]), &[]);
    let folders = fs::read_dir(root.join("results/store")).unwrap().flatten();
    let programs =
        folders.flat_map(|digits| fs::read_dir(digits.path()).into_iter().flatten().flatten());
    let programs: Vec<_> =
        programs.map(|key| key.path().join("program.pt")).filter(|path| path.exists()).collect();
    assert_eq!(programs.len(), 6);
    for path in programs {
        fs::remove_file(path).unwrap();
    }
    // `measured` is there, so that nothing needs the two before it.
    check(&place.run("results", &[]), &["taken", "tuned", "sparse", "back"].map(|name| (name, 1)));
}

#[test]
fn a_program_is_exported_by_pytorchs_names() {
    let Some(place) = Place::new() else { return };
    let root = place.folder.path();
    copy("branching.pt", &root.join("net.pt"));
    let job = "name = 'programs'\n[stage.taken.import]\nfile = 'net.pt'\ndata.mnist = { size = [8, 8] }\n";
    place.write(job);
    place.run("results", &[]);
    let export =
        |to: &str| place.command("results", &["export", "taken", "--to", to]).output().unwrap();
    assert!(export("net.safetensors").status.success());
    let bytes = fs::read(root.join("net.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for name in ["shift", "norm.running_var", "blocks.1.weight", "gate.calls"] {
        assert!(file.tensor(name).is_ok(), "{name}");
    }
    let refused = export("net.onnx");
    assert!(
        !refused.status.success() && said(&refused).contains("TorchScript program"),
        "{}",
        said(&refused)
    );
    assert!(!root.join("net.onnx").exists());
}

#[test]
fn what_cannot_be_had_of_a_program_is_told_where_it_is_asked() {
    let Some(place) = Place::new() else { return };
    let root = place.folder.path();
    copy("plain.pt", &root.join("plain.pt"));
    copy("plain.safetensors", &root.join("plain.bin"));
    let refuses = |job: &str, expected: &str| {
        place.write(&format!("name = 'programs'\n{job}"));
        let output =
            place.command("results", &["run", "job.toml", "--device", "cpu"]).output().unwrap();
        assert!(!output.status.success(), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    };
    let taken = |file: &str, size: &str| {
        format!("[stage.taken.import]\nfile = '{file}'\ndata.mnist = {{ size = [{size}] }}\n")
    };
    refuses(&taken("plain.bin", "8, 8"), "`plain.bin` is no TorchScript program: ");
    refuses(
        &taken("plain.pt", "9, 12"),
        "the program of `plain.pt` cannot take images of `mnist`, which are 1×9×12: mat1 and mat2 shapes cannot be multiplied",
    );
    super::own::write_data(root);
    refuses(
        "[stage.taken.import]\nfile = 'plain.pt'\ndata.image-folder = { path = 'photos', classes = ['dark', 'bright'], size = [8, 8], colour = 'grey' }\n",
        "gives 2×10 for 2 of `image-folder`, for whose 2 classes it should be 2×2",
    );
    let tuned = "[stage.tuned.finetune]\nfrom = 'taken'\ndata.mnist = {}\nepochs = 1\n";
    refuses(
        &format!("{}{tuned}freeze = ['conv1']\n", taken("plain.pt", "8, 8")),
        "`freeze`: \"conv1\" matches nothing of the network; there are: 0.weight, 0.bias, 4.weight",
    );
    refuses(
        &format!("{}{tuned}freeze = ['*']\n", taken("plain.pt", "8, 8")),
        "nothing is left to train",
    );
}
