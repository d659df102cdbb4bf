//! What of a Python program has a meaning.

use std::borrow::Cow;

/// A Python program without what certainly means nothing to it: lines with nothing but a comment,
/// blank lines, white space at the ends of lines.
///
/// The program is given back as it is where any of that might be part of a value: where a string may
/// reach over lines (three quotes in a row, a backslash at a line's end), where a line may end
/// otherwise than it seems (a lone carriage return), or where an f-string may show its own text
/// (`{x = }`). The first two lines always stay: they can hold the interpreter and the encoding. A
/// program that reads its own text, or the numbers of its lines, is beyond this.
pub fn meaning(program: &[u8]) -> Cow<'_, [u8]> {
    let lines: Vec<&[u8]> = program.split(|byte| *byte == b'\n').collect();
    if is_doubtful(program, &lines) {
        return Cow::Borrowed(program);
    }
    let mut kept = Vec::with_capacity(program.len());
    for (index, line) in lines.iter().enumerate() {
        let line = if index < 2 { line } else { trim_end(line) };
        let first = line.iter().find(|byte| !b" \t".contains(byte));
        if index >= 2 && matches!(first, None | Some(b'#')) {
            continue;
        }
        kept.extend_from_slice(line);
        kept.push(b'\n');
    }
    Cow::Owned(kept)
}

fn is_doubtful(program: &[u8], lines: &[&[u8]]) -> bool {
    let has = |quotes: &[u8]| program.windows(3).any(|three| three == quotes);
    let lone_return = |line: &&[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.contains(&b'\r')
    };
    has(b"\"\"\"")
        || has(b"'''")
        || lines.iter().any(|line| trim_end(line).ends_with(b"\\"))
        || lines.iter().any(lone_return)
        || shows_itself(program)
}

/// Whether an equals sign stands where it ends the expression of an f-string.
fn shows_itself(program: &[u8]) -> bool {
    let signs = program.iter().enumerate().filter(|(_, byte)| **byte == b'=');
    signs.into_iter().any(|(at, _)| {
        let next = program[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
        matches!(next, Some(b'}' | b'!' | b':'))
    })
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| !b" \t\r".contains(byte));
    &line[..end.map_or(0, |end| end + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(program: &str, expected: &str) {
        let kept = meaning(program.as_bytes());
        assert_eq!(std::str::from_utf8(&kept).unwrap(), expected);
    }

    /// Whether two programs are taken for the same.
    fn same(one: &str, other: &str) -> bool {
        meaning(one.as_bytes()) == meaning(other.as_bytes())
    }

    #[test]
    fn comments_blank_lines_and_trailing_white_space_go() {
        check(
            "import sys\nimport os\n\n# why\nx = 1  # kept: it shares its line\t\nif x:\r\n    # inside\n    print('#')\n",
            "import sys\nimport os\nx = 1  # kept: it shares its line\nif x:\n    print('#')\n",
        );
    }

    #[test]
    fn the_interpreter_and_the_encoding_stay() {
        let program = "#!/usr/bin/python3\n# coding: latin-1\n# a comment\nx = 1\n";
        check(program, "#!/usr/bin/python3\n# coding: latin-1\nx = 1\n");
        assert!(!same(program, &program.replace("latin-1", "utf-8")));
    }

    #[test]
    fn the_end_of_the_last_line_has_no_meaning() {
        assert!(same("import a\nimport b\nx = 1", "import a\nimport b\nx = 1\n\n"));
    }

    #[test]
    fn indentation_has_a_meaning() {
        assert!(!same("a\nb\nif x:\n    y()\n    z()\n", "a\nb\nif x:\n    y()\nz()\n"));
    }

    #[test]
    fn where_a_string_may_reach_over_lines_all_of_it_has_a_meaning() {
        for program in [
            "a\nb\nx = '''\n# text\n'''\n",
            "a\nb\nx = \"\"\"\n# text\n\"\"\"\n",
            "a\nb\nx = 'one \\\n# text'\n",
            "a\nb\nx = 'one \\  \n# text'\n",
            "a\nb\n# comment\rx = 1\n",
            "a\nb\nprint(f'{x\n# text\n= }')\n",
        ] {
            check(program, program);
        }
    }
}
