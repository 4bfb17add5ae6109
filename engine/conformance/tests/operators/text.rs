//! Cases of the oracle and operators of a profile as text: each program reads what the other prints.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use cosmogan_conformance::convolution_of;
use cosmogan_engine::profile::{Extents, Kind, Operator};
use cosmogan_oracle::cases::{LEAKY_SLOPE, Model};
use cosmogan_oracle::operators::activation::Activation;
use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::operators::gather::Gather;
use cosmogan_oracle::operators::linear::Linear;
use cosmogan_oracle::{Case, Operator as Checked};

/// An operator as a profile prints it.
fn printed(operator: Operator) -> String {
    format!("{} {}", operator.kind.name(), operator.extents)
}

/// Kinds of operators that a case contains.
fn kinds(case: &Case) -> &'static [Kind] {
    match case.operator {
        Checked::Linear(_) => &[
            Kind::Linear,
            Kind::LinearDgrad,
            Kind::LinearWgrad,
            Kind::BiasGradient,
        ],
        Checked::Conv2d(_) | Checked::ConvTranspose2d(_) => {
            &[Kind::Fprop, Kind::Dgrad, Kind::Wgrad]
        }
        Checked::BatchNormTraining { .. } => &[
            Kind::BatchStatistics,
            Kind::Normalise,
            Kind::NormaliseGradient,
            Kind::UpdateRunning,
        ],
        Checked::BatchNormInference { .. } => &[Kind::Normalise],
        Checked::Activation { activation, .. } => match activation {
            Activation::Relu => &[Kind::Relu, Kind::ReluGradient],
            Activation::LeakyRelu { .. } => &[Kind::LeakyRelu, Kind::LeakyReluGradient],
            Activation::Tanh => &[Kind::Tanh, Kind::TanhGradient],
        },
        Checked::BceWithLogits { .. } => &[Kind::BceWithLogits, Kind::BceWithLogitsGradient],
        Checked::Adam { .. } => &[Kind::Adam],
        Checked::Add { .. } => &[Kind::Add],
        Checked::SquaredNorm { .. } => &[Kind::SquaredNorm],
        Checked::Gather(_) => &[Kind::Gather],
    }
}

fn convolution(operator: Operator) -> Convolution {
    let Extents::Convolution(geometry) = operator.extents else {
        panic!("{operator} is no convolution");
    };
    convolution_of(&(&geometry).into())
}

#[test]
fn a_profile_reads_every_case() {
    let cases = [
        Case::random_set(20, 3),
        Case::edge_set(),
        Case::hopper_set(),
        Case::model_set(&Model::PAPER, 2, 1),
    ];
    for case in cases.iter().flatten() {
        let line = case.to_string();
        for &kind in kinds(case) {
            let operator = Operator::of_kind(kind, &line).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(operator.kind, kind);
            let extents = operator.extents;
            match case.operator {
                Checked::Conv2d(shape) | Checked::ConvTranspose2d(shape) => {
                    assert_eq!(convolution(operator), shape, "{line}");
                }
                Checked::Linear(Linear {
                    rows,
                    inputs,
                    outputs,
                }) => assert_eq!(
                    extents,
                    match kind {
                        Kind::BiasGradient => Extents::Matrix {
                            rows,
                            channels: outputs
                        },
                        _ => Extents::Linear {
                            rows,
                            inputs,
                            outputs
                        },
                    }
                ),
                Checked::BatchNormTraining { rows, channels, .. }
                | Checked::BatchNormInference { rows, channels, .. } => assert_eq!(
                    extents,
                    match kind {
                        Kind::UpdateRunning => Extents::Values {
                            tensors: 1,
                            length: channels
                        },
                        _ => Extents::Matrix { rows, channels },
                    }
                ),
                Checked::Activation { length, .. }
                | Checked::BceWithLogits { length, .. }
                | Checked::Adam { length, .. }
                | Checked::Add { length }
                | Checked::SquaredNorm { length } => {
                    assert_eq!(extents, Extents::Values { tensors: 1, length });
                }
                Checked::Gather(shape) => {
                    let [batch, height, width, channels] = shape.crop_dims();
                    let size = [height, width];
                    let crops = Extents::Images {
                        batch,
                        size,
                        channels,
                    };
                    assert_eq!(extents, crops);
                }
            }
            // The extents alone are read as well, but not as those of a transposed convolution.
            assert_eq!(Operator::of_kind(kind, &extents.to_string()), Ok(operator));
            assert_eq!(Operator::of_kind(kind, &printed(operator)), Ok(operator));
        }
    }
}

#[test]
fn verify_reads_every_operator_of_a_profile() {
    for kind in Kind::ALL {
        let example = kind.form().split([',', ';']).next().unwrap();
        let mut shapes = vec![example];
        match kind {
            Kind::Normalise | Kind::BiasGradient | Kind::Relu => shapes.push("rows=6 channels=5"),
            Kind::Adam | Kind::SquaredNorm => shapes.push("tensors=3 length=77"),
            Kind::TanhGradient | Kind::UpdateRunning => shapes.push("length=77"),
            Kind::Dgrad => {
                shapes.push("n=2 h=9 w=8 c=3 k=4 kernel=3x2 stride=1x3 pad=0,1,2,0");
            }
            _ => {}
        }
        for shape in shapes {
            let operator = Operator::of_kind(kind, shape).unwrap();
            let case = printed(operator).parse::<Case>();
            if kind == Kind::Copy {
                assert!(case.unwrap_err().contains("no case"));
                continue;
            }
            let case = case.unwrap_or_else(|error| panic!("{operator}: {error}"));
            assert!(kinds(&case).contains(&kind), "{operator}: {case}");
            assert_eq!(case.seed, 1);
            let back = Operator::of_kind(kind, &case.to_string()).unwrap();
            assert_eq!(back.work(), operator.work(), "{operator}: {case}");
            assert_eq!(printed(back).parse(), Ok(case));
        }
    }
    let expected = [
        (
            "normalise n=2 h=3 w=4 c=5",
            Checked::BatchNormTraining {
                rows: 24,
                channels: 5,
                slope: LEAKY_SLOPE,
            },
        ),
        (
            "gather n=2 h=3 w=4 c=5",
            Checked::Gather(Gather {
                maps: 2,
                size: [3, 4],
                channels: 5,
                crops: 2,
                crop: [3, 4],
            }),
        ),
    ];
    for (line, operator) in expected {
        assert_eq!(line.parse(), Ok(Case { operator, seed: 1 }));
    }
}

#[test]
fn neither_passes_over_words() {
    const WINDOW: &str = "n=2 h=9 w=9 c=3 k=4 kernel=3x3 stride=1x1 pad=0,0,0,0";
    for (kind, shape, needle) in [
        (
            Kind::Relu,
            "conv2d n=2 h=9 w=9 c=3",
            "`conv2d` does not contain",
        ),
        (Kind::Fprop, "fprop relu n=2", "`relu` is not NAME=VALUE"),
        (
            Kind::Fprop,
            &format!("conv2d {WINDOW} groups=2"),
            "`groups=`",
        ),
        (
            Kind::Relu,
            "relu length=7 seed=x",
            "`seed=x` is not a number",
        ),
        (Kind::Relu, "relu length=7 slope=0.2", "`slope=`"),
        (Kind::Gather, "length=7", "how many channels"),
    ] {
        let problem = Operator::of_kind(kind, shape).unwrap_err();
        assert!(problem.contains(needle), "{problem}");
    }
    for (line, needle) in [
        (format!("dgrad {WINDOW} groups=2"), "`groups=2` is unknown"),
        (
            "linear_dgrad rows=2 inputs=3 outputs=4 n=1".to_owned(),
            "`n=1`",
        ),
        ("relu n=2 h=3 w=4 c=5 length=120".to_owned(), "`length=120`"),
        (
            "normalise rows=2 channels=3 slope=1".to_owned(),
            "`slope=1`",
        ),
        (
            "gather n=2 h=9 w=9 c=1 crops=2".to_owned(),
            "`rows=` is missing",
        ),
    ] {
        let problem = line.parse::<Case>().unwrap_err();
        assert!(problem.contains(needle), "{problem}");
    }
}
