//! Choice of the instruction set: the caller's, else that of the environment, else the best of this CPU.

use std::env;
use std::ffi::OsStr;

use cosmogan_engine::inference::InstructionSet;

use cosmogan_base::{Error, Result};

/// Environment variable that selects the instruction set, for equal bits on CPUs of several generations.
pub(super) const VARIABLE: &str = "COSMOGAN_INSTRUCTIONS";

const NAMES: [(&str, InstructionSet); 3] = [
    ("avx512", InstructionSet::Avx512),
    ("avx2", InstructionSet::Avx2),
    ("portable", InstructionSet::Portable),
];

/// The instruction set to use if the caller asks for `asked`.
pub(super) fn chosen(asked: Option<InstructionSet>) -> Result<InstructionSet> {
    match (asked, env::var_os(VARIABLE)) {
        (Some(set), _) => available("instruction_set", set),
        (None, Some(text)) if !text.is_empty() => available(VARIABLE, named(&text)?),
        (None, _) => Ok(InstructionSet::best()),
    }
}

fn named(text: &OsStr) -> Result<InstructionSet> {
    let named = NAMES.iter().find(|(name, _)| text == *name);
    named.map(|(_, set)| *set).ok_or_else(|| {
        let problem = format!("unknown instruction set {}", text.display());
        Error::usage(VARIABLE, problem, "use avx512, avx2 or portable")
    })
}

fn available(asker: &str, set: InstructionSet) -> Result<InstructionSet> {
    if set.is_available() {
        return Ok(set);
    }
    Err(Error::usage(
        asker,
        format!("this CPU has no {}", set.name()),
        format!("use {}", InstructionSet::best().name()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_and_others_refused() {
        for (name, set) in NAMES {
            assert_eq!(named(OsStr::new(name)).ok(), Some(set));
            assert_eq!(available(VARIABLE, set).is_ok(), set.is_available());
        }
        let message = named(OsStr::new("sse9")).map_err(|error| error.to_string());
        let message = message.err().unwrap_or_default();
        assert!(message.contains(VARIABLE) && message.contains("sse9") && message.contains("avx2"));
    }
}
