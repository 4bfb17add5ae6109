//! Elementwise nonlinearities. Their gradients need the output alone, so the input can be freed.

use super::when;
use crate::backend::{Activation, Backend};
use crate::error::{Error, Result};
use crate::tape::{Backward, Tape, Variable};
use crate::tensor::Tensor;

impl Tape {
    /// y = activation(x), elementwise.
    ///
    /// # Errors
    /// Where a LeakyReLU's slope is not between 0 and 1: the sign of the output would not tell that of the input.
    pub fn activate(&self, x: &Variable, activation: Activation) -> Result<Variable> {
        if let Activation::LeakyRelu { slope } = activation
            && !(slope > 0.0 && slope < 1.0)
        {
            return Err(Error::InvalidOperand {
                operator: "leaky_relu",
                problem: format!("the slope must lie between 0 and 1, not {slope}"),
            });
        }
        let mut y = self.backend().empty(x.shape().clone())?;
        self.backend().activate(activation, x.value()?, &mut y)?;
        let saved = y.clone();
        Ok(self.record(&[x], y, || ActivationBackward {
            activation,
            y: saved,
        }))
    }
}

struct ActivationBackward {
    activation: Activation,
    y: Tensor,
}

impl Backward for ActivationBackward {
    fn backward(
        &self,
        backend: &dyn Backend,
        dy: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![when(wanted[0], backend, self.y.shape(), |dx| {
            backend.activate_gradient(self.activation, &self.y, dy, dx)
        })?])
    }
}
