//! Elementwise nonlinearities.
//!
//! Their gradients need only the output, so the input can be freed.

use std::sync::Arc;

use super::when_packed;
use crate::backend::{Activation, Backend, Epilogue, Op};
use crate::error::{Error, Result};
use crate::lazy::{Lazy, Product, Recipe};
use crate::part::Part;
use crate::tape::{Backward, Narrowed, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// y = activation(x), elementwise.
    ///
    /// # Errors
    /// If a LeakyReLU's slope is not between 0 and 1: the sign of the output would not determine that of the input.
    pub fn activate(&self, x: &Variable, activation: Activation) -> Result<Variable> {
        if let Activation::LeakyRelu { slope } = activation
            && !(slope > 0.0 && slope < 1.0)
        {
            return Err(Error::InvalidOperand {
                operator: "leaky_relu",
                problem: format!("the slope must lie between 0 and 1, not {slope}"),
            });
        }
        let backend = self.backend();
        let fuses = |product: &Arc<dyn Product>| product.fusion(backend).activation;
        let y = match x.lazy().unfinished().filter(fuses) {
            Some(product) => {
                let activated = Activated {
                    product,
                    activation,
                };
                self.defer(x.shape().clone(), Arc::new(activated))
            }
            None => {
                let mut y = backend.empty(x.shape().clone())?;
                backend.run(Op::Activate {
                    activation,
                    x: x.value()?,
                    y: &mut y,
                })?;
                y.into()
            }
        };
        Ok(self.record(&[x], Arc::clone(&y), || ActivationBackward {
            activation,
            y: Output::Whole(y),
        }))
    }
}

/// A GEMM with an activation in its epilogue.
#[derive(Debug)]
struct Activated {
    product: Arc<dyn Product>,
    activation: Activation,
}

impl Recipe for Activated {
    fn compute(&self, backend: &dyn Backend, y: &mut Tensor) -> Result<()> {
        let epilogue = Epilogue::Activation(self.activation);
        self.product.run(backend, epilogue, y)
    }

    fn packs(&self, backend: &dyn Backend) -> bool {
        self.activation.packs() && self.product.fusion(backend).packed_result
    }
}

struct ActivationBackward {
    activation: Activation,
    y: Output,
}

/// The output, in the form in which it is stored.
enum Output {
    Whole(Arc<Lazy>),
    Part(Tensor),
}

impl Output {
    fn stored(&self) -> Result<&Tensor> {
        match self {
            Self::Whole(y) => y.stored(),
            Self::Part(y) => Ok(y),
        }
    }
}

impl Backward for ActivationBackward {
    fn backward(
        &self,
        backend: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        let form = wanted[0].packed_if(self.activation.packs());
        let y = self.y.stored()?;
        Ok(vec![when_packed(form, backend, y.shape(), |dx| {
            let activation = self.activation;
            backend.run(Op::ActivateGradient {
                activation,
                y,
                dy,
                dx,
            })
        })?])
    }

    fn takes_packed(&self, backend: &dyn Backend, _: &[bool]) -> bool {
        self.activation.packs() && backend.keeps_packed()
    }

    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        let record = Self {
            activation: self.activation,
            y: Output::Part(self.y.stored()?.part(part)?),
        };
        Ok(Narrowed::along(part, record))
    }
}
