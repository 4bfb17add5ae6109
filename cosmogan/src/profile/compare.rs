//! Comparison of two profiles of the same subject: which rows became slower or faster.

use std::fmt::Write as _;

use super::record::{Profile, Rate, Row};
use super::table::{rate, seconds};

/// Smallest difference that counts, in combined standard deviations of both samples.
const DEVIATIONS: f64 = 3.0;
/// Smallest relative difference that counts.
const LEAST: f64 = 0.02;

/// The reason why two profiles cannot be compared; `None` if they can. `new` may be unfinished.
pub fn mismatch(old: &Profile, new: &Profile) -> Option<String> {
    let pairs = [
        ("device", old.device.clone(), new.device.clone()),
        ("precision", old.precision.clone(), new.precision.clone()),
        ("subject", old.subject.clone(), new.subject.clone()),
        (
            "batch",
            format!("{:?}", old.batch),
            format!("{:?}", new.batch),
        ),
        (
            "model",
            format!("{:?}", old.model),
            format!("{:?}", new.model),
        ),
        ("caches", caches(old), caches(new)),
    ];
    pairs
        .into_iter()
        .find(|(_, old, new)| old != new)
        .map(|(what, old, new)| {
            format!("its {what} is `{old}`, but that of this profile is `{new}`")
        })
        .or_else(|| {
            old.ceilings
                .is_none()
                .then(|| "it holds no times".to_owned())
        })
}

fn caches(profile: &Profile) -> String {
    if profile.cold { "cold" } else { "warm" }.to_owned()
}

/// Describes what changed from `old` to `new` beyond noise, and how the measured peaks changed.
///
/// # Errors
/// If the two profiles are not comparable; the error says why.
pub fn compare(old: &Profile, new: &Profile) -> Result<String, String> {
    if let Some(problem) = mismatch(old, new) {
        return Err(problem);
    }
    let mut text = String::new();
    if let (Some(before), Some(after)) = (old.seconds, new.seconds) {
        let noises = [old.noise, new.noise].map(|noise| noise.unwrap_or(0.0));
        let _ = writeln!(
            text,
            "one pass: {} → {}, {}",
            seconds(before),
            seconds(after),
            verdict(before, after, noises)
        );
    }
    if let (Some(before), Some(after)) = (&old.ceilings, &new.ceilings) {
        let change = |before: Rate, after: Rate| {
            format!(
                "{:+.1} %",
                100.0 * (after.per_second / before.per_second - 1.0)
            )
        };
        let _ = writeln!(
            text,
            "measured peaks: GEMM {} ({}), copy {}",
            change(before.product, after.product),
            rate(after.product.per_second),
            change(before.copy, after.copy)
        );
    }
    let mut changed: Vec<(f64, String)> = Vec::new();
    let mut same = 0;
    for row in &new.rows {
        let Some(earlier) = old.rows.iter().find(|earlier| earlier.is_same(row)) else {
            let _ = writeln!(text, "new: {}", row.name());
            continue;
        };
        match difference(earlier, row) {
            Some((lost, line)) => changed.push((lost, line)),
            None => same += 1,
        }
    }
    for row in &old.rows {
        if !new.rows.iter().any(|later| later.is_same(row)) {
            let _ = writeln!(text, "gone: {}", row.name());
        }
    }
    changed.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    for (what, is_listed) in [
        ("slower", (|lost: f64| lost > 0.0) as fn(f64) -> bool),
        ("faster", |lost| lost < 0.0),
    ] {
        let lines: Vec<&String> = changed
            .iter()
            .filter(|(lost, _)| is_listed(*lost))
            .map(|(_, line)| line)
            .collect();
        let _ = writeln!(text, "{what}: {}", lines.len());
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    let _ = writeln!(text, "within noise: {same}");
    Ok(text)
}

/// The change in seconds and a line that describes it, if it is beyond noise.
fn difference(old: &Row, new: &Row) -> Option<(f64, String)> {
    let (before, after) = (old.seconds?, new.seconds?);
    let noises = [old.noise?, new.noise?];
    is_beyond_noise(before, after, noises).then(|| {
        let line = format!(
            "{}: {} → {}, {:+.1} %",
            new.name(),
            seconds(before),
            seconds(after),
            100.0 * (after / before - 1.0)
        );
        (after - before, line)
    })
}

fn is_beyond_noise(before: f64, after: f64, [old, new]: [f64; 2]) -> bool {
    let difference = (after - before).abs();
    difference > DEVIATIONS * (old * before).hypot(new * after) && difference > LEAST * before
}

fn verdict(before: f64, after: f64, noises: [f64; 2]) -> String {
    if is_beyond_noise(before, after, noises) {
        format!("{:+.1} %", 100.0 * (after / before - 1.0))
    } else {
        "equal within noise".to_owned()
    }
}
