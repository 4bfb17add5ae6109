//! Common part of the convolution and the transposed convolution.

use std::sync::Arc;

use crate::backend::{Backend, Epilogue, Fusion};
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvProduct};
use crate::lazy::{Lazy, Product, Recipe};
use crate::shape::Shape;
use crate::tape::{Backward, Saved, Tape, Variable};
use crate::tensor::Tensor;

/// Forward pass of a convolution with its operands.
#[derive(Clone, Debug)]
struct Convolution {
    /// fprop, or dgrad for a transposed convolution.
    product: ConvProduct,
    geometry: ConvGeometry,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
}

impl Product for Convolution {
    fn fusion(&self, backend: &dyn Backend) -> Fusion {
        backend.conv_fusion(self.product, &self.geometry)
    }

    fn run(&self, backend: &dyn Backend, epilogue: Epilogue<'_>, y: &mut Tensor) -> Result<()> {
        let (geometry, x, weight, bias) = (&self.geometry, &self.x, &self.weight, Some(&self.bias));
        match self.product {
            ConvProduct::Dgrad => backend.conv_dgrad(geometry, x, weight, bias, epilogue, y),
            _ => backend.conv_fprop(geometry, x, weight, bias, epilogue, y),
        }
    }
}

impl Convolution {
    fn result_shape(&self) -> Shape {
        match self.product {
            ConvProduct::Dgrad => Shape::from(self.geometry.input_dims()),
            _ => Shape::from(self.geometry.output_dims()),
        }
    }
}

impl Recipe for Convolution {
    fn compute(&self, backend: &dyn Backend, y: &mut Tensor) -> Result<()> {
        self.run(backend, Epilogue::None, y)
    }

    fn product(self: Arc<Self>) -> Option<Arc<dyn Product>> {
        Some(self)
    }
}

impl Tape {
    /// Records a convolution with checked operands; `backward` receives the saved x and the weights.
    ///
    /// The convolution runs at once, unless it may be fused with the operator that follows.
    pub(super) fn convolution<B: Backward + 'static>(
        &self,
        product: ConvProduct,
        geometry: ConvGeometry,
        [x, weight, bias]: [&Variable; 3],
        backward: impl FnOnce(Saved, Tensor) -> B,
    ) -> Result<Variable> {
        let backend = self.backend();
        let fusion = backend.conv_fusion(product, &geometry);
        let convolution = Convolution {
            product,
            geometry,
            x: x.lazy()
                .operand(fusion.takes_packed(x.shape().channels()))?
                .clone(),
            weight: weight.value()?.clone(),
            bias: bias.value()?.clone(),
        };
        let (saved, kept) = (x.save(backend, &convolution.x), convolution.weight.clone());
        let shape = convolution.result_shape();
        let y: Arc<Lazy> = if fusion.statistics || fusion.activation || fusion.normalisation {
            self.defer(shape, Arc::new(convolution))
        } else {
            let mut y = backend.empty(shape)?;
            convolution.run(backend, Epilogue::None, &mut y)?;
            y.into()
        };
        Ok(self.record(&[x, weight, bias], y, || backward(saved, kept)))
    }
}
