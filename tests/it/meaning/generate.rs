//! Random experiments, made from the JSON Schema: what the language can say, they say.

use std::collections::BTreeSet;

use graftwork::experiment;
use graftwork::experiment::spec::{Data, Model};
use graftwork::network::zoo;
use serde_json::{Map, Value, json};

/// Patterns of layers that most networks of the language have.
const LAYERS: [&str; 4] = ["fc1", "*1", "f*2", "fc*"];

/// A stream of random numbers (splitmix64).
pub(super) struct Dice {
    state: u64,
    /// Whether few things are said, and mostly the same.
    pub(super) is_poor: bool,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed, is_poor: false }
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 33) as usize % end
    }

    /// True once in `times`.
    pub(super) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// One of several alternatives; the poor have two.
    fn choose<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let end = if self.is_poor { all.len().min(2) } else { all.len() };
        &all[self.below(end)]
    }

    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

/// A place of the schema.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Name of the type, where it has one.
    name: &'static str,
    /// What is said where the place is used: its default, what its texts are names of.
    used: &'static Value,
    /// What is said of the type.
    typed: &'static Value,
}

impl Place {
    pub(super) fn stage() -> Self {
        Self::new(&experiment::language()["properties"]["stage"]["additionalProperties"])
    }

    /// The kinds of stages. What a program is told has rules of its own, which the schema does not say:
    /// the keys of commands are tested with the programs.
    pub(super) fn kinds() -> impl Iterator<Item = (&'static str, Self)> {
        Self::stage().children().filter(|(kind, _)| *kind != "command")
    }

    fn new(used: &'static Value) -> Self {
        let (mut typed, mut name) = (used, "");
        while let Some(target) = typed["$ref"].as_str().or(typed["allOf"][0]["$ref"].as_str()) {
            let path = target.trim_start_matches('#');
            typed = experiment::language().pointer(path).expect("the type is defined");
            name = target.rsplit('/').next().unwrap_or_default();
        }
        Self { name, used, typed }
    }

    pub(super) fn default(self) -> Option<&'static Value> {
        self.used.get("default")
    }

    fn properties(self) -> Option<&'static Map<String, Value>> {
        self.typed["properties"].as_object()
    }

    /// The places below, where they are known by name.
    pub(super) fn children(self) -> impl Iterator<Item = (&'static str, Self)> {
        let properties = self.properties().into_iter().flatten();
        properties.map(|(name, property)| (name.as_str(), Self::new(property)))
    }

    /// Where a key or an item leads.
    pub(super) fn child(self, key: &str) -> Self {
        let property = self.properties().and_then(|properties| properties.get(key));
        Self::new(property.unwrap_or(&self.typed["additionalProperties"]))
    }

    pub(super) fn item(self) -> Self {
        Self::new(&self.typed["items"])
    }

    pub(super) fn is_list(self) -> bool {
        self.typed["type"] == "array"
    }

    pub(super) fn is_real(self) -> bool {
        self.typed["type"] == "number"
    }

    pub(super) fn is_required(self, key: &str) -> bool {
        self.typed["required"].as_array().is_some_and(|names| names.iter().any(|name| name == key))
    }

    /// Whether exactly one of the keys stands here.
    pub(super) fn is_choice(self) -> bool {
        self.typed["maxProperties"] == 1
    }

    /// Whether a text here is the name of a stage that is read.
    pub(super) fn names_a_stage(self) -> bool {
        let names = self.used["x-names"].as_str().unwrap_or_default();
        self.typed["type"] == "string" && names.starts_with("stage")
    }

    /// Whether this is a list that may have no items.
    pub(super) fn may_be_empty(self) -> bool {
        self.is_list() && self.typed["minItems"].as_u64().unwrap_or(0) == 0
    }

    fn is_distinct(self) -> bool {
        self.is_list() && self.typed["uniqueItems"] == true
    }

    /// Whether this is a list of names whose order has no meaning.
    fn is_set(self) -> bool {
        self.is_distinct() && self.item().typed["enum"].is_array()
    }

    fn has_free_keys(self) -> bool {
        self.typed["additionalProperties"].is_object()
    }

    /// Whether to leave a value out is to say the same: false, an empty list, an empty table of free keys.
    fn is_nothing(self, value: &Value) -> bool {
        match value {
            Value::Bool(said) => !said,
            Value::Array(items) => items.is_empty(),
            Value::Object(table) => table.is_empty() && self.has_free_keys(),
            _ => false,
        }
    }

    /// The value with every default stated and no number in two forms: equal just when the meaning is.
    pub(super) fn whole(self, value: &Value) -> Value {
        match value {
            Value::Object(table) => {
                let mut whole = Map::new();
                for (key, value) in table {
                    let child = self.child(key);
                    let is_silent = child.default().is_none() && !self.is_required(key);
                    if !(is_silent && !self.is_choice() && child.is_nothing(value)) {
                        whole.insert(key.clone(), child.whole(value));
                    }
                }
                if !self.is_choice() {
                    for (key, child) in self.children() {
                        if let (Some(default), None) = (child.default(), table.get(key)) {
                            whole.insert(key.to_owned(), child.whole(default));
                        }
                    }
                }
                Value::Object(whole)
            }
            Value::Array(items) => {
                let mut items: Vec<Value> =
                    items.iter().map(|value| self.item().whole(value)).collect();
                if self.is_set() {
                    items.sort_by_key(Value::to_string);
                }
                items.into()
            }
            // Minus zero is zero.
            Value::Number(number) if self.is_real() => json!(number.as_f64().unwrap() + 0.0),
            other => other.clone(),
        }
    }

    /// A random value; `stages` are the names of stages that can be read.
    pub(super) fn value(self, dice: &mut Dice, stages: &[String]) -> Value {
        if let Some(choices) = self.typed["enum"].as_array() {
            return dice.choose(choices).clone();
        }
        match self.typed["type"].as_str() {
            Some("boolean") => json!(dice.one_in(2)),
            Some("integer") => self.integer(dice),
            Some("number") => self.real(dice),
            Some("string") if self.names_a_stage() => json!(dice.pick(stages)),
            // A text with a pattern is a name that is given, the others say which names are meant.
            Some("string") if self.typed["pattern"].is_string() => {
                json!(dice.pick(&["fc1", "last", "stem.conv1", ";"]))
            }
            Some("string") => json!(dice.pick(&LAYERS)),
            Some("array") if self.name == "Layers" => self.network(dice),
            Some("array") => self.list(dice, stages),
            Some("object") if self.name == "Model" && dice.one_in(4) => {
                json!({ "layers": self.child("layers").value(dice, stages) })
            }
            Some("object") if self.is_choice() => {
                let all: Vec<_> = self.children().collect();
                let (name, child) = *dice.choose(&all);
                json!({ name: child.value(dice, stages) })
            }
            Some("object") => self.table(dice, stages),
            other => panic!("a random value of type {other:?} cannot be made yet"),
        }
    }

    fn integer(self, dice: &mut Dice) -> Value {
        let bound = |key: &str, other| self.typed[key].as_u64().unwrap_or(other);
        // The integers of TOML are signed.
        let largest = i64::MAX as u64;
        let (min, max) = (bound("minimum", 0), bound("maximum", largest).min(largest));
        let usual = [min, min + 1, min + 2, 7, 28, 32, 128, 2048];
        let number = if !dice.is_poor && dice.one_in(20) { max } else { *dice.choose(&usual) };
        json!(number.clamp(min, max))
    }

    fn real(self, dice: &mut Dice) -> Value {
        let bound = |key: &str| self.typed[key].as_f64();
        let legal = |number: f64| {
            bound("minimum").is_none_or(|min| number >= min)
                && bound("maximum").is_none_or(|max| number <= max)
                && bound("exclusiveMinimum").is_none_or(|min| number > min)
                && bound("exclusiveMaximum").is_none_or(|max| number < max)
        };
        loop {
            let random = dice.below(1 << 30) as f64 / 1e9;
            let pool = [0.0, 1e-8, 5e-4, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0, 2.5, 10.0, 1e20, random];
            let number = *dice.pick(&pool);
            if legal(number) {
                return json!(number);
            }
        }
    }

    fn list(self, dice: &mut Dice, stages: &[String]) -> Value {
        let size = |key: &str, other| self.typed[key].as_u64().map_or(other, |size| size as usize);
        let min = size("minItems", 0);
        let most = size("maxItems", min + 2);
        // A long list of names that all differ is hardly ever drawn.
        let most = if self.is_distinct() { most.min(min + 2) } else { most };
        let length = min + dice.below(most - min + 1);
        if self.is_distinct() && self.item().is_real() {
            let mut numbers: Vec<Value> = Vec::new();
            while numbers.len() < length {
                let number = self.item().real(dice);
                if !numbers.contains(&number) {
                    numbers.push(number);
                }
            }
            return numbers.into();
        }
        if self.is_distinct() && !self.is_set() {
            let first = dice.below(LAYERS.len());
            let names = LAYERS.iter().cycle().skip(first).take(length.min(LAYERS.len()));
            return names.map(|name| json!(name)).collect();
        }
        let items: Vec<Value> = (0..length).map(|_| self.item().value(dice, stages)).collect();
        if !self.is_set() {
            return items.into();
        }
        // Nothing stands twice in a set; what is missing then comes in the order of the language.
        let all = self.item().typed["enum"].as_array().into_iter().flatten().cloned();
        let mut distinct: Vec<Value> = Vec::new();
        for item in items.into_iter().chain(all) {
            if distinct.len() < length && !distinct.contains(&item) {
                distinct.push(item);
            }
        }
        distinct.into()
    }

    /// A network layer by layer, for images of any size and any number of channels and classes, or for texts:
    /// of random layers those are kept that fit behind those before.
    fn network(self, dice: &mut Dice) -> Value {
        let is_text = dice.one_in(4);
        let (start, end, data) = if is_text {
            (
                json!({ "embedding": self.item().child("embedding").value(dice, &[]) }),
                [json!({ "pool-steps": {} }), json!({ "classifier": {} })],
                vec![json!({ "newsgroups": {} })],
            )
        } else {
            (
                json!({ "adaptive-avg-pool2d": { "height": 6, "width": 6 } }),
                [json!({ "flatten": {} }), json!({ "classifier": {} })],
                vec![json!({ "mnist": {} }), json!({ "cifar10": {} })],
            )
        };
        let data: Vec<Data> =
            data.into_iter().map(|data| serde_json::from_value(data).unwrap()).collect();
        let mut layers = vec![start];
        for _ in 0..if dice.is_poor { 2 } else { 12 } {
            layers.push(self.item().value(dice, &[]));
            let whole = [layers.as_slice(), &end].concat();
            let fits = serde_json::from_value::<Model>(json!({ "layers": whole }))
                .is_ok_and(|model| data.iter().all(|data| zoo::build_for(&model, data).is_ok()));
            if !fits {
                layers.pop();
            }
        }
        layers.extend(end);
        Value::Array(layers)
    }

    fn table(self, dice: &mut Dice, stages: &[String]) -> Value {
        let mut table = Map::new();
        let often = if dice.is_poor { 40 } else { 3 };
        for (key, child) in self.children() {
            if self.is_required(key) || dice.one_in(often) {
                table.insert(key.to_owned(), child.value(dice, stages));
            }
        }
        if self.has_free_keys() {
            for layer in LAYERS {
                if dice.one_in(3) {
                    table.insert(layer.to_owned(), self.child(layer).value(dice, stages));
                }
            }
        }
        if self.name == "MinMse" && table.get("target") == Some(&json!("labels")) {
            table.insert("hessian".to_owned(), json!("diag"));
        }
        match self.name {
            "Prune" => agree(&mut table),
            "Adapt" => agree_on_adaptation(&mut table),
            "Finetune" if table.contains_key("lora") => {
                for key in ["l2-sp", "layer-rates", "learning-rate-factors", "sparsify", "unfreeze"]
                {
                    table.remove(key);
                }
            }
            _ => {}
        }
        Value::Object(table)
    }

    /// Values of places with one tag can stand in each other's place, bounds aside.
    pub(super) fn tag(self) -> String {
        let Self { used, typed, .. } = self;
        format!("{} {} {} {}", typed["type"], typed["enum"], typed["items"], used["x-names"])
    }

    /// A key of the type that stands here: `Sgd.momentum`.
    fn key(self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    /// The keys of the type that a value states.
    pub(super) fn stated(self, value: &Value) -> Vec<String> {
        value.as_object().into_iter().flatten().map(|(key, _)| self.key(key)).collect()
    }

    /// Every key of every type that can stand here or below.
    pub(super) fn keys(self, found: &mut BTreeSet<String>) {
        for (key, child) in self.children() {
            if found.insert(self.key(key)) {
                child.keys(found);
            }
        }
        if self.is_list() {
            self.item().keys(found);
        }
    }
}

/// Leaves out what contradicts other settings of a pruning, which most random ones do.
fn agree(prune: &mut Map<String, Value>) {
    let of_weights = ["granularity", "allocation", "layer-sparsity", "shuffle"];
    if ["max-entropy", "slimming"].iter().any(|name| prune["criterion"].get(*name).is_some()) {
        for key in of_weights {
            prune.remove(key);
        }
    }
    if prune["criterion"].pointer("/max-entropy/variant/output/signed") == Some(&json!(true)) {
        // That is for single weights, which the rest is not.
        prune.insert("granularity".to_owned(), json!("weight"));
        for key in ["budget", "scope"] {
            prune.remove(key);
        }
        let settings = prune["criterion"]["max-entropy"].as_object_mut().expect("settings");
        settings.remove("correction");
    }
    if let Some(settings) = prune["criterion"].get("sparse-opt").cloned() {
        agree_on_penalty(&settings, prune);
    }
    if prune["criterion"]["min-mse"]["target"] == "labels" {
        prune.remove("granularity");
    }
    if prune.get("budget").is_some_and(|budget| *budget == json!({})) {
        prune.remove("budget");
    }
    let has_target = ["sparsity", "budget"].iter().any(|key| prune.contains_key(*key));
    if !has_target && prune["criterion"]["sparse-opt"].get("lambda").is_none() {
        prune.insert("sparsity".to_owned(), json!(0.5));
    }
}

/// Leaves out what contradicts the method of an adaptation, or what its target is for.
fn agree_on_adaptation(adapt: &mut Map<String, Value>) {
    let is = |names: &[&str]| names.iter().any(|name| adapt["method"].get(*name).is_some());
    let has_no_loss = is(&["adda", "shot", "tent"]);
    let is_pair = is(&["cdan", "coral", "dann", "ddc", "entropy", "jan", "mcc", "mmd"]);
    if has_no_loss {
        adapt.remove("loss");
    }
    if !is_pair {
        adapt.remove("joint-batches");
    }
    if adapt.get("keep") != Some(&json!("best")) {
        adapt.remove("select");
    }
    for data in adapt["target"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        data.as_object_mut().expect("a table of settings").remove("labels-per-class");
    }
}

/// Leaves out what contradicts the penalty of a `sparse-opt`.
fn agree_on_penalty(settings: &Value, prune: &mut Map<String, Value>) {
    let said = settings.as_object().expect("a table of settings");
    if said.get("optimizer") == Some(&json!("adam")) && !said.contains_key("learning-rate") {
        prune["criterion"]["sparse-opt"]["learning-rate"] = json!(0.001);
    }
    if said.get("method") != Some(&json!("half-space")) {
        prune["criterion"]["sparse-opt"].as_object_mut().unwrap().remove("epsilon");
    }
    if !said.contains_key("lambda") {
        return;
    }
    if said.get("method") == Some(&json!("hard-threshold")) {
        prune["criterion"]["sparse-opt"].as_object_mut().unwrap().remove("lambda");
        return;
    }
    for key in ["sparsity", "budget", "allocation", "layer-sparsity", "floors", "scope"] {
        prune.remove(key);
    }
}

/// The places at which a value has something, with steps to it.
pub(super) fn leaves(value: &Value, place: Place) -> Vec<(Vec<String>, Place)> {
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), value, place)];
    while let Some((path, value, place)) = open.pop() {
        let step = |step: String| path.iter().cloned().chain([step]).collect::<Vec<_>>();
        match value {
            Value::Object(table) => {
                open.extend(
                    table.iter().map(|(key, value)| (step(key.clone()), value, place.child(key))),
                );
            }
            Value::Array(items) => open.extend(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, value)| (step(at.to_string()), value, place.item())),
            ),
            _ => {}
        }
        found.push((path, place));
    }
    found
}

/// The value at the end of some steps.
pub(super) fn at<'a>(value: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(value, |value, step| match value {
        Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
        other => &mut other[step.as_str()],
    })
}
