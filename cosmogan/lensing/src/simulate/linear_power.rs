//! Linear matter power spectrum today, normalised by σ8.

use std::f64::consts::{E, PI};

use super::cosmology::Cosmology;

/// CMB temperature in units of 2.7 K.
const TEMPERATURE: f64 = 2.725 / 2.7;

/// Linear P(k) today in (Mpc/h)³, for k in h/Mpc.
#[derive(Clone, Debug)]
pub(super) struct LinearPower {
    transfer: Transfer,
    spectral_index: f64,
    amplitude: f64,
}

impl LinearPower {
    pub(super) fn new(cosmology: &Cosmology) -> Self {
        let mut power = Self {
            transfer: Transfer::new(cosmology),
            spectral_index: cosmology.spectral_index,
            amplitude: 1.0,
        };
        power.amplitude = cosmology.sigma8.powi(2) / power.variance_in_spheres(8.0);
        power
    }

    /// P(k) in (Mpc/h)³.
    pub(super) fn at(&self, k: f64) -> f64 {
        self.amplitude * k.powf(self.spectral_index) * self.transfer.at(k).powi(2)
    }

    /// Variance of the density contrast in spheres of `radius` Mpc/h.
    fn variance_in_spheres(&self, radius: f64) -> f64 {
        const STEPS: usize = 4000;
        let (low, high) = (1e-4_f64.ln(), 1e2_f64.ln());
        let step = (high - low) / STEPS as f64;
        let integrand = |index: usize| {
            let k = (low + step * index as f64).exp();
            let x = k * radius;
            let window = 3.0 * (x.sin() - x * x.cos()) / x.powi(3);
            k.powi(3) * self.at(k) / (2.0 * PI.powi(2)) * window.powi(2)
        };
        (0..=STEPS).map(integrand).sum::<f64>() * step
    }
}

/// Transfer function of Eisenstein & Hu 1998 with baryon acoustic oscillations.
/// Symbols and equation numbers are from that paper.
#[derive(Clone, Debug)]
struct Transfer {
    hubble: f64,
    baryon_fraction: f64,
    k_equality: f64,
    sound_horizon: f64,
    k_silk: f64,
    alpha_c: f64,
    beta_c: f64,
    alpha_b: f64,
    beta_b: f64,
    beta_node: f64,
}

impl Transfer {
    fn new(cosmology: &Cosmology) -> Self {
        let h2 = cosmology.hubble.powi(2);
        let matter = cosmology.omega_m * h2;
        let baryons = cosmology.omega_b * h2;
        let fraction = cosmology.omega_b / cosmology.omega_m;

        // Equality, drag epoch, sound horizon, Silk damping: (2)–(7).
        let z_equality = 2.5e4 * matter * TEMPERATURE.powi(-4);
        let k_equality = 7.46e-2 * matter * TEMPERATURE.powi(-2);
        let b1 = 0.313 * matter.powf(-0.419) * (1.0 + 0.607 * matter.powf(0.674));
        let b2 = 0.238 * matter.powf(0.223);
        let z_drag = 1291.0 * matter.powf(0.251) / (1.0 + 0.659 * matter.powf(0.828))
            * (1.0 + b1 * baryons.powf(b2));
        let ratio = |z: f64| 31.5 * baryons * TEMPERATURE.powi(-4) * 1000.0 / z;
        let (r_drag, r_equality) = (ratio(z_drag), ratio(z_equality));
        let sound_horizon = 2.0 / (3.0 * k_equality)
            * (6.0 / r_equality).sqrt()
            * (((1.0 + r_drag).sqrt() + (r_drag + r_equality).sqrt()) / (1.0 + r_equality.sqrt()))
                .ln();
        let k_silk =
            1.6 * baryons.powf(0.52) * matter.powf(0.73) * (1.0 + (10.4 * matter).powf(-0.95));

        // Cold dark matter: (11), (12).
        let a1 = (46.9 * matter).powf(0.670) * (1.0 + (32.1 * matter).powf(-0.532));
        let a2 = (12.0 * matter).powf(0.424) * (1.0 + (45.0 * matter).powf(-0.582));
        let alpha_c = a1.powf(-fraction) * a2.powf(-fraction.powi(3));
        let c1 = 0.944 / (1.0 + (458.0 * matter).powf(-0.708));
        let c2 = (0.395 * matter).powf(-0.0266);
        let beta_c = 1.0 / (1.0 + c1 * ((1.0 - fraction).powf(c2) - 1.0));

        // Baryons: (14), (15), (23), (24).
        let y = (1.0 + z_equality) / (1.0 + z_drag);
        let root = (1.0 + y).sqrt();
        let g = y * (-6.0 * root + (2.0 + 3.0 * y) * ((root + 1.0) / (root - 1.0)).ln());
        let alpha_b = 2.07 * k_equality * sound_horizon * (1.0 + r_drag).powf(-0.75) * g;
        let beta_b =
            0.5 + fraction + (3.0 - 2.0 * fraction) * ((17.2 * matter).powi(2) + 1.0).sqrt();
        Self {
            hubble: cosmology.hubble,
            baryon_fraction: fraction,
            k_equality,
            sound_horizon,
            k_silk,
            alpha_c,
            beta_c,
            alpha_b,
            beta_b,
            beta_node: 8.41 * matter.powf(0.435),
        }
    }

    /// T(k) for k in h/Mpc: (16).
    fn at(&self, k: f64) -> f64 {
        let k = k * self.hubble;
        let q = k / (13.41 * self.k_equality);
        let ks = k * self.sound_horizon;
        // (17), (18).
        let f = 1.0 / (1.0 + (ks / 5.4).powi(4));
        let cold = f * pressureless(q, 1.0, self.beta_c)
            + (1.0 - f) * pressureless(q, self.alpha_c, self.beta_c);
        // (21), (22).
        let shifted = ks / (1.0 + (self.beta_node / ks).powi(3)).cbrt();
        let baryons = (pressureless(q, 1.0, 1.0) / (1.0 + (ks / 5.2).powi(2))
            + self.alpha_b / (1.0 + (self.beta_b / ks).powi(3))
                * (-(k / self.k_silk).powf(1.4)).exp())
            * shifted.sin()
            / shifted;
        self.baryon_fraction * baryons + (1.0 - self.baryon_fraction) * cold
    }
}

/// T̃₀(k, α, β): (10), (19), (20).
fn pressureless(q: f64, alpha: f64, beta: f64) -> f64 {
    let logarithm = (E + 1.8 * beta * q).ln();
    let c = 14.2 / alpha + 386.0 / (1.0 + 69.9 * q.powf(1.08));
    logarithm / (logarithm + c * q.powi(2))
}
