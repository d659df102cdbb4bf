//! Paths of keys as axes and `--set` write them: `thin.sparsity` for `stage.thin.prune.sparsity`.

use std::ops::Range;

use toml::de::DeTable;

use super::tree::Tree;

/// One key of a path and its place in the path's text.
pub(super) type Segment = (String, Range<usize>);

/// Splits a dotted key by TOML's rules; none if it is not one.
pub(super) fn segments(text: &str) -> Option<Vec<Segment>> {
    if text.contains(['\n', '\r']) {
        return None;
    }
    let line = format!("{text}=0");
    let document = DeTable::parse(&line).ok()?;
    let mut table = document.get_ref();
    let mut segments = Vec::new();
    loop {
        let [(key, value)] = table.iter().collect::<Vec<_>>()[..] else { return None };
        segments.push((key.get_ref().clone().into_owned(), key.span()));
        match value.get_ref().as_table() {
            Some(below) => table = below,
            // A text such as `a=1#` has a value of its own.
            None => return (value.span() == (text.len() + 1..line.len())).then_some(segments),
        }
    }
}

/// A path of keys joined by dots, quoted where TOML needs it.
pub(super) fn join<S: AsRef<str>>(path: &[S]) -> String {
    let is_bare = |key: &str| {
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let quoted = path
        .iter()
        .map(AsRef::as_ref)
        .map(|key| if is_bare(key) { key.to_owned() } else { format!("'{key}'") });
    quoted.collect::<Vec<_>>().join(".")
}

/// The kind of a stage, where it states exactly one.
pub(super) fn kind_of<'a>(root: &'a Tree, stage: &str) -> Option<&'a str> {
    match root.entry(&["stage", stage])?.tree.table()?.keys().collect::<Vec<_>>()[..] {
        [kind] => Some(kind),
        _ => None,
    }
}

/// The names of all stages, in the order of the file.
pub(super) fn stage_names(root: &Tree) -> Vec<&str> {
    let stages = root.entry(&["stage"]).and_then(|entry| entry.tree.table());
    stages.into_iter().flat_map(|table| table.keys().map(String::as_str)).collect()
}

/// The whole path of a short one that starts with a stage: `thin.sparsity` is
/// `stage.thin.prune.sparsity`.
pub(super) fn expand(root: &Tree, short: &[Segment]) -> Option<Vec<String>> {
    let ((stage, _), rest) = short.split_first()?;
    let kind = kind_of(root, stage)?;
    let start = ["stage", stage, kind].map(str::to_owned);
    Some(start.into_iter().chain(rest.iter().map(|(key, _)| key.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_keys_are_split_as_toml_splits_them() {
        let keys = |text: &str| -> Option<Vec<String>> {
            Some(segments(text)?.into_iter().map(|(key, _)| key).collect())
        };
        assert_eq!(keys("thin.sparsity").unwrap(), ["thin", "sparsity"]);
        assert_eq!(keys("a.'conv1.*'").unwrap(), ["a", "conv1.*"]);
        for text in ["", "a.", "a b", "a=1#", "a=1\nb", "[a]\nb"] {
            assert_eq!(keys(text), None, "{text:?}");
        }
        assert_eq!(join(&["a", "conv1.*"]), "a.'conv1.*'");
    }
}
