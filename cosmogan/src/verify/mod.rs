//! Every operator against the oracle, every model against a reference.

pub mod conformance;
pub mod reference;
mod table;

pub use table::{Check, print_table};

use cosmogan_oracle::Case;
use cosmogan_oracle::cases::Model;

use crate::model::ModelConfig;

/// Every operator of a model at its own shapes, for a batch of `batch` maps.
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
