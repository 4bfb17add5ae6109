//! Batches of several equal parts that pass through a network together.

use super::expect_shape;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::gradient::concatenated;
use crate::part::Part;
use crate::tape::{Backward, Narrowed, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// Concatenates variables of one shape along the first axis, as a copy.
    ///
    /// # Errors
    /// If the shapes differ, there are no variables, or they are scalars.
    pub fn concatenate(&self, parts: &[&Variable]) -> Result<Variable> {
        if let Some((first, others)) = parts.split_first() {
            for other in others {
                let dims = first.shape().dims();
                expect_shape("concatenate", ("a part", other), dims, ("the first", first))?;
            }
        }
        let tensors = parts.iter().map(|part| part.value());
        let y = concatenated(self.backend(), &tensors.collect::<Result<Vec<_>>>()?)?;
        Ok(self.record(parts, y, || ConcatenateBackward))
    }

    /// Returns one of several equal parts of x along the first axis, without a copy.
    ///
    /// Its gradient covers that part of x only.
    ///
    /// # Errors
    /// If the axis cannot be split into this number of parts.
    pub fn part(&self, x: &Variable, part: Part) -> Result<Variable> {
        let y = x.value()?.part(part)?;
        Ok(self.record(&[x], y, || PartBackward(part)))
    }
}

struct ConcatenateBackward;

impl Backward for ConcatenateBackward {
    fn backward(
        &self,
        _: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        Part::all(wanted.len())
            .zip(wanted)
            .map(|(part, wanted)| wanted.is_wanted().then(|| dy.part(part)).transpose())
            .collect()
    }

    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        Ok(Narrowed::ending(OperandBackward(part)))
    }
}

/// Gradient of one operand of a concatenation.
struct OperandBackward(Part);

impl Backward for OperandBackward {
    fn backward(
        &self,
        _: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        if wanted.len() != self.0.of {
            return Err(Error::InvalidOperand {
                operator: "gradient",
                problem: format!(
                    "{} is not an operand of a concatenation of {}; split the batch into the parts that were concatenated",
                    self.0,
                    wanted.len()
                ),
            });
        }
        let operands = wanted.iter().enumerate();
        Ok(operands
            .map(|(index, wanted)| {
                (index == self.0.index && wanted.is_wanted()).then(|| dy.clone())
            })
            .collect())
    }
}

struct PartBackward(Part);

impl Backward for PartBackward {
    fn backward(
        &self,
        _: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![wanted[0].is_wanted().then(|| dy.clone())])
    }

    fn reaches(&self) -> Option<Part> {
        Some(self.0)
    }
}
