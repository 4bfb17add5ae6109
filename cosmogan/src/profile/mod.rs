//! Where the time goes, beside what the device could do: measured, checked against the oracle, and put into words.
//!
//! [`measure`] runs a [`Workload`] on a [`Profiled`](cosmogan_engine::profile::Profiled) device and returns a [`Profile`]:
//! one [`Row`] per operator or kernel and shape, the ceilings that were measured in the same run, and the conditions
//! before and after. The other files here turn a profile into a table, words, a trace, a plot, or a comparison.
//!
//! Units: seconds, operations (a multiply-add counts as two), bytes, Hz.

mod ceilings;
mod compare;
mod conditions;
mod dump;
mod generator_pass;
mod job;
mod measure;
mod outputs;
mod plot;
mod record;
mod rows;
mod samples;
mod single_kernel;
mod summary;
mod table;
mod trace;
mod verified;
mod workload;

pub use compare::{compare, mismatch};
pub use dump::{Form, dump};
pub use generator_pass::GeneratorPass;
pub use measure::{Measured, Settings, measure};
pub use outputs::Outputs;
pub use plot::roofline;
pub use record::{Bound, Ceilings, Conditions, DeviceSeconds, Profile, Rate, Row, Verified};
pub(crate) use samples::{median, noise};
pub use single_kernel::{SingleKernel, kind_of};
pub use summary::summary;
pub use table::table;
pub use trace::trace;
pub use verified::verify;
pub use workload::{Target, Workload};
