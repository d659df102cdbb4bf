//! Walks a file by the rules of the language and reports whatever does not fit.

use std::collections::HashMap;

use super::fault::{Code, Fault, Sources, Span, list, nearest};
use super::grammar::{List, Names, Pattern, Rule, Table, What};
use super::tree::{self, Entry, Tree, Value};

/// Further faults of one list tell nothing new; each that is shown costs a reading of its line, which
/// may have the whole list on it.
const MOST_FAULTS: usize = 100;

/// A text that names a stage or layers, found on the way.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) of: Names,
    /// The key: for a stage, the role.
    pub(super) key: String,
    pub(super) text: String,
    pub(super) span: Span,
}

/// One step of the way from the root to a value.
#[derive(Debug, Clone)]
struct Step<'a> {
    /// The key that leads there; none at the root and in lists.
    key: Option<&'a str>,
    rule: &'a Rule,
    tree: &'a Tree,
}

/// The walk: what was found so far, and where it is.
#[derive(Debug)]
pub(super) struct Walker<'a> {
    sources: &'a Sources,
    steps: Vec<Step<'a>>,
    pub(super) faults: Vec<Fault>,
    pub(super) names: Vec<Name>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
        Self { sources, steps: Vec::new(), faults: Vec::new(), names: Vec::new() }
    }

    /// Checks a whole file.
    pub(super) fn walk(&mut self, tree: &'a Tree, rule: &'a Rule) {
        self.enter(None, tree, rule);
    }

    /// Checks a value as if it stood where a path of keys leads to in a file.
    pub(super) fn walk_at(
        &mut self,
        root: &'a Tree,
        path: &'a [String],
        rule: &'a Rule,
        value: &'a Tree,
    ) {
        let Some((last, way)) = path.split_last() else { return };
        let (mut tree, mut rule) = (root, rule);
        self.steps.push(Step { key: None, rule, tree });
        for key in way {
            let next = tree.table().and_then(|table| table.get(key)).zip(rule.get(key));
            let Some((entry, below)) = next else { break };
            (tree, rule) = (&entry.tree, below);
            self.steps.push(Step { key: Some(key), rule, tree });
        }
        if let Some(rule) = rule.get(last) {
            self.enter(Some(last), value, rule);
        }
        self.steps.clear();
    }

    fn enter(&mut self, key: Option<&'a str>, tree: &'a Tree, rule: &'a Rule) {
        self.steps.push(Step { key, rule, tree });
        match (&rule.what, &tree.value) {
            // What is wrong with the variable has been reported.
            (_, Value::Unknown) => {}
            (What::Any, _) => self.any(tree),
            (_, Value::Datetime) => self.wrong_type(tree, rule),
            (What::Bool, Value::Bool(_)) => {}
            (What::Integer(bounds), Value::Integer(number)) => {
                self.number(tree, rule, bounds.refuse(*number as f64));
            }
            (What::Number(bounds), Value::Integer(number)) => {
                self.number(tree, rule, bounds.refuse(*number as f64));
            }
            (What::Number(_), Value::Float(number)) if !number.is_finite() => {
                self.number(tree, rule, Some("must be finite".to_owned()));
            }
            (What::Number(bounds), Value::Float(number)) => {
                self.number(tree, rule, bounds.refuse(*number));
            }
            (What::Text(pattern), Value::Text(text)) => {
                self.text(tree, rule, pattern.as_ref(), text);
            }
            (What::Choice(names), Value::Text(text)) => self.choice(tree, names, text),
            (What::List(rules), Value::Array(items)) => self.list(tree, rule, rules, items),
            (What::Table(rules), Value::Table(table)) => self.table(tree, rule, rules, table),
            (What::OneOf(_), Value::Table(table)) => self.one_of(tree, rule, table),
            _ => self.wrong_type(tree, rule),
        }
        self.steps.pop();
    }

    /// Where nothing is prescribed, numbers must be finite all the same: JSON has no others.
    fn any(&mut self, tree: &'a Tree) {
        match &tree.value {
            Value::Float(number) if !number.is_finite() => {
                let message = format!("{} is not a finite number", self.sources.quote(tree.span));
                self.report(Code::OutOfRange, tree.span, &message, |fault| {
                    fault.label("not finite")
                });
            }
            Value::Datetime => self.report(
                Code::WrongType,
                tree.span,
                "no key of an experiment takes a date or time",
                |fault| fault.label("a date or time"),
            ),
            Value::Array(items) => items.iter().for_each(|item| self.any(item)),
            Value::Table(table) => table.values().for_each(|entry| self.any(&entry.tree)),
            _ => {}
        }
    }

    fn number(&mut self, tree: &Tree, rule: &Rule, refusal: Option<String>) {
        let Some(refusal) = refusal else { return };
        let quote = self.sources.quote(tree.span);
        let message = if self.is_item() {
            format!("`{}` has the value {quote}, which is out of range", self.key())
        } else {
            format!("`{}` = {quote} is out of range", self.key())
        };
        let percent = match (&rule.what, &tree.value) {
            (What::Number(bounds), Value::Integer(number @ 2..=100))
                if bounds.max.or(bounds.below) == Some(1.0) =>
            {
                Some(*number as f64 / 100.0)
            }
            _ => None,
        };
        let about = self.about(rule);
        self.report(Code::OutOfRange, tree.span, &message, |fault| {
            let fault = fault.label(refusal);
            match percent.filter(|fraction| *fraction < 1.0) {
                Some(fraction) => fault.help(format!("write a fraction, not percent: {fraction}")),
                None => fault,
            }
            .help_if(about)
        });
    }

    fn text(&mut self, tree: &'a Tree, rule: &'a Rule, pattern: Option<&Pattern>, text: &'a str) {
        if let Some(pattern) = pattern.filter(|pattern| !pattern.regex.is_match(text)) {
            let message = format!("{} cannot be {:?}", self.place(), text);
            self.report(Code::IllFormedName, tree.span, &message, |fault| {
                fault.label("not a legal name").help(format!("it takes {}", pattern.words))
            });
        }
        if let Some(names @ (Names::Stage | Names::StageOfTable)) = rule.names {
            self.name(names, text, tree.span);
        }
    }

    fn name(&mut self, of: Names, text: &str, span: Span) {
        let mut keys = self.steps.iter().rev().filter_map(|step| step.key);
        let key = if of == Names::StageOfTable { keys.nth(1) } else { keys.next() };
        let key = key.unwrap_or_default().to_owned();
        self.names.push(Name { of, key, text: text.to_owned(), span });
    }

    fn choice(&mut self, tree: &Tree, names: &[String], text: &str) {
        if names.iter().any(|name| name == text) {
            return;
        }
        let names = || names.iter().map(String::as_str);
        let message = format!("{} cannot be {text:?}", self.place());
        let near = nearest(text, names());
        self.report(Code::UnknownName, tree.span, &message, |fault| {
            let quoted: Vec<_> = names().map(|name| format!("\"{name}\"")).collect();
            fault
                .label(near.map_or("not one of the choices".to_owned(), |near| {
                    format!("did you mean \"{near}\"?")
                }))
                .help(format!("choose one of {}", list(quoted.iter().map(String::as_str))))
        });
    }

    fn list(&mut self, tree: &'a Tree, rule: &'a Rule, rules: &'a List, items: &'a [Tree]) {
        let too_many = rules.max.is_some_and(|max| items.len() > max);
        if items.len() < rules.min || too_many {
            let needs = match (rules.min, rules.max) {
                (min, Some(max)) if min == max => format!("takes exactly {min}"),
                (min, _) if items.len() < min => format!("needs at least {min}"),
                (_, max) => format!("takes at most {}", max.unwrap_or_default()),
            };
            let message =
                format!("{} has {} and {needs}", self.place(), plural(items.len(), "value"));
            let about = self.about(rule);
            self.report(Code::OutOfRange, tree.span, &message, |fault| {
                fault.label(needs).help_if(about)
            });
        }
        let most = self.faults.len() + MOST_FAULTS;
        if rules.distinct {
            self.distinct(items, most);
        }
        if rule.names == Some(Names::Layer) {
            for (text, span) in items.iter().filter_map(|item| Some((item.text()?, item.span))) {
                self.name(Names::Layer, text, span);
            }
        }
        for item in items {
            if self.faults.len() >= most {
                break;
            }
            self.enter(None, item, &rules.items);
        }
    }

    /// Reports values that are stated twice, up to a number of faults.
    fn distinct(&mut self, items: &[Tree], most: usize) {
        // A list may be long, so that each is not compared with each.
        let mut seen: HashMap<String, Span> = HashMap::with_capacity(items.len());
        for item in items {
            let first = *seen.entry(item.normal()).or_insert(item.span);
            if first == item.span {
                continue;
            }
            if self.faults.len() >= most {
                break;
            }
            let quote = self.sources.short_quote(item.span, "the same value");
            let message = format!("{} states {quote} twice", self.place());
            let sources = self.sources;
            self.report(Code::Repeated, item.span, &message, |fault| {
                fault
                    .label("stated again")
                    .note(sources, first, "first stated here")
                    .help("each value would give the same trials; leave one out")
            });
        }
    }

    fn table(&mut self, tree: &'a Tree, rule: &'a Rule, rules: &'a Table, table: &'a tree::Table) {
        // A misspelt key is taken for the key that was meant, so that its value is checked too.
        let mut meant = Vec::new();
        for (key, entry) in table {
            if let Some(rule) = rules.properties.get(key) {
                self.enter(Some(key), &entry.tree, rule);
            } else if let Some(others) = rules.other(key) {
                self.other_key(rules, rule, key, entry);
                self.enter(Some(key), &entry.tree, others);
            } else {
                let free = rules.properties.keys().filter(|key| !table.contains_key(*key));
                let free: Vec<&'a str> = free.map(String::as_str).collect();
                if let Some(near) = self.unknown_key(Code::UnknownKey, key, entry, rule, &free) {
                    self.enter(Some(near), &entry.tree, &rules.properties[near]);
                    meant.push(near);
                }
            }
        }
        for key in &rules.required {
            if !table.contains_key(key) && !meant.contains(&key.as_str()) {
                self.missing_key(tree, key, &rules.properties[key]);
            }
        }
        if table.len() < rules.min {
            let message = format!("{} is empty and needs at least {}", self.place(), rules.min);
            let about = self.about(rule);
            self.report(Code::MissingKey, tree.span, &message, |fault| {
                fault.label("nothing is stated here").help_if(about)
            });
        }
    }

    fn other_key(&mut self, rules: &Table, rule: &Rule, key: &'a str, entry: &Entry) {
        if let Some(pattern) = rules.keys.as_ref().filter(|pattern| !pattern.regex.is_match(key)) {
            let message = format!("`{}` has a name that it cannot have: {key:?}", self.key());
            self.report(Code::IllFormedName, entry.key, &message, |fault| {
                fault.label("not a legal name").help(format!("names are {}", pattern.words))
            });
        }
        if rule.names == Some(Names::Layer) {
            self.name(Names::Layer, key, entry.key);
        }
    }

    fn missing_key(&mut self, tree: &Tree, key: &str, rule: &Rule) {
        let message = format!("{} needs `{key}`", self.owner());
        self.report(Code::MissingKey, tree.span, &message, |fault| {
            let fault = fault.label(format!("`{key}` is missing"));
            fault.help(format!("`{key}`: {}{}", rule.words(), sentence(rule)))
        });
    }

    fn one_of(&mut self, tree: &'a Tree, rule: &'a Rule, table: &'a tree::Table) {
        let mut chosen: Option<Span> = None;
        let mut first = "";
        let mut meant = false;
        for (key, entry) in table {
            if let Some(below) = rule.get(key) {
                match chosen {
                    None => (chosen, first) = (Some(entry.key), key),
                    Some(span) => self.several(entry.key, key, span, first, rule),
                }
                self.enter(Some(key), &entry.tree, below);
                continue;
            }
            let near = self.unknown_key(Code::UnknownName, key, entry, rule, &rule.keys());
            if let Some((near, below)) = near.and_then(|near| Some((near, rule.get(near)?))) {
                self.enter(Some(near), &entry.tree, below);
            }
            meant = true;
        }
        if chosen.is_none() && !meant {
            let message = match self.stage_alone() {
                Some(stage) => format!("stage `{stage}` has no kind"),
                None => format!("{} chooses nothing", self.place()),
            };
            self.report(Code::NotOne, tree.span, &message, |fault| {
                fault
                    .label("one key is needed here")
                    .help(format!("state exactly one of {}", list(rule.keys())))
            });
        }
    }

    fn several(&mut self, span: Span, key: &str, other: Span, first: &str, rule: &Rule) {
        let message = format!("{} chooses both `{first}` and `{key}`", self.place());
        let sources = self.sources;
        self.report(Code::NotOne, span, &message, |fault| {
            fault
                .label("a second choice")
                .note(sources, other, "the first choice")
                .help(format!("state exactly one of {}", list(rule.keys())))
        });
    }

    /// Reports a key that is not legal here; gives the one of the `free` ones that was meant.
    fn unknown_key(
        &mut self,
        code: Code,
        key: &str,
        entry: &Entry,
        rule: &Rule,
        free: &[&'a str],
    ) -> Option<&'a str> {
        if key == "split" && entry.tree.text() == Some("test") && self.never_sees_test() {
            self.test_in_training(entry);
            return None;
        }
        let message = match code {
            Code::UnknownName if self.stage_alone().is_some() => {
                format!("{}: there is no kind `{key}`", self.place())
            }
            Code::UnknownName => format!("{} cannot be `{key}`", self.place()),
            _ => format!("{} has no key `{key}`", self.owner()),
        };
        // The very name in another place says more than a similar one in this.
        let elsewhere = self.elsewhere(key);
        let near = nearest(key, free.iter().copied()).filter(|_| elsewhere.is_none());
        let meant = near.or_else(|| self.stated_elsewhere(key, entry, rule));
        let label = meant.map_or("unknown".to_owned(), |meant| format!("did you mean `{meant}`?"));
        self.report(code, entry.key, &message, |fault| {
            if let Some(remedy) = elsewhere {
                return fault.label("does not belong here").help(remedy);
            }
            let fault = fault.label(label);
            let legal = list(rule.keys());
            fault.help(match code {
                Code::UnknownName => format!("choose one of {legal}"),
                _ => format!("legal keys are {legal}"),
            })
        });
        near
    }

    /// The key of another text that a misspelt one was to change: of a file that this one extends, or of
    /// the file where a `--set` is misspelt.
    fn stated_elsewhere(&self, key: &str, entry: &Entry, rule: &'a Rule) -> Option<&'a str> {
        let near = nearest(key, rule.keys())?;
        let stated = self.steps.last()?.tree.table()?.get(near)?;
        let text = |span: Span| self.sources.place(span).source;
        (text(stated.key) != text(entry.key)).then_some(near)
    }

    /// Whether the walk is in a stage that cannot choose a split: it never sees another than `train`.
    fn never_sees_test(&self) -> bool {
        self.stage().is_some()
            && self.steps.get(3).is_some_and(|kind| kind.rule.get("split").is_none())
    }

    fn test_in_training(&mut self, entry: &Entry) {
        let stage = self.stage().unwrap_or_default();
        let help = format!(
            "leave `split` out; to measure on the test split, add an `evaluate` stage: [stage.NAME.evaluate] with from = \"{stage}\" and split = \"test\""
        );
        let message = "no stage that trains or prunes ever sees test data";
        self.report(Code::TestInTraining, entry.key.to(entry.tree.span), message, |fault| {
            fault.label("takes the training split alone").help(help)
        });
    }

    /// Where a key that does not belong here does belong: in a table below, or in one further up.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let here = self.steps.last()?;
        let mut path = Vec::new();
        if find_below(here.rule, Some(here.tree), key, &mut path, 3) {
            let path = path.join(".");
            return Some(format!("`{key}` is a key of `{path}`: write `{path}.{key} = …`"));
        }
        let up = self.steps.iter().enumerate().rev().skip(1);
        let mut tables = up.filter(|(_, step)| matches!(step.rule.what, What::Table(_)));
        let (index, _) = tables.find(|(_, step)| step.rule.keys().contains(&key))?;
        let keys: Vec<_> = self.steps[..=index].iter().filter_map(|step| step.key).collect();
        Some(if keys.is_empty() {
            format!("`{key}` is a key of the file itself: state it above the first [table]")
        } else {
            format!("`{key}` is a key of [{}]: state it there, above other tables", keys.join("."))
        })
    }

    fn wrong_type(&mut self, tree: &Tree, rule: &Rule) {
        let takes = rule.type_words();
        let message = format!("{} takes {takes}, not {}", self.place(), tree.type_name());
        let remedy = self.retype(tree, rule);
        let about = format!("`{}`: {}{}", self.key(), rule.words(), sentence(rule));
        self.report(Code::WrongType, tree.span, &message, |fault| {
            let fault = fault.label(format!("expected {takes}"));
            fault.help_if(remedy).help_if(Some(about))
        });
    }

    /// How to write what was probably meant by a value of the wrong type.
    fn retype(&self, tree: &Tree, rule: &Rule) -> Option<String> {
        let key = self.key();
        match (&rule.what, &tree.value) {
            (What::Integer(_) | What::Number(_) | What::Bool, Value::Text(text)) => {
                let is_plain = match &rule.what {
                    What::Bool => text.parse::<bool>().is_ok(),
                    _ => text.parse::<f64>().is_ok_and(f64::is_finite),
                };
                is_plain.then(|| format!("write it without quotes: {text}"))
            }
            (What::Integer(_), Value::Float(number)) if number.fract() == 0.0 => {
                Some(format!("write it without a fraction: {number:.0}"))
            }
            (What::OneOf(alternatives), Value::Text(text)) if alternatives.contains_key(text) => {
                let in_list = self.steps.last()?.key.is_none();
                Some(if in_list || self.is_in_sweep(tree) {
                    format!("write `{{ {text} = {{}} }}`")
                } else {
                    format!("write `{key}.{text} = {{}}`")
                })
            }
            (What::Choice(names), Value::Table(table)) => {
                let (name, _) = table.first().filter(|(name, _)| names.contains(name))?;
                Some(format!("write `{key} = \"{name}\"`"))
            }
            (What::List(_), Value::Table(table)) if self.is_axis(3) => {
                let (below, _) = table.first()?;
                Some(format!("put the whole key in quotes: \"{key}.{below}\" = [ … ]"))
            }
            (What::Table(_), _) if self.is_axis(4) => {
                Some(format!("an axis of values names a key of a stage: \"{key}.…\" = [ … ]"))
            }
            (What::List(_), value) if !matches!(value, Value::Table(_) | Value::Datetime) => {
                let quote = self.sources.short_quote(tree.span, "…");
                Some(format!("write a list: [{quote}]"))
            }
            _ => None,
        }
    }

    /// Whether the walk is so many steps deep, and in the sweep.
    fn is_axis(&self, depth: usize) -> bool {
        self.steps.len() == depth && self.steps[1].key == Some("sweep")
    }

    /// Whether the value stands elsewhere than its key, in an axis of the sweep.
    fn is_in_sweep(&self, tree: &Tree) -> bool {
        let above = self.steps.len().checked_sub(2).and_then(|index| self.steps.get(index));
        let stands = above.and_then(|step| step.tree.entry(&[self.key()]));
        stands.is_some_and(|entry| entry.tree.span != tree.span)
    }

    /// What the documentation says of the key, if it says anything.
    fn about(&self, rule: &Rule) -> Option<String> {
        let outer = self.steps.iter().rev().find(|step| step.key.is_some());
        let rule = if rule.description.is_empty() { outer?.rule } else { rule };
        let sentence = rule.sentence().trim_end_matches('.');
        let says_more = sentence.to_lowercase() != self.key().replace('-', " ");
        (says_more && !sentence.is_empty()).then(|| format!("`{}`: {sentence}", self.key()))
    }

    /// The key of the innermost table or value, outside lists.
    fn key(&self) -> &'a str {
        self.steps.iter().rev().find_map(|step| step.key).unwrap_or("the file")
    }

    /// What a value is called: its key, or an item of it.
    fn place(&self) -> String {
        match (self.stage_alone(), self.is_item()) {
            (Some(stage), _) => format!("stage `{stage}`"),
            (None, false) => format!("`{}`", self.key()),
            (None, true) => format!("a value of `{}`", self.key()),
        }
    }

    fn is_item(&self) -> bool {
        self.steps.last().is_some_and(|step| step.key.is_none()) && self.steps.len() > 1
    }

    /// What the table that a key stands in is called.
    fn owner(&self) -> String {
        if self.steps.len() == 1 { "the experiment".to_owned() } else { self.place() }
    }

    /// The stage's name where the walk is at a stage itself, whose key is no key but a name.
    fn stage_alone(&self) -> Option<&'a str> {
        (self.steps.len() == 3).then(|| self.stage()).flatten()
    }

    fn stage(&self) -> Option<&'a str> {
        let is_stage = self.steps.get(1).is_some_and(|step| step.key == Some("stage"));
        if is_stage { self.steps.get(2)?.key } else { None }
    }

    fn report(
        &mut self,
        code: Code,
        span: Span,
        message: &str,
        finish: impl FnOnce(Fault) -> Fault,
    ) {
        let message = match self.stage().filter(|_| self.stage_alone().is_none()) {
            Some(stage) => format!("stage `{stage}`: {message}"),
            None => message.to_owned(),
        };
        self.faults.push(finish(self.sources.fault(code, span, message)));
    }
}

/// Looks for a key in the tables below a rule, in those that the file chooses first.
pub(super) fn find_below<'a>(
    rule: &'a Rule,
    tree: Option<&Tree>,
    key: &str,
    path: &mut Vec<&'a str>,
    depth: usize,
) -> bool {
    if depth == 0 {
        return false;
    }
    let table = tree.and_then(Tree::table);
    let mut below: Vec<(&str, &Rule, Option<&Tree>)> = match &rule.what {
        What::Table(rules) => {
            rules.properties.iter().map(|(name, rule)| (name.as_str(), rule, None)).collect()
        }
        What::OneOf(rules) => {
            rules.iter().map(|(name, rule)| (name.as_str(), rule, None)).collect()
        }
        _ => return false,
    };
    for (name, _, tree) in &mut below {
        *tree = table.and_then(|table| table.get(*name)).map(|entry| &entry.tree);
    }
    let usual = rule.default.as_ref().and_then(|default| default.as_object()?.keys().next());
    below.sort_by_key(|(name, _, tree)| (tree.is_none(), usual.is_none_or(|usual| usual != name)));
    if matches!(rule.what, What::OneOf(_)) && below.first().is_some_and(|(.., tree)| tree.is_some())
    {
        below.retain(|(.., tree)| tree.is_some());
    }
    for (name, rule, tree) in below {
        path.push(name);
        let is_here =
            matches!(&rule.what, What::Table(rules) if rules.properties.contains_key(key));
        if is_here || find_below(rule, tree, key, path, depth - 1) {
            return true;
        }
        path.pop();
    }
    false
}

fn sentence(rule: &Rule) -> String {
    match rule.sentence() {
        "" => String::new(),
        sentence => format!(". {}", sentence.trim_end_matches('.')),
    }
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
