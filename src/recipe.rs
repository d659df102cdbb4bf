//! What decides a stage's result, and the key that it is found under.
//!
//! | enters the key | never enters |
//! |---|---|
//! | kind and its revision | names of stages, experiments, files, folders |
//! | settings that differ from their default | order, comments, spelling of numbers |
//! | seed, where a random draw takes part | device, threads, LibTorch's version, host, time |
//! | keys of the inputs, by role | how many seeds or variants the experiment has |
//! | content digests of the datasets and files | where they lie, what files are called |
//!
//! There are two keys. The [`StageKey`] names inputs by their keys, so that it is known before anything
//! runs. The [`ActionKey`] names them by their content, so that it is known once they exist: a stage
//! whose inputs came out as they were before, in whatever way, has the result that it had before.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::experiment::{
    self,
    spec::{Stage, StageKind},
};

/// Everything that decides a stage's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recipe {
    /// What the stage does.
    pub kind: StageKind,
    /// The kind's revision: the same settings gave another result before it was raised.
    pub revision: u32,
    /// The stage's settings without its inputs and seed; values equal to their default are left out.
    ///
    /// Thousands of stages differ in their inputs or seed alone, and share it.
    #[serde(serialize_with = "Value::serialize", deserialize_with = "shared")]
    pub spec: Arc<Value>,
    /// Seed of all random draws; absent where none takes part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Keys of the stages that it reads, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, StageKey>,
    /// Content digests of the datasets that it reads, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Content digests of the files beside the experiment that it reads, by the name that it gives them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// The text of a recipe up to its settings: thousands of stages differ in what follows alone, and to
/// write the settings is most of the work.
#[derive(Debug, Clone)]
pub(crate) struct Start(Arc<[u8]>);

impl Start {
    pub(crate) fn of(recipe: &Recipe) -> Self {
        #[derive(Serialize)]
        struct Fields<'a> {
            kind: StageKind,
            revision: u32,
            // Maps of `serde_json` are sorted by key.
            spec: &'a Value,
        }
        let fields = Fields { kind: recipe.kind, revision: recipe.revision, spec: &recipe.spec };
        let mut text = serde_json::to_vec(&fields).expect("a recipe is plain JSON");
        text.pop(); // the brace that ends the table
        Self(text.into())
    }
}

/// What follows the settings, as [`Recipe`] has it.
#[derive(Serialize)]
struct Rest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    inputs: &'a BTreeMap<String, StageKey>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    files: &'a BTreeMap<String, String>,
}

/// Bytes that what follows the settings fits in, most of the time.
const USUAL: usize = 256;

impl Recipe {
    /// The recipe of a stage of a trial with this seed.
    ///
    /// A stage that pins its seed takes that one; a stage that draws nothing has none, whatever the
    /// trial's is, so that all seeds that share its inputs share it.
    pub fn new(
        stage: &Stage,
        seed: u64,
        inputs: BTreeMap<String, StageKey>,
        data: BTreeMap<String, String>,
    ) -> Self {
        Self::with_spec(stage, Arc::new(canonical(stage)), seed, inputs, data)
    }

    /// The same, where the settings of the stage have been brought to their one form before.
    pub(crate) fn with_spec(
        stage: &Stage,
        spec: Arc<Value>,
        seed: u64,
        inputs: BTreeMap<String, StageKey>,
        data: BTreeMap<String, String>,
    ) -> Self {
        Self {
            kind: stage.kind(),
            revision: stage.kind().revision(),
            spec,
            seed: stage.is_random().then(|| stage.pinned_seed().unwrap_or(seed)),
            inputs,
            data,
            files: BTreeMap::new(),
        }
    }

    /// The same with files beside the experiment: content digests by the name that the stage gives them.
    #[must_use]
    pub fn with_files(self, files: BTreeMap<String, String>) -> Self {
        Self { files, ..self }
    }

    /// The BLAKE3 hash of the recipe's canonical JSON.
    pub fn key(&self) -> StageKey {
        StageKey(*blake3::hash(&self.text()).as_bytes())
    }

    /// The recipe as JSON text in its one form: equal recipes are equal texts.
    pub fn canonical(&self) -> String {
        String::from_utf8(self.text()).expect("JSON is UTF-8")
    }

    /// The same as [`Self::key`], where the text up to the settings has been written before.
    pub(crate) fn key_from(&self, start: &Start) -> StageKey {
        StageKey(*blake3::hash(&self.text_from(start)).as_bytes())
    }

    fn text(&self) -> Vec<u8> {
        self.text_from(&Start::of(self))
    }

    fn text_from(&self, Start(start): &Start) -> Vec<u8> {
        let Self { kind: _, revision: _, spec: _, seed, inputs, data, files } = self;
        let rest = Rest { seed: *seed, inputs, data, files };
        let mut text = Vec::with_capacity(start.len() + USUAL);
        text.extend_from_slice(start);
        serde_json::to_writer(&mut text, &rest).expect("a recipe is plain JSON");
        // Two tables one after the other become one.
        if text.ends_with(b"{}") {
            text.remove(start.len());
        } else {
            text[start.len()] = b',';
        }
        text
    }

    /// The same with the contents of the inputs in place of their keys; `contents` has one for each role.
    pub fn action(&self, contents: &BTreeMap<String, Content>) -> ActionKey {
        let recipe = Self { inputs: BTreeMap::new(), ..self.clone() };
        // The two texts in one list, which no recipe is: no action has the key of a stage.
        let text = serde_json::to_vec(&(recipe, contents)).expect("a recipe is plain JSON");
        ActionKey(blake3::hash(&text).to_hex().to_string())
    }
}

/// The rest of `serde` knows no `Arc`.
fn shared<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<Value>, D::Error> {
    Value::deserialize(deserializer).map(Arc::new)
}

/// The settings of a stage in their one form: without inputs and seed, without what equals a default.
fn canonical(stage: &Stage) -> Value {
    let Ok(Value::Object(mut tagged)) = serde_json::to_value(stage) else {
        unreachable!("a stage is a table with its kind as the only key");
    };
    let kind = stage.kind().as_str();
    let Some(Value::Object(mut settings)) = tagged.remove(kind) else {
        unreachable!("a stage is a table with its kind as the only key");
    };
    for path in stage.named_otherwise() {
        remove(&mut settings, &path);
    }
    let shape = SHAPES.field(SHAPES.root, kind).map(|field| field.shape);
    SHAPES.reduce(shape.unwrap_or(Shapes::LEAF), Value::Object(settings))
}

fn remove(settings: &mut Map<String, Value>, path: &[&str]) {
    match path {
        [] => {}
        [key] => drop(settings.remove(*key)),
        [key, below @ ..] => {
            if let Some(Value::Object(table)) = settings.get_mut(*key) {
                remove(table, below);
            }
        }
    }
}

/// The defaults of the language, read once from its JSON Schema.
static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let language = experiment::language();
    Shapes::new(language, &language["definitions"]["Stage"])
});

/// What a JSON Schema says of defaults and nothing else, as a small graph.
struct Shapes {
    nodes: Vec<Shape>,
    root: usize,
}

enum Shape {
    /// A value without parts that have defaults.
    Leaf,
    /// A list; all items have one shape.
    List(usize),
    /// A table, or an enum, which is a table with one key of several.
    Table(BTreeMap<String, Field>),
}

struct Field {
    shape: usize,
    default: Option<Value>,
}

impl Shapes {
    const LEAF: usize = 0;

    fn new(root: &Value, schema: &Value) -> Self {
        let mut shapes = Self { nodes: vec![Shape::Leaf], root: Self::LEAF };
        shapes.root = shapes.add(root, schema, &mut BTreeMap::new());
        shapes
    }

    fn add<'a>(
        &mut self,
        root: &'a Value,
        schema: &'a Value,
        known: &mut BTreeMap<&'a str, usize>,
    ) -> usize {
        if let Some(pointer) = schema["$ref"].as_str() {
            if let Some(&node) = known.get(pointer) {
                return node;
            }
            // The place is taken before the walk goes on, so that a type may contain itself.
            let node = self.nodes.len();
            self.nodes.push(Shape::Leaf);
            known.insert(pointer, node);
            let target = root.pointer(pointer.trim_start_matches('#')).unwrap_or(&Value::Null);
            let inner = self.add(root, target, known);
            self.nodes[node] = std::mem::replace(&mut self.nodes[inner], Shape::Leaf);
            return node;
        }
        let shape = if let Some(items) = schema.get("items") {
            Shape::List(self.add(root, items, known))
        } else {
            // A reference with a description or a default of its own.
            if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice) {
                return self.add(root, only, known);
            }
            let mut fields = BTreeMap::new();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let shape = self.add(root, property, known);
                let default = property.get("default").cloned();
                fields.insert(name.clone(), Field { shape, default });
            }
            if fields.is_empty() { Shape::Leaf } else { Shape::Table(fields) }
        };
        self.nodes.push(shape);
        self.nodes.len() - 1
    }

    fn field(&self, node: usize, name: &str) -> Option<&Field> {
        match &self.nodes[node] {
            Shape::Table(fields) => fields.get(name),
            Shape::Leaf | Shape::List(_) => None,
        }
    }

    /// Leaves out every key whose value equals its default, from the leaves up.
    fn reduce(&self, node: usize, value: Value) -> Value {
        match (value, &self.nodes[node]) {
            (Value::Object(table), Shape::Table(fields)) => {
                let mut kept = Map::new();
                for (name, value) in table {
                    let Some(field) = fields.get(&name) else {
                        kept.insert(name, value);
                        continue;
                    };
                    if field.default.as_ref() == Some(&value) {
                        continue;
                    }
                    kept.insert(name, self.reduce(field.shape, value));
                }
                Value::Object(kept)
            }
            (Value::Array(items), Shape::List(item)) => {
                items.into_iter().map(|value| self.reduce(*item, value)).collect()
            }
            // A table with free keys has no defaults; what is in it is brought to one form all the same.
            (Value::Object(table), Shape::Leaf) => {
                let reduced = table.into_iter().map(|(key, value)| (key, self.reduce(node, value)));
                Value::Object(reduced.collect())
            }
            // Minus zero is zero in every setting, and is written otherwise.
            (Value::Number(number), _) if number.is_f64() && number.as_f64() == Some(0.0) => {
                json!(0.0)
            }
            (value, _) => value,
        }
    }
}

/// The name of a stage's result in the store: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageKey([u8; 32]);

impl StageKey {
    /// The first ten digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }

    /// The digits as ASCII, for whoever writes thousands of them.
    fn digits(&self) -> [u8; 64] {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        text
    }
}

/// What a stage does to given contents: the recipe with the digests of its inputs in place of their keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionKey(String);

/// The digest of what a stage leaves to its readers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Content(String);

impl Content {
    /// The digest of named files, each with the digest of its own content.
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files: BTreeMap<&str, &str> = files.into_iter().collect();
        let text = serde_json::to_vec(&files).expect("names and digests are plain JSON");
        Self(blake3::hash(&text).to_hex().to_string())
    }
}

impl fmt::Display for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for StageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for StageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StageKey({})", self.short())
    }
}

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no stage key; a key is 64 hexadecimal digits")]
pub struct NotAKey(String);

impl FromStr for StageKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let error = || NotAKey(text.to_owned());
        if text.len() != 64 || !text.is_ascii() {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for StageKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = self.digits();
        serializer.serialize_str(std::str::from_utf8(&digits).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for StageKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn stage(text: &str) -> Stage {
        toml::from_str(text).unwrap()
    }

    fn recipe(text: &str) -> Recipe {
        Recipe::new(&stage(text), 7, BTreeMap::new(), BTreeMap::new())
    }

    #[track_caller]
    fn check(text: &str, spec: &Value) {
        assert_eq!(*recipe(text).spec, *spec);
    }

    #[test]
    fn the_text_of_a_recipe_is_its_json() {
        let data = || BTreeMap::from([("mnist".to_owned(), "d".to_owned())]);
        let inputs = || {
            BTreeMap::from([(
                "from".to_owned(),
                recipe("[import]\nfile = 'a'\nmodel.lenet5 = {}\ndata.mnist = {}").key(),
            )])
        };
        for text in [
            "[prune]\nfrom = 'dense'\ncriterion.magnitude = {}\nsparsity = 0.5",
            "[pretrain]\nepochs = 3\nmodel.lenet5 = {}\ndata.mnist = {}",
        ] {
            for (inputs, data) in [
                (BTreeMap::new(), BTreeMap::new()),
                (inputs(), BTreeMap::new()),
                (BTreeMap::new(), data()),
                (inputs(), data()),
            ] {
                let recipe = Recipe::new(&stage(text), 7, inputs, data);
                assert_eq!(recipe.canonical(), serde_json::to_string(&recipe).unwrap());
                let file = BTreeMap::from([("script".to_owned(), "e".to_owned())]);
                let recipe = recipe.with_files(file);
                assert_eq!(recipe.canonical(), serde_json::to_string(&recipe).unwrap());
                assert_eq!(recipe.key_from(&Start::of(&recipe)), recipe.key());
            }
        }
    }

    #[test]
    fn stated_defaults_are_left_out() {
        check(
            "[pretrain]\nepochs = 3\nmodel.lenet5 = { batch-norm = false }\n\
             data.mnist = { batch-size = 128, augment = [] }\n\
             optimizer.sgd = { learning-rate = 1e-2 }\nl1 = -0.0\nkeep = 'last'",
            &json!({ "epochs": 3, "model": { "lenet5": {} }, "data": { "mnist": {} } }),
        );
    }

    #[test]
    fn what_differs_from_a_default_stays_and_nothing_beside_it() {
        check(
            "[pretrain]\nepochs = 3\nmodel.mlp.hidden = [300]\n\
             data.mnist = { augment = [{ horizontal-flip = { probability = 0.5 } }, { random-crop.padding = 2 }] }\n\
             optimizer.adam = {}\nschedule.cosine = {}\nloss.cross-entropy.label-smoothing = 0.1\nseed = 3",
            &json!({
                "epochs": 3,
                "model": { "mlp": { "hidden": [300] } },
                "data": { "mnist": { "augment": [{ "horizontal-flip": {} }, { "random-crop": { "padding": 2 } }] } },
                "optimizer": { "adam": {} },
                "schedule": { "cosine": {} },
                "loss": { "cross-entropy": { "label-smoothing": 0.1 } },
            }),
        );
    }

    #[test]
    fn an_optional_table_at_its_defaults_is_not_the_same_as_none() {
        check(
            "[finetune]\nfrom = 'a'\nteacher = 'b'\nepochs = 1\ndata.mnist = {}\nl2-sp = {}\n\
             early-stopping.patience = 2",
            &json!({ "epochs": 1, "data": { "mnist": {} }, "l2-sp": {}, "early-stopping": { "patience": 2 } }),
        );
    }

    #[test]
    fn what_latency_is_measured_beside_is_an_input_and_no_setting() {
        let evaluate = "[evaluate]\nfrom = 'a'\ndata.mnist = {}";
        check(evaluate, &json!({ "data": { "mnist": {} } }));
        check(
            &format!("{evaluate}\nlatency = {{ beside = 'b', batch = 8, threads = 1 }}"),
            &json!({ "data": { "mnist": {} }, "latency": { "batch": 8 } }),
        );
        let timed = stage(&format!("{evaluate}\nlatency.beside = 'b'"));
        assert_eq!(timed.inputs(), [("from", "a"), ("beside", "b")]);
        assert_ne!(
            Recipe::new(&timed, 0, BTreeMap::new(), BTreeMap::new()).key(),
            recipe(evaluate).key(),
            "another result"
        );
    }

    #[test]
    fn the_order_of_learning_rate_factors_has_no_meaning() {
        let mut stage = stage("[finetune]\nfrom = 'a'\nepochs = 1\ndata.mnist = {}");
        let mut key = |order: [&str; 2]| {
            let Stage::Finetune(finetune) = &mut stage else { panic!() };
            finetune.learning_rate_factors =
                order.map(|name| (name.to_owned(), name.len() as f64)).into();
            Recipe::new(&stage, 0, BTreeMap::new(), BTreeMap::new()).key()
        };
        assert_eq!(key(["conv1", "*"]), key(["*", "conv1"]));
    }

    #[test]
    fn minus_zero_is_zero_in_a_table_with_free_keys_too() {
        let finetune =
            "[finetune]\nfrom = 'a'\nepochs = 1\ndata.mnist = {}\nlearning-rate-factors.fc1 =";
        let key = |factor: &str| recipe(&format!("{finetune} {factor}")).key();
        assert_eq!(key("-0.0"), key("0.0"));
        assert_ne!(key("0.0"), key("0.5"));
    }

    /// A table with free keys has no order in a key; a new one must not need it either.
    #[test]
    fn tables_with_free_keys_are_those_whose_order_has_no_meaning() {
        fn free(value: &Value, name: &str, found: &mut Vec<String>) {
            if value["additionalProperties"].is_object() {
                found.push(name.to_owned());
            }
            for (key, value) in value.as_object().into_iter().flatten() {
                free(value, key, found);
            }
        }
        let mut found = Vec::new();
        free(schemars::schema_for!(Stage).as_value(), "", &mut found);
        found.sort();
        found.dedup();
        let legal =
            ["files", "floors", "inputs", "layer-sparsity", "learning-rate-factors", "params"];
        assert_eq!(found, legal);
    }

    #[test]
    fn a_stage_that_draws_nothing_has_no_seed() {
        let magnitude = "[prune]\nfrom = 'a'\ncriterion.magnitude = {}\nsparsity = 0.5";
        assert_eq!(recipe(magnitude).seed, None);
        for control in ["shuffle", "reinitialise"] {
            assert_eq!(recipe(&format!("{magnitude}\n{control} = false")).seed, None);
            assert_eq!(
                recipe(&format!("{magnitude}\n{control} = true")).seed,
                Some(7),
                "{control}"
            );
        }
        let random = "[prune]\nfrom = 'a'\ncriterion.random = {}\nsparsity = 0.5";
        assert_eq!(recipe(random).seed, Some(7));
        assert_eq!(recipe(&format!("{random}\nseed = 1")).seed, Some(1));
    }

    /// These keys are in people's stores: a change makes every checkpoint of theirs unfindable.
    #[test]
    fn three_keys_are_pinned() {
        let data = BTreeMap::from([("mnist".to_owned(), "d1".to_owned())]);
        let dense = stage(
            "[pretrain]\nmodel.lenet5 = {}\ndata.mnist.batch-size = 64\nepochs = 10\n\
             optimizer.sgd = { learning-rate = 0.05, weight-decay = 5e-4 }\nschedule.cosine.warmup-epochs = 1",
        );
        let dense = Recipe::new(&dense, 0, BTreeMap::new(), data.clone());
        let thin = stage(
            "[prune]\nfrom = 'dense'\ncriterion.min-mse.hessian = 'diag'\nsparsity = 0.9\ndata.mnist = {}",
        );
        let from = |recipe: &Recipe| BTreeMap::from([("from".to_owned(), recipe.key())]);
        let thin = Recipe::new(&thin, 0, from(&dense), data.clone());
        let tuned = stage(
            "[finetune]\nfrom = 'thin'\ndata.mnist = {}\nepochs = 3\nfreeze = ['conv1']\nlearning-rate-factors.fc1 = 0.1",
        );
        let tuned = Recipe::new(&tuned, 0, from(&thin), data);
        let shown = [&dense, &thin, &tuned].map(|recipe| {
            format!("{}\n{}\n", serde_json::to_string(recipe).unwrap(), recipe.key())
        });
        expect![[r#"
            {"kind":"pretrain","revision":1,"spec":{"data":{"mnist":{"batch-size":64}},"epochs":10,"model":{"lenet5":{}},"optimizer":{"sgd":{"learning-rate":0.05,"weight-decay":0.0005}},"schedule":{"cosine":{"warmup-epochs":1.0}}},"seed":0,"data":{"mnist":"d1"}}
            5ab0979fd3da82c123a368eede7075a982a9fe21df833c2633a4f60ebdb524f4
            {"kind":"prune","revision":3,"spec":{"criterion":{"min-mse":{"hessian":"diag"}},"data":{"mnist":{}},"sparsity":0.9},"seed":0,"inputs":{"from":"5ab0979fd3da82c123a368eede7075a982a9fe21df833c2633a4f60ebdb524f4"},"data":{"mnist":"d1"}}
            6961ef108ac8cfd80ddb14771712bf4e27e17f134d854acce562296a699ccea1
            {"kind":"finetune","revision":1,"spec":{"data":{"mnist":{}},"epochs":3,"freeze":["conv1"],"learning-rate-factors":{"fc1":0.1}},"seed":0,"inputs":{"from":"6961ef108ac8cfd80ddb14771712bf4e27e17f134d854acce562296a699ccea1"},"data":{"mnist":"d1"}}
            97c61f7322e57a8ccede4659632f4b22d697b8fb162d004348fdf5e5ae3267da
        "#]].assert_eq(&shown.concat());
    }

    #[test]
    fn an_action_sees_what_its_inputs_are_and_not_how_they_came_about() {
        let finetune = |input: &str| {
            let stage = stage("[finetune]\nfrom = 'thin'\ndata.mnist = {}\nepochs = 1");
            let inputs = BTreeMap::from([("from".to_owned(), recipe(input).key())]);
            Recipe::new(&stage, 0, inputs, BTreeMap::new())
        };
        let pretrain = |epochs: u32| {
            format!("[pretrain]\nmodel.lenet5 = {{}}\ndata.mnist = {{}}\nepochs = {epochs}")
        };
        let (one, other) = (finetune(&pretrain(1)), finetune(&pretrain(2)));
        let content =
            |digest| BTreeMap::from([("from".to_owned(), Content::of([("model", digest)]))]);
        assert_ne!(one.key(), other.key());
        assert_eq!(one.action(&content("a")), other.action(&content("a")));
        assert_ne!(one.action(&content("a")), one.action(&content("b")));
        assert_ne!(one.action(&content("a")).to_string(), one.key().to_string());
        let longer = Recipe { seed: Some(1), ..one.clone() };
        assert_ne!(one.action(&content("a")), longer.action(&content("a")));
    }

    #[test]
    fn a_content_is_its_files_whatever_their_order() {
        let one = Content::of([("a", "1"), ("b", "2")]);
        assert_eq!(one, Content::of([("b", "2"), ("a", "1")]));
        assert_ne!(one, Content::of([("a", "2"), ("b", "1")]));
        assert_ne!(one, Content::of([("a", "1")]));
    }
}
