//! What every operator must compute, and how much rounding error is allowed.
#![forbid(unsafe_code)]
