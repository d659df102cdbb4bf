//! The axes of a sweep: where each leads, and the combinations of their values.

use super::check::{Walker, find_below};
use super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::grammar::{EXPERIMENT, Rule, What};
use super::path::{Segment, expand, join, kind_of, overlap, segments, stage_names};
use super::tree::{Tree, Value};

/// One axis whose key and values are legal.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// The key as the file writes it.
    pub(super) name: String,
    pub(super) stage: String,
    /// The whole path: `stage`, its name, its kind, and on.
    pub(super) path: Vec<String>,
    pub(super) values: Vec<Tree>,
}

impl Axis {
    /// The path from the stage's own table on: its kind first.
    pub(super) fn path_in_stage(&self) -> &[String] {
        &self.path[2..]
    }
}

/// The axes of a file, in its order; those with faults are reported and left out.
pub(super) fn axes(root: &Tree, sources: &Sources) -> (Vec<Axis>, Vec<Fault>) {
    let mut axes = Vec::new();
    let mut seen: Vec<(Vec<String>, &str, Span)> = Vec::new();
    let mut faults = Vec::new();
    let sweep = root.entry(&["sweep"]).and_then(|entry| entry.tree.table());
    for (name, entry) in sweep.into_iter().flatten() {
        let resolved = Resolver { root, sources, name, key: entry.key }.resolve();
        let path = match resolved {
            Ok(path) => path,
            Err(fault) => {
                faults.push(*fault);
                continue;
            }
        };
        if let Some((_, other, span)) = seen.iter().find(|(other, ..)| overlap(other, &path)) {
            let message = format!("the axes `{other}` and `{name}` set the same key");
            let fault = sources.fault(Code::OverlappingAxes, entry.key, message);
            let fault =
                fault.label("overlaps with the other axis").note(sources, *span, "the other axis");
            faults.push(
                fault.help("leave one out, or put the settings of both into the values of one"),
            );
            continue;
        }
        seen.push((path.clone(), name, entry.key));
        // A list that is none, or empty, has been reported with the rest of the file.
        let Value::Array(values) = &entry.tree.value else { continue };
        let mut walker = Walker::new(sources);
        for value in values {
            walker.walk_at(root, &path, &EXPERIMENT, value);
        }
        let is_legal = walker.faults.is_empty() && !values.is_empty();
        faults.append(&mut walker.faults);
        if is_legal {
            let axis =
                Axis { name: name.clone(), stage: path[1].clone(), path, values: values.clone() };
            axes.push(axis);
        }
    }
    (axes, faults)
}

/// Finds where an axis' key leads.
struct Resolver<'a> {
    root: &'a Tree,
    sources: &'a Sources,
    name: &'a str,
    key: Span,
}

impl Resolver<'_> {
    fn resolve(&self) -> Result<Vec<String>, Box<Fault>> {
        let Some(short) = segments(self.name) else {
            let fault = self.fault(None, format!("the axis {:?} is no dotted key", self.name));
            return Err(Box::new(
                fault.label("not a key").help("write \"stage.key\": \"thin.sparsity\""),
            ));
        };
        let stages = stage_names(self.root);
        let stage = &short[0];
        if !stages.contains(&stage.0.as_str()) {
            return Err(Box::new(self.no_stage(stage, &stages)));
        }
        let Some(kind) = kind_of(self.root, &stage.0) else {
            // The stage's own fault has been reported.
            let fault = self.fault(Some(stage), format!("stage `{}` has no single kind", stage.0));
            return Err(Box::new(fault.label("what it sweeps is not known")));
        };
        if let [only] = short.as_slice() {
            let message = format!("the axis `{}` names a stage and no key of it", only.0);
            let fault = self.fault(None, message).label("a key is missing");
            let stated = self.root.entry(&["stage", &only.0, kind]);
            let mut keys = stated.and_then(|entry| entry.tree.table()).into_iter().flatten();
            let plain = keys.find(|(_, entry)| entry.tree.table().is_none());
            let key = plain.map_or("…", |(key, _)| key);
            let help = format!("name one that the stage states: \"{}.{key}\"", only.0);
            return Err(Box::new(fault.help(help)));
        }
        let path = expand(self.root, &short).unwrap_or_default();
        self.follow(&short, &path)?;
        Ok(path)
    }

    /// Follows the path through the rules and through the file.
    fn follow(&self, short: &[Segment], path: &[String]) -> Result<(), Box<Fault>> {
        let mut tree = self.root.entry(&path[..3]).map(|entry| &entry.tree);
        let mut rule = EXPERIMENT.at(&path[..3]);
        // Under an unknown kind nothing can be said; the kind itself has been reported.
        for (index, segment) in short.iter().enumerate().skip(1) {
            let Some(here) = rule else { break };
            let Some(below) = here.get(&segment.0) else {
                return Err(Box::new(self.no_key(short, index, here, path)));
            };
            let stated = tree.and_then(Tree::table).and_then(|table| table.get(&segment.0));
            let Some(entry) = stated else {
                return Err(Box::new(self.not_stated(short, index, here, tree, path)));
            };
            (tree, rule) = (Some(&entry.tree), Some(below));
        }
        Ok(())
    }

    fn no_stage(&self, stage: &Segment, stages: &[&str]) -> Fault {
        let message = format!("the axis `{}` names no stage: there is no `{}`", self.name, stage.0);
        let label = nearest(&stage.0, stages.iter().copied())
            .map_or("no such stage".to_owned(), |near| format!("did you mean `{near}`?"));
        let help = format!("stages are {}", list(stages.iter().copied()));
        self.fault(Some(stage), message).label(label).help(help)
    }

    fn no_key(&self, short: &[Segment], index: usize, here: &Rule, path: &[String]) -> Fault {
        let (stage, segment) = (&short[0].0, &short[index]);
        let owner = if index == 1 { &path[2] } else { &short[index - 1].0 };
        let message = match &here.what {
            What::Table(_) | What::OneOf(_) => {
                format!(
                    "the axis `{}` leads nowhere: `{owner}` has no key `{}`",
                    self.name, segment.0
                )
            }
            What::List(_) => {
                format!("the axis `{}` leads into a list: `{owner}` has no keys", self.name)
            }
            _ => format!(
                "the axis `{}` leads too far: `{owner}` is {} and has no keys",
                self.name,
                here.words()
            ),
        };
        let fault = self.fault(Some(segment), message);
        if index == 1 && segment.0 == path[2] {
            let rest: Vec<_> =
                short.iter().map(|(key, _)| key).filter(|key| **key != path[2]).collect();
            return fault
                .label("the kind is left out in an axis")
                .help(format!("write \"{}\"", join(&rest)));
        }
        let keys = here.keys();
        if keys.is_empty() {
            let whole: Vec<_> = short[..index].iter().map(|(key, _)| key).collect();
            return fault
                .label("nothing is below")
                .help(format!("sweep the whole value: \"{}\" = [ … ]", join(&whole)));
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

    fn not_stated(
        &self,
        short: &[Segment],
        index: usize,
        here: &Rule,
        tree: Option<&Tree>,
        path: &[String],
    ) -> Fault {
        let (stage, segment) = (&short[0].0, &short[index]);
        let message =
            format!("the axis `{}` sweeps what stage `{stage}` does not state", self.name);
        let fault = self.fault(Some(segment), message);
        let other = tree.and_then(Tree::table).and_then(|table| table.first());
        if let (What::OneOf(_), Some((chosen, entry))) = (&here.what, other) {
            let owner = &short[index - 1].0;
            return fault
                .label(format!("`{owner}` is `{chosen}` in the file"))
                .note(self.sources, entry.key, "chosen here")
                .help(format!(
                    "state `{owner}.{0}` instead, or sweep the whole `{owner}`: [{{ {chosen} = {{}} }}, {{ {0} = {{}} }}]",
                    segment.0
                ));
        }
        let at = 2 + index;
        let (way, rest) = (join(&path[..3]), join(&path[3..=at]));
        let default = here.get(&segment.0).and_then(|rule| rule.default.as_ref());
        let value =
            default.filter(|value| !value.is_object()).map_or("…".to_owned(), ToString::to_string);
        fault.label("not stated in the file").help(format!(
            "a key is swept only where it is stated: add `{rest} = {value}` to [{way}]"
        ))
    }

    /// A fault at one segment of the key, or at all of it.
    fn fault(&self, segment: Option<&Segment>, message: String) -> Fault {
        self.sources.fault(Code::UnknownAxis, self.place(segment), message)
    }

    fn place(&self, segment: Option<&Segment>) -> Span {
        let (Some((_, range)), written) = (segment, self.sources.quote(self.key)) else {
            return self.key;
        };
        // Escapes move the places; then the whole key is marked.
        let quote = usize::from(written.starts_with(['"', '\'']));
        if written.get(quote..written.len().saturating_sub(quote)) != Some(self.name) {
            return self.key;
        }
        let start = self.key.start + quote + range.start;
        Span { start, end: start + range.len(), ..self.key }
    }
}

/// Every combination of one index for each extent, the first extent outermost.
pub(super) fn combinations(extents: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let count: usize = extents.iter().product();
    (0..count).map(|number| {
        let mut rest = number;
        let mut digits: Vec<usize> = extents
            .iter()
            .rev()
            .map(|extent| {
                let digit = rest % extent;
                rest /= extent;
                digit
            })
            .collect();
        digits.reverse();
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_axis_is_outermost() {
        let all: Vec<_> = combinations(&[2, 3]).collect();
        assert_eq!(all, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]);
        assert_eq!(combinations(&[]).count(), 1);
    }
}
