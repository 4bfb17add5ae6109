//! Steps of a run computed by one version of the program, on one device, in one precision.
//!
//! Results repeat bit for bit only as long as none of the three changes.

use std::path::Path;
use std::str::FromStr;

use cosmogan_engine::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Steps that were computed alike, up to the next segment's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Steps done before it.
    pub after_step: u64,
    /// Version of the program.
    pub version: String,
    /// Device and kernels.
    pub device: String,
    /// Operand precision of GEMMs.
    pub precision: String,
}

/// Names of the entries of a segment that determine bits.
const NAMES: [&str; 3] = ["device", "precision", "version"];

/// Names of changes with which a run may be resumed, such as `device,precision`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub Vec<&'static str>);

impl FromStr for Changes {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let named = text.split(',').filter(|name| !name.is_empty());
        let known = named.map(|name| {
            let known = NAMES.into_iter().find(|known| *known == name);
            known.ok_or_else(|| format!("`{name}` is none of {}", NAMES.join(", ")))
        });
        known.collect::<std::result::Result<_, _>>().map(Self)
    }
}

impl Segment {
    /// The segment that starts on `backend` after `after_step` steps.
    pub(super) fn starting(after_step: u64, backend: &dyn Backend) -> Self {
        let arithmetic = backend.arithmetic();
        Self {
            after_step,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: arithmetic.device,
            precision: arithmetic.precision.to_string(),
        }
    }

    /// The names of the entries that differ, with their values before and after.
    fn changes<'a>(&'a self, next: &'a Self) -> Vec<(&'static str, [&'a str; 2])> {
        let values = |segment: &'a Self| [&*segment.device, &segment.precision, &segment.version];
        let pairs = values(self).into_iter().zip(values(next));
        let named = NAMES
            .into_iter()
            .zip(pairs.map(|(before, now)| [before, now]));
        named.filter(|(_, [before, now])| before != now).collect()
    }
}

/// Adds the segment `next` to those of the checkpoint at `path`, unless it continues the last one.
///
/// # Errors
/// If something changes that is not among the `accepted` changes.
pub(super) fn continued(
    mut segments: Vec<Segment>,
    next: Segment,
    accepted: &Changes,
    path: &Path,
) -> Result<Vec<Segment>> {
    let Some(last) = segments.last() else {
        return Ok(vec![next]);
    };
    let changes = last.changes(&next);
    if changes.is_empty() {
        return Ok(segments);
    }
    let names: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
    if names.iter().any(|name| !accepted.0.contains(name)) {
        let differences: Vec<String> = changes
            .iter()
            .map(|(name, [before, now])| format!("{name} `{before}`, now `{now}`"))
            .collect();
        return Err(Error::file(
            path,
            format!(
                "was computed with {}: the run would not continue bit for bit",
                differences.join(" and ")
            ),
            format!(
                "resume as before, or accept the change with --resume={}",
                names.join(",")
            ),
        ));
    }
    for (name, [before, now]) in &changes {
        eprintln!(
            "resuming after step {} with {name} `{now}` instead of `{before}`: not bit for bit (listed in run.json)",
            next.after_step
        );
    }
    // A change that no step was computed with leaves no segment.
    let after_step = next.after_step;
    segments.retain(|segment| segment.after_step < after_step);
    if segments
        .last()
        .is_none_or(|last| !last.changes(&next).is_empty())
    {
        segments.push(next);
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(after_step: u64, device: &str, precision: &str) -> Segment {
        Segment {
            after_step,
            version: "1".to_owned(),
            device: device.to_owned(),
            precision: precision.to_owned(),
        }
    }

    #[test]
    fn changes_are_accepted_by_name_only() {
        let first = vec![segment(0, "cpu", "f32")];
        let path = Path::new("checkpoint.safetensors");
        let accept = |text: &str| text.parse::<Changes>().expect("names of changes");
        let same = continued(first.clone(), segment(5, "cpu", "f32"), &accept(""), path);
        assert_eq!(same.expect("no change"), first);

        let other = segment(5, "gpu", "bf16");
        for accepted in ["", "device", "version,precision"] {
            let error = continued(first.clone(), other.clone(), &accept(accepted), path);
            let error = error.expect_err("two changes").to_string();
            assert!(error.contains("--resume=device,precision"), "{error}");
        }
        let both = accept("precision,device");
        let changed = continued(first.clone(), other.clone(), &both, path).expect("accepted");
        assert_eq!(changed, [first[0].clone(), other]);
        // Back again before any step was taken.
        let back = continued(changed, segment(5, "cpu", "f32"), &both, path);
        assert_eq!(back.expect("accepted"), first);
        assert!("device,gpu".parse::<Changes>().is_err());
    }
}
