//! Tables of `cosmogan tune`: found for the GPU on which they were measured, refused for any other.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::process::Output;

use crate::machine::{Machine, expect_failure, expect_line, stderr};
use cosmogan::tune::{Entry, Table, Time};
use cosmogan_engine::backend::launch::Gpu;
use cosmogan_engine::profile::{Extents, Kind, Operator};
use cosmogan_kernels::tuning::{Problem, Tile, TileConfig};
use cosmogan_kernels::{ConvProduct, Precision};

#[test]
fn choices_are_looked_up() {
    const SHAPE: &str = "n=1 h=16 w=16 c=16 k=32";
    let machine = Machine::new();
    let doctor = |machine: &Machine| {
        let output = machine.run(&["doctor"], &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        output
    };
    let says = |output: &Output, words: &str| {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(text.contains(words), "{words} is not in: {text}");
    };
    says(&doctor(&machine), "cuda:0: the default of each shape");

    // Kernels that do nothing are detected before anything is timed, and nothing is saved.
    let table = machine.path("cache").join("tuning-imaginary-0-sm_90.json");
    let tune = [
        "tune",
        "--device",
        "cuda",
        "--product",
        "fprop",
        "--shape",
        SHAPE,
    ];
    let output = machine.run(&tune, &[]);
    expect_failure(&output, &["fprop at n=1", "the default is off"]);
    assert!(!table.exists());

    // A table as a search would have saved it.
    let gpu = Gpu {
        name: "Imaginary 0".to_owned(),
        capability: 90,
        driver: [13, 0],
    };
    let Extents::Convolution(geometry) = Operator::of_kind(Kind::Fprop, SHAPE).unwrap().extents
    else {
        unreachable!("fprop is a convolution");
    };
    let problem = Problem::new(
        ConvProduct::Fprop,
        Precision::F32,
        &(&geometry).into(),
        true,
    );
    let tile_config = TileConfig {
        tile: Tile::new(64, 64, 3),
        ..problem.default_config()
    };
    let mut found = Table::on(&gpu);
    let time = Time {
        seconds: 1e-3,
        noise: 0.01,
        default_seconds: 2e-3,
    };
    found.set(Entry::new(&problem, &tile_config, time));
    found.write(&table).unwrap();
    says(&doctor(&machine), "cuda:0: 1 GEMMs as measured on this GPU");
    says(&machine.run(&tune, &[]), "found before");

    let profile = |more: &[&str]| {
        let arguments = [
            "profile",
            "--device",
            "cuda",
            "--no-verify",
            "--repeats",
            "1",
        ];
        let kernel = ["--kernel", "conv_fprop_tiled", "--shape", SHAPE];
        let output = machine.run(&[&arguments, &kernel[..], more].concat(), &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        output
    };
    says(&profile(&[]), "conv_fprop_tiled f32 64×64 3 stages");
    says(&profile(&[]), "cut: 1 GEMMs as measured on this GPU");
    let off = profile(&["--autotune", "off"]);
    says(&off, "conv_fprop_tiled f32 128×64 3 stages");
    says(&off, "cut: the default of each shape");

    let text = std::fs::read_to_string(&table).unwrap();
    for (right, wrong, words) in [
        (
            "Imaginary 0",
            "Imaginary 1",
            "was measured on Imaginary 1 (sm_90)",
        ),
        ("[13,0]", "[12,8]", "a driver of CUDA 12.8"),
        (env!("CARGO_PKG_VERSION"), "0.0.9", "is of version 0.0.9"),
        ("\"kernels\":\"", "\"kernels\":\"0", "other kernels"),
        ("\"format\": 1", "\"format\": 7", "has format 7"),
        ("[64,64]", "[63,64]", "no kernel has tiles of 63×64"),
        ("fprop", "fpropp", "no product `fpropp`"),
        ("\"slices\":1", "\"slices\":2", "2 slices"),
        ("\"entries\"", "\"entry\"", "is not a tuning table"),
        ("\n}\n", "", "is not a tuning table"),
    ] {
        assert!(text.contains(right), "{right}");
        std::fs::write(&table, text.replace(right, wrong)).unwrap();
        let output = doctor(&machine);
        let name = "tuning-imaginary-0-sm_90.json";
        expect_line(
            &output,
            &[name, words, "it is not used: run cosmogan tune again"],
        );
        says(&output, "cuda:0: the default of each shape");
    }
    std::fs::write(&table, [0xff, 0xfe, 0x00]).unwrap();
    expect_line(&doctor(&machine), &["tuning-imaginary", "cannot be read"]);
    // The unreadable table has no effect.
    says(&profile(&[]), "conv_fprop_tiled f32 128×64 3 stages");
}
