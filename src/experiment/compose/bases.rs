//! `extends = "base.toml"`: the files that an experiment starts from, found and read.
//!
//! This room touches no file; whoever calls gives it [`Files`]. A base may extend further ones. One
//! that several files extend is read once, and lies below all of them.

use std::collections::HashSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::experiment::fault::{Code, Fault, Sources, Span, list, nearest};
use crate::experiment::sources::Kind;
use crate::experiment::syntax;
use crate::experiment::tree::{Entry, Tree, Value};

/// More files than these in one experiment are a slip, not a study.
const MOST_FILES: usize = 100;

/// The files among which an experiment finds those that it extends.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// Why it cannot be read; [`io::ErrorKind::NotFound`] if there is none.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The same path for every way of writing one file's, so that a loop of files is seen.
    fn identity(&self, path: &Path) -> PathBuf {
        plain(path)
    }

    /// The names of the files in a folder, for a message; empty where they cannot be known.
    fn names(&self, folder: &Path) -> Vec<String>;
}

/// No files at all, for a text that stands alone.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Files for Alone {
    fn read(&self, _path: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn names(&self, _folder: &Path) -> Vec<String> {
        Vec::new()
    }
}

/// An experiment's file and those that it extends, as far as they can be read.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Each file above all that it extends; the experiment's own last.
    pub(super) trees: Vec<Tree>,
    /// What is no TOML, and bases that are missing.
    pub(super) faults: Vec<Fault>,
}

/// Reads the bases of the file that is source 0, and the file itself.
pub(super) fn read(sources: &mut Sources, files: &dyn Files) -> Layers {
    let path = PathBuf::from(sources.name(0));
    let identity = files.identity(&path);
    let mut reader = Reader {
        sources,
        files,
        way: Vec::new(),
        met: HashSet::from([identity.clone()]),
        layers: Layers::default(),
    };
    reader.read(0, &path, identity);
    reader.layers
}

struct Reader<'a> {
    sources: &'a mut Sources,
    files: &'a dyn Files,
    /// The files from the experiment's own to the one that is being read.
    way: Vec<Link>,
    /// The identities of all files so far.
    met: HashSet<PathBuf>,
    layers: Layers,
}

/// A file on the way to the farthest base.
struct Link {
    identity: PathBuf,
    name: String,
    /// Where it names the next.
    extends: Span,
}

impl Reader<'_> {
    fn read(&mut self, source: usize, path: &Path, identity: PathBuf) {
        let (mut tree, found) = syntax::parse(self.sources, source);
        self.layers.faults.extend(found);
        let bases = self.take_extends(&mut tree);
        let name = self.sources.name(source).to_owned();
        self.way.push(Link { identity, name, extends: Span::new(source, 0..0) });
        for (base, span) in bases {
            let here = self.way.len() - 1;
            self.way[here].extends = span;
            self.read_base(&path.with_file_name(base), span);
        }
        self.way.pop();
        self.layers.trees.push(tree);
    }

    fn read_base(&mut self, path: &Path, span: Span) {
        let identity = self.files.identity(path);
        if let Some(start) = self.way.iter().position(|link| link.identity == identity) {
            self.layers.faults.push(describe_loop(&self.way[start..], self.sources));
            return;
        }
        if !self.met.insert(identity.clone()) {
            return;
        }
        if self.met.len() > MOST_FILES {
            let message = format!("these are more than {MOST_FILES} files that extend each other");
            let fault = self.sources.fault(Code::TooLarge, span, message);
            self.layers.faults.push(fault.label("one file too many").help("join some of them"));
            return;
        }
        match self.files.read(path) {
            Ok(text) => {
                let source = self.sources.add(Kind::Base, &path.display().to_string(), &text);
                self.read(source, path, identity);
            }
            Err(error) => {
                let fault = self.missing(path, &error, span);
                self.layers.faults.push(fault);
            }
        }
    }

    /// Takes `extends` out of a file's tree: the files that it names.
    fn take_extends(&mut self, tree: &mut Tree) -> Vec<(String, Span)> {
        let Value::Table(table) = &mut tree.value else { return Vec::new() };
        let Some(Entry { tree: extends, .. }) = table.shift_remove("extends") else {
            return Vec::new();
        };
        let named = match &extends.value {
            Value::Array(items) => items.as_slice(),
            _ => std::slice::from_ref(&extends),
        };
        let mut bases = Vec::new();
        for each in named {
            match each.text() {
                Some(base) if !base.is_empty() => bases.push((base.to_owned(), each.span)),
                Some(_) => self.layers.faults.push(self.no_path(each, "an empty text")),
                None => self.layers.faults.push(self.no_path(each, each.type_name())),
            }
        }
        bases
    }

    fn no_path(&self, tree: &Tree, what: &str) -> Fault {
        let message = format!("`extends` takes the path of a file, or a list of them, not {what}");
        let fault = self.sources.fault(Code::WrongType, tree.span, message);
        fault.label("expected a path").help("write `extends = \"base.toml\"`")
    }

    fn missing(&self, path: &Path, error: &io::Error, span: Span) -> Fault {
        let shown = path.display();
        let message = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no file `{shown}` to extend"),
            _ => format!("cannot read `{shown}`, which this file extends: {error}"),
        };
        let fault = self.sources.fault(Code::MissingBase, span, message);
        let mut names = self.files.names(path.parent().unwrap_or(Path::new("")));
        names.retain(|name| {
            let other = self.files.identity(&path.with_file_name(name));
            let is_toml = Path::new(name).extension().is_some_and(|extension| extension == "toml");
            is_toml && self.way.iter().all(|link| link.identity != other)
        });
        names.sort();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let near = nearest(&name.unwrap_or_default(), names.iter().map(String::as_str));
        let fault = match near {
            Some(near) => fault.label(format!("did you mean `{near}`?")),
            None => fault.label("cannot be read"),
        };
        let fault = fault.help("the path starts from the folder of the file that states `extends`");
        if near.is_some() || names.is_empty() || names.len() > 20 {
            return fault;
        }
        fault.help(format!("files there are {}", list(names.iter().map(String::as_str))))
    }
}

fn describe_loop(links: &[Link], sources: &Sources) -> Fault {
    let names: Vec<&str> =
        links.iter().chain(links.first()).map(|link| link.name.as_str()).collect();
    let message = match names.as_slice() {
        [only, _] => format!("`{only}` extends itself"),
        _ => format!("files extend each other in a loop: {}", names.join(" → ")),
    };
    let label = |index: usize| format!("`{}` extends `{}`", names[index], names[index + 1]);
    let fault = sources.fault(Code::BaseLoop, links[0].extends, message).label(label(0));
    let others = links.iter().enumerate().skip(1);
    let fault =
        others.fold(fault, |fault, (index, link)| fault.note(sources, link.extends, label(index)));
    fault.help("let one of these files stand without the next")
}

/// A path without its detours: `a/../b.toml` is `b.toml`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        let is_way_back = matches!(part, Component::ParentDir)
            && matches!(plain.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::ParentDir if is_way_back => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detours_of_a_path_are_left_out() {
        for (path, expected) in [
            ("a/../b.toml", "b.toml"),
            ("./a/./b.toml", "a/b.toml"),
            ("../b.toml", "../b.toml"),
            ("a/../../b.toml", "../b.toml"),
            ("/a/b/../../c.toml", "/c.toml"),
        ] {
            assert_eq!(plain(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
