//! Compares the outputs of a case with the oracle, in units of its error bounds.

use std::sync::Arc;

use cosmogan_engine::backend::{Backend, Precision};
use cosmogan_engine::{ConvMethod, ConvProduct, Result};
use cosmogan_oracle::cases::{EPSILON, LEAKY_SLOPE};
use cosmogan_oracle::operators::batch_norm::{self, Channel};
use cosmogan_oracle::operators::convolution::{Method, Methods};
use cosmogan_oracle::{Arithmetic, Bounded, Case, Expected, Operator};

use crate::check::Check;
use crate::compute::{NORMALISED, Outputs, PACKED, ROUNDED, compute, compute_as_a_part, geometry};

/// Largest error that passes, in units of the oracle's bound.
const LIMIT: f64 = 1.0;

/// The oracle's arithmetic for a precision.
pub fn arithmetic(precision: Precision) -> Arithmetic {
    match precision {
        Precision::F32 => Arithmetic::f32(),
        Precision::Tf32 => Arithmetic::tf32(),
        Precision::Bf16 => Arithmetic::bf16(),
    }
}

/// The algorithms that `backend` uses for the GEMMs of a convolution; they determine the error bounds.
pub fn methods(case: &Case, backend: &dyn Backend) -> Methods {
    let (Operator::Conv2d(shape) | Operator::ConvTranspose2d(shape)) = case.operator else {
        return Methods::default();
    };
    let geometry = geometry(&shape);
    let method = |product| match backend.conv_method(product, &geometry) {
        ConvMethod::Direct => Method::Direct,
        ConvMethod::Winograd => Method::Winograd,
    };
    Methods {
        fprop: method(ConvProduct::Fprop),
        dgrad: method(ConvProduct::Dgrad),
        wgrad: method(ConvProduct::Wgrad),
    }
}

/// Lists the GEMMs of a convolution that use Winograd (minimal) filtering.
fn describe(methods: Methods) -> Option<String> {
    let products = [
        ("fprop", methods.fprop),
        ("dgrad", methods.dgrad),
        ("wgrad", methods.wgrad),
    ];
    let winograd: Vec<&str> = products
        .into_iter()
        .filter(|(_, method)| *method == Method::Winograd)
        .map(|(name, _)| name)
        .collect();
    (!winograd.is_empty()).then(|| format!("minimal filtering: {}", winograd.join(", ")))
}

/// Runs `case` on `backend` and compares every output with the oracle, in at most `most` elements each.
///
/// # Errors
/// If the device fails or rejects the operands.
pub fn check(
    case: &Case,
    backend: &Arc<dyn Backend>,
    arithmetic: &Arithmetic,
    most: usize,
) -> Result<Check> {
    let mut passes = vec![compute(case, backend)?];
    if matches!(case.operator, Operator::BatchNormTraining { .. }) {
        passes.push(compute_as_a_part(case, backend)?);
    }
    let methods = methods(case, &**backend);
    let mut worst = (0.0, String::new());
    let mut all = case.expected_by(methods, arithmetic, most);
    if matches!(
        case.operator,
        Operator::Conv2d(_) | Operator::ConvTranspose2d(_)
    ) {
        let computed = &passes[0];
        all.extend(statistics_of(&computed["y"], &computed["mean"], arithmetic));
        if computed.contains_key(NORMALISED) {
            all.push(normalised_of(computed, arithmetic, most));
            all.push(packed_of(computed));
        }
    }
    let pairs = passes
        .iter()
        .flat_map(|computed| all.iter().map(move |expected| (computed, expected)));
    for (computed, expected) in pairs {
        let Some(values) = computed.get(expected.name) else {
            worst = (f64::INFINITY, format!("{}: not computed", expected.name));
            continue;
        };
        let comparison = expected.compare(values);
        if comparison.error >= worst.0 {
            worst = (
                comparison.error,
                format!(
                    "{}[{}]: {:e} for {:e} ± {:.1e}",
                    expected.name,
                    comparison.index,
                    comparison.computed,
                    comparison.expected,
                    comparison.bound
                ),
            );
        }
    }
    let check = Check::new(case.to_string(), worst.1, worst.0, LIMIT);
    Ok(Check {
        method: describe(methods),
        ..check
    })
}

/// Expected mean and variance of the computed result of a convolution, per channel.
///
/// They are derived from the computed values, so the errors of the convolution do not count.
fn statistics_of(y: &[f32], means: &[f32], arithmetic: &Arithmetic) -> [Expected; 2] {
    let channels = means.len();
    let all: Vec<_> = (0..channels)
        .map(|channel| {
            let values = y.iter().skip(channel).step_by(channels);
            batch_norm::statistics(values.map(|&value| f64::from(value)), arithmetic)
        })
        .collect();
    ["mean", "variance"].map(|name| {
        let which = usize::from(name == "variance");
        Expected::evaluate(name, &[channels], channels, 0, |channel| {
            all[channel][which]
        })
    })
}

/// Expected normalisation of the computed result of a convolution, by its computed mean and variance.
///
/// The scale is the variance and the shift is the mean.
fn normalised_of(computed: &Outputs, arithmetic: &Arithmetic, most: usize) -> Expected {
    let [y, mean, variance] = ["y", "mean", "variance"].map(|name| &computed[name]);
    let channels: Vec<_> = mean
        .iter()
        .zip(variance)
        .map(|(&mean, &variance)| Channel {
            mean: Bounded::exact(mean.into()),
            variance: Bounded::exact(variance.into()),
            scale: variance.into(),
            shift: mean.into(),
            epsilon: EPSILON,
            slope: LEAKY_SLOPE,
            kept_roundoff: 0.0,
        })
        .collect();
    Expected::evaluate(NORMALISED, &[y.len()], most, 0, |index| {
        channels[index % channels.len()].normalise(y[index].into(), arithmetic)
    })
}

/// Expected packed operands: bit for bit the normalised values as GEMMs round them.
fn packed_of(computed: &Outputs) -> Expected {
    let expected = &computed[ROUNDED];
    Expected::evaluate(PACKED, &[expected.len()], expected.len(), 0, |index| {
        Bounded::exact(expected[index].into())
    })
}
