//! Texts with placeholders in braces, as the arguments of a `command` have them.

/// A piece of a text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text that stays as it is.
    Text(&'a str),
    /// The name in a pair of braces.
    Name(&'a str),
}

/// A brace that belongs to no placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BraceError {
    /// `{` and no `}` after it.
    #[error("a `{{` is not closed")]
    Open,
    /// `}` and no `{` before it.
    #[error("a `}}` closes nothing")]
    Close,
}

/// The pieces of a text; `{{` and `}}` are plain braces.
///
/// # Errors
/// [`BraceError`].
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, BraceError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let brace = &rest[at..=at];
        if rest[at + 1..].starts_with(brace) {
            pieces.push(Piece::Text(&rest[..=at]));
            rest = &rest[at + 2..];
            continue;
        }
        if brace == "}" {
            return Err(BraceError::Close);
        }
        let inside = &rest[at + 1..];
        let end = inside.find(['{', '}']).ok_or(BraceError::Open)?;
        if inside[end..].starts_with('{') {
            return Err(BraceError::Open);
        }
        pieces.push(Piece::Text(&rest[..at]));
        pieces.push(Piece::Name(&inside[..end]));
        rest = &inside[end + 1..];
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::Piece::{Name, Text};
    use super::*;

    #[test]
    fn names_in_braces_are_placeholders_and_doubled_braces_are_braces() {
        for (text, expected) in [
            ("", vec![]),
            ("--lr", vec![Text("--lr")]),
            ("{lr}", vec![Name("lr")]),
            ("a{b}c{d.e}", vec![Text("a"), Name("b"), Text("c"), Name("d.e")]),
            ("{}", vec![Name("")]),
            ("{{x}}", vec![Text("{"), Text("x}")]),
            ("{{{x}}}", vec![Text("{"), Name("x"), Text("}")]),
        ] {
            assert_eq!(pieces(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_single_brace_is_an_error() {
        for text in ["{", "a{b", "{a{b}", "{a{{"] {
            assert_eq!(pieces(text), Err(BraceError::Open), "{text}");
        }
        for text in ["}", "a}", "{a}}"] {
            assert_eq!(pieces(text), Err(BraceError::Close), "{text}");
        }
    }
}
