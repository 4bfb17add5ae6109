//! Distribution of a very large number of pixel values, in one pass and in bounded memory.

use rayon::prelude::*;

/// Histogram of pixel values by their leading 14 significant bits.
///
/// The resolution is one part in 8,192. Hundreds of millions of pixels need neither be sorted nor kept in memory.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Keys of the values that occur, ascending.
    keys: Vec<u32>,
    /// Number of pixels with this key or a smaller one.
    cumulative: Vec<u64>,
}

/// Number of low mantissa bits that are dropped.
const DROPPED: u32 = 10;
const KEYS: usize = 1 << (32 - DROPPED);

/// Maps a value to a key that ascends with the value.
/// The bit patterns of positive floats ascend with their values; those of negative floats do so once they are inverted.
fn key(value: f32) -> u32 {
    // Adding zero turns −0 into +0.
    let bits = (value + 0.0).to_bits();
    let ordered = if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    };
    ordered >> DROPPED
}

/// Returns the value with this key that is nearest to zero.
fn value(key: u32) -> f32 {
    let ordered = key << DROPPED;
    f32::from_bits(if ordered >> 31 == 1 {
        ordered & !(1 << 31)
    } else {
        // The nearest negative value to zero has the dropped bits cleared, which are ones in the inverted key.
        !(ordered | ((1 << DROPPED) - 1))
    })
}

impl Distribution {
    /// Counts all pixels of `maps`, on all cores.
    pub fn of(maps: &[&[f32]]) -> Self {
        let share = maps.len().div_ceil(rayon::current_num_threads()).max(1);
        let counts = maps
            .par_chunks(share)
            .map(|maps| {
                let mut counts = vec![0_u64; KEYS];
                for &pixel in maps.iter().copied().flatten() {
                    counts[key(pixel) as usize] += 1;
                }
                counts
            })
            .reduce_with(|mut sums, counts| {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count;
                }
                sums
            })
            .unwrap_or_default();
        let (mut keys, mut cumulative, mut total) = (Vec::new(), Vec::new(), 0);
        for (key, count) in counts.into_iter().enumerate() {
            if count > 0 {
                total += count;
                keys.push(key as u32);
                cumulative.push(total);
            }
        }
        Self { keys, cumulative }
    }

    /// Number of pixels.
    pub fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// Returns the `share` quantile of the pixels; 0 if there are none.
    ///
    /// That is the smallest value that at least this fraction of the pixels do not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (share * self.count() as f64).ceil().max(1.0) as u64;
        let place = self.cumulative.partition_point(|&count| count < wanted);
        let found = self.keys.get(place).or(self.keys.last());
        found.map_or(0.0, |&key| value(key).into())
    }

    /// Kolmogorov–Smirnov distance, 0 to 1.
    ///
    /// The largest difference between the two cumulative distributions.
    pub fn kolmogorov_smirnov(&self, other: &Self) -> f64 {
        let (mut here, mut there) = (0, 0);
        let share = |distribution: &Self, place: usize| match place {
            0 => 0.0,
            _ => distribution.cumulative[place - 1] as f64 / distribution.count() as f64,
        };
        let mut largest = 0.0_f64;
        while here < self.keys.len() && there < other.keys.len() {
            let key = self.keys[here].min(other.keys[there]);
            here += usize::from(self.keys[here] == key);
            there += usize::from(other.keys[there] == key);
            largest = largest.max((share(self, here) - share(other, there)).abs());
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_and_come_back() {
        let values = [
            -2.0, -1.0, -0.5, -1e-3, -0.0, 0.0, 1e-20, 1e-3, 0.25, 1.0, 3.5,
        ];
        for pair in values.windows(2) {
            assert!(key(pair[0]) < key(pair[1]) || pair[0] == pair[1]);
        }
        for value in values {
            let back = super::value(key(value));
            assert!(
                (back - value).abs() <= value.abs() / 8192.0,
                "{value} {back}"
            );
        }
    }

    #[test]
    fn the_ks_distance_by_hand() {
        let ks = |a: &[f32], b: &[f32]| {
            Distribution::of(&[a]).kolmogorov_smirnov(&Distribution::of(&[b]))
        };
        // After 2.0: three quarters of the first sample, none of the second.
        assert_eq!(ks(&[0.0, 1.0, 2.0, 5.0], &[3.0, 4.0, 6.0, 7.0]), 0.75);
        assert_eq!(ks(&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0]), 0.0);
        assert_eq!(ks(&[0.0, 1.0], &[2.0]), 1.0);
        // Ties: both jump at 1, to 1/2 and to 1.
        assert_eq!(ks(&[1.0, 2.0], &[1.0, 1.0]), 0.5);
        assert_eq!(ks(&[-1.0, 2.0], &[-2.0, 1.0]), 0.5);
    }

    #[test]
    fn quantiles_count_pixels() {
        let values: Vec<f32> = (1..=100).map(|value| value as f32).collect();
        let distribution = Distribution::of(&[&values[..50], &values[50..]]);
        assert_eq!(distribution.count(), 100);
        assert_eq!(distribution.quantile(0.5), 50.0);
        assert_eq!(distribution.quantile(0.0), 1.0);
        assert_eq!(distribution.quantile(1.0), 100.0);
    }
}
