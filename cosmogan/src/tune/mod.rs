//! How matrix products are cut on this GPU: searched for by `cosmogan tune`, kept in a file, looked up by everything else.
//!
//! A [`Subject`] is a product with operands of its own and what the oracle expects of it. [`search()`] times the candidates
//! that compute it rightly. A [`Table`] holds what was found, on disk; [`lookup`] turns the user's table and the one that is
//! shipped for an architecture into the [`Choices`](cosmogan_kernels::tuning::Choices) of a device.

pub mod lookup;
mod problems;
mod search;
mod subject;
mod table;

pub use problems::{convolution_shape, operand_of, problems_of, shape_of};
pub use search::{Found, Settings, search};
pub use subject::Subject;
pub use table::{Entry, Table, Time};
