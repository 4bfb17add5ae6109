//! The fully connected layer: y = x·weightᵀ + bias.

use super::{expect_shape, mismatch, when};
use crate::backend::Backend;
use crate::error::Result;
use crate::part::Part;
use crate::shape::Shape;
use crate::tape::{Backward, Narrowed, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// `y[n, o] = Σ_i x[n, i]·weight[o, i] + bias[o]`, with x `[N, I]`, weight `[O, I]` and bias `[O]`.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn linear(&self, x: &Variable, weight: &Variable, bias: &Variable) -> Result<Variable> {
        let (&[rows, inputs], &[outputs, weight_inputs]) =
            (x.shape().dims(), weight.shape().dims())
        else {
            return Err(mismatch("linear", ("x", x), ("weight", weight)));
        };
        if inputs != weight_inputs {
            return Err(mismatch("linear", ("x", x), ("weight", weight)));
        }
        expect_shape("linear", ("bias", bias), &[outputs], ("weight", weight))?;
        let mut y = self.backend().empty(Shape::from([rows, outputs]))?;
        let (values, weights) = (x.value()?, weight.value()?);
        self.backend()
            .linear(values, weights, bias.value()?, &mut y)?;
        Ok(self.record(&[x, weight, bias], y, || LinearBackward {
            x: values.clone(),
            weight: weights.clone(),
            bias_shape: bias.shape().clone(),
        }))
    }
}

struct LinearBackward {
    x: Tensor,
    weight: Tensor,
    bias_shape: Shape,
}

impl Backward for LinearBackward {
    fn backward(
        &self,
        backend: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![
            when(wanted[0], backend, self.x.shape(), |dx| {
                backend.linear_dgrad(dy, &self.weight, dx)
            })?,
            when(wanted[1], backend, self.weight.shape(), |dweight| {
                backend.linear_wgrad(&self.x, dy, dweight)
            })?,
            when(wanted[2], backend, &self.bias_shape, |dbias| {
                backend.bias_gradient(dy, dbias)
            })?,
        ])
    }

    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        let record = Self {
            x: self.x.part(part)?,
            weight: self.weight.clone(),
            bias_shape: self.bias_shape.clone(),
        };
        Ok(Narrowed::along(part, record))
    }
}
