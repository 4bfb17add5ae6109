//! One comparison: a row of the result table.

use serde::{Deserialize, Deserializer, Serialize};

/// One comparison and its limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What was compared: an operator with its shape, or a quantity of a reference set.
    pub subject: String,
    /// Where the largest error was found: an output, a tensor, an element.
    pub detail: String,
    /// The largest error, in the unit of `limit`: error bounds for an operator, a relative difference for a reference
    /// set; null in JSON if it is NaN or infinite.
    #[serde(deserialize_with = "number_or_null")]
    pub error: f64,
    /// The largest error allowed.
    pub limit: f64,
    /// Whether the error is a number within the limit.
    pub passed: bool,
    /// The GEMMs that use Winograd filtering, which has its own bound; `None` if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Why nothing was compared: the device failed or refused, or the process died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Reads null as NaN, which JSON cannot represent.
fn number_or_null<'de, D: Deserializer<'de>>(json: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or(f64::NAN))
}

impl Check {
    /// A check that passes if `error` is a number and at most `limit`.
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
            failure: None,
        }
    }

    /// A check that could not be made, with the reason in one line.
    pub fn failed(subject: impl ToString, failure: impl ToString) -> Self {
        let failure = failure.to_string();
        let lines: Vec<&str> = failure.lines().map(str::trim).collect();
        Self {
            failure: Some(lines.join(" ")),
            ..Self::new(subject.to_string(), "", f64::NAN, 1.0)
        }
    }
}
