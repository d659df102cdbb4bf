//! What each stage does to its network: whether it can be built, whether its classes fit the data,
//! whether patterns match its layers.

use std::rc::Rc;

use super::adapting;
use super::check::Name;
use super::command;
use super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::finetuning;
use super::fit;
use super::grammar::Names;
use super::labels;
use super::meaning::Variant;
use super::measuring;
use super::program;
use super::pruning;
use super::rewind;
use super::sparsifying;
use super::spec::{
    BESIDE, Content, Data, EarlyStopping, Evaluate, Finetune, Import, Keep, Loss, Model, Optimizer,
    Pretrain, Sparsify, Split, Stage,
};
use super::task;
use super::tree::{Entry, Value};
use crate::network::zoo::{self, BuildError, BuildFault, Place};
use crate::network::{Extents, Network, ParamRole, ShapeError, matches};

/// A stage variant that is analysed, and where its text is.
pub(super) struct Site<'a> {
    pub(super) sources: &'a Sources,
    pub(super) name: &'a str,
    /// Where the stage's name stands.
    pub(super) key: Span,
    pub(super) variant: &'a Variant,
}

/// A stage that the analysed one reads.
pub(super) struct Input<'a> {
    /// The name in the analysed stage: its key is the role.
    pub(super) reference: &'a Name,
    /// The network that comes from there, where it is known.
    pub(super) network: Option<Rc<Network>>,
    /// The stage that is read, where it has no faults of its own.
    pub(super) stage: Option<&'a Stage>,
}

impl Input<'_> {
    /// Whether all is known of the stage that is read: its network, or that it makes none.
    pub(super) fn is_known(&self) -> bool {
        self.network.is_some() || matches!(self.stage, Some(Stage::Command(_)))
    }
}

/// Checks one stage and gives the network that leaves it, where that can be known.
pub(super) fn analyse(
    site: &Site<'_>,
    inputs: &[Input<'_>],
    faults: &mut Vec<Fault>,
) -> Option<Rc<Network>> {
    let stage = site.variant.stage.as_ref()?;
    if let Stage::Command(command) = stage {
        command::check(site, command, faults);
        return None;
    }
    let (points, networks): (Vec<_>, Vec<_>) =
        inputs.iter().partition(|input| stage.epoch_of(&input.reference.key).is_some());
    faults.extend(networks.into_iter().filter_map(|input| makes_no_network(site, input)));
    let training = Training::of(stage);
    if let Some(training) = &training {
        training.check(site, faults);
    }
    labels::check(site, stage, faults);
    let input = |role: &str| inputs.iter().find(|input| input.reference.key == role);
    let from = input("from").and_then(|input| input.network.clone());
    let fits = |key, data, network: Option<&Network>| {
        let from = site.value(&["from"]);
        let task = network.and_then(|network| task::check(site, key, data, network, from));
        task.or_else(|| fit::check(site, key, data, network?))
    };
    let network = match stage {
        Stage::Pretrain(Pretrain { model, data, .. }) => built(site, model, data, faults),
        Stage::Import(import) => {
            program::import(site, import, faults);
            imported(site, import, faults)
        }
        Stage::Prune(prune) => {
            let data = prune.data.as_ref();
            faults.extend(program::prune(site, &prune.criterion, from.as_deref()));
            faults.extend(program::layers(site, prune, from.as_deref()));
            pruning::check(site, prune, faults);
            faults.extend(data.and_then(|data| fits("data", data, from.as_deref())));
            let point = points.first();
            faults
                .extend(point.and_then(|point| rewind::check(site, stage, point, from.as_deref())));
            from
        }
        Stage::Finetune(finetune) => {
            faults.extend(fits("data", &finetune.data, from.as_deref()));
            faults.extend(program::finetune(site, finetune, from.as_deref()));
            let classes = from.as_ref().and_then(|network| network.classes().ok());
            let has_new_head = finetune.new_head || classes != Some(finetune.data.classes());
            let network = from.map(|network| re_headed(finetune, network));
            teacher(site, finetune, input("teacher"), network.as_deref(), faults);
            finetuning::check(site, finetune, network.as_deref(), has_new_head, faults);
            network
        }
        Stage::Adapt(adapt) => {
            adapting::check(site, adapt, faults);
            if let Some(fault) =
                task::adapt(site, adapt).or_else(|| program::adapt(site, from.as_deref()))
            {
                faults.push(fault);
            } else {
                adapting::classes(site, adapt, from.as_deref(), faults);
                faults.extend(adapting::batch_norm(site, adapt, from.as_deref()));
                let both = [("source", &adapt.source), ("target", &adapt.target)].into_iter();
                faults.extend(both.filter_map(|(key, data)| fits(key, data, from.as_deref())));
            }
            from
        }
        Stage::Evaluate(evaluate) => {
            faults.extend(evaluate_split(site, evaluate));
            let classes = |from| same_classes(site, &evaluate.data, from, "evaluate");
            faults.extend(from.as_deref().and_then(classes));
            faults.extend(fits("data", &evaluate.data, from.as_deref()));
            faults.extend(measuring::beside(site, input(BESIDE), from.as_deref()));
            from
        }
        Stage::Sensitivity(sensitivity) => {
            faults.extend(measuring::criterion(site, sensitivity));
            faults.extend(pruning::of_the_loss(site, &sensitivity.criterion));
            faults.extend(program::prune(site, &sensitivity.criterion, from.as_deref()));
            faults.extend(measuring::sensitivity_split(site, sensitivity));
            let classes = |from| same_classes(site, &sensitivity.data, from, "look at");
            faults.extend(from.as_deref().and_then(classes));
            faults.extend(fits("data", &sensitivity.data, from.as_deref()));
            from
        }
        Stage::Command(_) => None,
    };
    if let Some(network) = &network {
        let epochs = training.as_ref().map_or(0, |training| training.epochs);
        let sparsify = training.and_then(|training| training.sparsify);
        layers(site, network, epochs, sparsify, faults);
    }
    network
}

impl Site<'_> {
    pub(super) fn fault(&self, code: Code, span: Span, message: &str) -> Fault {
        self.sources.fault(code, span, format!("stage `{}`: {message}", self.name))
    }

    /// A key of the stage, by its path from the kind on, and its value.
    fn entry(&self, keys: &[&str]) -> Option<&Entry> {
        let (_, kind) = self.variant.tree.table()?.first()?;
        if keys.is_empty() { Some(kind) } else { kind.tree.entry(keys) }
    }

    /// Where a key stands; where the file leaves it out, where the stage's name stands.
    pub(super) fn key(&self, keys: &[&str]) -> Span {
        self.entry(keys).map_or(self.key, |entry| entry.key)
    }

    /// Whether the file states a key.
    pub(super) fn is_stated(&self, keys: &[&str]) -> bool {
        self.entry(keys).is_some()
    }

    /// Where a value stands; where the file leaves it out, where the stage's name stands.
    pub(super) fn value(&self, keys: &[&str]) -> Span {
        self.entry(keys).map_or(self.key, |entry| entry.tree.span)
    }

    /// Where an item of a list stands; where the list is not there, where the stage's name stands.
    pub(super) fn item(&self, keys: &[&str], index: usize) -> Span {
        match self.entry(keys).map(|entry| &entry.tree.value) {
            Some(Value::Array(items)) => items.get(index).map_or(self.key, |item| item.span),
            _ => self.key,
        }
    }

    /// Where a layer of `model.layers` stands: its key, or the whole list for no place.
    fn layer(&self, place: &[Place]) -> Span {
        let Some(list) = self.entry(&["model", "layers"]) else { return self.choice(&["model"]) };
        let (mut span, mut tree) = (list.key, &list.tree);
        for step in place {
            match (step, &tree.value) {
                (Place::Index(index), Value::Array(items)) if *index < items.len() => {
                    tree = &items[*index];
                    span = tree.span;
                }
                (Place::Key(key), Value::Table(table)) if table.contains_key(*key) => {
                    (span, tree) = (table[*key].key, &table[*key].tree);
                }
                _ => break,
            }
        }
        span
    }

    /// Where the name of the alternative that a key chooses stands, with the key if they are one word.
    pub(super) fn choice(&self, keys: &[&str]) -> Span {
        let Some(entry) = self.entry(keys) else { return self.key };
        let Some((_, chosen)) = entry.tree.table().and_then(|table| table.first()) else {
            return entry.tree.span;
        };
        let is_dotted =
            entry.key.source == chosen.key.source && entry.key.end + 1 == chosen.key.start;
        if is_dotted { entry.key.to(chosen.key) } else { chosen.key }
    }
}

/// The settings of a training stage that are checked alike in all kinds.
struct Training<'a> {
    epochs: u32,
    optimizer: &'a Optimizer,
    loss: &'a Loss,
    keep: Keep,
    early_stopping: Option<&'a EarlyStopping>,
    sparsify: Option<&'a Sparsify>,
    /// The data with labels, and its key.
    data: (&'static str, &'a Data),
    /// The data on whose validation split the best epoch is chosen, and its key.
    chosen_on: (&'static str, &'a Data),
    can_have_teacher: bool,
}

impl<'a> Training<'a> {
    fn of(stage: &'a Stage) -> Option<Self> {
        macro_rules! of {
            ($stage:expr, $key:literal, $data:ident, $teacher:literal) => {
                Some(Self {
                    epochs: $stage.epochs,
                    optimizer: &$stage.optimizer,
                    loss: &$stage.loss,
                    keep: $stage.keep,
                    early_stopping: $stage.early_stopping.as_ref(),
                    sparsify: $stage.sparsify.as_ref(),
                    data: ($key, &$stage.$data),
                    chosen_on: ($key, &$stage.$data),
                    can_have_teacher: $teacher,
                })
            };
        }
        match stage {
            Stage::Pretrain(stage) => of!(stage, "data", data, false),
            Stage::Finetune(stage) => of!(stage, "data", data, true),
            Stage::Adapt(stage) => {
                let training: Option<Self> = of!(stage, "source", source, false);
                let chosen_on = adapting::chosen_on(stage);
                training.map(|training| Self { chosen_on, ..training })
            }
            Stage::Prune(_)
            | Stage::Evaluate(_)
            | Stage::Sensitivity(_)
            | Stage::Import(_)
            | Stage::Command(_) => None,
        }
    }

    fn check(&self, site: &Site<'_>, faults: &mut Vec<Fault>) {
        let chooses = [
            (self.keep != Keep::Last).then_some((
                "keep",
                "the best epoch is chosen",
                self.chosen_on,
            )),
            self.early_stopping.map(|_| ("early-stopping", "the end is chosen", self.data)),
        ];
        for (setting, what, (key, data)) in chooses.into_iter().flatten() {
            if data.batching().val_fraction == 0.0 {
                faults.push(no_validation(site, setting, what, key, data));
            }
        }
        if let Some(sparsify) = self.sparsify {
            sparsifying::check(site, sparsify, self.epochs, faults);
        }
        if let Optimizer::Sgd(sgd) = self.optimizer
            && sgd.nesterov
            && sgd.momentum == 0.0
        {
            let span = site.key(&["optimizer", "sgd", "nesterov"]);
            let fault =
                site.fault(Code::Contradiction, span, "`nesterov` needs a `momentum` above 0");
            let momentum = site.key(&["optimizer", "sgd", "momentum"]);
            let fault = fault.label("nothing to look ahead with").note(
                site.sources,
                momentum,
                "it is 0 here",
            );
            faults.push(fault.help("set `momentum = 0.9`, or leave `nesterov` out"));
        }
        if !self.can_have_teacher && matches!(self.loss, Loss::Distillation(_)) {
            let span = site.choice(&["loss"]);
            let fault = site.fault(Code::Teacher, span, "`loss.distillation` needs a teacher");
            let fault = fault.label("this kind of stage has none");
            faults.push(fault.help("distil in a `finetune` stage with `teacher = \"…\"`; or choose `cross-entropy` or `mse`"));
        }
    }
}

fn no_validation(site: &Site<'_>, setting: &str, what: &str, key: &str, data: &Data) -> Fault {
    let span = site.key(&[setting]);
    let message = format!("`{setting}` needs a validation split, and `{}` has none", data.name());
    let fraction = site.key(&[key, data.name(), "val-fraction"]);
    let fault = site.fault(Code::NoValidation, span, &message);
    let fault = fault.label(format!("{what} on the validation split"));
    let fault = fault.note(site.sources, fraction, "leaves no validation split");
    fault.help(format!(
        "set `{key}.{}.val-fraction` above 0 (0.1 is the default), or leave `{setting}` out",
        data.name()
    ))
}

fn makes_no_network(site: &Site<'_>, input: &Input<'_>) -> Option<Fault> {
    let Name { key, text, span, .. } = input.reference;
    let (message, label, help) = match input.stage? {
        Stage::Evaluate(evaluate) => (
            format!("{key} = {text:?} names an `evaluate` stage"),
            "it measures and makes no network",
            format!("start from what it measures: {key} = {:?}", evaluate.from),
        ),
        Stage::Sensitivity(sensitivity) => (
            format!("{key} = {text:?} names a `sensitivity` stage"),
            "it measures and makes no network",
            format!("start from what it looks at: {key} = {:?}", sensitivity.from),
        ),
        Stage::Command(_) => (
            format!("{key} = {text:?} names a `command` stage"),
            "it leaves files and makes no network",
            "name a stage that makes one".to_owned(),
        ),
        _ => return None,
    };
    Some(site.fault(Code::NoNetwork, *span, &message).label(label).help(help))
}

/// The network of a file: what it is said to be, or a program.
fn imported(site: &Site<'_>, import: &Import, faults: &mut Vec<Fault>) -> Option<Rc<Network>> {
    match &import.model {
        Some(model) => built(site, model, &import.data, faults),
        None => zoo::build_imported(None, &import.data).ok().map(Rc::new),
    }
}

fn built(
    site: &Site<'_>,
    model: &Model,
    data: &Data,
    faults: &mut Vec<Fault>,
) -> Option<Rc<Network>> {
    let BuildError { place, fault } = match zoo::build_for(model, data) {
        Ok(network) => {
            let fault = task::check(site, "data", data, &network, site.choice(&["model"]));
            faults.extend(fault);
            return Some(Rc::new(network));
        }
        Err(error) => error,
    };
    faults.push(match fault {
        BuildFault::Shape(error) if place.is_empty() => too_small(site, model, data, &error),
        fault => no_network(site, data, &place, &fault),
    });
    None
}

/// An architecture cannot take the images.
fn too_small(site: &Site<'_>, model: &Model, data: &Data, error: &ShapeError) -> Fault {
    let shape = data.shape();
    let span = site.choice(&["model"]);
    let name = site.sources.quote(span).rsplit('.').next().unwrap_or_default().to_owned();
    let message = format!(
        "`{name}` cannot take {} of `{}`, which are {}",
        data.what(),
        data.name(),
        Extents(&shape)
    );
    let label = format!(
        "layer `{}` gets {}, and {}",
        error.node,
        error.inputs.first().map_or(String::new(), |shape| Extents(shape).to_string()),
        error.reason
    );
    let fault = site.fault(Code::Shape, span, &message).label(label);
    let is_sized = match data.content() {
        Content::Images(options, _) => options.size.is_some(),
        Content::Folder(_) | Content::Masks(_) => true,
        _ => false,
    };
    let (place, note) = if is_sized {
        (site.key(&["data", data.name(), "size"]), "resizes the images".to_owned())
    } else {
        (site.choice(&["data"]), format!("gives the {}", data.what()))
    };
    let fault = fault.note(site.sources, place, note);
    match smallest_image(model, data) {
        Some(smallest) => {
            let size = smallest.max(28);
            fault.help(format!(
                "it needs at least {smallest}×{smallest}: resize the images with `data.{}.size = [{size}, {size}]`",
                data.name(),
            ))
        }
        None => fault.help("choose another model"),
    }
}

/// A network that is written layer by layer cannot be built.
fn no_network(site: &Site<'_>, data: &Data, place: &[Place], fault: &BuildFault) -> Fault {
    let span = site.layer(place);
    match fault {
        BuildFault::Shape(error) => {
            let message = format!("layer `{}` ({}) does not fit", error.node, error.op);
            let fault = site.fault(Code::Shape, span, &message);
            let fault = match error.inputs.as_slice() {
                [input] => fault.label(format!("it gets {}, and {}", Extents(input), error.reason)),
                // What joins several says which of them do not fit.
                _ => fault.label(error.reason.clone()),
            };
            let images = format!("{} are {}", data.what(), Extents(&data.shape()));
            fault.note(site.sources, site.choice(&["data"]), images)
        }
        BuildFault::SameName(name) => {
            let fault = site.fault(Code::Repeated, span, &fault.to_string());
            fault.label(format!("`{name}` again")).help("give one of them another `name`")
        }
        BuildFault::TooLong(most) => {
            let fault = site.fault(Code::OutOfRange, span, &fault.to_string());
            fault.label(format!("more than {most}")).help("lower a `repeat`")
        }
        BuildFault::NoHead => {
            let fault = site.fault(Code::Shape, span, &fault.to_string());
            let fault = fault.label("no layer here gives the classes");
            fault.help("end the list with `{ flatten = {} }, { classifier = {} }`")
        }
        BuildFault::Classes { outputs, classes } => {
            let fault = site.fault(Code::Classes, span, &fault.to_string());
            let fault = fault.label(format!("ends in {outputs} values"));
            let note = format!("{classes} classes");
            let fault = fault.note(site.sources, site.choice(&["data"]), note);
            fault.help("end the list with `{ classifier = {} }`, which has as many outputs as there are classes")
        }
    }
}

/// Height and width of the smallest square images that a model takes, where size is what it lacks.
fn smallest_image(model: &Model, data: &Data) -> Option<u32> {
    let channels = match data.content() {
        Content::Images(..) | Content::Scenes(_) | Content::Folder(_) | Content::Masks(_) => {
            data.shape()[0]
        }
        Content::Recordings(_) | Content::Bags(_) | Content::Texts(_) | Content::Rows(_) => {
            return None;
        }
    };
    let fits =
        |extent: &u32| zoo::build(model, &[channels, *extent, *extent], data.classes()).is_ok();
    // What fits an image fits every larger one.
    let sizes: Vec<u32> = (1..=64).collect();
    sizes.get(sizes.partition_point(|extent| !fits(extent))).copied()
}

/// The network with the head that the data needs.
fn re_headed(finetune: &Finetune, network: Rc<Network>) -> Rc<Network> {
    let classes = finetune.data.classes();
    if network.classes().is_ok_and(|old| old == classes) {
        return network;
    }
    Rc::new(Network::clone(&network).with_classes(classes))
}

fn teacher(
    site: &Site<'_>,
    finetune: &Finetune,
    teacher: Option<&Input<'_>>,
    student: Option<&Network>,
    faults: &mut Vec<Fault>,
) {
    let distils = matches!(finetune.loss, Loss::Distillation(_));
    match (&finetune.teacher, distils) {
        (None, true) => {
            let span = site.choice(&["loss"]);
            let fault = site.fault(Code::Teacher, span, "`loss.distillation` needs a teacher");
            let fault = fault.label("nobody teaches");
            faults.push(fault.help("add `teacher = \"…\"` with the name of a trained stage"));
        }
        (Some(_), false) => {
            let span = site.key(&["teacher"]);
            let fault = site.fault(Code::Teacher, span, "a `teacher` needs `loss.distillation`");
            let fault = fault.label("never asked");
            faults.push(fault.help("add `loss.distillation = {}`, or leave `teacher` out"));
        }
        _ => {}
    }
    let Some((input, network)) = teacher.and_then(|input| Some((input, input.network.as_deref()?)))
    else {
        return;
    };
    let (classes, needed) = (network.classes().unwrap_or(0), finetune.data.classes());
    let Name { text, span, .. } = input.reference;
    if let Some(fault) = task::check(site, "data", &finetune.data, network, *span) {
        faults.push(fault);
        return;
    }
    if classes != needed {
        let name = finetune.data.name();
        let message =
            format!("teacher {text:?} tells {classes} classes apart, and `{name}` has {needed}");
        let fault = site.fault(Code::Classes, *span, &message);
        let fault = fault.label(format!("{classes} classes"));
        let fault = fault.note(site.sources, site.choice(&["data"]), format!("{needed} classes"));
        faults.push(
            fault.help(format!("finetune the teacher on `{name}` first and name that stage")),
        );
    }
    if let Some(student) = student.filter(|student| student.input_shape() != network.input_shape())
    {
        let (theirs, ours) = (Extents(network.input_shape()), Extents(student.input_shape()));
        let what = finetune.data.what();
        let message = format!("teacher {text:?} takes {what} of {theirs}, and the student {ours}");
        let fault = site.fault(Code::Shape, *span, &message).label(format!("takes {theirs}"));
        faults.push(fault.help(match finetune.data.content() {
            Content::Images(..) | Content::Scenes(_) | Content::Folder(_) | Content::Masks(_) => {
                "train both on one size, which `size = [HEIGHT, WIDTH]` of the dataset sets"
            }
            _ => "train both on data that is read in the same way",
        }));
    }
}

fn evaluate_split(site: &Site<'_>, evaluate: &Evaluate) -> Option<Fault> {
    let is_empty = evaluate.split == Split::Val && evaluate.data.batching().val_fraction == 0.0;
    is_empty.then(|| no_validation(site, "split", "the measure is taken", "data", &evaluate.data))
}

/// Accuracy has a meaning where the network's classes are the data's.
fn same_classes(site: &Site<'_>, data: &Data, from: &Network, verb: &str) -> Option<Fault> {
    let (classes, needed) = (from.classes().ok()?, data.classes());
    // Classes of examples and of pixels are not the same things: that is said by itself.
    if classes == needed || from.task().ok()? != data.task() {
        return None;
    }
    let name = data.name();
    let message = format!("the network tells {classes} classes apart, and `{name}` has {needed}");
    let fault = site.fault(Code::Classes, site.choice(&["data"]), &message);
    let fault = fault.label(format!("{needed} classes"));
    let fault = fault.note(site.sources, site.value(&["from"]), format!("{classes} classes"));
    Some(fault.help(format!("finetune it on `{name}` first, and {verb} that stage")))
}

pub(super) fn with_classes(what: &str, classes: u32) -> String {
    let has_classes = |name: &&str| {
        // A dataset that cannot be read without being told more is named for what it has in any case.
        let options = match *name {
            "amazon-reviews" => serde_json::json!({ "category": "books" }),
            _ => serde_json::json!({}),
        };
        let data = serde_json::from_value::<Data>(serde_json::json!({ *name: options }));
        data.is_ok_and(|data| data.classes() == classes)
    };
    let names = Data::NAMES.iter().copied().filter(has_classes);
    let names = list(names);
    if names.is_empty() {
        return format!("choose {what} with {classes} classes");
    }
    format!("choose {what} with {classes} classes: {names}")
}

/// Whether every pattern matches a layer, and whether something is left to train.
fn layers(
    site: &Site<'_>,
    network: &Network,
    epochs: u32,
    sparsify: Option<&Sparsify>,
    faults: &mut Vec<Fault>,
) {
    let mut patterns = site.variant.names.iter().filter(|name| name.of == Names::Layer).peekable();
    if patterns.peek().is_none() {
        return;
    }
    let layers = network.layer_names();
    if network.is_program() && layers.is_empty() {
        // What a program holds is known when it is read: its patterns are looked at then.
        return;
    }
    let (mut frozen, mut excluded) = (vec![false; layers.len()], vec![false; layers.len()]);
    for Name { key, text, span, .. } in patterns {
        let matched: Vec<bool> = layers.iter().map(|layer| matches(text, layer)).collect();
        if !matched.contains(&true) {
            let message = format!("`{key}`: {text:?} matches no layer of the network");
            let label = nearest(text, layers.iter().copied())
                .map_or("no such layer".to_owned(), |near| format!("did you mean \"{near}\"?"));
            let fault = site.fault(Code::NoLayer, *span, &message).label(label);
            faults.push(fault.help(format!(
                "layers of `{}` are {}; `*` stands for any characters",
                network.arch,
                list(layers.iter().copied())
            )));
        }
        let covered = match key.as_str() {
            "freeze" => &mut frozen,
            "exclude" => &mut excluded,
            _ => continue,
        };
        covered.iter_mut().zip(matched).for_each(|(covered, matched)| *covered |= matched);
    }
    if epochs > 0 && !frozen.contains(&false) {
        let fault = site.fault(
            Code::Contradiction,
            site.key(&["freeze"]),
            "`freeze` leaves nothing to train",
        );
        let fault = fault.label("matches every layer");
        let names = list(layers.iter().copied());
        faults.push(fault.help(format!("layers of `{}` are {names}", network.arch)));
    }
    let prunable = network
        .nodes
        .iter()
        .filter(|node| node.op.params().iter().any(|param| param.role == ParamRole::Weight));
    let prunable: Vec<&str> = prunable.map(|node| node.name.as_str()).collect();
    let stays = |name: &&str| {
        let covered = excluded.iter().zip(&frozen);
        let covered =
            covered.map(|(excluded, frozen)| *excluded || (sparsify.is_some() && *frozen));
        layers.iter().zip(covered).any(|(layer, covered)| layer == name && covered)
    };
    if excluded.contains(&true) && prunable.iter().all(stays) {
        let span = match sparsify {
            Some(sparsify) => site.key(&["sparsify", sparsify.name(), "exclude"]),
            None => site.key(&["exclude"]),
        };
        let fault = site.fault(Code::Contradiction, span, "`exclude` leaves nothing to prune");
        let fault = fault.label("matches every layer with weights");
        faults.push(fault.help(format!("those of `{}` are {}", network.arch, list(prunable))));
    }
}
