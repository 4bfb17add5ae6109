//! Accumulated gradient of one variable, or of parts of its first axis.

use crate::backend::{Backend, Op};
use crate::error::{Error, Result};
use crate::part::Part;
use crate::tensor::Tensor;

/// The gradient of a variable, or of some of the equal parts of its first axis.
#[derive(Clone, Debug)]
pub(crate) enum Gradient {
    /// Gradient of the whole variable.
    Whole(Tensor),
    /// Gradients of parts; those of the other parts are zero so far.
    Parts(Vec<Option<Tensor>>),
}

impl Gradient {
    /// Creates a gradient from a contribution to the whole variable or to one part.
    pub(crate) fn of(contribution: Tensor, part: Option<Part>) -> Self {
        let Some(part) = part else {
            return Self::Whole(contribution);
        };
        let mut parts = vec![None; part.of];
        parts[part.index] = Some(contribution);
        Self::Parts(parts)
    }

    /// Adds another contribution.
    pub(crate) fn plus(self, backend: &dyn Backend, other: Self) -> Result<Self> {
        match (self, other) {
            (Self::Whole(first), Self::Whole(second)) => {
                Ok(Self::Whole(sum(backend, &first, &second)?))
            }
            (Self::Parts(first), Self::Parts(second)) if first.len() == second.len() => {
                let pairs = first.into_iter().zip(second);
                let parts = pairs.map(|pair| match pair {
                    (Some(first), Some(second)) => sum(backend, &first, &second).map(Some),
                    (first, second) => Ok(first.or(second)),
                });
                Ok(Self::Parts(parts.collect::<Result<_>>()?))
            }
            _ => Err(refused(
                "contributions belong to different parts of a batch; split it into the same parts everywhere",
            )),
        }
    }

    /// Returns the gradient, and its part if only one part has a gradient.
    ///
    /// Gradients of all parts are concatenated.
    pub(crate) fn joined(self, backend: &dyn Backend) -> Result<(Tensor, Option<Part>)> {
        let parts = match self {
            Self::Whole(gradient) => return Ok((gradient, None)),
            Self::Parts(parts) => parts,
        };
        let of = parts.len();
        let mut present: Vec<(usize, Tensor)> = parts
            .into_iter()
            .enumerate()
            .filter_map(|(index, part)| Some((index, part?)))
            .collect();
        match (present.len(), present.pop()) {
            (1, Some((0, whole))) if of == 1 => Ok((whole, None)),
            (1, Some((index, gradient))) => Ok((gradient, Some(Part { index, of }))),
            (count, Some(last)) if count == of => {
                present.push(last);
                let parts: Vec<&Tensor> = present.iter().map(|(_, part)| part).collect();
                Ok((concatenated(backend, &parts)?, None))
            }
            _ => Err(refused(
                "some parts of a batch have gradients and others have none; differentiate one part, or all of them",
            )),
        }
    }
}

/// Concatenates tensors of one shape along the first axis.
pub(crate) fn concatenated(backend: &dyn Backend, parts: &[&Tensor]) -> Result<Tensor> {
    let mut dims = parts
        .first()
        .map_or(Vec::new(), |part| part.shape().dims().to_vec());
    let Some(first) = dims.first_mut() else {
        return Err(Error::InvalidOperand {
            operator: "concatenate",
            problem: "at least one tensor is needed, and scalars cannot be concatenated".to_owned(),
        });
    };
    *first *= parts.len();
    let mut whole = backend.empty(dims[..].into())?;
    let mut at = 0;
    for part in parts {
        backend.run(Op::Copy {
            from: part,
            to: &mut whole,
            first: at,
        })?;
        at += part.shape().len();
    }
    Ok(whole)
}

fn sum(backend: &dyn Backend, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let mut sum = backend.empty(a.shape().clone())?;
    let y = &mut sum;
    backend.run(Op::Add { a, b, y })?;
    Ok(sum)
}

fn refused(problem: &str) -> Error {
    Error::InvalidOperand {
        operator: "gradient",
        problem: problem.to_owned(),
    }
}
