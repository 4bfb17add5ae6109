//! Statistical power of the two-sample tests on simulated maps.
//!
//! They pass for equal simulations and fail for different ones.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its maps has failed"
)]

use cosmogan::simulate::{Cosmology, Simulation};
use cosmogan::stats::two_sample::{Bootstrap, KolmogorovSmirnov, TwoSampleTest};
use cosmogan::stats::{Edges, Estimators, Measurements, Moments};

const PIXELS: usize = 64;
const SIDE_DEGREES: f64 = 0.866;

fn simulation() -> Simulation {
    Simulation::new(&Cosmology::default(), 1.0, PIXELS, SIDE_DEGREES, None).unwrap()
}

fn estimators(maps: &[&[f32]]) -> Estimators {
    let reference = Moments::of_all(maps);
    Estimators::new(PIXELS, SIDE_DEGREES, &Edges::default(), &reference).unwrap()
}

fn slices(maps: &[Vec<f32>]) -> Vec<&[f32]> {
    maps.iter().map(Vec::as_slice).collect()
}

/// Tests all spectra, functionals and peak counts.
fn tests(bootstrap: &Bootstrap, a: &Measurements, b: &Measurements) -> [Vec<TwoSampleTest>; 3] {
    [
        bootstrap.test(&a.power, &b.power),
        bootstrap.test(&a.functionals, &b.functionals),
        bootstrap.test(&a.peaks, &b.peaks),
    ]
}

/// p-values of independent maps of one distribution are uniform from 0 to 1.
#[test]
fn p_values_of_independent_simulations_are_uniform() {
    const REPEATS: u32 = 100;
    /// Sizes without a common factor.
    /// With equal sizes the KS statistic has few distinct values and many ties.
    const MAPS: [usize; 2] = [50, 53];
    const BOTH: usize = MAPS[0] + MAPS[1];
    let simulation = simulation();
    let all = simulation.maps(7, 0..u64::from(REPEATS) * BOTH as u64);
    let measured = estimators(&slices(&all[..100])).measure(&slices(&all));
    let part = |maps: std::ops::Range<usize>| Measurements {
        power: measured.power[maps.clone()].to_vec(),
        functionals: measured.functionals[maps.clone()].to_vec(),
        peaks: measured.peaks[maps].to_vec(),
    };
    // A large, an intermediate and a small scale; each functional at one threshold; peaks of intermediate height.
    let chosen = |[power, functionals, peaks]: [Vec<TwoSampleTest>; 3]| {
        [
            power[2],
            power[20],
            power[55],
            functionals[6],
            functionals[19 + 9],
            functionals[38 + 12],
            peaks[8],
        ]
    };
    let repeats: Vec<[TwoSampleTest; 7]> = (0..REPEATS)
        .map(|repeat| {
            let first = repeat as usize * BOTH;
            let (middle, last) = (first + MAPS[0], first + BOTH);
            let bootstrap = Bootstrap {
                resamples: 199,
                seed: u64::from(repeat),
            };
            chosen(tests(&bootstrap, &part(first..middle), &part(middle..last)))
        })
        .collect();
    let uniform: Vec<f64> = (0..20_000)
        .map(|i| (f64::from(i) + 0.5) / 20_000.0)
        .collect();
    for quantity in 0..7 {
        for (name, p) in [
            ("KS", (|test| test.ks.p) as fn(&TwoSampleTest) -> f64),
            ("AD", |test| test.ad.p),
        ] {
            let values: Vec<f64> = repeats.iter().map(|repeat| p(&repeat[quantity])).collect();
            let against_uniform = KolmogorovSmirnov::of(&values, &uniform);
            let significance = against_uniform.asymptotic_p();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            println!(
                "quantity {quantity}, {name}: mean p {mean:.3}, uniform at p = {significance:.3}"
            );
            assert!(significance > 0.01, "quantity {quantity}, {name}");
        }
    }
}

/// A difference in contrast of 2 % is detected.
#[test]
fn a_set_scaled_by_two_per_cent_is_caught() {
    let simulation = simulation();
    let (first, second) = (simulation.maps(8, 0..4000), simulation.maps(9, 0..4000));
    let scaled: Vec<Vec<f32>> = second
        .iter()
        .map(|map| map.iter().map(|value| 1.02 * value).collect())
        .collect();
    let estimators = estimators(&slices(&first));
    let measure = |maps: &[Vec<f32>]| estimators.measure(&slices(maps));
    let bootstrap = Bootstrap {
        resamples: 199,
        seed: 1,
    };
    let reference = measure(&first);
    // Fraction of the ℓ bins in which the samples differ at a significance level of 0.05.
    let told_apart = |other: &Measurements| {
        let [power, ..] = tests(&bootstrap, &reference, other);
        power.iter().filter(|test| test.ad.p < 0.05).count() as f64 / power.len() as f64
    };
    let (same, different) = (told_apart(&measure(&second)), told_apart(&measure(&scaled)));
    println!("different in {same:.2} of the bins, in {different:.2} when scaled");
    assert!(same < 0.15, "{same}");
    assert!(different > 0.5, "{different}");
}
