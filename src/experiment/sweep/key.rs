//! Keys of a sweep, as `thin.sparsity`: where each leads.

use std::rc::Rc;

use super::super::check::find_below;
use super::super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::super::grammar::{EXPERIMENT, Rule, What};
use super::super::path::{Segment, expand, join, kind_of, segments, stage_names};
use super::super::tree::Tree;

/// A legal key.
#[derive(Debug)]
pub(super) struct Key {
    /// The whole path: `stage`, its name, its kind, and on.
    pub(super) path: Vec<String>,
    /// The path from the stage's own table on, with the place of each key.
    pub(super) steps: Rc<[(String, Span)]>,
    pub(super) stage: Rc<str>,
}

/// Finds where the key of an axis, or of a setting in a point of one, leads.
pub(super) struct Resolver<'a> {
    root: &'a Tree,
    sources: &'a Sources,
    /// What has the key: an axis or a setting.
    word: &'static str,
    code: Code,
    name: &'a str,
    key: Span,
}

impl<'a> Resolver<'a> {
    pub(super) fn of_axis(root: &'a Tree, sources: &'a Sources, name: &'a str, key: Span) -> Self {
        Self { root, sources, word: "axis", code: Code::UnknownAxis, name, key }
    }

    pub(super) fn of_setting(
        root: &'a Tree,
        sources: &'a Sources,
        name: &'a str,
        key: Span,
    ) -> Self {
        Self { root, sources, word: "setting", code: Code::UnknownSetting, name, key }
    }

    /// The key, where the language has it.
    pub(super) fn resolve(&self) -> Result<Key, Box<Fault>> {
        let Some(short) = segments(self.name) else {
            let fault =
                self.fault(None, format!("the {} {:?} is no dotted key", self.word, self.name));
            return Err(Box::new(
                fault.label("not a key").help("write \"stage.key\": \"thin.sparsity\""),
            ));
        };
        let stage = &short[0];
        if self.root.entry(&["stage", &stage.0]).is_none() {
            let fault = self.no_stage(stage);
            let is_key = short.len() == 1;
            let stage = is_key.then(|| format!("a key follows its stage: \"STAGE.{}\"", stage.0));
            return Err(Box::new(fault.help_if(stage)));
        }
        let Some(kind) = kind_of(self.root, &stage.0) else {
            // The stage's own fault has been reported.
            let fault = self.fault(Some(stage), format!("stage `{}` has no single kind", stage.0));
            return Err(Box::new(fault.label("what it sweeps is not known")));
        };
        if let [only] = short.as_slice() {
            return Err(Box::new(self.stage_alone(only, kind)));
        }
        let path = expand(self.root, &short).unwrap_or_default();
        self.follow(&short, &path)?;
        // The kind is left out in the key; it stands where the stage does.
        let places = short.iter().map(|segment| self.place(Some(segment)));
        let steps = path[2..].iter().cloned().zip(places).collect();
        Ok(Key { stage: Rc::from(path[1].as_str()), path, steps })
    }

    /// Follows the path through the rules.
    fn follow(&self, short: &[Segment], path: &[String]) -> Result<(), Box<Fault>> {
        // Under an unknown kind nothing can be said; the kind itself has been reported.
        let mut rule = EXPERIMENT.at(&path[..3]);
        for (index, segment) in short.iter().enumerate().skip(1) {
            let Some(here) = rule else { break };
            rule = here.get(&segment.0);
            if rule.is_none() {
                return Err(Box::new(self.no_key(short, index, here, path)));
            }
        }
        Ok(())
    }

    /// Follows the path of a legal key through the file: an axis sweeps what its stage states.
    pub(super) fn stated(&self, key: &Key) -> Result<(), Box<Fault>> {
        let path = &key.path;
        let mut tree = self.root.entry(&path[..3]).map(|entry| &entry.tree);
        let mut rule = EXPERIMENT.at(&path[..3]);
        for (at, step) in path.iter().enumerate().skip(3) {
            let Some(here) = rule else { break };
            let stated = tree.and_then(Tree::table).and_then(|table| table.get(step));
            let Some(entry) = stated else {
                return Err(Box::new(self.not_stated(key, at, here, tree)));
            };
            (tree, rule) = (Some(&entry.tree), here.get(step));
        }
        Ok(())
    }

    fn stage_alone(&self, stage: &Segment, kind: &str) -> Fault {
        let message = format!("the {} `{}` names a stage and no key of it", self.word, stage.0);
        let fault = self.fault(None, message).label("a key is missing");
        let stated = self.root.entry(&["stage", &stage.0, kind]);
        let mut keys = stated.and_then(|entry| entry.tree.table()).into_iter().flatten();
        let plain = keys.find(|(_, entry)| entry.tree.table().is_none());
        let key = plain.map_or("…", |(key, _)| key);
        fault.help(format!("name one, and put all of it in quotes: \"{}.{key}\"", stage.0))
    }

    fn no_stage(&self, stage: &Segment) -> Fault {
        let stages = stage_names(self.root);
        let Self { word, name, .. } = self;
        let message = format!("the {word} `{name}` names no stage: there is no `{}`", stage.0);
        let label = nearest(&stage.0, stages.iter().copied())
            .map_or("no such stage".to_owned(), |near| format!("did you mean `{near}`?"));
        let help = format!("stages are {}", list(stages.iter().copied()));
        self.fault(Some(stage), message).label(label).help(help)
    }

    fn no_key(&self, short: &[Segment], index: usize, here: &Rule, path: &[String]) -> Fault {
        let (stage, segment) = (&short[0].0, &short[index]);
        let Self { word, name, .. } = self;
        let owner = if index == 1 { &path[2] } else { &short[index - 1].0 };
        let message = match &here.what {
            What::Table(_) | What::OneOf(_) => {
                format!("the {word} `{name}` leads nowhere: `{owner}` has no key `{}`", segment.0)
            }
            What::List(_) => {
                format!("the {word} `{name}` leads into a list: `{owner}` has no keys")
            }
            _ => format!(
                "the {word} `{name}` leads too far: `{owner}` is {} and has no keys",
                here.words()
            ),
        };
        let fault = self.fault(Some(segment), message);
        if index == 1 && segment.0 == path[2] {
            let rest: Vec<_> =
                short.iter().map(|(key, _)| key).filter(|key| **key != path[2]).collect();
            return fault
                .label("the kind is left out here")
                .help(format!("write \"{}\"", join(&rest)));
        }
        let keys = here.keys();
        if keys.is_empty() {
            let whole: Vec<_> = short[..index].iter().map(|(key, _)| key).collect();
            return fault
                .label("nothing is below")
                .help(format!("state the whole value: \"{}\" = …", join(&whole)));
        }
        let stated = self.root.entry(&path[..2 + index]).map(|entry| &entry.tree);
        let mut below = Vec::new();
        if find_below(here, stated, &segment.0, &mut below, 3) {
            let start: Vec<_> = short[..index].iter().map(|(key, _)| key.as_str()).collect();
            let rest = short[index..].iter().map(|(key, _)| key.as_str());
            let whole: Vec<_> = start.into_iter().chain(below).chain(rest).collect();
            return fault.label("does not belong here").help(format!("write \"{}\"", join(&whole)));
        }
        let label = nearest(&segment.0, keys.iter().copied())
            .map_or(format!("no key of `{owner}`"), |near| format!("did you mean `{near}`?"));
        fault.label(label).help(format!("keys of `{owner}` in stage `{stage}` are {}", list(keys)))
    }

    fn not_stated(&self, key: &Key, at: usize, here: &Rule, tree: Option<&Tree>) -> Fault {
        let (stage, path, missing) = (&key.stage, &key.path, &key.path[at]);
        let message =
            format!("the axis `{}` sweeps what stage `{stage}` does not state", self.name);
        let fault = self.sources.fault(self.code, key.steps[at - 2].1, message);
        let other = tree.and_then(Tree::table).and_then(|table| table.first());
        if let (What::OneOf(_), Some((chosen, entry))) = (&here.what, other) {
            let owner = &path[at - 1];
            return fault
                .label(format!("`{owner}` is `{chosen}` in the file"))
                .note(self.sources, entry.key, "chosen here")
                .help(format!(
                    "state `{owner}.{missing}` instead, or sweep the whole `{owner}`: [{{ {chosen} = {{}} }}, {{ {missing} = {{}} }}]"
                ));
        }
        let stated = tree.and_then(Tree::table).into_iter().flatten();
        let is_slip =
            |key: &str| here.get(key).is_none() && nearest(key, [missing.as_str()]).is_some();
        if let Some((slip, entry)) = stated.into_iter().find(|(key, _)| is_slip(key)) {
            return fault
                .label("not stated in the file")
                .note(self.sources, entry.key, format!("did you mean `{missing}` here?"))
                .help(format!("write `{missing}` for `{slip}`, and it is stated"));
        }
        let (way, rest) = (join(&path[..3]), join(&path[3..=at]));
        let default = here.get(missing).and_then(|rule| rule.default.as_ref());
        let value =
            default.filter(|value| !value.is_object()).map_or("…".to_owned(), ToString::to_string);
        fault.label("not stated in the file").help(format!(
            "a key is swept only where it is stated: add `{rest} = {value}` to [{way}]"
        ))
    }

    /// A fault at one segment of the key, or at all of it.
    fn fault(&self, segment: Option<&Segment>, message: String) -> Fault {
        self.sources.fault(self.code, self.place(segment), message)
    }

    fn place(&self, segment: Option<&Segment>) -> Span {
        match segment {
            Some((_, range)) => self.sources.part(self.key, self.name, range.clone()),
            None => self.key,
        }
    }
}
