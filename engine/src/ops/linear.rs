//! The fully connected layer: y = x·weightᵀ + bias.

use std::sync::Arc;

use super::{expect_shape, mismatch, when};
use crate::backend::{Backend, Epilogue, Fusion, Op};
use crate::error::Result;
use crate::lazy::{Product, Recipe};
use crate::part::Part;
use crate::shape::Shape;
use crate::tape::{Backward, Narrowed, Tape, Variable, Wanted};
use crate::tensor::Tensor;

/// Forward pass with its operands.
#[derive(Clone, Debug)]
struct Linear {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    /// Channels of the images formed by the features; the number of features if they form no images.
    channels: usize,
}

impl Product for Linear {
    fn fusion(&self, backend: &dyn Backend) -> Fusion {
        let (x, outputs) = (self.x.shape(), self.bias.shape().len());
        backend.linear_fusion([x.rows(), x.channels(), outputs], self.channels)
    }

    fn run(&self, backend: &dyn Backend, epilogue: Epilogue<'_>, y: &mut Tensor) -> Result<()> {
        backend.run(Op::Linear {
            x: &self.x,
            weight: &self.weight,
            bias: &self.bias,
            epilogue,
            y,
        })
    }
}

impl Recipe for Linear {
    fn compute(&self, backend: &dyn Backend, y: &mut Tensor) -> Result<()> {
        self.run(backend, Epilogue::None, y)
    }

    fn product(self: Arc<Self>) -> Option<Arc<dyn Product>> {
        Some(self)
    }

    fn as_images(&self, channels: usize) -> Option<Arc<dyn Recipe>> {
        let images = Self {
            channels,
            ..self.clone()
        };
        Some(Arc::new(images))
    }
}

impl Tape {
    /// `y[n, o] = Σ_i x[n, i]·weight[o, i] + bias[o]`, with x `[N, I]`, weight `[O, I]` and bias `[O]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
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
        let linear = Linear {
            x: x.value()?.clone(),
            weight: weight.value()?.clone(),
            bias: bias.value()?.clone(),
            channels: outputs,
        };
        let (backend, shape) = (self.backend(), Shape::from([rows, outputs]));
        let is_tracked = [x, weight, bias].iter().any(|input| input.is_tracked());
        if !is_tracked && linear.fusion(backend).normalisation {
            return Ok(Variable::untracked(self.defer(shape, Arc::new(linear))));
        }
        let mut y = backend.empty(shape)?;
        linear.compute(backend, &mut y)?;
        Ok(self.record(&[x, weight, bias], y, || LinearBackward {
            x: linear.x,
            weight: linear.weight,
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
                let weight = &self.weight;
                backend.run(Op::LinearDgrad { dy, weight, dx })
            })?,
            when(wanted[1], backend, self.weight.shape(), |dweight| {
                let x = &self.x;
                backend.run(Op::LinearWgrad { x, dy, dweight })
            })?,
            when(wanted[2], backend, &self.bias_shape, |dbias| {
                backend.run(Op::BiasGradient { dy, dbias })
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
