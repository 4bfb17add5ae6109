//! Recording, gradients and errors of the tape.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fmt;
use std::sync::{Arc, Mutex};

use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::{Activation, Arithmetic, Backend, Op};
use cosmogan_engine::ops::BatchNormSettings;
use cosmogan_engine::{Error, Padding, Result, Shape, Tape, Tensor};

/// A backend that records which weight and input gradients are requested.
struct Witness {
    cpu: CpuBackend,
    calls: Mutex<Vec<&'static str>>,
}

impl fmt::Debug for Witness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Witness")
    }
}

impl Witness {
    fn saw(&self, call: &'static str) {
        self.calls.lock().unwrap().push(call);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Backend for Witness {
    fn description(&self) -> String {
        "witness".to_owned()
    }
    fn arithmetic(&self) -> Arithmetic {
        self.cpu.arithmetic()
    }
    fn run(&self, op: Op<'_>) -> Result<()> {
        match op {
            Op::LinearDgrad { .. } => self.saw("dgrad"),
            Op::LinearWgrad { .. } => self.saw("wgrad"),
            Op::BiasGradient { .. } => self.saw("bias"),
            _ => {}
        }
        self.cpu.run(op)
    }
    fn empty(&self, shape: Shape) -> Result<Tensor> {
        self.cpu.empty(shape)
    }
    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()> {
        self.cpu.write_part(tensor, first, values)
    }
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.cpu.download(tensor)
    }
    fn recomputes(&self) -> bool {
        self.cpu.recomputes()
    }
}

fn tape() -> (Arc<Witness>, Tape) {
    let witness = Arc::new(Witness {
        cpu: CpuBackend::checked(),
        calls: Mutex::default(),
    });
    let backend: Arc<dyn Backend> = witness.clone();
    (witness, Tape::new(backend))
}

fn tensor(tape: &Tape, dims: &[usize], values: &[f32]) -> Tensor {
    tape.backend().upload(Shape::from(dims), values).unwrap()
}

fn values(tape: &Tape, tensor: &Tensor) -> Vec<f32> {
    tape.backend().download(tensor).unwrap()
}

/// A generator y = a·z and a discriminator l = b·y of one weight each, as two networks on one tape.
#[test]
fn each_loss_computes_only_what_is_asked_of_it() {
    let (witness, tape) = tape();
    let parameter = |value: f32| tape.parameter(tensor(&tape, &[1, 1], &[value]));
    let zero = tape.constant(tensor(&tape, &[1], &[0.0]));
    let (a, b) = (parameter(2.0), parameter(3.0));
    let z = tape.constant(tensor(&tape, &[1, 1], &[5.0]));
    let y = tape.linear(&z, &a, &zero).unwrap();
    let logit = tape.linear(&y, &b, &zero).unwrap();
    let seed = || tensor(&tape, &[1, 1], &[1.0]);

    // The generator's gradient passes through the discriminator, but does not need the gradients of its weights.
    let gradient = tape.gradients(&logit, seed(), &[&a]).unwrap();
    assert_eq!(values(&tape, &gradient[0]), [15.0]);
    assert_eq!(witness.take(), ["dgrad", "wgrad"]);

    // The discriminator's gradient stops at its own weight: nothing propagates to the generator.
    let gradient = tape.gradients(&logit, seed(), &[&b]).unwrap();
    assert_eq!(values(&tape, &gradient[0]), [10.0]);
    assert_eq!(witness.take(), ["wgrad"]);
}

#[test]
fn gradients_add_up_where_a_variable_is_used_twice() {
    let (_, tape) = tape();
    let x = tape.parameter(tensor(&tape, &[2], &[1.0, -2.0]));
    let doubled = tape.add(&x, &x).unwrap();
    let positive = tape.activate(&x, Activation::Relu).unwrap();
    let sum = tape.add(&doubled, &positive).unwrap();
    let seed = tensor(&tape, &[2], &[10.0, 100.0]);
    let gradients = tape.gradients(&sum, seed, &[&x, &doubled]).unwrap();
    assert_eq!(values(&tape, &gradients[0]), [30.0, 200.0]);
    assert_eq!(values(&tape, &gradients[1]), [10.0, 100.0]);
}

#[test]
fn constants_leave_no_record() {
    let (_, tape) = tape();
    let x = tape.constant(tensor(&tape, &[2], &[1.0, -2.0]));
    let y = tape.activate(&x, Activation::Tanh).unwrap();
    assert!(format!("{tape:?}").starts_with("Tape(0 records"));
    let seed = tensor(&tape, &[2], &[1.0, 1.0]);
    assert!(matches!(
        tape.gradients(&y, seed, &[]),
        Err(Error::NoGradient(_))
    ));
}

#[test]
fn unrelated_variables_have_no_gradient() {
    let (_, tape) = tape();
    let x = tape.parameter(tensor(&tape, &[1], &[1.0]));
    let other = tape.parameter(tensor(&tape, &[1], &[1.0]));
    let y = tape.activate(&x, Activation::Relu).unwrap();
    let seed = || tensor(&tape, &[1], &[1.0]);
    assert!(matches!(
        tape.gradients(&y, seed(), &[&other]),
        Err(Error::NoGradient(_))
    ));
    let wrong = tensor(&tape, &[2], &[1.0, 1.0]);
    assert!(tape.gradients(&y, wrong, &[&x]).is_err());
}

#[test]
fn shape_errors_name_both_shapes() {
    let (_, tape) = tape();
    let zeros =
        |dims: &[usize]| tape.constant(tensor(&tape, dims, &vec![0.0; dims.iter().product()]));
    let (stride, padding) = ([2, 2], Padding::default());
    let image = zeros(&[2, 8, 8, 3]);
    let settings = BatchNormSettings {
        epsilon: 1e-5,
        slope: 1.0,
    };
    let complaints = [
        tape.linear(&zeros(&[2, 5]), &zeros(&[4, 6]), &zeros(&[4]))
            .unwrap_err(),
        tape.linear(&zeros(&[2, 6]), &zeros(&[4, 6]), &zeros(&[5]))
            .unwrap_err(),
        tape.conv2d(&image, &zeros(&[5, 5, 4, 7]), &zeros(&[7]), stride, padding)
            .unwrap_err(),
        tape.conv_transpose2d(&image, &zeros(&[5, 5, 7, 4]), &zeros(&[7]), stride, padding)
            .unwrap_err(),
        tape.batch_norm_training(&image, 1, &zeros(&[4]), &zeros(&[4]), settings)
            .unwrap_err(),
        tape.add(&image, &zeros(&[2, 8, 8, 4])).unwrap_err(),
        tape.reshape(&image, [2, 190]).unwrap_err(),
    ];
    let expected = [
        "linear: x has shape [2×5], which does not fit weight of shape [4×6]",
        "linear: bias has shape [5], which does not fit weight of shape [4×6]",
        "conv2d: x has shape [2×8×8×3], which does not fit weight of shape [5×5×4×7]",
        "conv_transpose2d: x has shape [2×8×8×3], which does not fit weight of shape [5×5×7×4]",
        "batch_norm: scale has shape [4], which does not fit x of shape [2×8×8×3]",
        "add: a has shape [2×8×8×3], which does not fit b of shape [2×8×8×4]",
        "reshape: the tensor has shape [2×8×8×3], which does not fit the result of shape [2×190]",
    ];
    for (complaint, expected) in complaints.iter().zip(expected) {
        assert_eq!(complaint.to_string(), expected);
    }
    let tall = Padding {
        begin: [5, 0],
        end: [0, 0],
    };
    for (kernel, padding) in [([9, 9], padding), ([5, 5], tall)] {
        let weight = zeros(&[kernel[0], kernel[1], 3, 1]);
        assert!(
            tape.conv2d(&image, &weight, &zeros(&[1]), stride, padding)
                .is_err()
        );
    }
    assert!(
        tape.conv2d(&image, &zeros(&[3, 3, 3, 1]), &zeros(&[1]), [0, 1], padding)
            .is_err()
    );
}

#[test]
fn what_is_in_use_is_not_overwritten() {
    let (_, tape) = tape();
    let running = tensor(&tape, &[1], &[1.0]);
    let shared = running.clone();
    let mut running = running;
    let batch = tensor(&tape, &[1], &[2.0]);
    let refused = tape.backend().run(Op::UpdateRunning {
        running: &mut running,
        batch: &batch,
        momentum: 0.5,
        factor: 1.0,
    });
    assert!(matches!(refused, Err(Error::StillShared { .. })));
    drop(shared);
    tape.backend()
        .run(Op::UpdateRunning {
            running: &mut running,
            batch: &batch,
            momentum: 0.5,
            factor: 1.0,
        })
        .unwrap();
    assert_eq!(values(&tape, &running), [1.5]);
}

#[test]
fn memory_beside_a_tensor_is_watched() {
    let (_, tape) = tape();
    let tensor = tensor(&tape, &[3], &[1.0, 2.0, 3.0]);
    CpuBackend::check_guards(&tensor).unwrap();
    let fresh = tape.backend().empty(Shape::from([4])).unwrap();
    assert!(values(&tape, &fresh).iter().all(|value| value.is_nan()));
}
