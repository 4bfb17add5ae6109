//! Errors of a single hidden layer of the generator, by both algorithms, in units of the oracle's bounds.
//!
//! The layers around it are made transparent. The linear layer has the wanted activations as weights, and the latent
//! vector is 1. The last layer has one tap, a small power of two, for each of four channels, each in its own phase; and
//! tanh is the identity for values that small.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use cosmogan_engine::inference::{Description, InstructionSet, Layer, Method, Stack};
use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::{Arithmetic, Bounded, Random};

/// The tap of the last layer. Even for results of a hundred, |tanh x − x| < 2⁻³⁰·|x|.
const SMALL: f32 = 1.0 / 4_194_304.0;

/// A hidden layer with operands y `[size, size, inputs]` and w `[5, 5, outputs, inputs]`, exactly representable in f32.
struct Problem {
    shape: Convolution,
    y: Vec<f64>,
    w: Vec<f64>,
}

impl Problem {
    fn new(size: usize, inputs: usize, outputs: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shape = Convolution {
            batch: 1,
            input: [2 * size; 2],
            input_channels: outputs,
            output: [size; 2],
            output_channels: inputs,
            kernel: [5; 2],
            stride: [2; 2],
            begin: [1; 2],
        };
        let mut values = |dims: [usize; 4], deviation: f64| -> Vec<f64> {
            (0..dims.iter().product())
                .map(|_| f64::from((deviation * random.normal()) as f32))
                .collect()
        };
        // Rectified, as after a hidden layer.
        let y = values(shape.output_dims(), 1.0);
        Self {
            shape,
            y: y.into_iter().map(|value| value.max(0.0)).collect(),
            w: values(shape.weight_dims(), 0.05),
        }
    }

    /// Computes channels `first` to `first + 3` of the result, `[2·size, 2·size, 4]`, with the generator.
    fn compute(&self, first: usize, set: InstructionSet, method: Method) -> Vec<f32> {
        let (size, inputs) = (self.shape.output[0], self.shape.output_channels);
        let outputs = self.shape.input_channels;
        let pixels = size * size;
        // Weight files have channels first.
        let features: Vec<_> = (0..inputs * pixels)
            .map(|at| bytes(self.y[at % pixels * inputs + at / pixels]))
            .collect();
        let weight: Vec<_> = (0..inputs * outputs * 25)
            .map(|at| {
                let (pair, tap) = (at / 25, at % 25);
                let (input, output) = (pair / outputs, pair % outputs);
                bytes(self.w[(tap * outputs + output) * inputs + input])
            })
            .collect();
        let mut last = vec![bytes(0.0); outputs * 25];
        for channel in 0..4 {
            // Output row 2i + a reads input row i by tap a + 1.
            let tap = (channel / 2 + 1) * 5 + channel % 2 + 1;
            last[(first + channel) * 25 + tap] = bytes(SMALL.into());
        }
        let description = Description {
            latent: 1,
            coarse: size,
            channels: vec![inputs, outputs],
            linear: layer(&features, inputs, inputs * pixels),
            hidden: vec![layer(&weight, outputs, outputs)],
            last: layer(&last, 1, 1),
        };
        let stack = Stack::pack(&description, set, 1, |_, _| method);
        let mut map = vec![f32::NAN; stack.size().pow(2)];
        stack.run(&[1.0], &mut map, 1);
        let side = 2 * size;
        (0..side * side * 4)
            .map(|at| {
                let (pixel, channel) = (at / 4, at % 4);
                let row = 2 * (pixel / side) + channel / 2;
                let column = 2 * (pixel % side) + channel % 2;
                map[row * 2 * side + column] / SMALL
            })
            .collect()
    }

    /// The largest error of [`Problem::compute`] in units of the bounds of `bound_by`, and the largest and the
    /// root-mean-square error in units of the root-mean-square result.
    fn error(&self, set: InstructionSet, method: Method, bound_by: Method) -> [f64; 3] {
        let arithmetic = Arithmetic::f32();
        let outputs = self.shape.input_channels;
        let (mut worst, mut largest) = (0.0_f64, 0.0_f64);
        let (mut squares, mut error_squares, mut count) = (0.0, 0.0, 0.0);
        for first in [0, outputs - 4] {
            let computed = self.compute(first, set, method);
            for (at, computed) in computed.iter().enumerate() {
                let element = at / 4 * outputs + first + at % 4;
                let exact = match bound_by {
                    Method::Direct => self.shape.dgrad(&self.y, &self.w, element, &arithmetic),
                    Method::Winograd => {
                        let winograd = self.shape.winograd();
                        winograd.dgrad(&self.y, &self.w, element, &arithmetic)
                    }
                };
                // The rectifier does not increase errors; a shift of zero is added before it, and tanh is within four
                // units in the last place.
                let exact = exact.plus(Bounded::exact(0.0), &arithmetic);
                let exact = Bounded {
                    value: exact.value.max(0.0),
                    ..exact
                }
                .within_ulps(4.0, &arithmetic);
                let error = (f64::from(*computed) - exact.value).abs();
                worst = worst.max(error / exact.error);
                largest = largest.max(error);
                squares += exact.value.powi(2);
                error_squares += error.powi(2);
                count += 1.0;
            }
        }
        let size = f64::sqrt(squares / count);
        [
            worst,
            largest / size,
            f64::sqrt(error_squares / count) / size,
        ]
    }
}

fn bytes(value: f64) -> [u8; 4] {
    (value as f32).to_le_bytes()
}

fn layer(weight: &[[u8; 4]], scales: usize, shifts: usize) -> Layer<'_> {
    Layer {
        weight,
        scale: vec![1.0; scales],
        shift: vec![0.0; shifts],
    }
}

#[test]
fn a_hidden_layer_is_within_the_bounds_of_its_method() {
    // Images of whole and of partial tiles; channels of whole and of partial blocks.
    for (size, inputs, outputs) in [(16, 256, 32), (8, 64, 16), (6, 37, 21), (1, 32, 4)] {
        let problem = Problem::new(size, inputs, outputs, 7);
        for set in InstructionSet::available() {
            for method in [Method::Direct, Method::Winograd] {
                let [bounds, largest, mean] = problem.error(set, method, method);
                println!(
                    "{size}² {inputs} to {outputs}, {set:?}, {method:?}: {bounds:.4} bounds; largest error {largest:.1e} of the rms result, rms error {mean:.1e}"
                );
                assert!(bounds <= 1.0, "{size}² {set:?} {method:?}: {bounds}");
                // An error of exactly zero would mean that this layer was not computed.
                assert!(bounds > 0.0, "{size}² {set:?} {method:?}");
            }
        }
    }
}

/// The bound of the direct algorithm does not hold for Winograd (minimal) filtering.
#[test]
fn small_values_beside_large_ones_take_their_error() {
    let mut problem = Problem::new(8, 64, 16, 7);
    let inputs = problem.shape.output_channels;
    // One pixel stands out from all others.
    let large = (3 * 8 + 3) * inputs..(3 * 8 + 4) * inputs;
    for (at, value) in problem.y.iter_mut().enumerate() {
        if !large.contains(&at) {
            *value = f64::from((1e-5 * *value) as f32);
        }
    }
    let set = InstructionSet::available().next().unwrap();
    let [by_itself, ..] = problem.error(set, Method::Winograd, Method::Winograd);
    let [by_direct, ..] = problem.error(set, Method::Winograd, Method::Direct);
    let [direct, ..] = problem.error(set, Method::Direct, Method::Direct);
    println!(
        "Winograd: {by_itself:.4} of its own bounds, {by_direct:.1} of the direct algorithm's; direct: {direct:.4}"
    );
    assert!(by_itself <= 1.0 && direct <= 1.0);
    assert!(by_direct > 10.0);
}
