//! Whether a network that was made by another stage takes the examples of a dataset.

use super::fault::{Code, Fault};
use super::networks::Site;
use super::spec::{Content, Data, Newsgroups};
use crate::network::{Extents, Network};

/// What is wrong with giving a network the data that a key of the stage names, if anything.
///
/// Images become what the network takes, as long as that is an image; nothing else is changed to fit.
pub(super) fn check(site: &Site<'_>, key: &str, data: &Data, network: &Network) -> Option<Fault> {
    let (taken, given) = (network.input_shape(), data.shape());
    if network.tokens().is_some() && data.tokens().is_some() && network.tokens() != data.tokens() {
        return Some(words(site, key, data, network));
    }
    let is_image = matches!(data.content(), Content::Images(..) | Content::Folder(_));
    if network.tokens() == data.tokens() && (given == taken || is_image && taken.len() == 3) {
        return None;
    }
    let message = format!(
        "the network takes {}, and {} of `{}` are {}",
        Extents(taken),
        data.what(),
        data.name(),
        Extents(&given)
    );
    let fault = site.fault(Code::Shape, site.choice(&[key]), &message);
    let fault = fault.label(format!("gives {}", Extents(&given)));
    let fault =
        fault.note(site.sources, site.value(&["from"]), format!("takes {}", Extents(taken)));
    Some(fault.help("give it the kind of data that it was trained on, read in the same way"))
}

/// The numbers of words are those of another vocabulary.
fn words(site: &Site<'_>, key: &str, data: &Data, network: &Network) -> Fault {
    let words = |tokens: Option<u32>| tokens.unwrap_or(0).saturating_sub(Newsgroups::FIRST_WORD);
    let (taken, given) = (words(network.tokens()), words(data.tokens()));
    let message = format!("the network knows {taken} words, and `{}` has {given}", data.name());
    let fault = site.fault(Code::Shape, site.choice(&[key]), &message);
    let fault = fault.label(format!("gives the numbers of {given} words"));
    let fault = fault.note(site.sources, site.value(&["from"]), format!("knows {taken} words"));
    fault.help(format!("set `{key}.{}.vocabulary = {taken}`", data.name()))
}
