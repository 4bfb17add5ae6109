//! Text summary of a profile: the time, the floor, the gap between them, and the rows with most of the gap.

use std::fmt::Write as _;

use super::record::{Bound, Profile, Row};
use super::table::seconds;

/// Maximum number of rows listed.
const NAMED: usize = 8;

/// The summary in a few lines; empty if nothing was timed.
pub fn summary(profile: &Profile) -> String {
    let (Some(time), Some(floor), Some(profiled)) = (
        profile.seconds,
        profile.floor_seconds,
        profile.profiled_seconds(),
    ) else {
        return String::new();
    };
    // The profiled time is compared with the floor, as both are sums over the same rows.
    let gap = (profiled - floor).max(f64::MIN_POSITIVE);
    let mut text = format!(
        "one pass takes {} without a profiler (noise {:.1} %) and {} with it; its floor, every row at its limit, is {}: the gap is {}, {:.0} % of it\n",
        seconds(time),
        100.0 * profile.noise.unwrap_or(0.0),
        seconds(profiled),
        seconds(floor),
        seconds(gap),
        100.0 * gap / profiled,
    );
    if let Some(batch) = profile.batch {
        let _ = writeln!(text, "that is {:.1} maps per second", batch as f64 / time);
    }
    let mut losers: Vec<(f64, &Row)> = profile
        .rows
        .iter()
        .filter_map(|row| Some((row.seconds? - row.reachable_seconds()?, row)))
        .filter(|(lost, _)| *lost > 0.005 * gap)
        .collect();
    losers.sort_by(|a, b| b.0.total_cmp(&a.0));
    if losers.is_empty() {
        return text;
    }
    text.push_str("most of the gap is in\n");
    for (lost, row) in losers.iter().take(NAMED) {
        let _ = writeln!(text, "  {}", describe(row, *lost, gap));
    }
    if let Some(outside) = profile.outside_seconds {
        let _ = writeln!(
            text,
            "  outside all rows (tape, memory, copies to and from the device, gaps): {}, {:.0} % of the gap",
            seconds(outside),
            100.0 * outside / gap
        );
    }
    text
}

fn describe(row: &Row, lost: f64, gap: f64) -> String {
    let percent = |share: Option<f64>| 100.0 * share.unwrap_or(f64::NAN);
    let bound = match row.bound {
        Some(Bound::Compute) => "compute-bound",
        Some(Bound::Memory) => "memory-bound",
        _ => "latency-bound",
    };
    let share = match row.method {
        Some(_) => format!(
            "{:.0} % of its limit by executed multiplications, {:.0} % by definition",
            percent(row.share_of_floor()),
            percent(row.share_of_limit())
        ),
        None => format!("{:.0} % of its limit", percent(row.share_of_limit())),
    };
    format!(
        "{}: {share}, {bound}; loses {}, {:.0} % of the gap",
        row.name(),
        seconds(lost),
        100.0 * lost / gap
    )
}
