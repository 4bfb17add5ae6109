//! Parsing of JSON from untrusted files.

use std::collections::HashMap;

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
}
