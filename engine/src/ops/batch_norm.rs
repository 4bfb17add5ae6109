//! Batch normalisation over all axes except the last (Ioffe & Szegedy 2015), followed by a rectifier.

use std::sync::Arc;

use super::expect_shape;
use crate::backend::{Backend, Epilogue, Normalisation, Op};
use crate::error::{Error, Result};
use crate::lazy::{Product, Recipe, fresh};
use crate::part::Part;
use crate::shape::Shape;
use crate::tape::{Backward, Narrowed, Tape, Variable, Wanted};
use crate::tensor::Tensor;

/// Settings of a batch normalisation and its rectifier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormSettings {
    /// ε under the square root.
    pub epsilon: f32,
    /// Factor of negative outputs: 1 for no rectifier, 0 for ReLU, between them LeakyReLU.
    pub slope: f32,
}

/// Statistics of each channel, for each of the equal parts of a batch.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean per channel, `[parts, C]`.
    pub mean: Tensor,
    /// Biased variance per channel, `[parts, C]`.
    pub variance: Tensor,
    /// Values per channel of one part: N·H·W.
    pub count: usize,
}

impl BatchStatistics {
    /// Number of parts.
    pub fn parts(&self) -> usize {
        self.mean.shape().rows()
    }

    /// Returns the statistics of one part.
    ///
    /// # Errors
    /// If the number of parts differs.
    pub fn part(&self, part: Part) -> Result<Self> {
        if part.of != self.parts() {
            return Err(Error::InvalidOperand {
                operator: "batch_norm",
                problem: format!("statistics of {} parts do not include {part}", self.parts()),
            });
        }
        Ok(Self {
            mean: self.mean.part(part)?,
            variance: self.variance.part(part)?,
            count: self.count,
        })
    }
}

/// Updates running statistics: running ← (1 − momentum)·running + momentum·batch.
///
/// The running variance uses the unbiased batch variance. The update is applied once per part, in order.
///
/// # Errors
/// If the shapes differ or a running tensor is still in use.
pub fn update_running_statistics(
    backend: &dyn Backend,
    statistics: &BatchStatistics,
    momentum: f32,
    running_mean: &mut Tensor,
    running_variance: &mut Tensor,
) -> Result<()> {
    // A batch of one value has no unbiased variance; its biased variance, 0, is stored.
    let count = statistics.count.max(2) as f64;
    let unbiased = (count / (count - 1.0)) as f32;
    for part in Part::all(statistics.parts()) {
        let BatchStatistics { mean, variance, .. } = statistics.part(part)?;
        let pairs = [
            (&mut *running_mean, &mean, 1.0),
            (&mut *running_variance, &variance, unbiased),
        ];
        for (running, batch, factor) in pairs {
            backend.run(Op::UpdateRunning {
                running,
                batch,
                momentum,
                factor,
            })?;
        }
    }
    Ok(())
}

impl Tape {
    /// Batch normalisation with the statistics of x, followed by a rectifier.
    ///
    /// y = rectified((x − mean)·scale/√(variance + ε) + shift) with mean and biased variance of x, per channel. x is
    /// `[…, C]`, scale and shift are `[C]`. Each of `parts` equal parts of x's first axis is normalised separately.
    ///
    /// # Errors
    /// If the shapes do not fit, x cannot be split into `parts` parts, or the slope is not between 0 and 1.
    pub fn batch_norm_training(
        &self,
        x: &Variable,
        parts: usize,
        scale: &Variable,
        shift: &Variable,
        settings: BatchNormSettings,
    ) -> Result<(Variable, BatchStatistics)> {
        let channels = check(x, scale, shift, settings)?;
        let first = Part {
            index: 0,
            of: parts,
        };
        let count = first.shape(x.shape())?.rows();
        let backend = self.backend();
        let mut mean = backend.empty(Shape::from([parts, channels]))?;
        let mut variance = backend.empty(Shape::from([parts, channels]))?;
        let image = x
            .lazy()
            .with_statistics(backend, &mut mean, &mut variance)?;
        let batch_norm = Arc::new(BatchNorm {
            x: image.clone(),
            mean: mean.clone(),
            variance: variance.clone(),
            scale: scale.value()?.clone(),
            shift: shift.value()?.clone(),
            settings,
        });
        let y = self.defer(x.shape().clone(), batch_norm.clone());
        let y = self.record(&[x, scale, shift], y, || batch_norm);
        Ok((
            y,
            BatchStatistics {
                mean,
                variance,
                count,
            },
        ))
    }

    /// Batch normalisation with given statistics, as at inference, and a rectifier.
    ///
    /// y = rectified((x − mean)·scale/√(variance + ε) + shift). It has no backward pass: the operands must be
    /// constants.
    ///
    /// # Errors
    /// If the shapes do not fit, the slope is not between 0 and 1, or a gradient would be needed.
    pub fn batch_norm_inference(
        &self,
        x: &Variable,
        statistics: (&Tensor, &Tensor),
        scale: &Variable,
        shift: &Variable,
        settings: BatchNormSettings,
    ) -> Result<Variable> {
        check(x, scale, shift, settings)?;
        for tensor in [statistics.0, statistics.1] {
            if tensor.shape() != scale.shape() {
                return Err(Error::ShapeMismatch {
                    operator: "batch_norm",
                    left_name: "a running statistic",
                    left: tensor.shape().clone(),
                    right_name: "scale",
                    right: scale.shape().clone(),
                });
            }
        }
        if [x, scale, shift].iter().any(|operand| operand.is_tracked()) {
            return Err(Error::NoGradient(
                "batch_norm at inference takes constants only".to_owned(),
            ));
        }
        let backend = self.backend();
        let fuses = |product: &Arc<dyn Product>| product.fusion(backend).normalisation;
        let recipe: Arc<dyn Recipe> = match x.lazy().unfinished().filter(fuses) {
            Some(product) => Arc::new(BatchNorm::new(
                product,
                statistics,
                [scale, shift],
                settings,
            )?),
            None => {
                let x = x.value()?.clone();
                Arc::new(BatchNorm::new(x, statistics, [scale, shift], settings)?)
            }
        };
        Ok(Variable::untracked(self.defer(x.shape().clone(), recipe)))
    }
}

fn check(
    x: &Variable,
    scale: &Variable,
    shift: &Variable,
    settings: BatchNormSettings,
) -> Result<usize> {
    const NAME: &str = "batch_norm";
    if !(0.0..=1.0).contains(&settings.slope) {
        return Err(Error::InvalidOperand {
            operator: NAME,
            problem: format!(
                "the rectifier's slope must lie between 0 and 1, not {}",
                settings.slope
            ),
        });
    }
    let channels = x.shape().channels();
    if x.shape().dims().len() < 2 || x.shape().is_empty() {
        return Err(super::mismatch(NAME, ("x", x), ("scale", scale)));
    }
    expect_shape(NAME, ("scale", scale), &[channels], ("x", x))?;
    expect_shape(NAME, ("shift", shift), &[channels], ("x", x))?;
    Ok(channels)
}

/// A batch normalisation with its operands.
///
/// `x` is a tensor, or the GEMM that will compute it.
#[derive(Clone, Debug)]
struct BatchNorm<X = Tensor> {
    x: X,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    settings: BatchNormSettings,
}

impl<X> BatchNorm<X> {
    fn new(
        x: X,
        (mean, variance): (&Tensor, &Tensor),
        [scale, shift]: [&Variable; 2],
        settings: BatchNormSettings,
    ) -> Result<Self> {
        Ok(Self {
            x,
            mean: mean.clone(),
            variance: variance.clone(),
            scale: scale.value()?.clone(),
            shift: shift.value()?.clone(),
            settings,
        })
    }

    fn by(&self) -> Normalisation<'_> {
        Normalisation {
            mean: &self.mean,
            variance: &self.variance,
            scale: &self.scale,
            shift: &self.shift,
            epsilon: self.settings.epsilon,
            slope: self.settings.slope,
        }
    }
}

impl BatchNorm {
    /// Returns one part, if the parts were normalised separately.
    fn part(&self, part: Part) -> Result<Self> {
        let parts = self.mean.shape().rows();
        if parts != part.of {
            return Err(Error::InvalidOperand {
                operator: "batch_norm gradient",
                problem: format!(
                    "{part} was not normalised separately: the batch was normalised in {parts} parts"
                ),
            });
        }
        Ok(Self {
            x: self.x.part(part)?,
            mean: self.mean.part(part)?,
            variance: self.variance.part(part)?,
            ..self.clone()
        })
    }
}

impl Recipe for BatchNorm {
    fn compute(&self, backend: &dyn Backend, y: &mut Tensor) -> Result<()> {
        let (x, by) = (&self.x, self.by());
        backend.run(Op::Normalise { x, by, y })
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn packs(&self, _: &dyn Backend) -> bool {
        true
    }

    fn part(&self, part: Part) -> Result<Arc<dyn Recipe>> {
        Ok(Arc::new(Self::part(self, part)?))
    }
}

/// Normalisation in the epilogue of a GEMM that supports it.
impl Recipe for BatchNorm<Arc<dyn Product>> {
    fn compute(&self, backend: &dyn Backend, y: &mut Tensor) -> Result<()> {
        let epilogue = Epilogue::Normalised(self.by());
        self.x.run(backend, epilogue, y)
    }

    fn packs(&self, backend: &dyn Backend) -> bool {
        self.x.fusion(backend).packed_result
    }
}

impl Backward for Arc<BatchNorm> {
    fn backward(
        &self,
        backend: &dyn Backend,
        dy: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut dx = fresh(backend, self.x.shape(), wanted[0] == Wanted::Packed)?;
        let mut dscale = backend.empty(self.scale.shape().clone())?;
        let mut dshift = backend.empty(self.scale.shape().clone())?;
        // dx needs both sums, so the three are computed together; a generator's loss discards those of the
        // discriminator.
        backend.run(Op::NormaliseGradient {
            x: &self.x,
            by: self.by(),
            dy,
            dx: &mut dx,
            dscale: &mut dscale,
            dshift: &mut dshift,
        })?;
        Ok([dx, dscale, dshift]
            .into_iter()
            .zip(wanted)
            .map(|(gradient, &wanted)| wanted.is_wanted().then_some(gradient))
            .collect())
    }

    fn takes_packed(&self, backend: &dyn Backend, _: &[bool]) -> bool {
        backend.keeps_packed()
    }

    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        let record = Arc::new(BatchNorm::part(self, part)?);
        Ok(Narrowed::along(part, record))
    }
}
