//! A step of the optimiser Adam.

use crate::adam::AdamStep;
use crate::backend::{Backend, Op};
use crate::error::{Error, Result};
use crate::shape::Shape;

/// Checks the shapes and runs the step on `backend`.
///
/// # Errors
/// If the four tensors of a parameter differ in shape, or the state is not `[2]`.
pub fn adam(backend: &dyn Backend, step: AdamStep<'_>) -> Result<()> {
    if *step.state.shape() != Shape::from([2]) {
        return Err(Error::InvalidOperand {
            operator: "adam",
            problem: format!("the state has shape {} instead of [2]", step.state.shape()),
        });
    }
    for operand in &step.operands {
        let expected = operand.parameter.shape();
        let companions = [
            ("the gradient", operand.gradient),
            ("the first moment", &*operand.first),
            ("the second moment", &*operand.second),
        ];
        for (name, tensor) in companions {
            if tensor.shape() != expected {
                return Err(Error::ShapeMismatch {
                    operator: "adam",
                    left_name: name,
                    left: tensor.shape().clone(),
                    right_name: "the parameter",
                    right: expected.clone(),
                });
            }
        }
    }
    backend.run(Op::Adam(step))
}
