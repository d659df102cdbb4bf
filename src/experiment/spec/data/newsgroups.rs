//! How posts to newsgroups are read.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How 20 Newsgroups is read.
///
/// A post is a sequence of the numbers of its words, which are runs of letters and digits in lower
/// case. The numbers come from the training posts of all twenty groups, whatever `groups` says, so
/// that a word has one number in all domains; no test post takes part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Newsgroups {
    /// Posts in a training batch. In `adapt`, posts of each domain in a batch.
    #[schemars(range(min = 1))]
    pub batch_size: u32,
    /// Which groups are read, and what the classes are.
    pub groups: Groups,
    /// Words that have a number of their own, the most frequent ones: from 2 on, by frequency. All
    /// others are number 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub vocabulary: u32,
    /// Words of a post that are read, its first ones; a shorter post is filled up with number 0.
    #[schemars(range(min = 1, max = 4096))]
    pub length: u32,
    /// Share of the training split that becomes the validation split, in 0..1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub val_fraction: f64,
    /// Seed of the choice of validation posts; the same in all stages, so that none trains on what another holds out.
    pub split_seed: u64,
    /// Trains on this many posts of each class alone, drawn by the seed of the stage: the 5 of a class
    /// are among its 20. What is counted or normalised over the training split is so over all of it, and the
    /// validation split stays whole: a choice made on it, as `keep = "best"`, sees more labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub labels_per_class: Option<u32>,
}

impl Default for Newsgroups {
    fn default() -> Self {
        Self {
            batch_size: 64,
            groups: Groups::All(AllGroups {}),
            vocabulary: 20_000,
            length: 256,
            val_fraction: 0.1,
            split_seed: 0,
            labels_per_class: None,
        }
    }
}

impl Newsgroups {
    /// The number that fills up a short text.
    pub const PADDING: u32 = 0;
    /// The number of a word that is not in the vocabulary.
    pub const UNKNOWN: u32 = 1;
    /// The number of the most frequent word.
    pub const FIRST_WORD: u32 = 2;

    /// How many numbers there are, those of padding and unknown words among them.
    pub fn tokens(&self) -> u32 {
        Self::FIRST_WORD + self.vocabulary
    }
}

/// Which groups are read, and what the classes are.
///
/// The pairs are those of Dai et al. 2007, "Co-clustering based classification for out-of-domain
/// documents": two of the top-level categories are the classes, and the groups below them are shared
/// out between a source and a target domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// All twenty; each is a class.
    All(AllGroups),
    /// Some; each is a class.
    Only(OnlyGroups),
    /// `comp.*` against `rec.*`.
    CompVsRec(Pair),
    /// `comp.*` against `sci.*`.
    CompVsSci(Pair),
    /// `comp.*` against `talk.*`.
    CompVsTalk(Pair),
    /// `rec.*` against `sci.*`.
    RecVsSci(Pair),
    /// `rec.*` against `talk.*`.
    RecVsTalk(Pair),
    /// `sci.*` against `talk.*`.
    SciVsTalk(Pair),
}

/// Settings of `all`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AllGroups {}

/// Settings of `only`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OnlyGroups {
    /// The groups.
    #[schemars(length(min = 2))]
    pub names: BTreeSet<Group>,
}

/// Settings of a pair of categories.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Pair {
    /// Which groups of the two categories are read.
    pub part: PairPart,
}

/// A part of the groups of two categories.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PairPart {
    /// All groups of both categories.
    #[default]
    Whole,
    /// The groups of the source domain.
    Source,
    /// The groups of the target domain.
    Target,
}

/// A class: its name, and the groups whose posts are of it.
pub type Class = (&'static str, Vec<Group>);

impl Groups {
    /// The classes, in the order of their labels.
    pub fn classes(&self) -> Vec<Class> {
        let own = |group: Group| (group.as_str(), vec![group]);
        match self {
            Self::All(_) => Group::ALL.map(own).into(),
            Self::Only(only) => only.names.iter().copied().map(own).collect(),
            Self::CompVsRec(_)
            | Self::CompVsSci(_)
            | Self::CompVsTalk(_)
            | Self::RecVsSci(_)
            | Self::RecVsTalk(_)
            | Self::SciVsTalk(_) => self.sides(),
        }
    }

    /// What is read of the twenty, as part of a domain's name, where it is not all.
    pub(super) fn part(&self) -> Option<String> {
        if let Self::Only(only) = self {
            // A dot would part the name of a parameter.
            let names = only.names.iter().map(|group| group.as_str().replace('.', "-"));
            return Some(names.collect::<Vec<_>>().join("-"));
        }
        let (pair, _) = self.pair()?;
        let [one, other] = self.categories()?;
        Some(match pair.part {
            PairPart::Whole => format!("{one}-vs-{other}"),
            PairPart::Source => format!("{one}-vs-{other}-source"),
            PairPart::Target => format!("{one}-vs-{other}-target"),
        })
    }

    fn categories(&self) -> Option<[&'static str; 2]> {
        match self {
            Self::All(_) | Self::Only(_) => None,
            Self::CompVsRec(_) => Some(["comp", "rec"]),
            Self::CompVsSci(_) => Some(["comp", "sci"]),
            Self::CompVsTalk(_) => Some(["comp", "talk"]),
            Self::RecVsSci(_) => Some(["rec", "sci"]),
            Self::RecVsTalk(_) => Some(["rec", "talk"]),
            Self::SciVsTalk(_) => Some(["sci", "talk"]),
        }
    }

    /// The settings of a pair, and its source groups.
    #[rustfmt::skip]
    fn pair(&self) -> Option<(&Pair, &'static [Group])> {
        use Group::{
            CompGraphics, CompOsMsWindowsMisc, CompSysIbmPcHardware, CompSysMacHardware,
            CompWindowsX, RecAutos, RecMotorcycles, RecSportBaseball, RecSportHockey, SciCrypt,
            SciElectronics, SciMed, SciSpace, TalkPoliticsGuns, TalkPoliticsMideast,
            TalkPoliticsMisc, TalkReligionMisc,
        };
        match self {
            Self::All(_) | Self::Only(_) => None,
            Self::CompVsRec(pair) => Some((pair, &[
                CompGraphics, CompSysIbmPcHardware, CompSysMacHardware, RecMotorcycles, RecSportHockey,
            ])),
            Self::CompVsSci(pair) => Some((pair, &[
                CompGraphics, CompOsMsWindowsMisc, SciCrypt, SciElectronics,
            ])),
            Self::CompVsTalk(pair) => Some((pair, &[
                CompGraphics, CompSysMacHardware, CompWindowsX, TalkPoliticsMideast, TalkReligionMisc,
            ])),
            Self::RecVsSci(pair) => Some((pair, &[RecAutos, RecSportBaseball, SciMed, SciSpace])),
            Self::RecVsTalk(pair) => Some((pair, &[
                RecAutos, RecMotorcycles, TalkPoliticsGuns, TalkPoliticsMisc,
            ])),
            Self::SciVsTalk(pair) => Some((pair, &[
                SciElectronics, SciMed, TalkPoliticsMisc, TalkReligionMisc,
            ])),
        }
    }

    /// The two classes of a pair.
    fn sides(&self) -> Vec<Class> {
        let (Some((pair, source)), Some(categories)) = (self.pair(), self.categories()) else {
            return Vec::new();
        };
        let is_read = |group: &Group| match pair.part {
            PairPart::Whole => true,
            PairPart::Source => source.contains(group),
            PairPart::Target => !source.contains(group),
        };
        let side = |category| {
            let below = Group::ALL.into_iter().filter(|group| group.category() == category);
            (category, below.filter(is_read).collect())
        };
        categories.map(side).into()
    }
}

/// A newsgroup.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Group {
    /// `alt.atheism`.
    #[serde(rename = "alt.atheism")]
    AltAtheism,
    /// `comp.graphics`.
    #[serde(rename = "comp.graphics")]
    CompGraphics,
    /// `comp.os.ms-windows.misc`.
    #[serde(rename = "comp.os.ms-windows.misc")]
    CompOsMsWindowsMisc,
    /// `comp.sys.ibm.pc.hardware`.
    #[serde(rename = "comp.sys.ibm.pc.hardware")]
    CompSysIbmPcHardware,
    /// `comp.sys.mac.hardware`.
    #[serde(rename = "comp.sys.mac.hardware")]
    CompSysMacHardware,
    /// `comp.windows.x`.
    #[serde(rename = "comp.windows.x")]
    CompWindowsX,
    /// `misc.forsale`.
    #[serde(rename = "misc.forsale")]
    MiscForsale,
    /// `rec.autos`.
    #[serde(rename = "rec.autos")]
    RecAutos,
    /// `rec.motorcycles`.
    #[serde(rename = "rec.motorcycles")]
    RecMotorcycles,
    /// `rec.sport.baseball`.
    #[serde(rename = "rec.sport.baseball")]
    RecSportBaseball,
    /// `rec.sport.hockey`.
    #[serde(rename = "rec.sport.hockey")]
    RecSportHockey,
    /// `sci.crypt`.
    #[serde(rename = "sci.crypt")]
    SciCrypt,
    /// `sci.electronics`.
    #[serde(rename = "sci.electronics")]
    SciElectronics,
    /// `sci.med`.
    #[serde(rename = "sci.med")]
    SciMed,
    /// `sci.space`.
    #[serde(rename = "sci.space")]
    SciSpace,
    /// `soc.religion.christian`.
    #[serde(rename = "soc.religion.christian")]
    SocReligionChristian,
    /// `talk.politics.guns`.
    #[serde(rename = "talk.politics.guns")]
    TalkPoliticsGuns,
    /// `talk.politics.mideast`.
    #[serde(rename = "talk.politics.mideast")]
    TalkPoliticsMideast,
    /// `talk.politics.misc`.
    #[serde(rename = "talk.politics.misc")]
    TalkPoliticsMisc,
    /// `talk.religion.misc`.
    #[serde(rename = "talk.religion.misc")]
    TalkReligionMisc,
}

impl Group {
    /// All twenty, in the order of their names.
    #[rustfmt::skip]
    pub const ALL: [Self; 20] = [Self::AltAtheism, Self::CompGraphics, Self::CompOsMsWindowsMisc, Self::CompSysIbmPcHardware, Self::CompSysMacHardware, Self::CompWindowsX, Self::MiscForsale, Self::RecAutos, Self::RecMotorcycles, Self::RecSportBaseball, Self::RecSportHockey, Self::SciCrypt, Self::SciElectronics, Self::SciMed, Self::SciSpace, Self::SocReligionChristian, Self::TalkPoliticsGuns, Self::TalkPoliticsMideast, Self::TalkPoliticsMisc, Self::TalkReligionMisc];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AltAtheism => "alt.atheism",
            Self::CompGraphics => "comp.graphics",
            Self::CompOsMsWindowsMisc => "comp.os.ms-windows.misc",
            Self::CompSysIbmPcHardware => "comp.sys.ibm.pc.hardware",
            Self::CompSysMacHardware => "comp.sys.mac.hardware",
            Self::CompWindowsX => "comp.windows.x",
            Self::MiscForsale => "misc.forsale",
            Self::RecAutos => "rec.autos",
            Self::RecMotorcycles => "rec.motorcycles",
            Self::RecSportBaseball => "rec.sport.baseball",
            Self::RecSportHockey => "rec.sport.hockey",
            Self::SciCrypt => "sci.crypt",
            Self::SciElectronics => "sci.electronics",
            Self::SciMed => "sci.med",
            Self::SciSpace => "sci.space",
            Self::SocReligionChristian => "soc.religion.christian",
            Self::TalkPoliticsGuns => "talk.politics.guns",
            Self::TalkPoliticsMideast => "talk.politics.mideast",
            Self::TalkPoliticsMisc => "talk.politics.misc",
            Self::TalkReligionMisc => "talk.religion.misc",
        }
    }

    /// The first part of the name: `comp`.
    fn category(self) -> &'static str {
        self.as_str().split('.').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(classes: Vec<Class>) -> Vec<String> {
        let name = |(name, groups): Class| {
            let groups: Vec<&str> = groups.into_iter().map(Group::as_str).collect();
            format!("{name}: {}", groups.join(" "))
        };
        classes.into_iter().map(name).collect()
    }

    #[test]
    fn the_domains_of_a_pair_share_out_its_groups() {
        let of = |part| Groups::CompVsSci(Pair { part });
        assert_eq!(
            names(of(PairPart::Source).classes()),
            ["comp: comp.graphics comp.os.ms-windows.misc", "sci: sci.crypt sci.electronics",]
        );
        assert_eq!(
            names(of(PairPart::Target).classes()),
            [
                "comp: comp.sys.ibm.pc.hardware comp.sys.mac.hardware comp.windows.x",
                "sci: sci.med sci.space",
            ]
        );
        let all = [Groups::CompVsRec, Groups::CompVsSci, Groups::CompVsTalk, Groups::RecVsSci];
        for pair in all.into_iter().chain([Groups::RecVsTalk, Groups::SciVsTalk]) {
            let [whole, source, target] = [PairPart::Whole, PairPart::Source, PairPart::Target]
                .map(|part| pair(Pair { part }).classes());
            for ((whole, source), target) in whole.into_iter().zip(source).zip(target) {
                assert!(source.1.len() >= 2 && target.1.len() >= 2, "{whole:?}");
                let mut both = [source.1, target.1].concat();
                both.sort_unstable();
                assert_eq!(whole.1, both);
            }
        }
    }

    #[test]
    fn what_is_read_names_the_domain() {
        let part = |groups: &Groups| groups.part();
        assert_eq!(part(&Groups::All(AllGroups {})), None);
        let whole = Groups::RecVsTalk(Pair::default());
        assert_eq!(part(&whole).as_deref(), Some("rec-vs-talk"));
        let target = Groups::RecVsTalk(Pair { part: PairPart::Target });
        assert_eq!(part(&target).as_deref(), Some("rec-vs-talk-target"));
        let names = [Group::SciSpace, Group::RecAutos].into();
        let only = Groups::Only(OnlyGroups { names });
        assert_eq!(part(&only).as_deref(), Some("rec-autos-sci-space"));
        assert_eq!(names_of(&only), ["rec.autos", "sci.space"]);
    }

    fn names_of(groups: &Groups) -> Vec<&'static str> {
        groups.classes().into_iter().map(|(name, _)| name).collect()
    }
}
