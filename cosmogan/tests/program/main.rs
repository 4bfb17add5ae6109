//! Commands that compute: training, verification, profiles, tuning, and devices that are missing or fail.

#[path = "../support/machine.rs"]
mod machine;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod cuda;
mod faults;
mod kernels;
mod output;
mod pages;
mod profile;
mod protection;
mod provenance;
mod reference;
mod selection;
mod training;
mod tune;
mod tuning_table;
mod verify;
