//! Model of a computation's arithmetic: which operations round, and by how much.

use crate::Bounded;

/// Roundings of a computation that multiplies in one format and accumulates in another.
///
/// With unit roundoff u, every operation returns (a ∘ b)(1 + δ), |δ| ≤ u (Higham, *Accuracy and Stability of
/// Numerical Algorithms*, 2nd ed., eq. 2.4). Products of k roundings are bounded by γ_k = k·u/(1 − k·u) (lemma 3.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arithmetic {
    /// Unit roundoff of every operation and of every stored result.
    pub roundoff: f64,
    /// Unit roundoff of the conversion of GEMM operands; 0 if they are not converted.
    pub operand_roundoff: f64,
    /// Unit roundoff of each addition within a GEMM.
    pub accumulation_roundoff: f64,
    /// Unit roundoff of the stored operand of batch normalisation; 0 if it stays f32.
    ///
    /// This is the format in which the operand is kept in training, after its statistics are taken.
    pub kept_roundoff: f64,
}

/// The smallest normal f32. Implementations may flush smaller values to zero.
pub(crate) const SMALLEST_NORMAL: f64 = f32::MIN_POSITIVE as f64;

/// 2⁻²⁴: f32 has 24 significant bits.
const F32_ROUNDOFF: f64 = 1.0 / 16_777_216.0;
/// 2⁻²³: the rounding of tensor cores is undocumented.
///
/// Measurements show that they align several products to the largest and truncate the lower bits (M. Fasi, N. J.
/// Higham, M. Mikaitis and S. Pranesh, 2021, PeerJ Comput. Sci. 7, e330), which may lose twice as much as rounding to
/// nearest.
const TRUNCATION: f64 = 2.0 * F32_ROUNDOFF;
/// 2⁻¹¹: tf32 has 11 significant bits.
const TF32_ROUNDOFF: f64 = 1.0 / 2048.0;
/// 2⁻⁸: bf16 has 8 significant bits.
const BF16_ROUNDOFF: f64 = 1.0 / 256.0;

/// k·u/(1 − k·u); infinite where k·u ≥ 1.
fn gamma(roundings: usize, roundoff: f64) -> f64 {
    let product = roundings as f64 * roundoff;
    if product < 1.0 {
        product / (1.0 - product)
    } else {
        f64::INFINITY
    }
}

impl Arithmetic {
    /// Everything in f32.
    pub const fn f32() -> Self {
        Self {
            roundoff: F32_ROUNDOFF,
            operand_roundoff: 0.0,
            accumulation_roundoff: F32_ROUNDOFF,
            kept_roundoff: 0.0,
        }
    }

    /// GEMM operands rounded to tf32, accumulation in f32.
    pub const fn tf32() -> Self {
        Self {
            roundoff: F32_ROUNDOFF,
            operand_roundoff: TF32_ROUNDOFF,
            accumulation_roundoff: TRUNCATION,
            kept_roundoff: 0.0,
        }
    }

    /// GEMM operands rounded to bf16, accumulation in f32.
    ///
    /// Inputs of batch normalisation are stored in bf16, too.
    pub const fn bf16() -> Self {
        Self {
            roundoff: F32_ROUNDOFF,
            operand_roundoff: BF16_ROUNDOFF,
            accumulation_roundoff: TRUNCATION,
            kept_roundoff: BF16_ROUNDOFF,
        }
    }

    /// γ_k = k·u/(1 − k·u), the bound on the product of k roundings; infinite where k·u ≥ 1.
    pub fn gamma(&self, roundings: usize) -> f64 {
        gamma(roundings, self.roundoff)
    }

    /// Bounds the sum of `products` of rounded operands, added in any order.
    ///
    /// The bound holds with or without fused multiply-add.
    ///
    /// A term passes at most one rounding as a product and `terms` as part of a sum (the last when a bias is added or
    /// the result is stored), so that |error| ≤ ((1 + u_operand)²·(1 + γ_{k+1}) − 1)·Σ|aᵢbᵢ|, with the roundoff of the
    /// accumulation in γ. Underflow adds at most the smallest normal number per operation.
    pub fn sum_of_products(&self, products: impl Iterator<Item = (f64, f64)>) -> Bounded {
        let (mut sum, mut absolute, mut terms) = (0.0, 0.0, 0);
        for (a, b) in products {
            sum += a * b;
            absolute += (a * b).abs();
            terms += 1;
        }
        Bounded {
            value: sum,
            error: self.relative_error_of_products(terms + 1) * absolute
                + 2.0 * terms as f64 * SMALLEST_NORMAL,
        }
    }

    /// (1 + u_operand)²·(1 + γ) − 1, for products of rounded operands that pass `roundings` further roundings.
    fn relative_error_of_products(&self, roundings: usize) -> f64 {
        (1.0 + self.operand_roundoff).powi(2) - 1.0
            + self.relative_error_after_conversion(roundings)
    }

    /// (1 + u_operand)²·γ: the error of `roundings` roundings after the conversion, relative to products of the
    /// unconverted operands.
    pub(crate) fn relative_error_after_conversion(&self, roundings: usize) -> f64 {
        (1.0 + self.operand_roundoff).powi(2) * gamma(roundings, self.accumulation_roundoff)
    }

    /// The same operand conversion, with an exact GEMM after it.
    pub(crate) fn of_conversion(&self) -> Self {
        Self {
            accumulation_roundoff: 0.0,
            ..*self
        }
    }

    /// Bounds the sum of `terms` in any order: their errors, and γ_k times their sizes.
    pub fn sum(&self, terms: impl Iterator<Item = Bounded>) -> Bounded {
        let (sum, absolute, error, count) = totals(terms);
        Bounded {
            value: sum,
            error: error + self.gamma(count) * (absolute + error),
        }
    }

    /// Bounds the sum of `terms` over a batch, added in blocks or pairwise.
    ///
    /// At most [`Arithmetic::reduction_depth`] additions follow one another. An implementation that adds a million
    /// values one by one in f32 does not meet this bound, and should not.
    pub fn reduction(&self, terms: impl Iterator<Item = Bounded>) -> Bounded {
        let (sum, absolute, error, count) = totals(terms);
        Bounded {
            value: sum,
            error: error + self.gamma(Self::reduction_depth(count)) * (absolute + error),
        }
    }

    /// The longest chain of additions allowed in a reduction over `count` values: blocks of 128, then a tree.
    pub fn reduction_depth(count: usize) -> usize {
        const BLOCK: usize = 128;
        let tree = count.max(1).next_power_of_two().trailing_zeros() as usize;
        count.min(BLOCK + tree)
    }
}

fn totals(terms: impl Iterator<Item = Bounded>) -> (f64, f64, f64, usize) {
    terms.fold((0.0, 0.0, 0.0, 0), |(sum, absolute, error, count), term| {
        (
            sum + term.value,
            absolute + term.value.abs(),
            error + term.error,
            count + 1,
        )
    })
}
