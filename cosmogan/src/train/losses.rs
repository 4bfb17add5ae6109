//! The losses of a step and their gradients, at the present parameters.
//!
//! G(z) runs forward, then D once, on real and generated maps in one batch in which either half is normalised by itself. The
//! discriminator's loss goes back through both halves, the generator's through the generated one alone. With flipped labels
//! both label sets of the discriminator's loss are swapped; the generator's loss (non-saturating: fakes against the label
//! "real") never is.

use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use cosmogan_engine::{Part, Shape, Tape, Tensor, Variable};

use super::step::DeviceInputs;
use crate::error::Result;
use crate::model::network::{Mode, Network, RunningUpdate};
use crate::model::{discriminator, generator};

const REAL: f32 = 1.0;
const FAKE: f32 = 0.0;

/// A step's results on the device.
#[derive(Clone, Debug)]
pub(super) struct DeviceOutcome {
    pub(super) report: DeviceReport,
    pub(super) discriminator_gradients: Vec<Tensor>,
    pub(super) generator_gradients: Vec<Tensor>,
}

/// A step's report on the device.
#[derive(Clone, Debug)]
pub(super) struct DeviceReport {
    pub(super) d_loss_real: Tensor,
    pub(super) d_loss_fake: Tensor,
    pub(super) g_loss: Tensor,
    /// Squared.
    pub(super) discriminator_norm: Tensor,
    /// Squared.
    pub(super) generator_norm: Tensor,
    /// Logits of the real maps, then of the generated ones.
    pub(super) logits: Tensor,
}

/// What a step's forward passes say about running statistics.
pub(super) struct Updates {
    /// Of real maps, then of generated ones.
    pub(super) discriminator: RunningUpdate,
    pub(super) generator: RunningUpdate,
}

/// Losses and both gradients at the present parameters; changes nothing.
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
    backend.squared_norm(gradients, &mut sum)?;
    Ok(sum)
}
