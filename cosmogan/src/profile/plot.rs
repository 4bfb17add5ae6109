//! Roofline plot of a profile.

use super::record::{Profile, Row};
use super::table::{figures, rate};
use crate::error::Result;
use crate::report::{Plot, Roof, Roofline, RooflinePoint};

/// Draws the roofline of a timed profile, with one point per row; the size of a point is its row's share of the pass.
///
/// # Errors
/// Only if the plotting library fails.
pub fn roofline(profile: &Profile) -> Result<Plot> {
    let Some(ceilings) = &profile.ceilings else {
        return Ok(Roofline::default().plot()?);
    };
    let mut roofs = vec![Roof {
        name: format!("f32 GEMM, {}", rate(ceilings.product.per_second)),
        rate: ceilings.product.per_second,
    }];
    if let Some(rounded) = ceilings.rounded_product {
        roofs.push(Roof {
            name: format!("{} GEMM, {}", profile.precision, rate(rounded.per_second)),
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
    let roofline = Roofline {
        title,
        bandwidth: ceilings.copy.per_second,
        bandwidth_name: format!("copy, {} GB/s", figures(ceilings.copy.per_second / 1e9)),
        roofs,
        points,
        exceeds: profile.rows.iter().any(is_minimal),
    };
    Ok(roofline.plot()?)
}

fn point(row: &Row) -> Option<RooflinePoint> {
    // A row without operations has no place on a logarithmic axis.
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
