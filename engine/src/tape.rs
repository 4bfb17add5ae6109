//! Reverse-mode automatic differentiation.
use crate::tensor::Tensor;
/// Records operators.
#[derive(Debug)]
pub struct Tape;
/// A value on a tape.
#[derive(Debug, Clone)]
pub struct Variable(#[expect(dead_code)] Tensor);
