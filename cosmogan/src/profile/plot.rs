//! A profile as points under a roofline.

use super::record::{Profile, Row};
use super::table::{figures, rate};
use crate::error::Result;
use crate::report::{Plot, Roof, Roofline, RooflinePoint};

/// Draws the rows of a profile that was timed: its roofs, and a point for each row, as large as its share of the pass.
///
/// # Errors
/// Only where the plotting library fails.
pub fn roofline(profile: &Profile) -> Result<Plot> {
    let Some(ceilings) = &profile.ceilings else {
        return Roofline::default().plot();
    };
    let mut roofs = vec![Roof {
        name: format!("f32 product, {}", rate(ceilings.product.per_second)),
        rate: ceilings.product.per_second,
    }];
    if let Some(rounded) = ceilings.rounded_product {
        roofs.push(Roof {
            name: format!(
                "{} product, {}",
                profile.precision,
                rate(rounded.per_second)
            ),
            rate: rounded.per_second,
        });
    }
    let points = profile.rows.iter().filter_map(point).collect();
    let mut title = format!("{} on {}", profile.subject, profile.device);
    if let Some(batch) = profile.batch {
        title.push_str(&format!(", batch {batch}"));
    }
    title.push_str(if profile.cold { ", cold" } else { ", warm" });
    let is_minimal = |row: &Row| row.method.is_some();
    Roofline {
        title,
        bandwidth: ceilings.copy.per_second,
        bandwidth_name: format!("copy, {} GB/s", figures(ceilings.copy.per_second / 1e9)),
        roofs,
        points,
        exceeds: profile.rows.iter().any(is_minimal),
    }
    .plot()
}

fn point(row: &Row) -> Option<RooflinePoint> {
    // What only moves has no place on a logarithmic axis of operations.
    let has_operations = row.operations > 0.0;
    let rate = row.rate().filter(|_| has_operations)?;
    Some(RooflinePoint {
        name: row.operator.clone(),
        intensity: row.intensity(),
        rate,
        multiplied: row
            .method
            .as_ref()
            .map(|_| row.multiplied / row.seconds.unwrap_or(f64::NAN)),
        share: row.share?,
    })
}
