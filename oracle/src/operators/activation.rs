//! Elementwise nonlinearities.
//!
//! ReLU is exact. LeakyReLU is one multiplication. Library tanh functions stay within [`LIBRARY_ULPS`]. The gradient
//! of tanh, dy·(1 − y²), is computed from the output y, whose error propagates by the rules of [`Bounded`].

use crate::arithmetic::SMALLEST_NORMAL;
use crate::{Arithmetic, Bounded};

/// Error granted to a library function, in units in the last place.
///
/// CUDA documents at most 2 for tanhf, expf and log1pf; common C libraries state 1 to 3.
pub const LIBRARY_ULPS: f64 = 4.0;

/// A nonlinearity. At a kink the derivative is that of the negative side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x where x > 0, slope·x elsewhere.
    LeakyRelu {
        /// Factor of negative inputs.
        slope: f64,
    },
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// y.
    pub fn forward(self, x: f64, arithmetic: &Arithmetic) -> Bounded {
        match self {
            Self::Relu => flushed(x.max(0.0)),
            Self::LeakyRelu { .. } if x > 0.0 => flushed(x),
            Self::LeakyRelu { slope } => Bounded::exact(slope).times(Bounded::exact(x), arithmetic),
            Self::Tanh => Bounded::exact(x.tanh()).within_ulps(LIBRARY_ULPS, arithmetic),
        }
    }

    /// dx, from x and dy.
    pub fn gradient(self, x: f64, dy: f64, arithmetic: &Arithmetic) -> Bounded {
        match self {
            Self::Relu | Self::LeakyRelu { .. } if x > 0.0 => flushed(dy),
            Self::Relu => flushed(0.0),
            Self::LeakyRelu { slope } => {
                Bounded::exact(slope).times(Bounded::exact(dy), arithmetic)
            }
            Self::Tanh => {
                let y = self.forward(x, arithmetic);
                let slope = Bounded::exact(1.0).minus(y.times(y, arithmetic), arithmetic);
                // 1 − y² in exact arithmetic, without the cancellation of this f64.
                let slope = Bounded {
                    value: 1.0 / x.cosh().powi(2),
                    error: slope.error,
                };
                Bounded::exact(dy).times(slope, arithmetic)
            }
        }
    }
}

/// Bounds a copied value: exact, except that a subnormal may be flushed to zero.
fn flushed(value: f64) -> Bounded {
    Bounded {
        value,
        error: SMALLEST_NORMAL,
    }
}
