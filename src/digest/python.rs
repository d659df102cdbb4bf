//! What of a Python program has a meaning.

use std::borrow::Cow;

/// A Python program without what certainly means nothing to it: comments, blank lines, white space at
/// the ends of lines.
///
/// The program is given back as it is where that is not certain: where it may be written in another
/// encoding than UTF-8, where a line may end otherwise than it seems (a lone carriage return), where a
/// string is not closed, and where Python versions disagree on the end of an f-string (some quotes inside
/// of its braces). The first line stays if it names the interpreter. Strings stay as they are, those that
/// document something too. A program that reads its own text, or the numbers of its lines, is beyond
/// this.
pub fn meaning(program: &[u8]) -> Cow<'_, [u8]> {
    let mut reader = Reader { program, at: 0, kept: Vec::with_capacity(program.len()) };
    if has_other_encoding(program) || has_odd_lines(program) || reader.read().is_none() {
        return Cow::Borrowed(program);
    }
    Cow::Owned(reader.kept)
}

/// Whether one of the first two lines, where Python looks for it, names an encoding but UTF-8.
fn has_other_encoding(program: &[u8]) -> bool {
    let named = program.split(|byte| *byte == b'\n').take(2).find_map(|line| {
        let line = String::from_utf8_lossy(line).to_lowercase();
        line.find("coding").map(|at| line[at..].to_owned())
    });
    let is_utf8 = |name: &String| ["utf-8", "utf8"].iter().any(|utf8| name.contains(utf8));
    std::str::from_utf8(program).is_err() || named.is_some_and(|name| !is_utf8(&name))
}

/// Whether lines end otherwise than with a line feed, or may seem to.
fn has_odd_lines(program: &[u8]) -> bool {
    let returns = program.iter().enumerate().filter(|(_, byte)| **byte == b'\r');
    let lone = |(at, _): (usize, _)| program.get(at + 1) != Some(&b'\n');
    returns.into_iter().any(lone) || program.contains(&b'\x0c') || program.contains(&0)
}

/// Reads a program from its beginning and keeps what means something.
struct Reader<'a> {
    program: &'a [u8],
    at: usize,
    kept: Vec<u8>,
}

/// How a string begins.
struct Start {
    quote: u8,
    is_triple: bool,
    /// Whether braces in it hold code.
    is_formatted: bool,
}

impl Reader<'_> {
    /// Nothing where something is not certain.
    fn read(&mut self) -> Option<()> {
        if self.program.starts_with(b"#!") {
            self.keep_to(self.line_end());
        }
        while let Some(&byte) = self.program.get(self.at) {
            match byte {
                b'#' => self.at = self.line_end(),
                b'\n' => self.end_line(),
                b'"' | b'\'' => self.string()?,
                // It joins two lines, and the next character is no longer what it was.
                b'\\' => self.keep_to((self.at + 2).min(self.program.len())),
                _ => self.keep_to(self.at + 1),
            }
        }
        self.end_line();
        Some(())
    }

    /// Where the line ends, or the program.
    fn line_end(&self) -> usize {
        let rest = &self.program[self.at..];
        self.at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
    }

    fn keep_to(&mut self, end: usize) {
        self.kept.extend_from_slice(&self.program[self.at..end]);
        self.at = end;
    }

    /// Ends a line, without the white space at its end; a blank one leaves nothing.
    fn end_line(&mut self) {
        while self.kept.last().is_some_and(|byte| b" \t\r".contains(byte)) {
            self.kept.pop();
        }
        // After a backslash the next line belongs to this one, also if it is blank.
        let is_joined = self.kept.ends_with(b"\\\n");
        if self.kept.last().is_some_and(|byte| *byte != b'\n') || is_joined {
            self.kept.push(b'\n');
        }
        self.at += 1;
    }

    /// Keeps a string whole.
    fn string(&mut self) -> Option<()> {
        let start = self.start();
        self.keep_to(self.at + if start.is_triple { 3 } else { 1 });
        let mut depth = 0_usize;
        loop {
            match *self.program.get(self.at)? {
                b'\\' => {
                    self.keep_to(self.at + 2 - usize::from(self.at + 1 == self.program.len()));
                    continue;
                }
                b'\n' if !start.is_triple => return None,
                b'{' if start.is_formatted => depth += 1,
                b'}' if start.is_formatted => depth = depth.checked_sub(1)?,
                quote if quote == start.quote && self.closes(&start) => break,
                quote @ (b'"' | b'\'') if depth > 0 => {
                    self.inner_string(quote, &start)?;
                    continue;
                }
                _ => {}
            }
            self.keep_to(self.at + 1);
        }
        self.keep_to(self.at + if start.is_triple { 3 } else { 1 });
        (depth == 0).then_some(())
    }

    /// Keeps a string inside of an f-string's braces, which ends the f-string in no version of Python.
    fn inner_string(&mut self, quote: u8, outer: &Start) -> Option<()> {
        let rest = &self.program[self.at + 1..];
        let length = rest.iter().position(|byte| *byte == quote)?;
        let is_plain = |byte: &u8| !b"\\\n".contains(byte) && *byte != outer.quote;
        if !rest[..length].iter().all(is_plain) {
            return None;
        }
        self.keep_to(self.at + length + 2);
        Some(())
    }

    /// The string that begins here; its prefix has been kept already.
    fn start(&self) -> Start {
        let rest = &self.program[self.at..];
        let quote = rest[0];
        let letters = self.kept.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).take(3);
        let is_formatted = letters.into_iter().any(|letter| b"fFtT".contains(letter));
        Start { quote, is_triple: rest.starts_with(&[quote; 3]), is_formatted }
    }

    fn closes(&self, start: &Start) -> bool {
        !start.is_triple || self.program[self.at..].starts_with(&[start.quote; 3])
    }
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
    fn comments_blank_lines_and_white_space_at_the_ends_of_lines_go() {
        check(
            "# what\nimport os\n\n# why\nx = 1  # one\t\nif x:\r\n    # inside\n    print('#')\n",
            "import os\nx = 1\nif x:\n    print('#')\n",
        );
    }

    #[test]
    fn the_interpreter_stays() {
        check("#!/usr/bin/python3 -O\n# a comment\nx = 1\n", "#!/usr/bin/python3 -O\nx = 1\n");
    }

    #[test]
    fn the_end_of_the_last_line_has_no_meaning() {
        assert!(same("import a\nx = 1", "import a\nx = 1\n\n"));
    }

    #[test]
    fn indentation_has_a_meaning() {
        assert!(!same("if x:\n    y()\n    z()\n", "if x:\n    y()\nz()\n"));
    }

    #[test]
    fn strings_stay_as_they_are() {
        for program in [
            "x = '''\n# text \n\n'''\n",
            "\"\"\"What it does.\n\n# text\n\"\"\"\n",
            "x = r'\\'\ny = 1\n",
            "x = 'one \\\n# text'\n",
            "x = '\\'# text'\n",
            "x = \"it's # text\"\n",
            "x = '' '# text'\n",
            "x = f'{y!r:>{width}} # text {{'\n",
            "x = \"\"\"a\"# text\"\"\"\n",
            "x = f'{y[\"# key }\"]} # text'\n",
            "x = f\"\"\"{y[\"# key\"]} # text\"\"\"\n",
        ] {
            check(program, program);
        }
        check("x = ''  # comment\ny = \"\"\"a\"\"\"  # comment\n", "x = ''\ny = \"\"\"a\"\"\"\n");
    }

    #[test]
    fn a_line_that_a_backslash_joins_to_the_last_stays_apart_from_the_next() {
        assert!(!same("x = 1 + \\\n\ny = 2\n", "x = 1 + \\\ny = 2\n"));
        check("x = 1 + \\\n    2  # two\n", "x = 1 + \\\n    2\n");
    }

    #[test]
    fn what_is_not_certain_stays_as_it_is() {
        for program in [
            "# coding: latin-1\nx = 1\n",
            "x = 1\n# comment\ry = 2\n",
            "x = 'not closed\n# comment\n",
            "x = f\"{y[\"# key\"]}\"\n# comment\n",
            "x = f'{\n# text\n1 = }'\n",
            "x = f'{y[\"a\\n\"]}'\n# comment\n",
            "x = f'{y:\">3}'\n# comment\n",
            "x = '''not closed\n# comment\n",
            "x = '\\",
        ] {
            check(program, program);
        }
        assert_eq!(meaning(b"x = '\xff'  # comment\n"), &b"x = '\xff'  # comment\n"[..]);
    }
}
