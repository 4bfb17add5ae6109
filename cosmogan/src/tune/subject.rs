//! A GEMM with its operands and the oracle's expected result.

use cosmogan_engine::backend::{Backend, Epilogue, Op};
use cosmogan_engine::{ConvGeometry, ConvProduct, Shape, Tensor};
use cosmogan_kernels::Precision;
use cosmogan_kernels::tuning::Problem;
use cosmogan_oracle::{Arithmetic, Case, Expected, Operator};

use crate::error::{Error, Result};

/// A GEMM with operands on a device; it runs on any backend that shares the device's memory.
#[derive(Debug)]
pub struct Subject {
    product: ConvProduct,
    geometry: ConvGeometry,
    left: Tensor,
    right: Tensor,
    result: Tensor,
    /// Mean and variance of the result's channels, if the GEMM computes them in its epilogue in a training step.
    statistics: Option<[Tensor; 2]>,
    expected: Expected,
}

impl Subject {
    /// Prepares `problem` with random operands. The oracle computes at most `most` elements of its result.
    ///
    /// # Errors
    /// If the device is out of memory.
    pub fn new(problem: &Problem, backend: &dyn Backend, most: usize) -> Result<Self> {
        let convolution = cosmogan_conformance::convolution_of(&problem.shape);
        let arithmetic = match problem.operand {
            Precision::F32 => Arithmetic::f32(),
            Precision::Tf32 => Arithmetic::tf32(),
            Precision::Bf16 => Arithmetic::bf16(),
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
            ConvProduct::Fprop => [("x", "weight"), ("dy", "y")],
            ConvProduct::Dgrad => [("dy", "weight"), ("x", "dx")],
            ConvProduct::Wgrad => [("x", "dy"), ("weight", "dweight")],
        };
        let (left, right) = (named(left), named(right));
        let dims = (&named(dims.0).dims, dims.1);
        let (a, b) = (&left.values, &right.values);
        let expected = Expected::evaluate(dims.1, dims.0, most, seed, |element| {
            match problem.product {
                ConvProduct::Fprop => convolution.fprop(a, b, element, &arithmetic),
                ConvProduct::Dgrad => convolution.dgrad(a, b, element, &arithmetic),
                ConvProduct::Wgrad => convolution.wgrad(a, b, element, &arithmetic),
            }
        });
        let upload = |operand: &cosmogan_oracle::Operand| {
            // The oracle's operands are exactly representable in f32.
            let values: Vec<f32> = operand.values.iter().map(|&value| value as f32).collect();
            backend.upload(Shape::from(&operand.dims[..]), &values)
        };
        let geometry = ConvGeometry::from(&problem.shape);
        let takes_statistics = match problem.product {
            ConvProduct::Fprop => {
                backend
                    .conv_fusion(ConvProduct::Fprop, &geometry)
                    .statistics
            }
            ConvProduct::Dgrad => {
                backend
                    .conv_fusion(ConvProduct::Dgrad, &geometry)
                    .statistics
            }
            ConvProduct::Wgrad => false,
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

    /// Runs the GEMM once.
    ///
    /// # Errors
    /// If the device fails.
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
            ConvProduct::Fprop => backend.run(Op::ConvFprop {
                geometry,
                x: left,
                weight: right,
                bias: None,
                epilogue,
                y: result,
            }),
            ConvProduct::Dgrad => backend.run(Op::ConvDgrad {
                geometry,
                y: left,
                weight: right,
                bias: None,
                epilogue,
                x: result,
            }),
            ConvProduct::Wgrad => backend.run(Op::ConvWgrad {
                geometry,
                x: left,
                y: right,
                weight: result,
            }),
        }?)
    }

    /// Runs the GEMM into memory poisoned with NaN.
    ///
    /// Returns all elements, followed by the statistics, and the largest error of the elements that the oracle
    /// computed, in units of the bound.
    ///
    /// # Errors
    /// If the device fails.
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
        // Also catches unwritten elements outside the oracle's sample.
        let error = if values.iter().any(|value| value.is_nan()) {
            f64::INFINITY
        } else {
            error
        };
        Ok((values, error))
    }
}
