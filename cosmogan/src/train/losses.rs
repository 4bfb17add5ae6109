//! The losses of a step and their gradients at the current parameters.
//!
//! G(z) runs forward, then D once, on real and generated maps in one batch whose halves are normalised separately. The
//! discriminator's loss is propagated back through both halves, the generator's through the generated half only. With
//! flipped labels, both label sets of the discriminator's loss are swapped; those of the generator's loss
//! (non-saturating: generated maps against the label "real") never are.

use std::sync::Arc;

use cosmogan_engine::backend::{Backend, Op};
use cosmogan_engine::{Part, Shape, Tape, Tensor, Variable};

use super::map_scale::MapScale;
use crate::error::Result;
use crate::model::network::{Mode, Network, RunningUpdate};
use crate::model::{discriminator, generator};

const REAL: f32 = 1.0;
const FAKE: f32 = 0.0;

/// A step's inputs on the device. Every step overwrites them in place, so that a recording finds the new values.
#[derive(Debug)]
pub(super) struct DeviceInputs {
    pub(super) maps: Tensor,
    /// Where they are in the data set that is kept, `[N, 4]`.
    pub(super) table: Tensor,
    pub(super) latents: Tensor,
    /// What changes in Adam from step to step.
    pub(super) adam: [Tensor; MapScale::GROUPS],
    /// The scalar 1: the gradient of a loss with respect to itself.
    pub(super) one: Tensor,
}

/// Results of a step, on the device.
#[derive(Clone, Debug)]
pub(super) struct DeviceOutcome {
    pub(super) report: DeviceReport,
    pub(super) discriminator_gradients: Vec<Tensor>,
    pub(super) generator_gradients: Vec<Tensor>,
}

/// Losses, gradient norms and logits of a step, on the device.
#[derive(Clone, Debug)]
pub(super) struct DeviceReport {
    pub(super) d_loss_real: Tensor,
    pub(super) d_loss_fake: Tensor,
    pub(super) g_loss: Tensor,
    /// Squared norm of the discriminator's gradient.
    pub(super) discriminator_norm: Tensor,
    /// Squared norm of the generator's gradient.
    pub(super) generator_norm: Tensor,
    /// Logits of the real maps, then of the generated ones.
    pub(super) logits: Tensor,
}

/// Updates of the running statistics by a step's forward passes.
pub(super) struct Updates {
    /// First for real maps, then for generated ones.
    pub(super) discriminator: RunningUpdate,
    pub(super) generator: RunningUpdate,
}

/// Computes the losses and both gradients at the current parameters, without changing the networks.
pub(super) fn differentiate(
    generator: &Network,
    discriminator: &Network,
    inputs: &DeviceInputs,
    flip_labels: bool,
) -> Result<(DeviceOutcome, Updates)> {
    let backend = generator.backend();
    let tape = Tape::new(Arc::clone(backend));
    let generator = generator.bind(&tape, Mode::Training);
    let discriminator = discriminator.bind(&tape, Mode::Training);
    let real = tape.constant(inputs.maps.clone());
    let latents = tape.constant(inputs.latents.clone());

    let (fake, generator_update) = generator::forward(&generator, &latents)?;
    let maps = tape.concatenate(&[&real, &fake])?;
    drop(fake);
    let (logits, discriminator_update) = discriminator::forward(&discriminator, &maps, 2)?;
    drop(maps);
    let real_logits = tape.part(&logits, Part { index: 0, of: 2 })?;
    let fake_logits = tape.part(&logits, Part { index: 1, of: 2 })?;

    let (real_label, fake_label) = if flip_labels {
        (FAKE, REAL)
    } else {
        (REAL, FAKE)
    };
    let d_loss_real = tape.bce_with_logits(&real_logits, real_label)?;
    let d_loss_fake = tape.bce_with_logits(&fake_logits, fake_label)?;
    let d_loss = tape.add(&d_loss_real, &d_loss_fake)?;
    let g_loss = tape.bce_with_logits(&fake_logits, REAL)?;

    let gradients =
        |loss: &Variable, wanted: &[&Variable]| tape.gradients(loss, inputs.one.clone(), wanted);
    let discriminator_gradients = gradients(&d_loss, &discriminator.trained())?;
    let generator_gradients = gradients(&g_loss, &generator.trained())?;
    let report = DeviceReport {
        d_loss_real: d_loss_real.value()?.clone(),
        d_loss_fake: d_loss_fake.value()?.clone(),
        g_loss: g_loss.value()?.clone(),
        discriminator_norm: squared_norm(&**backend, &discriminator_gradients)?,
        generator_norm: squared_norm(&**backend, &generator_gradients)?,
        logits: logits.value()?.clone(),
    };
    let outcome = DeviceOutcome {
        report,
        discriminator_gradients,
        generator_gradients,
    };
    let updates = Updates {
        discriminator: discriminator_update,
        generator: generator_update,
    };
    Ok((outcome, updates))
}

fn squared_norm(backend: &dyn Backend, gradients: &[Tensor]) -> Result<Tensor> {
    let mut sum = backend.empty(Shape::from([]))?;
    backend.run(Op::SquaredNorm {
        tensors: gradients,
        sum: &mut sum,
    })?;
    Ok(sum)
}
