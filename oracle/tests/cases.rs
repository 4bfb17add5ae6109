//! Cases as text, and the contents of the lists of cases.

use cosmogan_oracle::cases::{Kind, Model};
use cosmogan_oracle::{Case, Operator};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_printed_case_can_be_pasted_back(kind in 0..Kind::ALL.len(), seed in any::<u64>()) {
        let case = Case::random(Kind::ALL[kind], seed);
        prop_assert_eq!(case.to_string().parse(), Ok(case));
        for simpler in case.shrink() {
            prop_assert_eq!(simpler.to_string().parse(), Ok(simpler));
        }
    }

    #[test]
    fn shrinking_ends(kind in 0..Kind::ALL.len(), seed in any::<u64>()) {
        let mut case = Case::random(Kind::ALL[kind], seed);
        let mut steps = 0;
        while let Some(simpler) = case.shrink().first().copied() {
            prop_assert!(simpler != case);
            case = simpler;
            steps += 1;
            prop_assert!(steps < 100);
        }
    }

    #[test]
    fn operands_are_what_f32_can_hold(kind in 0..Kind::ALL.len(), seed in any::<u64>()) {
        let case = Case::random(Kind::ALL[kind], seed);
        for operand in case.operands() {
            prop_assert_eq!(operand.values.len(), operand.dims.iter().product::<usize>());
            for value in operand.values {
                prop_assert_eq!(f64::from(value as f32), value);
            }
        }
    }
}

#[test]
fn the_papers_model_has_these_convolutions() {
    let cases = Case::model_set(&Model::PAPER, 2, 0);
    let lines: Vec<String> = cases.iter().map(ToString::to_string).collect();
    for expected in [
        "linear rows=2 inputs=64 outputs=131072 ",
        "conv_transpose2d n=2 h=16 w=16 c=512 k=256 kernel=5x5 stride=2x2 pad=1,1,2,2 ",
        "conv_transpose2d n=2 h=128 w=128 c=64 k=1 kernel=5x5 stride=2x2 pad=1,1,2,2 ",
        "conv2d n=2 h=256 w=256 c=1 k=64 kernel=5x5 stride=2x2 pad=1,1,2,2 ",
        "conv2d n=2 h=32 w=32 c=256 k=512 kernel=5x5 stride=2x2 pad=1,1,2,2 ",
        "linear rows=2 inputs=131072 outputs=1 ",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "{expected}"
        );
    }
    // 5.1 GFLOP per generated map: the paper's generator, counted without multiplications by inserted zeros.
    let transposed: f64 = cases
        .iter()
        .filter(|case| matches!(case.operator, Operator::ConvTranspose2d(_)))
        .map(Case::operations)
        .sum();
    let per_map = transposed / 2.0;
    assert!((4.9e9..5.2e9).contains(&per_map), "{per_map}");
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    for (line, reason) in [
        ("", "empty"),
        ("conv3d n=1 seed=0", "conv3d"),
        ("relu length=0 seed=0", "length"),
        ("relu length=x seed=0", "length=x"),
        ("relu seed=4", "length"),
        ("batch_norm_training rows=2 channels=3 seed=4", "slope"),
        ("copy length=4", "no case"),
        (
            "relu n=99999999 h=99999999 w=99999999 c=1",
            "too many values",
        ),
        ("relu length 4", "length"),
        (
            "gather n=1 h=4 w=4 c=1 crops=1 rows=5 columns=1 seed=0",
            "larger than the maps",
        ),
        (
            "conv2d n=1 h=1 w=1 c=1 k=1 kernel=5x5 stride=1x1 pad=0,0,0,0 seed=0",
            "output is empty",
        ),
        (
            "conv2d n=1 h=9 w=9 c=1 k=1 kernel=5 stride=1x1 pad=0,0,0,0 seed=0",
            "kernel=5",
        ),
        (
            "conv2d n=1 h=9 w=9 c=1 k=1 kernel=5x5 stride=0x1 pad=0,0,0,0 seed=0",
            "output is empty",
        ),
    ] {
        let error = line.parse::<Case>().unwrap_err();
        assert!(error.contains(reason), "{line}: {error}");
    }
}

/// Words that a case does not have would describe another operator than the one that is checked.
#[test]
fn lines_that_do_not_mean_what_they_say_are_refused() {
    let transposed =
        "conv_transpose2d n=1 h=4 w=4 c=2 k=2 kernel=3x3 stride=1x1 pad=0,0,0,0 seed=1";
    assert!(transposed.parse::<Case>().is_ok());
    let problem = |line: &str| line.parse::<Case>().expect_err(line);
    for (word, expected) in [
        ("groups=2", "`groups=2` is unknown"),
        ("output_padding=1", "`output_padding=1` is unknown"),
        ("dilation=1", "`dilation=1` is unknown"),
        ("n=2", "`n=` is given twice, as 1 and as 2"),
        ("n=1", "`n=` is given twice, as 1 and as 1"),
    ] {
        let found = problem(&format!("{transposed} {word}"));
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(problem("relu length=7 slope=0.2 seed=1").contains("`slope=0.2` is unknown"));
    for vast in [
        "conv2d n=99999999999 h=4 w=4 c=2 k=2 kernel=3x3 stride=1x1 pad=0,0,0,0 seed=1",
        "conv2d n=2 h=4 w=4 c=2 k=2 kernel=3x3 stride=1x1 pad=0,0,0,18446744073709551615 seed=1",
        "relu length=18446744073709551615 seed=1",
    ] {
        problem(vast);
    }
    let many =
        "conv2d n=2000000000 h=2000000000 w=4 c=2 k=2 kernel=3x3 stride=1x1 pad=0,0,0,0 seed=1";
    assert!(problem(many).contains("values"));
}
