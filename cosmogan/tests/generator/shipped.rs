//! The generator embedded in the library, and the message of a program built without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed")]

#[test]
#[cfg(not(feature = "embed-weights"))]
fn weights_must_be_given_to_a_program_without() {
    use support::{refused, text};
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("maps.npy");
    let generate = ["generate", "--count", "1", "--out", text(&out)];
    refused(&generate, 2, &["--weights", "embed-weights"]);
}

#[cfg(feature = "embed-weights")]
mod embedded {
    use std::path::Path;
    use std::sync::Arc;

    use cosmogan::Generator;
    use cosmogan::data::MapSet;
    use cosmogan::generator::shipped;
    use cosmogan::model::{NetworkKind, weights};
    use cosmogan_engine::backend::Backend;
    use cosmogan_engine::backend::cpu::CpuBackend;

    use crate::support::{refused, succeed, text};

    #[test]
    fn the_program_makes_maps_without_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("maps.npy");
        let generate = ["generate", "--device", "cpu", "--out", text(&out)];
        succeed(&[&generate[..], &["--count", "3", "--seed", "9"]].concat());
        let generator = Generator::shipped().unwrap();
        let maps = MapSet::read(&out).unwrap();
        assert_eq!(maps.values(), generator.sample(3, 9).unwrap());
        refused(
            &[&generate[..], &["--count", "0"]].concat(),
            2,
            &["--count"],
        );

        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("generator/weights/generator.safetensors");
        let loaded = Generator::load(file).unwrap();
        assert_eq!(loaded.sample(3, 9).unwrap(), maps.values());
    }

    #[test]
    fn devices_other_than_the_processor_take_it_too() {
        let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());
        let (name, kind) = (Path::new(shipped::NAME), NetworkKind::Generator);
        let network = weights::from_bytes(name, shipped::WEIGHTS, kind, &backend).unwrap();
        assert_eq!(network.config(), Generator::shipped().unwrap().config());
    }

    /// Maps have about the mean and standard deviation of κ that docs/shipped-weights.md states.
    #[test]
    fn maps_are_those_of_convergence() {
        let maps = Generator::shipped().unwrap().sample(200, 1).unwrap();
        let count = maps.len() as f64;
        let mean = maps.iter().copied().map(f64::from).sum::<f64>() / count;
        let squares = maps.iter().map(|&value| (f64::from(value) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((0.012..0.025).contains(&deviation), "{deviation}");
    }
}
