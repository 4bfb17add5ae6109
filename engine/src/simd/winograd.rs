//! Winograd (minimal) filtering F(4, 3) along one axis.
//!
//! It computes four results of a filter of three taps with six multiplications (S. Winograd 1980; A. Lavin and S. Gray
//! 2016, arXiv:1509.09308). In two dimensions each transform is applied to columns and then to rows.
//!
//! With windows d of six values and taps g, the results are Aᵀ((G g) ⊙ (Bᵀ d)). The six points are 0, ±√½, ±√2 and ∞.
//! The set is closed under 1/x and −x, which makes the errors of the transforms three to six times smaller than those
//! of the usual 0, ±1, ±2, ∞. B, A and G are those of the product form: Bᵀ has the coefficients of the polynomials
//! that vanish at all other points.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::f64::consts;
use std::ops::Range;

use super::Simd;

/// Results of a tile along an axis.
pub(crate) const TILE: usize = 4;
/// Points of the transforms, and values of a window along an axis.
pub(crate) const POINTS: usize = 6;
/// Multiplications per tile in two dimensions.
pub(crate) const PRODUCTS: usize = POINTS * POINTS;

/// G, the transform of three taps: [1, p, p²] over the product of the differences to the other points, for each point
/// p.
pub(crate) const TAPS: [[f64; 3]; POINTS] = [
    [1.0, 0.0, 0.0],
    [-1.0 / 1.5, -consts::FRAC_1_SQRT_2 / 1.5, -0.5 / 1.5],
    [-1.0 / 1.5, consts::FRAC_1_SQRT_2 / 1.5, -0.5 / 1.5],
    [1.0 / 6.0, consts::SQRT_2 / 6.0, 2.0 / 6.0],
    [1.0 / 6.0, -consts::SQRT_2 / 6.0, 2.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Points of a phase along an axis, by its parity.
///
/// A filter of two taps is zero at the last point, ∞, which holds the third tap; at the other points, windows are
/// transformed in the same way for two and three taps.
pub(crate) const fn points(parity: usize) -> usize {
    POINTS - 1 + parity
}

/// The [`PHASES`](super::phases::PHASES) that have a product at a pair of points.
///
/// 121 in all instead of 144.
pub(crate) const fn phases_at(product: usize) -> Range<usize> {
    match (product / POINTS < points(0), product % POINTS < points(0)) {
        (true, true) => 0..4,
        (true, false) => 1..3,
        (false, true) => 2..4,
        (false, false) => 2..3,
    }
}

/// factor·a + b.
///
/// A function, because closures would not be inlined and compiled for the instruction set.
#[inline(always)]
pub(crate) fn scaled<S: Simd>(simd: S, factor: f32, a: S::Vector, b: S::Vector) -> S::Vector {
    simd.multiply_add(simd.splat(factor), a, b)
}

/// factor·a.
#[inline(always)]
pub(crate) fn times<S: Simd>(simd: S, factor: f32, a: S::Vector) -> S::Vector {
    simd.multiply(simd.splat(factor), a)
}

/// Bᵀ: from six values of a window to the six points.
#[inline(always)]
pub(crate) fn transform_window<S: Simd>(simd: S, d: [S::Vector; POINTS]) -> [S::Vector; POINTS] {
    let (even, odd) = (
        scaled(simd, -2.0, d[2], d[4]),
        scaled(simd, -2.0, d[1], d[3]),
    );
    let (even_far, odd_far) = (
        scaled(simd, -0.5, d[2], d[4]),
        scaled(simd, -0.5, d[1], d[3]),
    );
    [
        scaled(simd, -2.5, d[2], simd.add(d[0], d[4])),
        scaled(simd, FRAC_1_SQRT_2, odd, even),
        scaled(simd, -FRAC_1_SQRT_2, odd, even),
        scaled(simd, SQRT_2, odd_far, even_far),
        scaled(simd, -SQRT_2, odd_far, even_far),
        scaled(simd, -2.5, d[3], simd.add(d[1], d[5])),
    ]
}

/// Aᵀ: from the products at six points to four results.
#[inline(always)]
pub(crate) fn transform_products<S: Simd>(simd: S, m: [S::Vector; POINTS]) -> [S::Vector; TILE] {
    let (sum, difference) = (simd.add(m[1], m[2]), simd.subtract(m[1], m[2]));
    let (sum_far, difference_far) = (simd.add(m[3], m[4]), simd.subtract(m[3], m[4]));
    [
        simd.add(m[0], simd.add(sum, sum_far)),
        scaled(
            simd,
            FRAC_1_SQRT_2,
            difference,
            times(simd, SQRT_2, difference_far),
        ),
        scaled(simd, 0.5, sum, times(simd, 2.0, sum_far)),
        scaled(
            simd,
            0.5 * FRAC_1_SQRT_2,
            difference,
            scaled(simd, 2.0 * SQRT_2, difference_far, m[5]),
        ),
    ]
}

/// A: from the gradients of four results to those of the six products.
#[cfg(any(test, feature = "training"))]
#[inline(always)]
pub(crate) fn spread_results<S: Simd>(simd: S, y: [S::Vector; TILE]) -> [S::Vector; POINTS] {
    let (even, even_far) = (scaled(simd, 0.5, y[2], y[0]), scaled(simd, 2.0, y[2], y[0]));
    let odd = scaled(
        simd,
        0.5 * FRAC_1_SQRT_2,
        y[3],
        times(simd, FRAC_1_SQRT_2, y[1]),
    );
    let odd_far = scaled(simd, 2.0 * SQRT_2, y[3], times(simd, SQRT_2, y[1]));
    [
        y[0],
        simd.add(even, odd),
        simd.subtract(even, odd),
        simd.add(even_far, odd_far),
        simd.subtract(even_far, odd_far),
        y[3],
    ]
}

#[cfg(test)]
mod tests {
    use super::super::phases::{PHASES, taps};
    use super::super::{InstructionSet, Kernel};
    use super::*;

    /// The matrix of a function of values along one axis: column i is the image of the i-th unit vector.
    struct Matrix<const FROM: usize, const TO: usize>(Transform);

    #[derive(Clone, Copy)]
    enum Transform {
        Window,
        Products,
        Spread,
    }

    impl<const FROM: usize, const TO: usize> Kernel for Matrix<FROM, TO> {
        type Output = [[f64; FROM]; TO];

        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let mut matrix = [[0.0; FROM]; TO];
            for column in 0..FROM {
                let unit = |i: usize| simd.splat(if i == column { 1.0 } else { 0.0 });
                let transformed: Vec<S::Vector> = match self.0 {
                    Transform::Window => transform_window(simd, std::array::from_fn(unit)).into(),
                    Transform::Products => {
                        transform_products(simd, std::array::from_fn(unit)).into()
                    }
                    Transform::Spread => spread_results(simd, std::array::from_fn(unit)).into(),
                };
                for (row, value) in matrix.iter_mut().zip(transformed) {
                    let mut lanes = [0.0_f32; 16];
                    assert!(S::LANES <= lanes.len());
                    // SAFETY: there is room for a vector.
                    unsafe { simd.store(lanes.as_mut_ptr(), value) };
                    row[column] = lanes[0].into();
                }
            }
            matrix
        }
    }

    #[test]
    fn the_transforms_filter() {
        for set in InstructionSet::available() {
            let b: [[f64; 6]; 6] = set.dispatch(Matrix(Transform::Window));
            let a: [[f64; 6]; 4] = set.dispatch(Matrix(Transform::Products));
            for (result, row) in a.iter().enumerate() {
                let coefficient = |value: usize, tap: usize| -> f64 {
                    let points = row.iter().zip(&TAPS).zip(&b);
                    points.map(|((a, taps), b)| a * taps[tap] * b[value]).sum()
                };
                for (value, tap) in
                    (0..POINTS).flat_map(|value| (0..3).map(move |tap| (value, tap)))
                {
                    let expected = f64::from(u8::from(value == result + tap));
                    let found = coefficient(value, tap);
                    assert!(
                        (found - expected).abs() < 1e-6,
                        "{result} {value} {tap}: {found}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_phase_has_a_product_where_its_filter_is_not_zero() {
        let at = |point: usize, parity: usize| -> f64 {
            let factors = taps(parity).iter();
            factors
                .map(|&(offset, _)| TAPS[point][(offset + 1) as usize].abs())
                .sum()
        };
        let mut products = 0;
        for product in 0..PRODUCTS {
            let [y, x] = [product / POINTS, product % POINTS];
            for (phase, [down, across]) in PHASES.into_iter().enumerate() {
                let has = at(y, down) * at(x, across) > 0.0;
                assert_eq!(phases_at(product).contains(&phase), has);
                assert_eq!(y < points(down) && x < points(across), has);
                products += usize::from(has);
            }
        }
        assert_eq!(products, 121);
    }

    #[test]
    fn spreading_is_the_adjoint_of_what_makes_results() {
        for set in InstructionSet::available() {
            let forth: [[f64; 6]; 4] = set.dispatch(Matrix(Transform::Products));
            let back: [[f64; 4]; 6] = set.dispatch(Matrix(Transform::Spread));
            for (result, row) in forth.iter().enumerate() {
                for (point, &value) in row.iter().enumerate() {
                    assert!((value - back[point][result]).abs() < 1e-6);
                }
            }
        }
    }
}
