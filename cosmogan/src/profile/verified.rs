//! Verification before timing: only operators with correct results are timed.

use std::sync::Arc;

use cosmogan_engine::backend::{Backend, Precision};
use cosmogan_oracle::operators::activation::Activation;
use cosmogan_oracle::{Case, Operator};

use super::record::Verified;
use super::workload::Target;
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::progress::Progress;
use crate::verify::{model_cases, print_table};

/// Maximum number of elements compared per output.
const SAMPLE: usize = 400;

impl Target {
    /// The operators of this target, at the shapes at which they run.
    pub fn cases(self, model: &ModelConfig, batch: usize) -> Vec<Case> {
        let mut cases = model_cases(model, batch, 0);
        cases.retain(|case| self.runs(&case.operator));
        if self == Self::Step {
            // Real and generated maps pass through the discriminator in one batch; the generator's gradient is
            // propagated back through the generated half only.
            let both = model_cases(model, 2 * batch, 0).into_iter();
            cases.extend(both.filter(|case| {
                [self, Self::Discriminator]
                    .iter()
                    .all(|target| target.runs(&case.operator))
            }));
        }
        cases
    }

    fn runs(self, operator: &Operator) -> bool {
        let in_generator = match operator {
            Operator::Linear(shape) => shape.outputs > 1,
            Operator::ConvTranspose2d(_) => true,
            Operator::BatchNormInference { slope, .. } => *slope == 0.0,
            Operator::Activation { activation, .. } => *activation == Activation::Tanh,
            _ => false,
        };
        match self {
            Self::Generator => in_generator,
            Self::Discriminator => {
                !in_generator
                    && !matches!(
                        operator,
                        Operator::BatchNormTraining { .. }
                            | Operator::BceWithLogits { .. }
                            | Operator::Adam { .. }
                            | Operator::Add { .. }
                            | Operator::SquaredNorm { .. }
                            | Operator::Gather(_)
                    )
            }
            Self::Step => !matches!(operator, Operator::BatchNormInference { .. }),
        }
    }
}

/// Compares `cases` with the oracle on the device that is about to be timed.
///
/// # Errors
/// If the device fails, or a result exceeds its bound; a table of the failed cases is printed.
pub fn verify(
    cases: &[Case],
    backend: &Arc<dyn Backend>,
    precision: Precision,
) -> Result<Verified> {
    let arithmetic = cosmogan_conformance::arithmetic(precision);
    let mut progress = Progress::new("verifying", cases.len() as u64);
    let mut worst: f64 = 0.0;
    let mut failed = Vec::new();
    for case in cases {
        let check = cosmogan_conformance::check(case, backend, &arithmetic, SAMPLE)?;
        worst = worst.max(check.error);
        if !check.passed {
            failed.push(check);
        }
        progress.advance(1, case);
    }
    progress.finish("");
    if failed.is_empty() {
        return Ok(Verified {
            cases: cases.len(),
            worst,
        });
    }
    print_table(&failed);
    Err(Error::check_failed(format!(
        "{} of {} operators are wrong at these shapes, so that their times mean nothing; see the table above",
        failed.len(),
        cases.len()
    )))
}
