//! Few labels of each class: where they can be asked for.

use super::fault::{Code, Fault};
use super::networks::Site;
use super::spec::{Data, Stage};

/// Faults of a stage that draws examples of each class of data on whose labels it does not train.
pub(super) fn check(site: &Site<'_>, stage: &Stage, faults: &mut Vec<Fault>) {
    let (why, label) = match stage {
        Stage::Pretrain(_) | Stage::Finetune(_) | Stage::Prune(_) | Stage::Command(_) => return,
        Stage::Adapt(_) => ("the target of an adaptation has none to choose by", "no labels"),
        Stage::Evaluate(_) | Stage::Sensitivity(_) => {
            ("this stage measures and does not train", "nothing is trained")
        }
        Stage::Import(_) => ("an `import` does not train", "nothing is trained"),
    };
    let data = stage.data().into_iter().filter(|(key, _)| *key != "source");
    let few = data.filter(|(_, data)| data.batching().labels_per_class.is_some());
    faults.extend(few.map(|(key, data)| fault(site, key, data, why, label)));
}

fn fault(site: &Site<'_>, key: &str, data: &Data, why: &str, label: &str) -> Fault {
    let span = site.key(&[key, data.name(), "labels-per-class"]);
    let message = format!("`labels-per-class` chooses what is trained on by its labels, and {why}");
    let fault = site.fault(Code::Contradiction, span, &message).label(label);
    fault.help("leave it out here; it belongs to the data of `pretrain`, `finetune` and `prune`, and to the `source` of `adapt`")
}
