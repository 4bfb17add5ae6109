//! Operator values checked against results worked out by hand.

use approx::assert_relative_eq;
use cosmogan_oracle::operators::activation::Activation;
use cosmogan_oracle::operators::adam::Adam;
use cosmogan_oracle::operators::batch_norm::{self, Channel};
use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::operators::gather::Gather;
use cosmogan_oracle::operators::linear::Linear;
use cosmogan_oracle::operators::{add, bce, bias, squared_norm};
use cosmogan_oracle::{Arithmetic, Bounded};

const F32: Arithmetic = Arithmetic::f32();

#[test]
fn linear() {
    // x = [1 2; 3 4], weight = [5 6], bias = 7: y = [24; 46].
    let shape = Linear {
        rows: 2,
        inputs: 2,
        outputs: 1,
    };
    let (x, weight, bias) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0], [7.0]);
    let y: Vec<f64> = (0..2)
        .map(|element| shape.forward((&x, &weight, &bias), element, &F32).value)
        .collect();
    assert_eq!(y, [24.0, 46.0]);
    let dy = [1.0, 10.0];
    let dx: Vec<f64> = (0..4)
        .map(|element| shape.dgrad(&dy, &weight, element, &F32).value)
        .collect();
    assert_eq!(dx, [5.0, 6.0, 50.0, 60.0]);
    let dweight: Vec<f64> = (0..2)
        .map(|element| shape.wgrad(&x, &dy, element, &F32).value)
        .collect();
    assert_eq!(dweight, [31.0, 42.0]);
    assert_eq!(bias::gradient(&dy, 1, 0, &F32).value, 11.0);
}

/// A row of six pixels, a kernel of five, stride 2, one zero before and two after, as in the model.
fn row() -> Convolution {
    Convolution {
        batch: 1,
        input: [1, 6],
        input_channels: 1,
        output: [1, 3],
        output_channels: 1,
        kernel: [1, 5],
        stride: [1, 2],
        begin: [0, 1],
    }
}

#[test]
fn convolution() {
    let (x, w) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 10.0, 100.0, 1e3, 1e4]);
    let y: Vec<f64> = (0..3)
        .map(|element| row().fprop(&x, &w, element, &F32).value)
        .collect();
    // Windows: (0 1 2 3 4), (2 3 4 5 6), (4 5 6 0 0). The kernel is not flipped.
    assert_eq!(y, [43_210.0, 65_432.0, 654.0]);
    assert_eq!(row().end(), [0, 2]);
}

#[test]
fn transposed_convolution() {
    // Each pixel of y adds a copy of the kernel, two pixels apart; one pixel is cropped before and two after.
    let (y, w) = ([1.0, 2.0, 3.0], [1.0, 10.0, 100.0, 1e3, 1e4]);
    let x: Vec<f64> = (0..6)
        .map(|element| row().dgrad(&y, &w, element, &F32).value)
        .collect();
    // The full result, from −1: 1, 10, 102, 1020, 10203, 2030, 20300, …; rows 0 to 5 are kept.
    assert_eq!(x, [10.0, 102.0, 1020.0, 10_203.0, 2_030.0, 20_300.0]);
}

#[test]
fn weight_gradient() {
    let (x, y) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 10.0, 100.0]);
    let w: Vec<f64> = (0..5)
        .map(|element| row().wgrad(&x, &y, element, &F32).value)
        .collect();
    assert_eq!(w, [420.0, 531.0, 642.0, 53.0, 64.0]);
}

#[test]
fn batch_norm() {
    let x = [1.0, 3.0, 5.0, 7.0];
    let [mean, variance] = batch_norm::statistics(x.iter().copied(), &F32);
    assert_eq!((mean.value, variance.value), (4.0, 5.0));
    let channel = Channel {
        mean,
        variance,
        scale: 2.0,
        shift: 1.0,
        epsilon: 4.0,
        slope: 1.0,
        kept_roundoff: 0.0,
    };
    // √(5 + 4) = 3.
    assert_relative_eq!(channel.normalise(7.0, &F32).value, 3.0);
    let dy = [1.0, 0.0, 0.0, 0.0];
    let gradients = channel.gradients(x.iter().copied().zip(dy), &F32);
    assert_relative_eq!(gradients.scale.value, -1.0);
    assert_relative_eq!(gradients.shift.value, 1.0);
    // 2/3·(1 − 1/4 − (−1)·(−1)/4) = 1/3.
    assert_relative_eq!(channel.dgrad(1.0, 1.0, &gradients, &F32).value, 1.0 / 3.0);
    assert_relative_eq!(batch_norm::unbiased_factor(4), 4.0 / 3.0);
    let running = batch_norm::update_running(1.0, Bounded::exact(5.0), 0.1, 1.2, &F32);
    assert_relative_eq!(running.value, 0.9 + 0.6);
}

#[test]
fn activations() {
    let leaky = Activation::LeakyRelu { slope: 0.2 };
    for (activation, x, y, gradient) in [
        (Activation::Relu, 2.0, 2.0, 3.0),
        (Activation::Relu, -2.0, 0.0, 0.0),
        (Activation::Relu, 0.0, 0.0, 0.0),
        (leaky, 2.0, 2.0, 3.0),
        (leaky, -2.0, -0.4, 0.6),
        (leaky, 0.0, 0.0, 0.6),
        (Activation::Tanh, 0.0, 0.0, 3.0),
        // tanh(ln 2) = 3/5 and 1 − 9/25 = 16/25.
        (Activation::Tanh, std::f64::consts::LN_2, 0.6, 1.92),
    ] {
        assert_relative_eq!(activation.forward(x, &F32).value, y, epsilon = 1e-15);
        assert_relative_eq!(
            activation.gradient(x, 3.0, &F32).value,
            gradient,
            epsilon = 1e-15
        );
    }
}

#[test]
fn binary_cross_entropy() {
    // σ(ln 3) = 3/4, so the loss against 1 is ln(4/3) and against 0 it is ln 4.
    let x = [3_f64.ln()];
    assert_relative_eq!(
        bce::forward(&x, 1.0, &F32).value,
        (4.0_f64 / 3.0).ln(),
        epsilon = 1e-15
    );
    assert_relative_eq!(
        bce::forward(&x, 0.0, &F32).value,
        4_f64.ln(),
        epsilon = 1e-15
    );
    assert_relative_eq!(bce::gradient(x[0], 1.0, 1, 2.0, &F32).value, -0.5);
    // Neither overflows for large logits.
    assert_eq!(bce::forward(&[-800.0, 800.0], 1.0, &F32).value, 400.0);
    assert_eq!(bce::gradient(-800.0, 1.0, 2, 1.0, &F32).value, -0.5);
}

#[test]
fn adam() {
    let settings = Adam {
        learning_rate: 0.1,
        beta1: 0.5,
        beta2: 0.75,
        epsilon: 1.0,
        step: 1,
    };
    // From zero moments m̂ = g and v̂ = g², so the update is α·g/(|g| + ε) = 0.1·2/3.
    let updated = settings.update([1.0, 0.0, 0.0], 2.0, &F32);
    assert_eq!((updated.first.value, updated.second.value), (1.0, 1.0));
    assert_relative_eq!(updated.parameter.value, 1.0 - 0.2 / 3.0);
}

#[test]
fn sums() {
    assert_eq!(add::forward(2.0, -5.0, &F32).value, -3.0);
    assert_eq!(add::gradient(7.0), Bounded::exact(7.0));
    assert_eq!(squared_norm::forward(&[3.0, -4.0], &F32).value, 25.0);
}

#[test]
fn crops() {
    // Two maps of 2×3 pixels; crops of one row and two columns.
    let shape = Gather {
        maps: 2,
        size: [2, 3],
        channels: 1,
        crops: 3,
        crop: [1, 2],
    };
    // Unchanged; mirrored; and beyond the last map, row and column, which is clamped.
    let table = [
        [0.0, 1.0, 0.0, 0.0],
        [1.0, 0.0, 1.0, 1.0],
        [2.0, 2.0, 3.0, 0.0],
    ];
    let from: Vec<usize> = (0..6)
        .map(|element| shape.source(&table.concat(), element))
        .collect();
    assert_eq!(from, [3, 4, 8, 7, 10, 11]);
}
