//! Pairwise distances of many maps, computed as GEMMs of blocks that fit into memory.

use cosmogan_engine::Shape;
use cosmogan_engine::backend::{Backend, Epilogue, Op};
use serde::{Deserialize, Serialize};

use super::features::{FeatureFile, distance};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress::Progress;

/// Two maps and their distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Index of the first map.
    pub first: usize,
    /// Index of the second map, larger than the first.
    pub second: usize,
    /// Euclidean distance in feature space.
    pub distance: f64,
}

/// Distribution of all pairwise distances, and the closest pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct PairDistances {
    /// Closest pairs in ascending order of distance, recomputed directly.
    pub nearest: Vec<Pair>,
    /// Number of pairs by the upper bits of the squared distance as f32.
    ///
    /// With the exponent and six mantissa bits, bins are ordered and 1.6 % wide.
    histogram: Vec<u64>,
}

const DROPPED_BITS: u32 = 17;

impl PairDistances {
    /// Measures all pairs of rows of `features` and keeps the `keep` nearest.
    ///
    /// At most about `memory` bytes of rows are held at a time.
    ///
    /// # Errors
    /// If rows cannot be read, the device fails, or the user interrupts.
    pub fn measure(
        features: &FeatureFile,
        backend: &dyn Backend,
        memory: usize,
        keep: usize,
    ) -> Result<Self> {
        let count = features.count();
        // Two blocks of rows on the host and on the device, plus the file's bytes of one block.
        let block = (memory / (4 * 5 * features.width())).clamp(1, 2048.min(count.max(1)));
        let blocks = count.div_ceil(block);
        let mut progress = Progress::new("comparing", (blocks * (blocks + 1) / 2) as u64);
        // Distances do not depend on the origin; a mean row as origin reduces cancellation.
        let origin = mean_row(&features.rows(0..block.min(count))?, features.width());
        let mut search = Self {
            nearest: Vec::new(),
            histogram: vec![0; 1 << (31 - DROPPED_BITS)],
        };
        let mut candidates = Nearest::new(keep);
        for upper in 0..blocks {
            let left = Block::read(
                features,
                upper * block..((upper + 1) * block).min(count),
                &origin,
            )?;
            for lower in upper..blocks {
                if interrupt::requested() {
                    return Err(Error::interrupted(
                        "the results of this comparison are lost".to_owned(),
                    ));
                }
                let rows = lower * block..((lower + 1) * block).min(count);
                let right = Block::read(features, rows, &origin)?;
                let products = left.products(&right, backend)?;
                search.add(&left, &right, &products, &mut candidates);
                progress.advance(1, "");
            }
        }
        progress.finish("");
        for (_, first, second) in candidates.pairs {
            let row = |index: usize| features.rows(index..index + 1);
            search.nearest.push(Pair {
                first,
                second,
                distance: distance(&row(first)?, &row(second)?),
            });
        }
        search
            .nearest
            .sort_by(|a, b| a.distance.total_cmp(&b.distance));
        Ok(search)
    }

    fn add(&mut self, left: &Block, right: &Block, products: &[f32], candidates: &mut Nearest) {
        for (row, products) in products.chunks_exact(right.squares.len()).enumerate() {
            let first = left.first + row;
            for (column, product) in products.iter().enumerate() {
                let second = right.first + column;
                if second <= first {
                    continue;
                }
                let sum = left.squares[row] + right.squares[column];
                let squared = (sum - 2.0 * f64::from(*product)).max(0.0) as f32;
                self.histogram[(squared.to_bits() >> DROPPED_BITS) as usize] += 1;
                candidates.offer(squared, first, second);
            }
        }
    }

    /// Number of pairs.
    pub fn count(&self) -> u64 {
        self.histogram.iter().sum()
    }

    /// Median distance, accurate to 0.8 %.
    pub fn median(&self) -> f64 {
        let half = self.count().div_ceil(2);
        let mut below = 0;
        for (bin, count) in self.histogram.iter().enumerate() {
            below += count;
            if below >= half {
                return upper_edge(bin).sqrt();
            }
        }
        0.0
    }

    /// Number of pairs closer than `limit`, with `limit` resolved to 0.8 %.
    pub fn closer_than(&self, limit: f64) -> u64 {
        let bins = self.histogram.iter().enumerate();
        bins.filter(|(bin, _)| upper_edge(*bin) <= limit * limit)
            .map(|(_, count)| count)
            .sum()
    }
}

/// Upper edge of a bin: the smallest squared distance of the next bin.
fn upper_edge(bin: usize) -> f64 {
    f32::from_bits((bin as u32 + 1) << DROPPED_BITS).into()
}

/// Rows minus the origin, with their squared norms.
struct Block {
    first: usize,
    width: usize,
    values: Vec<f32>,
    squares: Vec<f64>,
}

impl Block {
    fn read(features: &FeatureFile, rows: std::ops::Range<usize>, origin: &[f32]) -> Result<Self> {
        let (first, width) = (rows.start, features.width());
        let mut values = features.rows(rows)?;
        for row in values.chunks_exact_mut(width) {
            for (value, origin) in row.iter_mut().zip(origin) {
                *value -= origin;
            }
        }
        let squares = values
            .chunks_exact(width)
            .map(|row| row.iter().map(|value| f64::from(*value).powi(2)).sum())
            .collect();
        Ok(Self {
            first,
            width,
            values,
            squares,
        })
    }

    /// Scalar products of all rows with all rows of `other`, of shape `[rows, other's rows]`.
    fn products(&self, other: &Self, backend: &dyn Backend) -> Result<Vec<f32>> {
        let upload = |block: &Self| {
            let shape = Shape::from([block.squares.len(), block.width]);
            backend.upload(shape, &block.values)
        };
        let (columns, rows) = (other.squares.len(), self.squares.len());
        let nothing = backend.upload(Shape::from([columns]), &vec![0.0; columns])?;
        let mut products =
            backend.upload(Shape::from([rows, columns]), &vec![0.0; rows * columns])?;
        let (left, right) = (upload(self)?, upload(other)?);
        backend.run(Op::Linear {
            x: &left,
            weight: &right,
            bias: &nothing,
            epilogue: Epilogue::None,
            y: &mut products,
        })?;
        Ok(backend.download(&products)?)
    }
}

fn mean_row(values: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; width];
    for row in values.chunks_exact(width) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let count = (values.len() / width).max(1) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// The nearest pairs so far, in ascending order of distance.
struct Nearest {
    keep: usize,
    pairs: Vec<(f32, usize, usize)>,
}

impl Nearest {
    fn new(keep: usize) -> Self {
        Self {
            keep,
            pairs: Vec::with_capacity(keep + 1),
        }
    }

    fn offer(&mut self, squared: f32, first: usize, second: usize) {
        if self.pairs.len() == self.keep && self.pairs.last().is_none_or(|last| squared >= last.0) {
            return;
        }
        let place = self.pairs.partition_point(|pair| pair.0 <= squared);
        self.pairs.insert(place, (squared, first, second));
        self.pairs.truncate(self.keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};
    use cosmogan_engine::backend::cpu::CpuBackend;
    use rand::RngExt;

    #[test]
    fn planted_pairs_are_found_in_any_block_size() {
        const WIDTH: usize = 20;
        let mut rng = stream(3, Purpose::Latent, 0);
        let mut rows: Vec<Vec<f32>> = (0..41)
            .map(|_| (0..WIDTH).map(|_| 7.0 + rng.random::<f32>()).collect())
            .collect();
        rows[30] = rows[4].clone();
        rows[17] = rows[40].clone();
        rows[17][3] += 0.01;
        let folder = tempfile::tempdir().expect("a folder");
        let mut features = FeatureFile::create(folder.path(), WIDTH).expect("a file");
        for row in &rows {
            features.push(row).expect("space on the disk");
        }
        let mut all = Vec::new();
        for first in 0..rows.len() {
            for second in first + 1..rows.len() {
                all.push((distance(&rows[first], &rows[second]), first, second));
            }
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let backend = CpuBackend::new();
        for memory in [0, 4 * 5 * WIDTH * 7, 1 << 20] {
            let found = PairDistances::measure(&features, &backend, memory, 5).expect("distances");
            for (pair, (distance, first, second)) in found.nearest.iter().zip(&all) {
                assert_eq!((pair.first, pair.second), (*first, *second));
                assert_eq!(pair.distance, *distance);
            }
            assert_eq!((found.nearest[0].first, found.nearest[0].second), (4, 30));
            assert_eq!(found.count(), all.len() as u64);
            let median = all[all.len() / 2].0;
            assert!((found.median() / median - 1.0).abs() < 0.01);
            assert_eq!(found.closer_than(0.1 * median), 2);
        }
    }
}
