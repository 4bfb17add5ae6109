//! Binary cross-entropy of logits against one target, averaged over the batch.

use super::when;
use crate::backend::{Backend, Op};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tape::{Backward, Tape, Variable, Wanted};
use crate::tensor::Tensor;

impl Tape {
    /// Mean of max(x, 0) − x·target + ln(1 + e^−|x|) over all logits x, a scalar.
    ///
    /// # Errors
    /// If the target is not a probability or there are no logits.
    pub fn bce_with_logits(&self, logits: &Variable, target: f32) -> Result<Variable> {
        if !(0.0..=1.0).contains(&target) || logits.shape().is_empty() {
            return Err(Error::InvalidOperand {
                operator: "bce_with_logits",
                problem: format!(
                    "the target must be a probability and the logits not empty: target {target}, logits {}",
                    logits.shape()
                ),
            });
        }
        let mut loss = self.backend().empty(Shape::from([]))?;
        let values = logits.value()?;
        self.backend().run(Op::BceWithLogits {
            logits: values,
            target,
            loss: &mut loss,
        })?;
        Ok(self.record(&[logits], loss, || BceBackward {
            logits: values.clone(),
            target,
        }))
    }
}

struct BceBackward {
    logits: Tensor,
    target: f32,
}

impl Backward for BceBackward {
    fn backward(
        &self,
        backend: &dyn Backend,
        dloss: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![when(
            wanted[0],
            backend,
            self.logits.shape(),
            |dlogits| {
                backend.run(Op::BceWithLogitsGradient {
                    logits: &self.logits,
                    target: self.target,
                    dloss,
                    dlogits,
                })
            },
        )?])
    }
}
