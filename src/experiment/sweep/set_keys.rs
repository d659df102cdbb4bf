//! Which keys are set by whom, to find two that set the same.

use std::collections::BTreeMap;

use super::super::fault::Span;
use super::super::grammar::{EXPERIMENT, What};

/// The keys that are set, as a tree of their paths.
#[derive(Debug, Default)]
pub(super) struct SetKeys(Node);

#[derive(Debug, Default)]
struct Node {
    /// Who sets this very key.
    here: Owners,
    /// Who sets a key below.
    below: Owners,
    children: BTreeMap<String, Node>,
}

/// Two different owners are enough: one of them is another than whoever asks.
#[derive(Debug, Default)]
struct Owners(Vec<(usize, Span)>);

/// Another owner that sets the same.
#[derive(Debug)]
pub(super) struct Conflict {
    pub(super) owner: usize,
    pub(super) span: Span,
    /// The key of which the two choose different alternatives; none where they set the same key.
    chooser: Option<String>,
}

impl Conflict {
    /// What the two do.
    pub(super) fn what(&self) -> String {
        match &self.chooser {
            None => "set the same key".to_owned(),
            Some(key) => format!("choose different alternatives of `{key}`"),
        }
    }
}

impl Owners {
    fn add(&mut self, owner: usize, span: Span) {
        if self.0.len() < 2 && self.0.iter().all(|(other, _)| *other != owner) {
            self.0.push((owner, span));
        }
    }

    fn other(&self, owner: usize) -> Option<(usize, Span)> {
        self.0.iter().copied().find(|(other, _)| *other != owner)
    }
}

impl SetKeys {
    /// Notes that an owner sets the key of a path, unless another sets it, one around it or one inside,
    /// or another alternative of a key on the way.
    pub(super) fn add(&mut self, path: &[String], owner: usize, span: Span) -> Option<Conflict> {
        let conflict = self.conflict(path, owner);
        if conflict.is_none() {
            let mut node = &mut self.0;
            for key in path {
                node.below.add(owner, span);
                node = node.children.entry(key.clone()).or_default();
            }
            node.here.add(owner, span);
        }
        conflict
    }

    fn conflict(&self, path: &[String], owner: usize) -> Option<Conflict> {
        let (mut node, mut rule) = (&self.0, Some(&*EXPERIMENT));
        let mut before = "";
        for key in path {
            if let Some((owner, span)) = node.here.other(owner) {
                return Some(Conflict { owner, span, chooser: None });
            }
            if matches!(rule.map(|rule| &rule.what), Some(What::OneOf(_))) {
                let others = node.children.iter().filter(|(other, _)| *other != key);
                let mut others = others.filter_map(|(_, child)| child.other(owner));
                if let Some((owner, span)) = others.next() {
                    return Some(Conflict { owner, span, chooser: Some(before.to_owned()) });
                }
            }
            node = node.children.get(key)?;
            rule = rule.and_then(|rule| rule.get(key));
            before = key;
        }
        node.other(owner).map(|(owner, span)| Conflict { owner, span, chooser: None })
    }
}

/// Whether two paths lead into different alternatives of one key.
pub(super) fn choose_differently(a: &[String], b: &[String]) -> bool {
    let common = common(a, b);
    let chooser = EXPERIMENT.at(&a[..common]);
    common < a.len().min(b.len()) && chooser.is_some_and(|rule| matches!(rule.what, What::OneOf(_)))
}

/// How many keys two paths share before they part.
pub(super) fn common(a: &[String], b: &[String]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Node {
    fn other(&self, owner: usize) -> Option<(usize, Span)> {
        self.here.other(owner).or_else(|| self.below.other(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(set_keys: &mut SetKeys, path: &str, owner: usize, expected: Option<(usize, &str)>) {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let conflict = set_keys.add(&path, owner, Span::start());
        let found = conflict.as_ref().map(|conflict| (conflict.owner, conflict.what()));
        let expected = expected.map(|(owner, what)| (owner, what.to_owned()));
        assert_eq!(found, expected, "{path:?}");
    }

    #[test]
    fn only_another_owner_of_the_same_key_conflicts() {
        let mut set_keys = SetKeys::default();
        check(&mut set_keys, "stage.a.pretrain.model", 0, None);
        check(&mut set_keys, "stage.a.pretrain.model.mlp.dropout", 0, None);
        check(&mut set_keys, "stage.a.pretrain.epochs", 1, None);
        check(&mut set_keys, "stage.b.pretrain.model", 1, None);
        let same = Some((0, "set the same key"));
        check(&mut set_keys, "stage.a.pretrain.model", 1, same);
        check(&mut set_keys, "stage.a.pretrain.model.cnn", 1, same);
        check(&mut set_keys, "stage.a.pretrain", 1, same);
        check(&mut set_keys, "stage.a.pretrain", 0, Some((1, "set the same key")));
    }

    #[test]
    fn two_alternatives_of_one_key_conflict() {
        let mut set_keys = SetKeys::default();
        check(&mut set_keys, "stage.a.pretrain.optimizer.sgd.momentum", 0, None);
        check(&mut set_keys, "stage.a.pretrain.optimizer.sgd.weight-decay", 1, None);
        check(
            &mut set_keys,
            "stage.a.pretrain.optimizer.adam.learning-rate",
            2,
            Some((0, "choose different alternatives of `optimizer`")),
        );
        check(&mut set_keys, "stage.a.pretrain.model.cnn", 0, None);
        check(&mut set_keys, "stage.a.pretrain.model.mlp.dropout", 0, None);
    }
}
