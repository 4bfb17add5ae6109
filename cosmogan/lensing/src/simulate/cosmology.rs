//! Distances and linear growth in a flat wCDM universe.

use serde::{Deserialize, Serialize};

use cosmogan_base::{Error, Result};

/// Hubble distance c/H₀ in Mpc/h.
pub(super) const HUBBLE_DISTANCE: f64 = 2_997.924_58;

/// Parameters of a flat cosmology. The default is the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cosmology {
    /// Ωm: matter density today in units of the critical density.
    pub omega_m: f64,
    /// Ωb: baryon density today in units of the critical density.
    pub omega_b: f64,
    /// h: H₀ in units of 100 km/s/Mpc.
    pub hubble: f64,
    /// σ8: standard deviation of the linear density contrast today in spheres of 8 Mpc/h.
    pub sigma8: f64,
    /// n_s: spectral index of the primordial power spectrum.
    pub spectral_index: f64,
    /// w: ratio of pressure to density of dark energy.
    pub dark_energy: f64,
}

impl Default for Cosmology {
    fn default() -> Self {
        Self {
            omega_m: 0.26,
            omega_b: 0.044,
            hubble: 0.72,
            sigma8: 0.798,
            spectral_index: 0.96,
            dark_energy: -1.0,
        }
    }
}

impl Cosmology {
    /// Checks that all parameters are in their supported ranges.
    ///
    /// # Errors
    /// If a parameter is out of range; the error names the flag of `cosmogan simulate`.
    pub fn validate(&self) -> Result<()> {
        let ranges = [
            ("--omega-m", self.omega_m, 0.05, 1.0),
            ("--omega-b", self.omega_b, 0.001, 0.9 * self.omega_m),
            ("--hubble", self.hubble, 0.3, 1.2),
            ("--sigma8", self.sigma8, 0.1, 2.0),
            ("--spectral-index", self.spectral_index, 0.5, 1.5),
            ("--dark-energy-w", self.dark_energy, -2.0, -0.34),
        ];
        for (flag, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(Error::usage(
                    flag,
                    format!("{value} is out of range"),
                    format!("give a number from {low} to {high}"),
                ));
            }
        }
        Ok(())
    }

    /// Hubble rate H(a)/H₀ at scale factor a.
    pub fn expansion(&self, a: f64) -> f64 {
        (self.omega_m * a.powi(-3) + self.dark_energy_density(a)).sqrt()
    }

    /// Matter density parameter Ωm(a).
    pub fn matter_fraction(&self, a: f64) -> f64 {
        self.omega_m * a.powi(-3) / self.expansion(a).powi(2)
    }

    fn dark_energy_density(&self, a: f64) -> f64 {
        (1.0 - self.omega_m) * a.powf(-3.0 * (1.0 + self.dark_energy))
    }

    /// Comoving distance to redshift z in Mpc/h, integrated by Simpson's rule.
    pub fn comoving_distance(&self, z: f64) -> f64 {
        const INTERVALS: usize = 512;
        let step = z / INTERVALS as f64;
        let inverse = |index: usize| 1.0 / self.expansion(1.0 / (1.0 + step * index as f64));
        let sum: f64 = (0..INTERVALS)
            .step_by(2)
            .map(|i| inverse(i) + 4.0 * inverse(i + 1) + inverse(i + 2))
            .sum();
        HUBBLE_DISTANCE * sum * step / 3.0
    }

    /// Linear growth factor D(a)/D(1) at each of `scale_factors`, which must ascend.
    pub fn growth(&self, scale_factors: &[f64]) -> Vec<f64> {
        let both = self.growth_and_slope(scale_factors);
        both.into_iter().map(|[growth, _]| growth).collect()
    }

    /// Returns D(a)/D(1) and its derivative with respect to ln a.
    ///
    /// `scale_factors` must ascend. Integrates D″ + (2 + dlnH/dlna)·D′ = (3/2)·Ωm(a)·D, where primes are d/dlna, by the
    /// classical Runge–Kutta method.
    pub(super) fn growth_and_slope(&self, scale_factors: &[f64]) -> Vec<[f64; 2]> {
        // Deep in matter domination, where D = a.
        const START: f64 = 1e-3;
        const STEP: f64 = 5e-3;
        let slope = |x: f64, [growth, rate]: [f64; 2]| {
            let a = x.exp();
            let matter = self.matter_fraction(a);
            // dlnH/dlna = −(3/2)·(1 + w·Ω_de).
            let expansion = -1.5 * (1.0 + self.dark_energy * (1.0 - matter));
            [rate, 1.5 * matter * growth - (2.0 + expansion) * rate]
        };
        let advance = |x: f64, y: [f64; 2], h: f64| {
            let moved = |y: [f64; 2], k: [f64; 2], h: f64| [y[0] + h * k[0], y[1] + h * k[1]];
            let k1 = slope(x, y);
            let k2 = slope(x + h / 2.0, moved(y, k1, h / 2.0));
            let k3 = slope(x + h / 2.0, moved(y, k2, h / 2.0));
            let k4 = slope(x + h, moved(y, k3, h));
            [0, 1].map(|i| y[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
        };
        let (mut x, mut y) = (START.ln(), [START, START]);
        let mut values = Vec::with_capacity(scale_factors.len() + 1);
        for a in scale_factors.iter().copied().chain([1.0]) {
            while x < a.ln() {
                let step = STEP.min(a.ln() - x);
                y = advance(x, y, step);
                x += step;
            }
            values.push(y);
        }
        let today = values.pop().map_or(1.0, |[growth, _]| growth);
        values
            .iter()
            .map(|y| y.map(|value| value / today))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_universe_of_matter_alone_has_closed_forms() {
        let cosmology = Cosmology {
            omega_m: 1.0,
            ..Cosmology::default()
        };
        // Einstein-de Sitter: χ = 2c/H₀·(1 − 1/√(1+z)), D = a.
        for z in [0.1_f64, 1.0, 3.0] {
            let exact = 2.0 * HUBBLE_DISTANCE * (1.0 - 1.0 / (1.0 + z).sqrt());
            approx::assert_relative_eq!(cosmology.comoving_distance(z), exact, max_relative = 1e-8);
        }
        for (a, growth) in [0.1, 0.5, 1.0]
            .iter()
            .zip(cosmology.growth(&[0.1, 0.5, 1.0]))
        {
            approx::assert_relative_eq!(growth, *a, max_relative = 1e-8);
        }
    }
}
