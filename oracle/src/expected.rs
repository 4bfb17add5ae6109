//! Expected outputs, and their comparison with computed ones.

use crate::{Bounded, Random};

/// One output of an operator: all of its elements, or a sample of them.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Name in the operator's documentation: `y`, `dx`, `dweight` …
    pub name: &'static str,
    /// Extents of the whole output.
    pub dims: Vec<usize>,
    /// Indices of the elements that `values` holds, in row-major order.
    pub indices: Vec<usize>,
    /// Exact values.
    pub values: Vec<f64>,
    /// Bound on the error of each value.
    pub bounds: Vec<f64>,
}

/// The worst element of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// |computed − expected| / bound; infinite if the computed value is NaN.
    pub error: f64,
    /// Index of the element.
    pub index: usize,
    /// Computed value.
    pub computed: f64,
    /// Exact value.
    pub expected: f64,
    /// The bound on the difference.
    pub bound: f64,
}

impl Expected {
    /// Evaluates `element` at the indices of an output with extents `dims`.
    ///
    /// If there are more than `most` indices, these are the first, the last, and a random sample that depends on
    /// `seed`.
    pub fn evaluate(
        name: &'static str,
        dims: &[usize],
        most: usize,
        seed: u64,
        mut element: impl FnMut(usize) -> Bounded,
    ) -> Self {
        let indices = sample(dims.iter().product(), most, seed);
        let (values, bounds) = indices
            .iter()
            .map(|&index| {
                let Bounded { value, error } = element(index);
                (value, error)
            })
            .unzip();
        Self {
            name,
            dims: dims.to_vec(),
            indices,
            values,
            bounds,
        }
    }

    /// Returns the element of `computed`, the whole output, with the largest relative error.
    ///
    /// Errors are relative to the element's bound.
    pub fn compare(&self, computed: &[f32]) -> Comparison {
        let mut worst = Comparison {
            error: 0.0,
            index: 0,
            computed: 0.0,
            expected: 0.0,
            bound: 0.0,
        };
        for ((&index, &expected), &bound) in self.indices.iter().zip(&self.values).zip(&self.bounds)
        {
            let computed = computed
                .get(index)
                .map_or(f64::NAN, |&value| f64::from(value));
            let difference = (computed - expected).abs();
            let error = if difference == 0.0 {
                0.0
            } else if difference.is_finite() && bound > 0.0 {
                difference / bound
            } else {
                f64::INFINITY
            };
            if error >= worst.error {
                worst = Comparison {
                    error,
                    index,
                    computed,
                    expected,
                    bound,
                };
            }
        }
        worst
    }
}

fn sample(length: usize, most: usize, seed: u64) -> Vec<usize> {
    if length <= most {
        return (0..length).collect();
    }
    let mut random = Random::new(seed ^ length as u64);
    let mut indices: Vec<usize> = (2..most)
        .map(|_| random.between(0, length - 1))
        .chain([0, length - 1])
        .collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}
