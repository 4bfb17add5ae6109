//! Python literals: the subset that headers of NPY files are made of.
//!
//! Everything that is read here has the value that Python's `ast.literal_eval` gives it. Refused are literals that no
//! NPY writer produces: floating-point numbers, bytes, sets, escape sequences, triple quotes.

/// A Python literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Literal {
    Text(String),
    Bool(bool),
    None,
    /// An integer; `None` if it does not fit 64 bits.
    Integer(Option<i64>),
    Tuple(Vec<Literal>),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

/// Maximum nesting depth of brackets, as in CPython's tokeniser.
const DEEPEST: usize = 200;

/// Reads `text`, which holds one literal, and blank lines or comments.
///
/// With `long_suffix`, integers may end in `L`, as Python 2 wrote them.
pub(super) fn parse(text: &str, long_suffix: bool) -> Result<Literal, String> {
    let mut parser = Parser {
        rest: text.trim_start_matches([' ', '\t']),
        long_suffix,
        depth: 0,
    };
    let indented = parser.rest.len();
    parser.skip_blank();
    // After blank lines, the expression must start at the first column.
    let skipped = &text[text.len() - indented..text.len() - parser.rest.len()];
    if skipped.ends_with([' ', '\t', '\x0c']) {
        return Err("its first line is indented".to_owned());
    }
    let literal = parser.literal()?;
    parser.skip_blank();
    match parser.rest {
        "" => Ok(literal),
        rest => Err(format!("{} follows its end", shown(rest))),
    }
}

struct Parser<'a> {
    rest: &'a str,
    long_suffix: bool,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Skips white space, line ends and comments.
    fn skip_blank(&mut self) {
        loop {
            self.rest = self
                .rest
                .trim_start_matches([' ', '\t', '\x0c', '\r', '\n']);
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find(['\r', '\n']).unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    /// Skips `token` if it comes next.
    fn take(&mut self, token: char) -> bool {
        self.skip_blank();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes the characters of a name or number, if any come next.
    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|next: char| !(next.is_ascii_alphanumeric() || next == '_'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn literal(&mut self) -> Result<Literal, String> {
        self.skip_blank();
        let start = self.rest;
        let next = start.chars().next().unwrap_or('\0');
        match next {
            '{' | '(' | '[' => {
                self.rest = &start[1..];
                self.depth += 1;
                if self.depth >= DEEPEST {
                    return Err("its brackets are nested too deeply".to_owned());
                }
                let found = match next {
                    '{' => self.dict(),
                    '(' => self.parentheses(),
                    _ => self.elements(']').map(|(items, _)| Literal::List(items)),
                };
                self.depth -= 1;
                found
            }
            '\'' | '"' => self.text(),
            '+' | '-' => {
                self.rest = &start[1..];
                self.skip_blank();
                let size = self.integer()?;
                let signed = if next == '-' {
                    size.map(|size| -size)
                } else {
                    size
                };
                Ok(Literal::Integer(signed))
            }
            '0'..='9' => Ok(Literal::Integer(self.integer()?)),
            _ => match self.word() {
                "True" => Ok(Literal::Bool(true)),
                "False" => Ok(Literal::Bool(false)),
                "None" => Ok(Literal::None),
                "u" | "U" | "r" | "R" if self.rest.starts_with(['\'', '"']) => self.text(),
                _ => Err(format!("{} is not expected", shown(start))),
            },
        }
    }

    fn dict(&mut self) -> Result<Literal, String> {
        let mut entries = Vec::new();
        while !self.take('}') {
            let key = self.literal()?;
            if !self.take(':') {
                return Err(format!("`:` is missing before {}", shown(self.rest)));
            }
            entries.push((key, self.literal()?));
            if !self.take(',') && !self.rest.starts_with('}') {
                return Err(format!("`,` is missing before {}", shown(self.rest)));
            }
        }
        Ok(Literal::Dict(entries))
    }

    /// A tuple, or one literal in parentheses.
    fn parentheses(&mut self) -> Result<Literal, String> {
        let (mut items, comma) = self.elements(')')?;
        match items.pop() {
            Some(only) if items.is_empty() && !comma => Ok(only),
            last => {
                items.extend(last);
                Ok(Literal::Tuple(items))
            }
        }
    }

    /// Literals up to the bracket `end`, and whether a comma follows the last.
    fn elements(&mut self, end: char) -> Result<(Vec<Literal>, bool), String> {
        let (mut items, mut comma) = (Vec::new(), false);
        while !self.take(end) {
            items.push(self.literal()?);
            comma = self.take(',');
            if !comma && !self.rest.starts_with(end) {
                return Err(format!("`,` is missing before {}", shown(self.rest)));
            }
        }
        Ok((items, comma))
    }

    /// A string, or several that Python joins.
    fn text(&mut self) -> Result<Literal, String> {
        let mut text = String::new();
        loop {
            let start = self.rest;
            let quote = &start[..1];
            let unreadable = || format!("{} is not a plain string", shown(start));
            let (content, rest) = start[1..].split_once(quote).ok_or_else(unreadable)?;
            let is_triple = content.is_empty() && rest.starts_with(quote);
            if is_triple || content.contains(['\\', '\n', '\r', '\0']) {
                return Err(unreadable());
            }
            text.push_str(content);
            self.rest = rest;
            self.skip_blank();
            let unprefixed = self.rest.strip_prefix(['u', 'U', 'r', 'R']);
            let next = unprefixed.unwrap_or(self.rest);
            if !next.starts_with(['\'', '"']) {
                return Ok(Literal::Text(text));
            }
            self.rest = next;
        }
    }

    /// An integer without sign; `None` if it does not fit 64 bits.
    fn integer(&mut self) -> Result<Option<i64>, String> {
        let start = self.rest;
        let mut word = self.word();
        if self.long_suffix {
            word = word.strip_suffix('L').unwrap_or(word);
            self.skip_separate_suffixes();
        }
        let is_float = self.rest.starts_with('.');
        let unreadable = || format!("{} is not an integer", shown(start));
        let (radix, digits) = match word.get(..2) {
            Some("0x" | "0X") => (16, &word[2..]),
            Some("0o" | "0O") => (8, &word[2..]),
            Some("0b" | "0B") => (2, &word[2..]),
            _ => (10, word),
        };
        // Single underscores may separate digits, and follow the prefix of another radix.
        let digits = match radix {
            10 => digits,
            _ => digits.strip_prefix('_').unwrap_or(digits),
        };
        let grouped = digits.split('_');
        let mut plain = String::new();
        for group in grouped {
            if group.is_empty() || !group.chars().all(|digit| digit.is_digit(radix)) {
                return Err(unreadable());
            }
            plain.push_str(group);
        }
        // Python 3 refuses leading zeros: in Python 2 they meant octal.
        let significant = plain.trim_start_matches('0');
        let is_octal = radix == 10 && plain.starts_with('0') && !significant.is_empty();
        if is_float || is_octal {
            return Err(unreadable());
        }
        Ok(match significant {
            "" => Some(0),
            _ => i64::from_str_radix(significant, radix).ok(),
        })
    }

    /// Skips suffixes `L` after white space, as NumPy does.
    fn skip_separate_suffixes(&mut self) {
        loop {
            let mut ahead = Parser {
                rest: self.rest.trim_start_matches([' ', '\t', '\x0c']),
                ..*self
            };
            if ahead.word() != "L" {
                return;
            }
            self.rest = ahead.rest;
        }
    }
}

/// The start of `rest`, for an error message.
fn shown(rest: &str) -> String {
    let line = rest.lines().next().unwrap_or_default();
    let start: String = line.chars().take(16).collect();
    match start.trim() {
        "" => "the end".to_owned(),
        start => format!("`{}`", start.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(values: &[i64]) -> Literal {
        Literal::Tuple(
            values
                .iter()
                .map(|&value| Literal::Integer(Some(value)))
                .collect(),
        )
    }

    #[test]
    fn literals_have_the_values_of_python() {
        for (text, expected) in [
            ("(3, 4)", integers(&[3, 4])),
            (" \t(3,4,)\n  \n# comment\n", integers(&[3, 4])),
            ("\n(3,)", integers(&[3])),
            ("()", integers(&[])),
            ("((3, 4))", integers(&[3, 4])),
            ("(3)", Literal::Integer(Some(3))),
            (
                "(+3, - 4, 00, 0x1F, 0o17, 0b_1_1)",
                integers(&[3, -4, 0, 31, 15, 3]),
            ),
            ("1_000", Literal::Integer(Some(1000))),
            ("99999999999999999999", Literal::Integer(None)),
            ("'a' u\"b'\" r'c'", Literal::Text("ab'c".to_owned())),
            ("''", Literal::Text(String::new())),
            (
                "[None, True]",
                Literal::List(vec![Literal::None, Literal::Bool(true)]),
            ),
            (
                "{'a': False,}",
                Literal::Dict(vec![(Literal::Text("a".to_owned()), Literal::Bool(false))]),
            ),
        ] {
            assert_eq!(parse(text, false), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for text in [
            "",
            "(",
            "(3,",
            "(3 4)",
            "(,)",
            "(3,,)",
            "(1,024)",
            "3L",
            "1__0",
            "1_",
            "_1",
            "0_1",
            "--3",
            "3.",
            "3e4",
            "0x",
            "{,}",
            "{'a'}",
            "{'a': }",
            "{'a': 1 'b': 2}",
            "'a",
            "'a\n'",
            "'''a'''",
            "''''",
            "'\\x61'",
            "b'a'",
            "true",
            "(3)(4)",
            "\n (3)",
            "3,",
            "u 'a'",
            "-",
            "-True",
            "*(3,)",
            "3 L",
            "\0",
            "é",
        ] {
            assert!(parse(text, false).is_err(), "{text}");
        }
        assert!(parse(&"(".repeat(300), false).is_err());
    }

    #[test]
    fn long_integers_of_python_2() {
        assert_eq!(parse("(3L, 1_0L, 4 L)", true), Ok(integers(&[3, 10, 4])));
        for text in ["3l", "3LL", "L", "3L4", "'a'L", "024L"] {
            assert!(parse(text, true).is_err(), "{text}");
        }
    }
}
