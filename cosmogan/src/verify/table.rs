//! What a check found, as a row of a table.

use serde::Serialize;

/// One comparison with its limit.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was compared: an operator with its shape, or a quantity of a reference set.
    pub subject: String,
    /// Where the largest error was found: an output, a tensor, an element.
    pub detail: String,
    /// The largest error, in units of `limit`'s kind.
    pub error: f64,
    /// The largest error allowed.
    pub limit: f64,
    /// Whether the error is a number within the limit.
    pub passed: bool,
    /// What is computed in another way than it is defined, which decides the bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

impl Check {
    /// A check that passes where `error` is a number and at most `limit`.
    pub fn new(
        subject: impl Into<String>,
        detail: impl Into<String>,
        error: f64,
        limit: f64,
    ) -> Self {
        Self {
            subject: subject.into(),
            detail: detail.into(),
            error,
            limit,
            passed: error <= limit,
            method: None,
        }
    }
}

/// Prints one line per check, failures marked.
pub fn print_table(checks: &[Check]) {
    let width = checks
        .iter()
        .map(|check| check.subject.chars().count())
        .max()
        .unwrap_or(0)
        .min(96);
    for check in checks {
        let method = check.method.as_ref();
        println!(
            "{:4} {:width$} {:>10.3e} of {:<8.0e} {}{}",
            if check.passed { "ok" } else { "FAIL" },
            check.subject,
            check.error,
            check.limit,
            check.detail,
            method.map_or(String::new(), |method| format!(" ({method})")),
        );
    }
}
