//! A product with operands of its own, and what must come out of it.

use cosmogan_engine::backend::{Backend, Epilogue};
use cosmogan_engine::{ConvGeometry, ConvProduct, Shape, Tensor};
use cosmogan_kernels::pack::Operand;
use cosmogan_kernels::tuning::{Problem, Product};
use cosmogan_oracle::{Arithmetic, Case, Expected, Operator};

use super::problems::{convolution_of, geometry_of};
use crate::error::{Error, Result};

/// A product, ready to run on a device and all that share its memory.
#[derive(Debug)]
pub struct Subject {
    product: Product,
    geometry: ConvGeometry,
    left: Tensor,
    right: Tensor,
    result: Tensor,
    /// Mean and variance of the result's channels, where a training step has the product take them.
    statistics: Option<[Tensor; 2]>,
    expected: Expected,
}

impl Subject {
    /// A problem with random operands; of its result at most `most` elements are computed by the oracle, at the problem's own
    /// shape.
    ///
    /// # Errors
    /// Where the device has no room.
    pub fn new(problem: &Problem, backend: &dyn Backend, most: usize) -> Result<Self> {
        let convolution = convolution_of(&problem.shape);
        let arithmetic = match problem.operand {
            Operand::F32 => Arithmetic::f32(),
            Operand::Tf32 => Arithmetic::tf32(),
            Operand::Bf16 => Arithmetic::bf16(),
        };
        let seed = 1;
        let case = Case {
            operator: Operator::Conv2d(convolution),
            seed,
        };
        let operands = case.operands();
        let named = |name: &str| {
            operands
                .iter()
                .find(|operand| operand.name == name)
                .expect("a convolution has x, weight and dy")
        };
        let [(left, right), dims] = match problem.product {
            Product::Fprop => [("x", "weight"), ("dy", "y")],
            Product::Dgrad => [("dy", "weight"), ("x", "dx")],
            Product::Wgrad => [("x", "dy"), ("weight", "dweight")],
        };
        let (left, right) = (named(left), named(right));
        let dims = (&named(dims.0).dims, dims.1);
        let (a, b) = (&left.values, &right.values);
        let expected = Expected::evaluate(dims.1, dims.0, most, seed, |element| {
            match problem.product {
                Product::Fprop => convolution.fprop(a, b, element, &arithmetic),
                Product::Dgrad => convolution.dgrad(a, b, element, &arithmetic),
                Product::Wgrad => convolution.wgrad(a, b, element, &arithmetic),
            }
        });
        let upload = |operand: &cosmogan_oracle::Operand| {
            // The oracle's operands are exactly representable.
            let values: Vec<f32> = operand.values.iter().map(|&value| value as f32).collect();
            backend.upload(Shape::from(&operand.dims[..]), &values)
        };
        let geometry = geometry_of(&problem.shape);
        let takes_statistics = match problem.product {
            Product::Fprop => {
                backend
                    .conv_fusion(ConvProduct::Fprop, &geometry)
                    .statistics
            }
            Product::Dgrad => {
                backend
                    .conv_fusion(ConvProduct::Dgrad, &geometry)
                    .statistics
            }
            Product::Wgrad => false,
        };
        let channels = dims.0.last().copied().unwrap_or(1);
        let vector = || backend.empty(Shape::from([channels]));
        let statistics = takes_statistics.then(|| Ok::<_, Error>([vector()?, vector()?]));
        Ok(Self {
            product: problem.product,
            geometry,
            statistics: statistics.transpose()?,
            left: upload(left)?,
            right: upload(right)?,
            result: backend.empty(Shape::from(&dims.0[..]))?,
            expected,
        })
    }

    /// Computes it once.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn run(&mut self, backend: &dyn Backend) -> Result<()> {
        let Self {
            geometry,
            left,
            right,
            result,
            statistics,
            ..
        } = self;
        let epilogue = match statistics {
            None => Epilogue::None,
            Some([mean, variance]) => Epilogue::Statistics { mean, variance },
        };
        Ok(match self.product {
            Product::Fprop => backend.conv_fprop(geometry, left, right, None, epilogue, result),
            Product::Dgrad => backend.conv_dgrad(geometry, left, right, None, epilogue, result),
            Product::Wgrad => backend.conv_wgrad(geometry, left, right, result),
        }?)
    }

    /// Computes it into memory full of NaN: every element, those of statistics behind the others, and the largest error of
    /// those that the oracle knows, in units of its bound.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn check(&mut self, backend: &dyn Backend) -> Result<(Vec<f32>, f64)> {
        let outputs = std::iter::once(&mut self.result).chain(self.statistics.iter_mut().flatten());
        for output in outputs {
            let poison = vec![f32::NAN; output.shape().len()];
            backend.write(output, &poison)?;
        }
        self.run(backend)?;
        let mut values = backend.download(&self.result)?;
        let error = self.expected.compare(&values).error;
        for vector in self.statistics.iter().flatten() {
            values.extend(backend.download(vector)?);
        }
        // An element that nobody wrote, and that the oracle's sample leaves out.
        let error = if values.iter().any(|value| value.is_nan()) {
            f64::INFINITY
        } else {
            error
        };
        Ok((values, error))
    }
}
