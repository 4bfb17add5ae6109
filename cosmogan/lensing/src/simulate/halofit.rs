//! Nonlinear matter power spectrum: halofit.
//!
//! Smith et al. 2003, with the coefficients of Takahashi et al. 2012 (appendix).

use std::f64::consts::PI;

use super::cosmology::Cosmology;
use super::linear_power::LinearPower;

/// Range of ln k over which the variance is integrated, with k in h/Mpc.
const LOWEST: f64 = -9.2;
const HIGHEST: f64 = 9.2;
const STEPS: usize = 1200;

/// Linear power spectrum, tabulated for halofit's integrals.
#[derive(Debug)]
pub(super) struct Halofit {
    linear: LinearPower,
    /// k and Δ²(k) = k³P/(2π²) today.
    table: Vec<(f64, f64)>,
}

/// Coefficients of the nonlinear power spectrum at one scale factor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    growth_squared: f64,
    /// k_σ in h/Mpc: the scale on which the variance is 1.
    nonlinear_scale: f64,
    a: f64,
    b: f64,
    c: f64,
    alpha: f64,
    beta: f64,
    gamma: f64,
    nu: f64,
    /// f₁, f₂, f₃ for a flat universe.
    f: [f64; 3],
}

impl Halofit {
    pub(super) fn new(cosmology: &Cosmology) -> Self {
        let linear = LinearPower::new(cosmology);
        let step = (HIGHEST - LOWEST) / STEPS as f64;
        let table = (0..=STEPS)
            .map(|index| {
                let k = (LOWEST + step * index as f64).exp();
                (k, dimensionless(k, linear.at(k)))
            })
            .collect();
        Self { linear, table }
    }

    /// Computes halofit's coefficients at scale factor `a`.
    /// `growth` is the linear growth factor there.
    pub(super) fn epoch(&self, cosmology: &Cosmology, a: f64, growth: f64) -> Epoch {
        let growth_squared = growth * growth;
        // σ²(R) decreases with R: solve σ² = 1 by bisection.
        let (mut low, mut high) = (-HIGHEST, -LOWEST);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if growth_squared * self.moments(middle.exp())[0] > 1.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        let radius = (0.5 * (low + high)).exp();
        let [s0, s1, s2] = self.moments(radius);
        // With S_j = ∫dlnk Δ²·(kR)^2j·e^{−(kR)²}: dlnσ²/dlnR = −2S₁/S₀; its derivative gives the curvature.
        let slope = -2.0 * s1 / s0;
        let n = -3.0 - slope;
        let curvature = slope.powi(2) - 4.0 * (s2 - s1) / s0;
        Epoch::new(cosmology, a, growth_squared, 1.0 / radius, n, curvature)
    }

    /// Nonlinear P(k) at that epoch in (Mpc/h)³, for k in h/Mpc.
    pub(super) fn power(&self, k: f64, epoch: &Epoch) -> f64 {
        let linear = epoch.growth_squared * dimensionless(k, self.linear.at(k));
        epoch.nonlinear(k, linear) * 2.0 * PI.powi(2) / k.powi(3)
    }

    /// S₀, S₁ and S₂ for a Gaussian window of radius R Mpc/h, at growth factor 1.
    fn moments(&self, radius: f64) -> [f64; 3] {
        let step = (HIGHEST - LOWEST) / STEPS as f64;
        let mut sums = [0.0; 3];
        for &(k, power) in &self.table {
            let x2 = (k * radius).powi(2);
            let term = power * (-x2).exp() * step;
            sums[0] += term;
            sums[1] += term * x2;
            sums[2] += term * x2 * x2;
        }
        sums
    }
}

impl Epoch {
    fn new(
        cosmology: &Cosmology,
        a: f64,
        growth_squared: f64,
        nonlinear_scale: f64,
        n: f64,
        c: f64,
    ) -> Self {
        let matter = cosmology.matter_fraction(a);
        let dark = (1.0 - matter) * (1.0 + cosmology.dark_energy);
        let (n2, n3, n4) = (n.powi(2), n.powi(3), n.powi(4));
        let ten = |exponent: f64| 10_f64.powf(exponent);
        Self {
            growth_squared,
            nonlinear_scale,
            a: ten(
                1.5222 + 2.8553 * n + 2.3706 * n2 + 0.9903 * n3 + 0.2250 * n4 - 0.6038 * c
                    + 0.1749 * dark,
            ),
            b: ten(-0.5642 + 0.5864 * n + 0.5716 * n2 - 1.5474 * c + 0.2279 * dark),
            c: ten(0.3698 + 2.0404 * n + 0.8161 * n2 + 0.5869 * c),
            gamma: 0.1971 - 0.0843 * n + 0.8460 * c,
            alpha: (6.0835 + 1.3373 * n - 0.1959 * n2 - 5.5274 * c).abs(),
            beta: 2.0379 - 0.7354 * n + 0.3157 * n2 + 1.2490 * n3 + 0.3980 * n4 - 0.1682 * c,
            nu: ten(5.2105 + 3.6902 * n),
            f: [
                matter.powf(-0.0307),
                matter.powf(-0.0585),
                matter.powf(0.0743),
            ],
        }
    }

    /// Nonlinear Δ² = Δ²_Q + Δ²_H from the linear Δ² at the same epoch.
    fn nonlinear(&self, k: f64, linear: f64) -> f64 {
        let y = k / self.nonlinear_scale;
        let [f1, f2, f3] = self.f;
        let two_halo = linear * (1.0 + linear).powf(self.beta) / (1.0 + self.alpha * linear)
            * (-(y / 4.0 + y * y / 8.0)).exp();
        let one_halo = self.a * y.powf(3.0 * f1)
            / (1.0 + self.b * y.powf(f2) + (self.c * f3 * y).powf(3.0 - self.gamma))
            / (1.0 + self.nu / (y * y));
        two_halo + one_halo
    }
}

/// Δ²(k) = k³P/(2π²).
fn dimensionless(k: f64, power: f64) -> f64 {
    k.powi(3) * power / (2.0 * PI.powi(2))
}
