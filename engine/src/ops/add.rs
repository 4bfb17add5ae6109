//! The elementwise sum.

use super::expect_shape;
use crate::backend::{Backend, Op};
use crate::error::Result;
use crate::tape::{Backward, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// y = a + b, elementwise, for two variables of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add(&self, a: &Variable, b: &Variable) -> Result<Variable> {
        expect_shape("add", ("a", a), b.shape().dims(), ("b", b))?;
        let mut y = self.backend().empty(a.shape().clone())?;
        self.backend().run(Op::Add {
            a: a.value()?,
            b: b.value()?,
            y: &mut y,
        })?;
        Ok(self.record(&[a, b], y, || AddBackward))
    }
}

struct AddBackward;

impl Backward for AddBackward {
    fn backward(
        &self,
        _: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(wanted
            .iter()
            .map(|&wanted| wanted.is_wanted().then(|| dy.clone()))
            .collect())
    }
}
