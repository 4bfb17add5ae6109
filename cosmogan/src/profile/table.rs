//! Plain-text table of a profile.

use std::fmt::Write as _;

use cosmogan_kernels::{Kernel, convolution, implicit_gemm};

use super::record::{Conditions, Profile, Row};

/// Smallest share of the pass with a line of its own.
const DUST: f64 = 0.0005;
/// Noise of the measured peaks above which the machine was busy with other work.
const BUSY: f64 = 0.1;
/// Note below the table of a busy machine.
const BUSY_NOTE: &str = "the noise of the ceilings exceeds 10 %: something else is running here, and shares of limits are as uncertain";
/// Note below the table if rows are computed by Winograd filtering.
const WINOGRAD: &str = "† by Winograd (minimal filtering), 7.6 multiplications instead of 25: operations are counted by definition, so that a row may \
exceed its limit; in brackets, the multiplications really executed as a share of the limit, which the floor counts";
/// Note below a table with warm caches.
const WARM: &str = "limits are for data in memory: operators whose operands are cached may exceed the bandwidth (--cold empties caches first)";

/// The whole text: subject and conditions, the table with one line per row, and notes.
pub fn table(profile: &Profile) -> String {
    let mut text = heading(profile);
    let columns = columns(profile);
    // Rows with a negligible share are summarised in one line.
    let is_listed = |row: &&Row| row.share.is_none_or(|share| share >= DUST);
    let cells: Vec<Vec<String>> = profile
        .rows
        .iter()
        .filter(is_listed)
        .map(|row| columns.iter().map(|column| (column.cell)(row)).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let longest = cells.iter().map(|row| row[index].chars().count()).max();
            longest.unwrap_or(0).max(column.name.chars().count())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, width), column) in cells.zip(&widths).zip(&columns) {
            // Writing to a string cannot fail.
            let _ = if column.is_text {
                write!(line, "{cell:<width$}  ")
            } else {
                write!(line, "{cell:>width$}  ")
            };
        }
        line.trim_end().to_owned() + "\n"
    };
    text.push_str(&line(&mut columns.iter().map(|column| column.name)));
    for row in &cells {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    let (count, share) = profile
        .rows
        .iter()
        .filter(|row| !is_listed(row))
        .fold((0, 0.0), |(count, share), row| {
            (count + 1, share + row.share.unwrap_or(0.0))
        });
    if count > 0 {
        let _ = writeln!(
            text,
            "and {count} rows below {:.2} % each, together {:.2} % (--json has them)",
            100.0 * DUST,
            100.0 * share
        );
    }
    for note in notes(profile) {
        text.push_str(&note);
        text.push('\n');
    }
    text
}

fn heading(profile: &Profile) -> String {
    let mut text = format!("{} on {}", profile.subject, profile.device);
    if let (Some(batch), Some(model)) = (profile.batch, profile.model) {
        let size = model.output_size;
        let _ = write!(text, ", batch {batch}, maps of {size}²");
    }
    text.push_str(match (profile.ceilings.is_some(), profile.cold) {
        (false, _) => ": launches counted, not run and not timed",
        (true, false) => ", caches warm",
        (true, true) => ", caches emptied before every call",
    });
    text.push('\n');
    if let Some(ceilings) = &profile.ceilings {
        let percent = |noise: f64| format!("± {:.1} %", 100.0 * noise);
        let _ = write!(
            text,
            "ceilings: matrix product {} ({})",
            rate(ceilings.product.per_second),
            percent(ceilings.product.noise)
        );
        if let Some(rounded) = ceilings.rounded_product {
            let _ = write!(
                text,
                " in f32 and {} ({}) in {}",
                rate(rounded.per_second),
                percent(rounded.noise),
                profile.precision
            );
        }
        let _ = writeln!(
            text,
            ", copy {} GB/s ({}), in this run",
            figures(ceilings.copy.per_second / 1e9),
            percent(ceilings.copy.noise)
        );
    }
    if let [before, after] = &profile.conditions[..] {
        let on_gpu = profile.rows.iter().any(|row| row.kernel.is_some());
        text.push_str(&Conditions::describe(before, after, on_gpu));
        text.push('\n');
    }
    if let Some(tuning) = &profile.tuning {
        let _ = writeln!(text, "cut: {tuning}");
    }
    if let Some(seconds) = &profile.device_seconds {
        let _ = writeln!(
            text,
            "by device events: {} without copies from and to the host, {} with them",
            self::seconds(seconds.without_copy),
            self::seconds(seconds.with_copy)
        );
    }
    match &profile.recording_failure {
        Some(reason) => {
            let _ = writeln!(
                text,
                "launched kernel by kernel, not replayed from a CUDA graph: {reason}"
            );
        }
        None if profile.recorded => text.push_str("replayed from a CUDA graph\n"),
        None => {}
    }
    if profile.ceilings.is_some() {
        text.push_str(&match &profile.verified {
            Some(verified) => format!(
                "verified in this run: {} operator{} at these shapes, largest error {:.2} of its bound\n",
                verified.cases,
                if verified.cases == 1 { "" } else { "s" },
                verified.worst
            ),
            None => "NOT verified in this run\n".to_owned(),
        });
    }
    text
}

/// A column: its heading and the function that formats its cells.
struct Column {
    name: &'static str,
    is_text: bool,
    cell: Box<dyn Fn(&Row) -> String>,
}

fn column(name: &'static str, cell: impl Fn(&Row) -> String + 'static) -> Column {
    Column {
        name,
        is_text: false,
        cell: Box::new(cell),
    }
}

fn columns(profile: &Profile) -> Vec<Column> {
    let has_kernels = profile.rows.iter().any(|row| row.kernel.is_some());
    let is_timed = profile.ceilings.is_some();
    let kernel = |cell: fn(&super::record::Kernel) -> String| {
        move |row: &Row| row.kernel.as_ref().map_or_else(String::new, cell)
    };
    let resources = |cell: fn(&super::record::Resources) -> String| {
        move |row: &Row| {
            let found = row
                .kernel
                .as_ref()
                .and_then(|kernel| kernel.resources.as_ref());
            found.map_or_else(String::new, cell)
        }
    };
    let mut columns = vec![Column {
        is_text: true,
        ..column("operator", |row| row.operator.clone())
    }];
    if has_kernels {
        columns.push(Column {
            is_text: true,
            ..column(
                "kernel",
                kernel(|kernel| format!("{} {}", kernel.name, kernel.specialisation)),
            )
        });
    }
    columns.push(column("calls", |row| row.calls.to_string()));
    if is_timed {
        columns.push(column("time", |row| {
            let mark = if row.disturbed > 0 { " *" } else { "" };
            format!("{}{mark}", row.seconds.map_or_else(String::new, seconds))
        }));
        columns.push(column("noise", |row| percent(row.noise, 1)));
        columns.push(column("share", |row| percent(row.share, 1)));
    }
    columns.push(column("GFLOP", |row| figures(row.operations / 1e9)));
    columns.push(column("MB", |row| figures(row.bytes / 1e6)));
    if is_timed {
        let is_fast = profile
            .ceilings
            .as_ref()
            .is_some_and(|ceilings| ceilings.product.per_second > 5e12);
        let (name, unit) = if is_fast {
            ("TFLOP/s", 1e12)
        } else {
            ("GFLOP/s", 1e9)
        };
        columns.push(column(name, move |row| {
            row.rate()
                .map_or_else(String::new, |rate| figures(rate / unit))
        }));
        columns.push(column("GB/s", |row| {
            row.bandwidth()
                .map_or_else(String::new, |bandwidth| figures(bandwidth / 1e9))
        }));
    }
    columns.push(column("FLOP/B", |row| figures(row.intensity())));
    if is_timed {
        columns.push(column("of limit", |row| {
            let share = percent(row.share_of_limit(), 0);
            match row.method {
                Some(_) => format!("{share} [{}]†", percent(row.share_of_floor(), 0)),
                None => share,
            }
        }));
        columns.push(Column {
            is_text: true,
            ..column("bound by", |row| {
                row.bound
                    .map_or_else(String::new, |bound| bound.name().to_owned())
            })
        });
    }
    if has_kernels {
        columns.push(column("grid", kernel(|kernel| extents(kernel.grid))));
        columns.push(column("block", kernel(|kernel| extents(kernel.block))));
    }
    if has_kernels && is_timed {
        columns.push(column(
            "registers",
            resources(|found| found.registers.to_string()),
        ));
        columns.push(column(
            "shared B",
            resources(|found| found.shared_bytes.to_string()),
        ));
        columns.push(column(
            "occupancy",
            resources(|found| format!("{:.0} %", 100.0 * found.occupancy)),
        ));
        columns.push(column(
            "spills B",
            resources(|found| {
                found
                    .spill_bytes
                    .map_or_else(|| "?".to_owned(), |bytes| bytes.to_string())
            }),
        ));
    }
    columns
}

fn notes(profile: &Profile) -> Vec<String> {
    let mut notes = Vec::new();
    let mut say = |tier: &str, kernels: &[&Kernel], why: &str| {
        let operators = operators_on(kernels, profile);
        if !operators.is_empty() {
            notes.push(format!("{tier} kernels run at {operators}: {why}"));
        }
    };
    say(
        "plain",
        &[
            &convolution::FPROP,
            &convolution::DGRAD,
            &convolution::WGRAD,
        ],
        "no other kernel supports these shapes, or --tier allows only plain ones",
    );
    // There are no Hopper kernels for f32, and those for tf32 reduce along channels only (fprop and dgrad).
    let all = [
        &implicit_gemm::FPROP,
        &implicit_gemm::DGRAD,
        &implicit_gemm::WGRAD,
    ];
    let small = "they would leave most of a Hopper kernel's tile empty, or TMA does not support their strides";
    match (profile.precision.as_str(), &profile.hopper_lack) {
        ("f32", _) => {}
        (_, Some(lack)) => say("tiled", &all, lack),
        ("tf32", None) => {
            say("tiled", &all[..2], small);
            say("tiled", &all[2..], "wgmma cannot read tf32 across pixels");
        }
        (_, None) => say("tiled", &all, small),
    }
    if profile.ceilings.is_none() {
        return notes;
    }
    if let Some(ceilings) = &profile.ceilings
        && ceilings.copy.noise.max(ceilings.product.noise) > BUSY
    {
        notes.push(BUSY_NOTE.to_owned());
    }
    if profile.rows.iter().any(|row| row.method.is_some()) {
        notes.push(WINOGRAD.to_owned());
    }
    if !profile.cold {
        notes.push(WARM.to_owned());
    }
    let disturbed: usize = profile.rows.iter().map(|row| row.disturbed).sum();
    if disturbed > 0 {
        notes.push(format!(
            "* {disturbed} of {} samples are more than 25 % above their median (throttled or disturbed); they are not discarded",
            profile.rows.len() * profile.repeats
        ));
    }
    notes
}

/// The operators that run on these kernels, in table order.
fn operators_on(kernels: &[&Kernel], profile: &Profile) -> String {
    let is_on = |row: &&Row| {
        let name = row.kernel.as_ref().map(|kernel| kernel.name.as_str());
        kernels.iter().any(|kernel| name == Some(kernel.name))
    };
    let operators: Vec<&str> = profile
        .rows
        .iter()
        .filter(is_on)
        .map(|row| row.operator.as_str())
        .collect();
    operators.join(", ")
}

/// Formats `value` with three significant digits.
pub(super) fn figures(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        size if size >= 0.0005 => format!("{value:.3}"),
        _ => "< 0.001".to_owned(),
    }
}

/// Formats a time in seconds, milliseconds or microseconds.
pub(super) fn seconds(value: f64) -> String {
    if value >= 1.0 {
        format!("{} s", figures(value))
    } else if value >= 1e-3 {
        format!("{} ms", figures(1e3 * value))
    } else {
        format!("{} µs", figures(1e6 * value))
    }
}

/// Formats operations per second in GFLOP/s or TFLOP/s.
pub(super) fn rate(value: f64) -> String {
    if value >= 1e12 {
        format!("{} TFLOP/s", figures(value / 1e12))
    } else {
        format!("{} GFLOP/s", figures(value / 1e9))
    }
}

fn percent(share: Option<f64>, decimals: usize) -> String {
    share.map_or_else(String::new, |share| {
        format!("{:.decimals$} %", 100.0 * share)
    })
}

fn extents([x, y, z]: [u32; 3]) -> String {
    match (y, z) {
        (1, 1) => x.to_string(),
        (_, 1) => format!("{x}×{y}"),
        _ => format!("{x}×{y}×{z}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_figures() {
        for (value, text) in [
            (0.0, "0"),
            (0.01234, "0.012"),
            (1.2345, "1.23"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (1234.5, "1234"),
            (0.00002, "< 0.001"),
        ] {
            assert_eq!(figures(value), text);
        }
        assert_eq!(seconds(0.0123), "12.3 ms");
        assert_eq!(seconds(4.5e-6), "4.50 µs");
        assert_eq!(rate(1.5e12), "1.50 TFLOP/s");
        assert_eq!(extents([4, 2, 1]), "4×2");
    }
}
