//! The pooled values of two samples, grouped by equal values.

/// Pooled values of one quantity, sorted in ascending order and grouped by equal values.
pub(super) struct Pooled {
    /// Index into the pooled sample.
    /// [`LAST_OF_GROUP`] is set on the last of a group of equal values.
    order: Vec<u32>,
}

const LAST_OF_GROUP: u32 = 1 << 31;

impl Pooled {
    pub(super) fn new(first: impl Iterator<Item = f64>, second: impl Iterator<Item = f64>) -> Self {
        let values: Vec<f64> = first.chain(second).collect();
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
        for place in 0..order.len() {
            let here = values[order[place] as usize];
            let next = order.get(place + 1).map(|&index| values[index as usize]);
            if next != Some(here) {
                order[place] |= LAST_OF_GROUP;
            }
        }
        Self { order }
    }

    /// Calls `add` with the counts in both samples of each group of equal values.
    ///
    /// Groups are in ascending order. `taken` holds how often each pooled value is in the first sample (low 16 bits)
    /// and in the second (high 16 bits).
    #[inline(always)]
    pub(super) fn for_each_group(&self, taken: &[u32], mut add: impl FnMut([u32; 2])) {
        let mut here = 0;
        for entry in &self.order {
            here += taken[(entry & !LAST_OF_GROUP) as usize];
            if entry & LAST_OF_GROUP != 0 {
                if here != 0 {
                    add([here & 0xffff, here >> 16]);
                }
                here = 0;
            }
        }
    }
}

/// Multiplicities of the pooled values in the original samples.
pub(super) fn as_given([first, second]: [u32; 2]) -> Vec<u32> {
    let mut taken = vec![1; first as usize];
    taken.resize((first + second) as usize, 1 << 16);
    taken
}

/// Counts equal values in both samples, in ascending order of the value.
pub(super) fn groups(first: &[f64], second: &[f64]) -> Vec<[u32; 2]> {
    let mut found = Vec::new();
    Pooled::new(first.iter().copied(), second.iter().copied()).for_each_group(
        &as_given([first.len() as u32, second.len() as u32]),
        |group| found.push(group),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_runs_of_equal_values() {
        let found = groups(&[2.0, 1.0, 1.0], &[1.0, 3.0]);
        assert_eq!(found, [[2, 1], [1, 0], [0, 1]]);
    }
}
