//! Every operator against the oracle, every model against a reference.
