//! Parsing of JSON from untrusted files.

use std::collections::{HashMap, HashSet};

use tinyjson::JsonValue;

/// Maximum nesting of arrays and objects; weight files have three levels.
const DEEPEST: usize = 64;

/// The entries of a JSON object; `None` if `text` is anything else.
pub(super) fn object(text: &str) -> Option<HashMap<String, JsonValue>> {
    if is_too_deep(text) {
        return None;
    }
    text.parse::<JsonValue>().ok()?.try_into().ok()
}

/// Returns true if `text` is nested more deeply than the recursive parser can read without exhausting the stack.
fn is_too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return true;
        }
    }
    false
}

/// A key that an object in `text` has twice, as it stands in the text.
///
/// `text` is valid JSON.
pub(super) fn repeated_key(text: &str) -> Option<&str> {
    let mut objects: Vec<HashSet<&str>> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '{', '}']) {
        let (found, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match found {
            b'{' => objects.push(HashSet::new()),
            b'}' => {
                objects.pop();
            }
            _ => {
                let mut escaped = false;
                let end = after.find(|letter| {
                    let ends = letter == '"' && !escaped;
                    escaped = letter == '\\' && !escaped;
                    ends
                })?;
                let word = &after[..end];
                rest = &after[end + 1..];
                let is_key = rest.trim_start().starts_with(':');
                if is_key && !objects.last_mut()?.insert(word) {
                    return Some(word);
                }
            }
        }
    }
    None
}

/// The value as a whole number, if it is one and not negative.
pub(super) fn whole(value: &JsonValue) -> Option<usize> {
    // 2⁵³: below it, doubles represent every whole number exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = *value.get::<f64>()?;
    (number.fract() == 0.0 && (0.0..EXACT).contains(&number)).then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_do_not_exhaust_the_stack() {
        assert!(object(&"[".repeat(1_000_000)).is_none());
        assert!(object(&"{\"a\":".repeat(1_000_000)).is_none());
        assert!(object("{\"a\": \"[[[\\\"[[\"}").is_some());
        assert!(object("[1]").is_none());
    }

    #[test]
    fn keys_count_within_their_object() {
        assert_eq!(
            repeated_key(r#"{"a": {"b": 1}, "c": {"b": "b"}, "d": ["b", "b"]}"#),
            None
        );
        assert_eq!(
            repeated_key(r#"{"a": {"b": 1, "c": 2, "b" : 3}}"#),
            Some("b")
        );
        assert_eq!(
            repeated_key(r#"{"a\"": 1, "a\\": 2, "x": "{", "a\"": 4}"#),
            Some(r#"a\""#)
        );
    }
}
