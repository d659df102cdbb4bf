//! Whether a network tells of an example what the data asks: one class, or one of every pixel.

use super::fault::{Code, Fault, Span};
use super::networks::Site;
use super::spec::{Adapt, Data};
use crate::network::{Network, Task};

/// What is wrong with giving a network the data that a key of the stage names, if anything.
///
/// - of: where the network is named: its architecture, or the stage that it comes from
pub(super) fn check(
    site: &Site<'_>,
    key: &str,
    data: &Data,
    network: &Network,
    of: Span,
) -> Option<Fault> {
    let (told, asked) = (network.task().ok()?, data.task());
    if told == asked {
        return None;
    }
    let message =
        format!("`{}` has {}, and the network gives {}", data.name(), answer(asked), answer(told));
    let fault = site.fault(Code::Task, of, &message).label(format!("gives {}", answer(told)));
    let fault = fault.note(site.sources, site.choice(&[key]), format!("has {}", answer(asked)));
    Some(fault.help(match asked {
        Task::Segmentation => {
            "choose a network for segmentation: unet, fcn8s, fcn16s, fcn32s, fcn-resnet50, or `layers` that \
             end in `{ classifier = { per-pixel = true } }`"
        }
        Task::Classification => {
            "choose a network for classification, or data with masks: digits-on-photographs"
        }
    }))
}

/// Adaptation compares one row of features of each example.
pub(super) fn adapt(site: &Site<'_>, adapt: &Adapt) -> Option<Fault> {
    let both = [("source", &adapt.source), ("target", &adapt.target)];
    let (key, data) = both.into_iter().find(|(_, data)| data.task() == Task::Segmentation)?;
    let message = format!("`adapt` takes a class for an example, and `{}` has masks", data.name());
    let fault = site.fault(Code::Task, site.choice(&[key]), &message);
    let fault = fault.label(format!("has {}", answer(Task::Segmentation)));
    Some(fault.help("`finetune` the network on labelled scenes of the target"))
}

fn answer(task: Task) -> &'static str {
    match task {
        Task::Classification => "one class for an example",
        Task::Segmentation => "a class for every pixel",
    }
}
