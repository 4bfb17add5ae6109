//! What every operator must compute, and how much rounding error is allowed.
//!
//! Everything here is f64 and plain loops, straight from the definitions, without dependencies: slow, obvious, and
//! the judge of every fast implementation. Each value comes with an a-priori bound on the error of a legitimate
//! computation in a given [`Arithmetic`]; see [`Bounded`] and [`Arithmetic`] for how bounds are made.
//!
//! * [`operators`]: one file per operator, values and gradients.
//! * [`Case`]: one operator at one shape with one seed; makes its operands, knows what must come out, prints as a
//!   line that can be parsed back.
//!
//! ```
//! use cosmogan_oracle::{Arithmetic, Case};
//!
//! let case: Case = "linear rows=2 inputs=3 outputs=1 seed=7".parse().unwrap();
//! for expected in case.expected(&Arithmetic::f32(), usize::MAX) {
//!     println!("{} {:?}: {} ± {:e}", expected.name, expected.dims, expected.values[0], expected.bounds[0]);
//! }
//! ```
#![forbid(unsafe_code)]

mod arithmetic;
mod bounded;
pub mod cases;
mod expected;
pub mod operators;
mod random;

pub use arithmetic::Arithmetic;
pub use bounded::Bounded;
pub use cases::{Case, Operand, Operator};
pub use expected::{Comparison, Expected};
pub use random::Random;
