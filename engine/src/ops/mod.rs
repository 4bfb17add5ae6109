//! One file per operator: its shapes, its forward, its backward.
