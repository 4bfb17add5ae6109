//! Reshape: the same elements with other extents.

use crate::backend::Backend;
use crate::error::Result;
use crate::part::Part;
use crate::shape::Shape;
use crate::tape::{Backward, Narrowed, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// Returns the elements of x in the same order with other extents of the same product, without a copy.
    ///
    /// # Errors
    /// If the number of elements would change.
    pub fn reshape(&self, x: &Variable, shape: impl Into<Shape>) -> Result<Variable> {
        let shape = shape.into();
        if !x.is_tracked()
            && let Some(y) = x.lazy().reshaped(&shape)
        {
            return Ok(Variable::untracked(y.into()));
        }
        let y = x.value()?.reshape(shape)?;
        Ok(self.record(&[x], y, || ReshapeBackward {
            shape: x.shape().clone(),
        }))
    }
}

struct ReshapeBackward {
    shape: Shape,
}

impl Backward for ReshapeBackward {
    fn backward(
        &self,
        _: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![if wanted[0].is_wanted() {
            Some(dy.reshape(self.shape.clone())?)
        } else {
            None
        }])
    }

    /// Elements keep their order, so that equal parts have the same elements on both sides.
    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        let shape = part.shape(&self.shape)?;
        Ok(Narrowed::along(part, Self { shape }))
    }
}
