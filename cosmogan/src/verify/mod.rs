//! Verifies every operator against the oracle, and models against reference sets.

pub mod isolation;
mod process;
mod record;
pub mod reference;
pub mod session;
mod table;

pub use process::end_with_parent;
pub use record::{Outcome, Record};
pub use table::print_table;

pub use cosmogan_conformance::Check;
use cosmogan_oracle::Case;
use cosmogan_oracle::cases::Model;

use crate::model::ModelConfig;

/// Memory for a value of a case: in double precision for the oracle, and in single precision here and on the device.
pub(crate) const BYTES_PER_VALUE: f64 = 16.0;

/// Cases of every operator of a model at its own shapes, for a batch of `batch` maps.
pub fn model_cases(config: &ModelConfig, batch: usize, seed: u64) -> Vec<Case> {
    let model = Model {
        output_size: config.output_size,
        layers: config.layers,
        gf_dim: config.gf_dim,
        df_dim: config.df_dim,
        z_dim: config.z_dim,
        c_dim: config.c_dim,
    };
    Case::model_set(&model, batch, seed)
}
