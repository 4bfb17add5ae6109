//! Kick and drift factors of FastPM (Feng et al. 2016): linear growth comes out exact, whatever the length of a step.
//!
//! The Zel'dovich solution is x = q + D·ψ, p = a³E·dx/da = G·ψ with G = a²E·dD/dlna, and its acceleration is D·ψ. So a
//! kick from a to b by the acceleration at c is (G(b) − G(a))/D(c), and a drift from a to b by the momentum at c is
//! (D(b) − D(a))/G(c).

use super::super::cosmology::Cosmology;

/// What the growth functions are at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    /// a.
    pub(super) scale_factor: f64,
    /// D₁ and D₂: what displacements of first and second order are multiplied by.
    pub(super) displacement: [f64; 2],
    /// G₁ and G₂: what their momenta are.
    pub(super) momentum: [f64; 2],
}

impl Epoch {
    /// At scale factor `a`.
    pub(super) fn new(cosmology: &Cosmology, a: f64) -> Self {
        let [growth, slope] = cosmology.growth_and_slope(&[a])[0];
        let matter = cosmology.matter_fraction(a);
        let to_momentum = a * a * cosmology.expansion(a);
        // Bouchet et al. 1995, equations 34 and A5: good to a thousandth while matter dominates, which it does when the
        // second order is used.
        let second = -3.0 / 7.0 * growth * growth * matter.powf(-1.0 / 143.0);
        let second_rate = 2.0 * matter.powf(6.0 / 11.0);
        Self {
            scale_factor: a,
            displacement: [growth, second],
            momentum: [to_momentum * slope, to_momentum * second * second_rate],
        }
    }

    /// The kick from `start` to `end` by the acceleration at this time.
    pub(super) fn kick(&self, start: &Self, end: &Self) -> f32 {
        ((end.momentum[0] - start.momentum[0]) / self.displacement[0]) as f32
    }

    /// The drift from `start` to `end` by the momentum at this time.
    pub(super) fn drift(&self, start: &Self, end: &Self) -> f32 {
        ((end.displacement[0] - start.displacement[0]) / self.momentum[0]) as f32
    }
}

/// The times at which forces are taken, and those in between at which momenta are.
///
/// Step i takes the acceleration at `positions[i]`, kicks momenta from the middle of the step before to that of this
/// one, and drifts to `positions[i + 1]`.
#[derive(Debug)]
pub(super) struct Timeline {
    positions: Vec<Epoch>,
    middles: Vec<Epoch>,
}

impl Timeline {
    /// `steps` equal steps of the scale factor from `start` to `end`.
    pub(super) fn new(cosmology: &Cosmology, start: f64, end: f64, steps: usize) -> Self {
        let at = |step: f64| Epoch::new(cosmology, start + (end - start) * step / steps as f64);
        Self {
            positions: (0..=steps).map(|step| at(step as f64)).collect(),
            middles: (0..steps).map(|step| at(step as f64 + 0.5)).collect(),
        }
    }

    /// Where step `step` starts and ends.
    pub(super) fn step(&self, step: usize) -> [&Epoch; 2] {
        [&self.positions[step], &self.positions[step + 1]]
    }

    /// What multiplies the acceleration in step `step`.
    pub(super) fn kick(&self, step: usize) -> f32 {
        let before = match step.checked_sub(1) {
            Some(before) => &self.middles[before],
            // Initial momenta are those of the start itself.
            None => &self.positions[0],
        };
        self.positions[step].kick(before, &self.middles[step])
    }

    /// What multiplies momenta to go from the start of step `step` to `end`.
    pub(super) fn drift(&self, step: usize, end: &Epoch) -> f32 {
        self.middles[step].drift(&self.positions[step], end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_wave_grows_as_theory_says_in_steps_of_any_length() {
        let cosmology = Cosmology::default();
        for steps in [1, 3, 40] {
            let timeline = Timeline::new(&cosmology, 0.1, 0.9, steps);
            let start = timeline.positions[0];
            let (mut displacement, mut momentum) = (start.displacement[0], start.momentum[0]);
            for step in 0..steps {
                momentum += f64::from(timeline.kick(step)) * displacement;
                let end = timeline.step(step)[1];
                displacement += f64::from(timeline.drift(step, end)) * momentum;
            }
            let exact = cosmology.growth(&[0.9])[0];
            approx::assert_relative_eq!(displacement, exact, max_relative = 1e-5);
        }
    }

    #[test]
    fn in_a_universe_of_matter_alone_the_second_order_is_minus_three_sevenths() {
        let cosmology = Cosmology {
            omega_m: 1.0,
            ..Cosmology::default()
        };
        // D = a, E = a^−3/2, so G = a^3/2; the second order grows as D².
        let epoch = Epoch::new(&cosmology, 0.25);
        approx::assert_relative_eq!(epoch.displacement[0], 0.25, max_relative = 1e-7);
        approx::assert_relative_eq!(epoch.displacement[1], -3.0 / 112.0, max_relative = 1e-7);
        approx::assert_relative_eq!(epoch.momentum[0], 0.125, max_relative = 1e-7);
        approx::assert_relative_eq!(epoch.momentum[1], -3.0 / 112.0, max_relative = 1e-7);
    }
}
