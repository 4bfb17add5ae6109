//! The four sub-pixel phases of a 5×5 kernel with stride 2, and their taps.

/// Taps of a transposed convolution of stride 2 along one axis.
///
/// The output at 2j + `phase` is the sum over (offset, tap) of the input at j + offset times the weight at `tap`.
pub(crate) fn taps(phase: usize) -> &'static [(isize, usize)] {
    match phase {
        0 => &[(-1, 3), (0, 1)],
        _ => &[(-1, 4), (0, 2), (1, 0)],
    }
}

/// The phases, by the parities of rows and columns.
///
/// Those with odd rows are consecutive, and so are those with odd columns: only they have products at the last point
/// of Winograd filtering.
pub(crate) const PHASES: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 1], [1, 0]];

/// Extent of the kernel along one axis.
pub(crate) const KERNEL: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_are_those_of_the_transposed_convolution() {
        // Input i adds weight k to output 2i + k − 1.
        for phase in 0..2 {
            for (offset, tap) in taps(phase) {
                assert_eq!(2 * offset + *tap as isize - 1, phase as isize);
            }
        }
        assert_eq!(taps(0).len() + taps(1).len(), KERNEL);
    }
}
