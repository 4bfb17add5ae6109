//! Batches of several equal parts, which go through a network together.

use super::expect_shape;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::gradient::concatenated;
use crate::part::Part;
use crate::tape::{Backward, Narrowed, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// Variables of one shape, one after the other along the first axis, as one copy.
    ///
    /// # Errors
    /// Where the shapes differ, there is no variable, or they are scalars.
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

    /// One of several equal parts of x along the first axis; nothing is copied. Its gradient is of that part of x alone.
    ///
    /// # Errors
    /// Where the axis does not come in so many parts.
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

/// Of what was concatenated one operand alone.
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
                    "{} is no operand of a concatenation of {}; take it apart as it was put together",
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
