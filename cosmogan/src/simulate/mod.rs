//! Convergence maps from physics alone.
