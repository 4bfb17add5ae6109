//! Convergence along straight rays through the lens planes (Born approximation).

use rand::RngExt;
use rayon::prelude::*;

use super::lenses::Lens;
use super::planes::PLANES;
use cosmogan_base::Result;
use cosmogan_base::rng::{Purpose, stream};

/// Random orientation in which one map sees one slab.
#[derive(Clone, Copy, Debug)]
struct View {
    /// Plane number, which encodes axis and half of the box.
    plane: usize,
    /// Point where the line of sight meets the plane, in pixels.
    shift: [f64; 2],
    /// Whether the plane is mirrored along either axis.
    mirrored: [bool; 2],
}

/// Draws the views of map `index` of `seed`, nearest slab first.
fn views(seed: u64, index: u64, lenses: usize, pixels: usize) -> Vec<View> {
    let mut rng = stream(seed, Purpose::LightCone, index);
    (0..lenses)
        .map(|_| View {
            plane: rng.random_range(0..PLANES),
            shift: [0, 1].map(|_| rng.random_range(0.0..pixels as f64)),
            mirrored: [0, 1].map(|_| rng.random_range(0..2) == 1),
        })
        .collect()
}

/// Geometry of the maps and the lens planes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sky {
    /// Pixels on a side of a map.
    pub(super) pixels: usize,
    /// Side of a map in radian.
    pub(super) side: f64,
    /// Side of the box in Mpc/h.
    pub(super) box_side: f64,
    /// Pixels on a side of a plane.
    pub(super) plane_pixels: usize,
}

/// Computes maps `range` of `seed`.
/// `planes` returns the planes of a lens, given its number.
pub(super) fn trace(
    lenses: &[Lens],
    sky: &Sky,
    seed: u64,
    range: std::ops::Range<u64>,
    mut planes: impl FnMut(usize) -> Result<Vec<f32>>,
) -> Result<Vec<Vec<f32>>> {
    let views: Vec<Vec<View>> = range
        .map(|index| views(seed, index, lenses.len(), sky.plane_pixels))
        .collect();
    let mut maps = vec![vec![0.0_f32; sky.pixels * sky.pixels]; views.len()];
    for (number, lens) in lenses.iter().enumerate() {
        let planes = planes(number)?;
        let area = sky.plane_pixels * sky.plane_pixels;
        maps.par_iter_mut().zip(&views).for_each(|(map, views)| {
            let view = &views[number];
            let plane = &planes[view.plane * area..][..area];
            sky.add(map, plane, view, lens);
        });
    }
    // Densities are not negative, so no sum of them is, and no pixel can lie below the empty-beam value.
    let empty: f64 = lenses.iter().map(|lens| lens.weight).sum();
    maps.par_iter_mut()
        .flatten()
        .for_each(|value| *value -= empty as f32);
    Ok(maps)
}

impl Sky {
    /// Adds the lens weight times ρ/ρ̄ at the points where rays meet the plane.
    /// Rays go through pixel centres; ρ/ρ̄ is interpolated bilinearly.
    fn add(&self, map: &mut [f32], plane: &[f32], view: &View, lens: &Lens) {
        let [rows, columns] = [0, 1].map(|axis| self.crossings(view, lens, axis));
        let weight = lens.weight as f32;
        let side = self.plane_pixels;
        for (values, &(row, next_row, down)) in map.chunks_exact_mut(self.pixels).zip(&rows) {
            let near = &plane[row * side..][..side];
            let far = &plane[next_row * side..][..side];
            for (value, &(column, next_column, right)) in values.iter_mut().zip(&columns) {
                let above = near[column] + right * (near[next_column] - near[column]);
                let below = far[column] + right * (far[next_column] - far[column]);
                *value += weight * (above + down * (below - above));
            }
        }
    }

    /// Computes where the rays of a row or column meet the plane along one axis.
    ///
    /// Returns the pixel before, the pixel after, and the weight of the latter. The box is repeated periodically where
    /// the map is wider.
    fn crossings(&self, view: &View, lens: &Lens, axis: usize) -> Vec<(usize, usize, f32)> {
        let side = self.plane_pixels as f64;
        let pixel = self.side / self.pixels as f64;
        let direction = if view.mirrored[axis] { -1.0 } else { 1.0 };
        (0..self.pixels)
            .map(|index| {
                let angle = direction * (index as f64 + 0.5 - 0.5 * self.pixels as f64) * pixel;
                let at = (view.shift[axis] + angle * lens.distance / self.box_side * side)
                    .rem_euclid(side);
                let before = (at as usize).min(self.plane_pixels - 1);
                let after = if before + 1 == self.plane_pixels {
                    0
                } else {
                    before + 1
                };
                (before, after, (at - before as f64).min(1.0) as f32)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKY: Sky = Sky {
        pixels: 16,
        side: 0.02,
        box_side: 100.0,
        plane_pixels: 32,
    };

    #[test]
    fn nothing_in_the_way_is_the_empty_beam_and_the_mean_density_is_nothing() {
        let lenses = [0.01, 0.02, 0.003].map(|weight| Lens {
            distance: 1e5 * weight,
            scale_factor: 0.8,
            weight,
        });
        for (density, expected) in [(0.0, -0.033), (1.0, 0.0), (3.0, 0.066)] {
            let maps = trace(&lenses, &SKY, 1, 0..3, |_| Ok(vec![density; 6 * 32 * 32])).unwrap();
            for value in maps.concat() {
                approx::assert_abs_diff_eq!(value, expected, epsilon = 1e-8);
            }
        }
    }

    #[test]
    fn rays_meet_a_plane_where_geometry_says() {
        let lens = Lens {
            distance: 1000.0,
            scale_factor: 0.8,
            weight: 1.0,
        };
        let view = View {
            plane: 0,
            shift: [30.0, 5.0],
            mirrored: [false, true],
        };
        // 0.02 radian at 1,000 Mpc/h is 20 Mpc/h or 6.4 pixels of the plane: 0.4 per map pixel.
        let rows = SKY.crossings(&view, &lens, 0);
        assert_eq!((rows[8].0, rows[8].1), (30, 31));
        approx::assert_relative_eq!(rows[8].2, 0.2, max_relative = 1e-5);
        assert_eq!((rows[12].0, rows[12].1), (31, 0));
        approx::assert_relative_eq!(rows[12].2, 0.8, max_relative = 1e-5);
        let columns = SKY.crossings(&view, &lens, 1);
        assert_eq!((columns[8].0, columns[8].1), (4, 5));
        approx::assert_relative_eq!(columns[8].2, 0.8, max_relative = 1e-5);
    }
}
