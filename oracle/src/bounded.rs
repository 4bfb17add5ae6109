//! An exact value with a bound on the error of its computed counterpart.

use crate::Arithmetic;
use crate::arithmetic::SMALLEST_NORMAL;

/// An exact value, and a bound on the error of its computed counterpart.
///
/// The methods follow forward error analysis: the operands' errors are propagated to first and second order, and the
/// operation adds roundings of its own. Each operation is granted four roundings instead of one. This covers a
/// constant that was rounded before use, and a division or square root that a GPU computes within 2 ulp. Sums are
/// charged u·(|a| + |b|), not u·|a + b|, so that a formula may be evaluated in any order, expanded or factored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounded {
    /// Result of exact arithmetic.
    pub value: f64,
    /// Upper bound on |computed − value|.
    pub error: f64,
}

/// Roundings granted to each operation.
const ROUNDINGS: f64 = 4.0;

impl Bounded {
    /// An operand of the computation, which has no error.
    pub const fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// a + b.
    pub fn plus(self, other: Self, arithmetic: &Arithmetic) -> Self {
        let sizes = self.value.abs() + other.value.abs() + self.error + other.error;
        Self {
            value: self.value + other.value,
            error: self.error + other.error + rounding(sizes, arithmetic),
        }
    }

    /// a − b.
    pub fn minus(self, other: Self, arithmetic: &Arithmetic) -> Self {
        let negated = Self {
            value: -other.value,
            error: other.error,
        };
        self.plus(negated, arithmetic)
    }

    /// a·b.
    pub fn times(self, other: Self, arithmetic: &Arithmetic) -> Self {
        let value = self.value * other.value;
        let propagated = self.value.abs() * other.error
            + other.value.abs() * self.error
            + self.error * other.error;
        Self {
            value,
            error: propagated + rounding(value.abs() + propagated, arithmetic),
        }
    }

    /// a/b; the error is infinite where b may be zero.
    pub fn divided_by(self, other: Self, arithmetic: &Arithmetic) -> Self {
        let value = self.value / other.value;
        let smallest = other.value.abs() - other.error;
        let propagated = if smallest > 0.0 {
            (self.error + value.abs() * other.error) / smallest
        } else {
            f64::INFINITY
        };
        Self {
            value,
            error: propagated + rounding(value.abs() + propagated, arithmetic),
        }
    }

    /// √a for a ≥ 0.
    pub fn square_root(self, arithmetic: &Arithmetic) -> Self {
        let value = self.value.sqrt();
        // The slope of the root is largest at the lower end: √a − √(a − e) ≥ √(a + e) − √a, and the change is at most
        // √e when a − e is negative.
        let propagated = if self.error < self.value {
            value - (self.value - self.error).sqrt()
        } else {
            (self.value + self.error).sqrt().max(value)
        };
        Self {
            value,
            error: propagated + rounding(value + propagated, arithmetic),
        }
    }

    /// Adds `ulps` units in the last place to the error, for a library function.
    pub fn within_ulps(self, ulps: f64, arithmetic: &Arithmetic) -> Self {
        // One ulp is at most 2u relative to the value.
        let error = 2.0 * ulps * arithmetic.roundoff * (self.value.abs() + self.error);
        Self {
            value: self.value,
            error: self.error + error + SMALLEST_NORMAL,
        }
    }
}

fn rounding(size: f64, arithmetic: &Arithmetic) -> f64 {
    ROUNDINGS * arithmetic.roundoff * size + SMALLEST_NORMAL
}
