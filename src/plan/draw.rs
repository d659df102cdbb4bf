//! The plan as a picture of text: stage names and arrows.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;

/// A stage name of a plan with all its distinct stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The stage's name.
    pub name: String,
    /// The names that it reads, that of the first role first; several of a role where the sweep changes it.
    pub inputs: Vec<String>,
}

impl Plan {
    /// The stage names in the order of the file, with what they read.
    pub fn groups(&self) -> Vec<Group> {
        let mut inputs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for trial in &self.trials {
            let of_trial: BTreeMap<_, _> =
                trial.stages.iter().map(|(name, node)| (*node, name)).collect();
            for (name, &node) in &trial.stages {
                let known = inputs.entry(name).or_default();
                for input in
                    self.inputs(node).into_values().filter_map(|input| of_trial.get(&input))
                {
                    if !known.contains(input) {
                        known.push((*input).clone());
                    }
                }
            }
        }
        let group = |name: &str| Group {
            name: name.to_owned(),
            inputs: inputs.get(name).cloned().unwrap_or_default(),
        };
        self.stage_names().into_iter().map(group).collect()
    }
}

/// Draws stages as trees: a chain is a line of arrows, a branch starts a line of its own.
///
/// `label` says how a stage is shown. Lines become no longer than `width` where names allow it.
///
/// ```text
/// dense ×3 → thin ×18 → tuned ×18
/// ├→ moved ×36
/// └→ score ×18
/// ```
pub fn draw(groups: &[Group], label: &dyn Fn(&str) -> String, width: usize) -> Vec<String> {
    let mut readers: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    let names: BTreeSet<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let parent =
        |group: &Group| group.inputs.iter().find(|input| names.contains(input.as_str())).cloned();
    let mut roots = Vec::new();
    for group in groups {
        match parent(group).and_then(|parent| names.get(parent.as_str()).copied()) {
            Some(parent) => readers.entry(parent).or_default().push(group),
            None => roots.push(group),
        }
    }
    let mut drawing = Drawing { readers, label, width, lines: Vec::new() };
    for root in roots {
        drawing.chain(root, String::new(), "");
    }
    drawing.lines
}

struct Drawing<'a> {
    readers: BTreeMap<&'a str, Vec<&'a Group>>,
    label: &'a dyn Fn(&str) -> String,
    width: usize,
    lines: Vec<String>,
}

impl Drawing<'_> {
    /// Draws a stage behind `start`, its only readers on the same line, and branches below `indent`.
    fn chain(&mut self, group: &Group, start: String, indent: &str) {
        let mut line = start + &self.show(group);
        let mut last = group;
        loop {
            let readers = self.readers.get(last.name.as_str()).cloned().unwrap_or_default();
            let next = match readers[..] {
                [] => return self.lines.push(line),
                [only] => only,
                _ => {
                    self.lines.push(line);
                    return self.branches(&readers, indent);
                }
            };
            let shown = self.show(next);
            if line.chars().count() + 3 + shown.chars().count() > self.width {
                self.lines.push(line);
                return self.chain(next, format!("{indent}  → "), &format!("{indent}    "));
            }
            line = format!("{line} → {shown}");
            last = next;
        }
    }

    fn branches(&mut self, readers: &[&Group], indent: &str) {
        for (index, reader) in readers.iter().enumerate() {
            let (branch, below) =
                if index + 1 == readers.len() { ("└→ ", "   ") } else { ("├→ ", "│  ") };
            self.chain(reader, format!("{indent}{branch}"), &format!("{indent}{below}"));
        }
    }

    fn show(&self, group: &Group) -> String {
        let shown = (self.label)(&group.name);
        match group.inputs.get(1..).unwrap_or_default() {
            [] => shown,
            others => format!("{shown} (also reads {})", others.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(width: usize, groups: &[(&str, &[&str])], expected: &[&str]) {
        let groups: Vec<Group> = groups
            .iter()
            .map(|(name, inputs)| Group {
                name: (*name).to_owned(),
                inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            })
            .collect();
        assert_eq!(draw(&groups, &str::to_owned, width), expected);
    }

    #[test]
    fn a_chain_is_a_line() {
        check(80, &[("a", &[]), ("b", &["a"]), ("c", &["b"])], &["a → b → c"]);
    }

    #[test]
    fn a_long_chain_is_broken() {
        check(
            9,
            &[("dense", &[]), ("thin", &["dense"]), ("c", &["thin"])],
            &["dense", "  → thin", "      → c"],
        );
    }

    #[test]
    fn branches_start_lines() {
        check(
            80,
            &[
                ("a", &[]),
                ("b", &["a"]),
                ("c", &["b"]),
                ("d", &["c"]),
                ("e", &["c"]),
                ("f", &["b"]),
                ("g", &[]),
            ],
            &["a → b", "├→ c", "│  ├→ d", "│  └→ e", "└→ f", "g"],
        );
    }

    #[test]
    fn a_second_input_is_named() {
        check(80, &[("a", &[]), ("t", &[]), ("b", &["a", "t"])], &["a → b (also reads t)", "t"]);
    }
}
