//! Binary cross-entropy of logits, in double precision: a batch has only one logit per map.

use super::expect_length;
use crate::error::Result;

/// Mean of max(x, 0) − x·target + ln(1 + e^−|x|).
pub(super) fn bce_with_logits(logits: &[f32], target: f32, loss: &mut [f32]) -> Result<()> {
    expect_length("bce_with_logits", loss.len(), 1)?;
    let sum: f64 = logits
        .iter()
        .map(|&logit| {
            let logit = f64::from(logit);
            logit.max(0.0) - logit * f64::from(target) + (-logit.abs()).exp().ln_1p()
        })
        .sum();
    loss[0] = (sum / logits.len() as f64) as f32;
    Ok(())
}

/// dloss·(σ(x) − target)/count.
pub(super) fn bce_with_logits_gradient(
    logits: &[f32],
    target: f32,
    dloss: &[f32],
    dlogits: &mut [f32],
) -> Result<()> {
    expect_length("bce_with_logits", dloss.len(), 1)?;
    expect_length("bce_with_logits", dlogits.len(), logits.len())?;
    let factor = f64::from(dloss[0]) / logits.len() as f64;
    for (dlogit, &logit) in dlogits.iter_mut().zip(logits) {
        let probability = 1.0 / (1.0 + (-f64::from(logit)).exp());
        *dlogit = (factor * (probability - f64::from(target))) as f32;
    }
    Ok(())
}
