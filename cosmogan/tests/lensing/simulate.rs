//! Lognormal simulation compared with CAMB and CCL, and its maps with their input spectrum.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use cosmogan::simulate::{Cosmology, Simulation};
use cosmogan::stats::{Moments, PowerSpectrum};

fn simulation(pixels: usize, side_degrees: f64) -> Simulation {
    Simulation::new(&Cosmology::default(), 1.0, pixels, side_degrees, None).unwrap()
}

/// C_ℓ in steradian from CAMB 2.0.5 (pip), for the default cosmology.
///
/// Settings: ombh2 = 0.044·0.72², omch2 = 0.216·0.72², massless neutrinos, A_s set so that σ8 = 0.798, and
/// halofit_version "takahashi"; projected with the same Limber integral from CAMB's P(k, z) and distances in 400 slices
/// of redshift. CAMB computes the transfer function, so the difference includes the error of the Eisenstein & Hu fit.
const CAMB: [(f64, f64); 10] = [
    (200.0, 2.4015e-9),
    (400.0, 9.5479e-10),
    (800.0, 4.1428e-10),
    (1500.0, 1.9176e-10),
    (3000.0, 7.1351e-11),
    (5000.0, 3.0174e-11),
    (7500.0, 1.4067e-11),
    (10000.0, 7.8868e-12),
    (15000.0, 3.3471e-12),
    (20000.0, 1.7814e-12),
];

/// Accuracy stated for halofit and for the fitted transfer function.
const LIMIT: f64 = 0.05;

#[test]
fn the_spectrum_agrees_with_camb() {
    let simulation = simulation(64, 0.866);
    for (ell, expected) in CAMB {
        let ratio = simulation.angular_power(ell) / expected;
        println!("ℓ = {ell}: {ratio:.4} of CAMB");
        assert!((ratio - 1.0).abs() < LIMIT, "ℓ = {ell}: {ratio}");
    }
}

/// C_ℓ in steradian from CCL 3.3.6 (pip: pyccl).
///
/// The transfer function is "eisenstein_hu" and the matter power spectrum "halofit" (Takahashi et al. 2012), without
/// radiation. The formulae are the same, so only the numerics differ.
const CCL: [(f64, f64); 10] = [
    (200.0, 2.3882e-9),
    (400.0, 9.4503e-10),
    (800.0, 4.1037e-10),
    (1500.0, 1.9026e-10),
    (3000.0, 7.1034e-11),
    (5000.0, 3.0151e-11),
    (7500.0, 1.4094e-11),
    (10000.0, 7.9127e-12),
    (15000.0, 3.3610e-12),
    (20000.0, 1.7892e-12),
];

#[test]
fn the_spectrum_agrees_with_ccl() {
    let simulation = simulation(64, 0.866);
    for (ell, expected) in CCL {
        let ratio = simulation.angular_power(ell) / expected;
        println!("ℓ = {ell}: {ratio:.4} of CCL");
        assert!((ratio - 1.0).abs() < 0.005, "ℓ = {ell}: {ratio}");
    }
}

/// Deviation of the mean of `spectra` from `expected`, in standard errors of the mean.
fn deviations(spectra: &[Vec<f64>], expected: &[f64]) -> Vec<f64> {
    let count = spectra.len() as f64;
    expected
        .iter()
        .enumerate()
        .map(|(bin, expected)| {
            let mean = spectra.iter().map(|spectrum| spectrum[bin]).sum::<f64>() / count;
            let squares: f64 = spectra
                .iter()
                .map(|spectrum| (spectrum[bin] - mean).powi(2))
                .sum();
            (mean - expected) / (squares / (count - 1.0) / count).sqrt()
        })
        .collect()
}

#[test]
fn two_hundred_maps_have_the_spectrum_they_were_drawn_from() {
    const MAPS: u64 = 200;
    let simulation = simulation(128, 0.866);
    // On the periodic patch the estimator has no edge leakage: its expectation is the input, bin by bin.
    let (pixels, side) = (simulation.patch_pixels(), simulation.patch_degrees());
    let edges = PowerSpectrum::default_edges(pixels, side);
    let power = PowerSpectrum::new(pixels, side, edges).unwrap();
    let spectra: Vec<_> = (0..MAPS)
        .map(|index| power.measure(&simulation.patch(11, index)))
        .collect();
    let expected = power.binned(|ell| simulation.angular_power(ell));
    let deviations = deviations(&spectra, &expected);
    let bins = deviations.len() as f64;
    let mean_square = deviations.iter().map(|z| z * z).sum::<f64>() / bins;
    let largest = deviations.iter().fold(0.0_f64, |a, z| a.max(z.abs()));
    println!("{bins} bins: mean z² {mean_square:.3}, largest |z| {largest:.2}");
    // Of 127 normal deviates, one exceeds 4.5 in one of a thousand sets. ℓ bins of a lognormal field are correlated,
    // which widens the distribution of the mean square; only large values of it are rejected.
    assert!(largest < 4.5);
    assert!(mean_square < 3.0);
    // The test detects a spectrum that is 15 % too high.
    let louder: Vec<f64> = expected.iter().map(|power| 1.15 * power).collect();
    let noticed = self::deviations(&spectra, &louder);
    assert!(noticed.iter().any(|z| z.abs() > 4.5));
}

#[test]
fn maps_are_skewed_and_bounded_and_the_same_in_any_order() {
    let simulation = simulation(64, 0.866);
    let maps = simulation.maps(3, 0..120);
    assert!(maps.iter().all(|map| map.len() == 64 * 64));
    let moments = Moments::of(&maps.concat());
    println!(
        "σ {:.4}, skewness {:.2}, minimum {:.4}",
        moments.standard_deviation(),
        moments.skewness(),
        moments.minimum()
    );
    assert!(moments.skewness() > 0.5);
    assert!(f64::from(moments.minimum()) >= -simulation.shift());
    assert!(simulation.clipped_share() < 1e-3);
    assert_eq!(simulation.map(3, 77), maps[77]);
    assert_eq!(simulation.maps(3, 60..80), maps[60..80]);
    assert_ne!(simulation.map(4, 77), maps[77]);
}

#[test]
fn settings_without_a_field_are_refused() {
    let with = |redshift: f64, side: f64, shift: Option<f64>| {
        Simulation::new(&Cosmology::default(), redshift, 64, side, shift)
    };
    for redshift in [0.1, 0.5, 2.0, 5.0, 10.0] {
        let simulation = with(redshift, 0.866, None).unwrap();
        let moments = Moments::of(&simulation.maps(1, 0..20).concat());
        assert!(
            moments.standard_deviation() > 0.0 && moments.skewness() > 0.0,
            "{redshift}"
        );
    }
    for (redshift, side, shift, flag) in [
        (1.0, 0.866, Some(0.001), "--shift"),
        (1.0, 0.866, Some(f64::NAN), "--shift"),
        (1.0, 0.0001, None, "--side-degrees"),
        (1.0, f64::NAN, None, "--side-degrees"),
        (0.0, 0.866, None, "--source-redshift"),
        (11.0, 0.866, None, "--source-redshift"),
    ] {
        let error = with(redshift, side, shift).unwrap_err().to_string();
        assert!(error.starts_with(flag), "{error}");
    }
}

#[test]
fn other_universes_are_brighter_or_refused() {
    let default = simulation(64, 0.866).angular_power(1000.0);
    let power = |cosmology: Cosmology| {
        Simulation::new(&cosmology, 1.0, 64, 0.866, None).map(|s| s.angular_power(1000.0))
    };
    let base = Cosmology::default();
    assert!(
        power(Cosmology {
            sigma8: 0.9,
            ..base
        })
        .unwrap()
            > default
    );
    assert!(
        power(Cosmology {
            omega_m: 0.3,
            ..base
        })
        .unwrap()
            > default
    );
    assert!(
        power(Cosmology {
            dark_energy: -0.8,
            ..base
        })
        .is_ok()
    );
    let refused = [
        Cosmology {
            sigma8: 0.0,
            ..base
        },
        Cosmology {
            omega_m: 1.1,
            ..base
        },
        Cosmology {
            omega_b: 0.3,
            ..base
        },
        Cosmology {
            dark_energy: 0.1,
            ..base
        },
        Cosmology {
            hubble: f64::NAN,
            ..base
        },
    ];
    for cosmology in refused {
        assert!(power(cosmology).is_err(), "{cosmology:?}");
    }
}
