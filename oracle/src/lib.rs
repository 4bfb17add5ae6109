//! Reference definition of every operator, with bounds on the allowed rounding error.
//!
//! All values are computed in f64 by plain loops, straight from the definitions and without dependencies. Fast
//! implementations are tested against them. Each value comes with an a-priori bound on the error of a correct
//! computation in a given [`Arithmetic`]; [`Bounded`] and [`Arithmetic`] explain how the bounds are derived.
//!
//! * [`operators`]: one file per operator, values and gradients.
//! * [`Case`]: one operator at one shape with one seed. It generates its operands and the expected outputs, and prints
//!   as a line of text that can be parsed back.
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
