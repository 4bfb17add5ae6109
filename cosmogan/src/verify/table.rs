//! Checks as a table of plain text.

use cosmogan_conformance::Check;

/// Prints one line per check, failures marked.
pub fn print_table(checks: &[Check]) {
    let width = checks
        .iter()
        .map(|check| check.subject.chars().count())
        .max()
        .unwrap_or(0)
        .min(96);
    for check in checks {
        if let Some(failure) = &check.failure {
            println!("FAIL {:width$}  {failure}", check.subject);
            continue;
        }
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
