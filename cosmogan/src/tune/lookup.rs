//! Which choices hold on a GPU: those of the user's own search before those that are shipped, and defaults for the rest.

use cosmogan_engine::backend::launch::Gpu;
use cosmogan_kernels::tuning::{Choices, Origin, SHIPPED};

use super::table::Table;

/// What was found for a GPU.
#[derive(Debug)]
pub struct Lookup {
    /// The choices.
    pub choices: Choices,
    /// What the user should know, in one line: that a table is not used, and why.
    pub notice: Option<String>,
}

/// Looks choices up, and never searches. A table that was measured here comes before the shipped one, which nobody measured.
pub fn look_up(gpu: &Gpu) -> Lookup {
    let mut choices = shipped(gpu.capability);
    let mut notice = None;
    // Where there is no folder for it, there is no table.
    if let Ok(path) = Table::path(gpu) {
        let found = Table::read(&path, gpu).and_then(|table| match table {
            Some(table) => table.add_to(&mut choices),
            None => Ok(()),
        });
        notice = found.err().map(|problem| {
            format!(
                "{}: {problem}; it is not used: run cosmogan tune again, or delete it",
                path.display()
            )
        });
    }
    Lookup { choices, notice }
}

/// What is shipped for an architecture.
fn shipped(capability: i32) -> Choices {
    let mut choices = Choices::default();
    for (architecture, text) in SHIPPED {
        if architecture == capability
            && let Ok(table) = text.parse::<Table>()
            // A test reads every one of them.
            && let Err(_problem) = table.add_to(&mut choices)
        {
            return Choices::default();
        }
    }
    choices
}

/// One line on where choices come from.
pub fn describe(choices: &Choices) -> String {
    let [measured, model] = [Origin::Measured, Origin::Model].map(|origin| choices.count(origin));
    let mut parts = Vec::new();
    if measured > 0 {
        parts.push(format!("{measured} products as measured on this GPU"));
    }
    if model > 0 {
        parts.push(format!("{model} as chosen by a model, unmeasured"));
    }
    parts.push(if parts.is_empty() {
        "every product by its shape alone".to_owned()
    } else {
        "all others by their shape".to_owned()
    });
    parts.join(", ")
}
