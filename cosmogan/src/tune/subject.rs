//! A product with operands of its own, and what must come out of it.

use cosmogan_engine::backend::{Backend, Epilogue};
use cosmogan_engine::{ConvGeometry, Shape, Tensor};
use cosmogan_kernels::pack::Operand;
use cosmogan_kernels::tuning::{Problem, Product};
use cosmogan_oracle::{Arithmetic, Case, Expected, Operator};

use super::problems::{convolution_of, geometry_of};
use crate::error::Result;

/// A product, ready to run on a device and all that share its memory.
#[derive(Debug)]
pub struct Subject {
    product: Product,
    geometry: ConvGeometry,
    left: Tensor,
    right: Tensor,
    result: Tensor,
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
        Ok(Self {
            product: problem.product,
            geometry: geometry_of(&problem.shape),
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
            ..
        } = self;
        Ok(match self.product {
            Product::Fprop => {
                backend.conv_fprop(geometry, left, right, None, Epilogue::None, result)
            }
            Product::Dgrad => {
                backend.conv_dgrad(geometry, left, right, None, Epilogue::None, result)
            }
            Product::Wgrad => backend.conv_wgrad(geometry, left, right, result),
        }?)
    }

    /// Computes it into memory full of NaN: every element, and the largest error of those that the oracle knows, in units of
    /// its bound.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn check(&mut self, backend: &dyn Backend) -> Result<(Vec<f32>, f64)> {
        let poison = vec![f32::NAN; self.result.shape().len()];
        backend.write(&mut self.result, &poison)?;
        self.run(backend)?;
        let values = backend.download(&self.result)?;
        // An element that nobody wrote, and that the oracle's sample leaves out.
        let error = if values.iter().any(|value| value.is_nan()) {
            f64::INFINITY
        } else {
            self.expected.compare(&values).error
        };
        Ok((values, error))
    }
}
