//! Kick and drift factors of FastPM (Feng et al. 2016).
//!
//! They reproduce linear growth exactly for any step length.
//!
//! The Zel'dovich solution is x = q + D·ψ, p = a³E·dx/da = G·ψ with G = a²E·dD/dlna, and its acceleration is D·ψ. So a
//! kick from a to b with the acceleration at c has the factor (G(b) − G(a))/D(c), and a drift from a to b with the
//! momentum at c has the factor (D(b) − D(a))/G(c).

use super::super::cosmology::Cosmology;

/// Growth functions at one scale factor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    /// Scale factor a.
    pub(super) scale_factor: f64,
    /// D₁ and D₂: growth factors of first- and second-order displacements.
    pub(super) displacement: [f64; 2],
    /// G₁ and G₂: growth factors of their momenta.
    pub(super) momentum: [f64; 2],
}

impl Epoch {
    /// Computes the growth functions at scale factor `a`.
    pub(super) fn new(cosmology: &Cosmology, a: f64) -> Self {
        let [growth, slope] = cosmology.growth_and_slope(&[a])[0];
        let matter = cosmology.matter_fraction(a);
        let to_momentum = a * a * cosmology.expansion(a);
        // Bouchet et al. 1995, equations 34 and A5: accurate to a thousandth in matter domination, where the second
        // order is used.
        let second = -3.0 / 7.0 * growth * growth * matter.powf(-1.0 / 143.0);
        let second_rate = 2.0 * matter.powf(6.0 / 11.0);
        Self {
            scale_factor: a,
            displacement: [growth, second],
            momentum: [to_momentum * slope, to_momentum * second * second_rate],
        }
    }

    /// Kick factor from `start` to `end` with the acceleration at this epoch.
    pub(super) fn kick(&self, start: &Self, end: &Self) -> f32 {
        ((end.momentum[0] - start.momentum[0]) / self.displacement[0]) as f32
    }

    /// Drift factor from `start` to `end` with the momentum at this epoch.
    pub(super) fn drift(&self, start: &Self, end: &Self) -> f32 {
        ((end.displacement[0] - start.displacement[0]) / self.momentum[0]) as f32
    }
}

/// Leapfrog scheme: epochs of positions and, halfway between them, of momenta.
///
/// Step i computes the acceleration at `positions[i]`, kicks momenta from the midpoint of the previous step to that of
/// this step, and drifts to `positions[i + 1]`.
#[derive(Debug)]
pub(super) struct Timeline {
    positions: Vec<Epoch>,
    middles: Vec<Epoch>,
}

impl Timeline {
    /// Creates `steps` equal steps in the scale factor from `start` to `end`.
    pub(super) fn new(cosmology: &Cosmology, start: f64, end: f64, steps: usize) -> Self {
        let at = |step: f64| Epoch::new(cosmology, start + (end - start) * step / steps as f64);
        Self {
            positions: (0..=steps).map(|step| at(step as f64)).collect(),
            middles: (0..steps).map(|step| at(step as f64 + 0.5)).collect(),
        }
    }

    /// Start and end of step `step`.
    pub(super) fn step(&self, step: usize) -> [&Epoch; 2] {
        [&self.positions[step], &self.positions[step + 1]]
    }

    /// Kick factor of step `step`.
    pub(super) fn kick(&self, step: usize) -> f32 {
        let before = match step.checked_sub(1) {
            Some(before) => &self.middles[before],
            // Initial momenta belong to the start itself.
            None => &self.positions[0],
        };
        self.positions[step].kick(before, &self.middles[step])
    }

    /// Drift factor from the start of step `step` to `end`.
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
