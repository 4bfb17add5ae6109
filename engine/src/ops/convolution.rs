//! Common part of the convolution and the transposed convolution: forward and backward pass.

use std::sync::Arc;

use super::{when, when_packed};
use crate::backend::{Backend, Epilogue, Fusion, Op};
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvProduct};
use crate::lazy::{Lazy, Product, Recipe};
use crate::part::Part;
use crate::shape::Shape;
use crate::tape::{Backward, Narrowed, Saved, Tape, Variable, Wanted};
use crate::tensor::Tensor;

/// Direction of a convolution layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Convolution: the forward pass is fprop, the gradient of the input dgrad.
    Forward,
    /// Transposed convolution: the forward pass is dgrad, the gradient of the input fprop.
    Transposed,
}

impl Direction {
    /// The GEMM of the forward pass.
    fn product(self) -> ConvProduct {
        match self {
            Self::Forward => ConvProduct::Fprop,
            Self::Transposed => ConvProduct::Dgrad,
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::Forward => Self::Transposed,
            Self::Transposed => Self::Forward,
        }
    }

    fn result_shape(self, geometry: &ConvGeometry) -> Shape {
        match self {
            Self::Forward => geometry.output_dims().into(),
            Self::Transposed => geometry.input_dims().into(),
        }
    }

    /// The operator that convolves `from` in this direction.
    fn convolve<'a>(
        self,
        geometry: &'a ConvGeometry,
        [from, weight]: [&'a Tensor; 2],
        bias: Option<&'a Tensor>,
        epilogue: Epilogue<'a>,
        to: &'a mut Tensor,
    ) -> Op<'a> {
        match self {
            Self::Forward => Op::ConvFprop {
                geometry,
                x: from,
                weight,
                bias,
                epilogue,
                y: to,
            },
            Self::Transposed => Op::ConvDgrad {
                geometry,
                y: from,
                weight,
                bias,
                epilogue,
                x: to,
            },
        }
    }
}

/// Forward pass of a convolution with its operands.
#[derive(Clone, Debug)]
struct Convolution {
    direction: Direction,
    geometry: ConvGeometry,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
}

impl Product for Convolution {
    fn fusion(&self, backend: &dyn Backend) -> Fusion {
        backend.conv_fusion(self.direction.product(), &self.geometry)
    }

    fn run(&self, backend: &dyn Backend, epilogue: Epilogue<'_>, y: &mut Tensor) -> Result<()> {
        let (operands, bias) = ([&self.x, &self.weight], Some(&self.bias));
        backend.run(
            self.direction
                .convolve(&self.geometry, operands, bias, epilogue, y),
        )
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
    /// Records a convolution with checked operands.
    ///
    /// It runs at once, unless it may be fused with the operator that follows.
    pub(super) fn convolution(
        &self,
        direction: Direction,
        geometry: ConvGeometry,
        [x, weight, bias]: [&Variable; 3],
    ) -> Result<Variable> {
        let backend = self.backend();
        let fusion = backend.conv_fusion(direction.product(), &geometry);
        let convolution = Convolution {
            direction,
            geometry,
            x: x.lazy()
                .operand(fusion.takes_packed(x.shape().channels()))?
                .clone(),
            weight: weight.value()?.clone(),
            bias: bias.value()?.clone(),
        };
        let backward = ConvolutionBackward {
            direction,
            geometry,
            x: x.save(backend, &convolution.x),
            weight: convolution.weight.clone(),
            bias_shape: bias.shape().clone(),
        };
        let shape = direction.result_shape(&geometry);
        let y: Arc<Lazy> = if fusion.statistics || fusion.activation || fusion.normalisation {
            self.defer(shape, Arc::new(convolution))
        } else {
            let mut y = backend.empty(shape)?;
            convolution.run(backend, Epilogue::None, &mut y)?;
            y.into()
        };
        Ok(self.record(&[x, weight, bias], y, || backward))
    }
}

struct ConvolutionBackward {
    direction: Direction,
    geometry: ConvGeometry,
    x: Saved,
    weight: Tensor,
    bias_shape: Shape,
}

impl Backward for ConvolutionBackward {
    fn backward(
        &self,
        backend: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        let (geometry, back) = (&self.geometry, self.direction.opposite());
        let offered = backend.conv_fusion(back.product(), geometry);
        let form = wanted[0].packed_if(offered.packed_result);
        Ok(vec![
            when_packed(form, backend, self.x.shape(), |dx| {
                backend.run(back.convolve(geometry, [dy, &self.weight], None, Epilogue::None, dx))
            })?,
            when(wanted[1], backend, self.weight.shape(), |weight| {
                let input = &self.x.get(backend)?;
                let (x, y) = match self.direction {
                    Direction::Forward => (input, dy),
                    Direction::Transposed => (dy, input),
                };
                backend.run(Op::ConvWgrad {
                    geometry,
                    x,
                    y,
                    weight,
                })
            })?,
            when(wanted[2], backend, &self.bias_shape, |dbias| {
                backend.run(Op::BiasGradient { dy, dbias })
            })?,
        ])
    }

    /// A bias gradient sums f32 values, unless the device stores packed ones.
    fn takes_packed(&self, backend: &dyn Backend, wanted: &[bool]) -> bool {
        let fusion = backend.conv_fusion(self.direction.product(), &self.geometry);
        let channels = self.direction.result_shape(&self.geometry).channels();
        fusion.takes_packed(channels) && (!wanted[2] || backend.keeps_packed())
    }

    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        let geometry = ConvGeometry {
            batch: part.extent(self.geometry.batch)?,
            ..self.geometry
        };
        let record = Self {
            direction: self.direction,
            geometry,
            x: self.x.part(part)?,
            weight: self.weight.clone(),
            bias_shape: self.bias_shape.clone(),
        };
        Ok(Narrowed::along(part, record))
    }
}
