//! The list of all kernels, and of the modules that are compiled from them.

use crate::convolution::ConvProduct;
use crate::convolution::ConvShape;
use crate::kernel::{Kernel, Module};
use crate::precision::Precision;
use crate::tier::Tier;
use crate::tuning::Problem;
use crate::{
    adam, batch_norm, convolution, data, elementwise, implicit_gemm, implicit_gemm_hopper,
    implicit_gemm_hopper_wgrad, linear, loss, pack, reduce, single_channel,
};

/// All kernels, by family.
pub static MANIFEST: [&Kernel; 35] = [
    &convolution::FPROP,
    &convolution::DGRAD,
    &convolution::WGRAD,
    &implicit_gemm::FPROP,
    &implicit_gemm::DGRAD,
    &implicit_gemm::WGRAD,
    &implicit_gemm_hopper::FPROP,
    &implicit_gemm_hopper::DGRAD,
    &implicit_gemm_hopper_wgrad::WGRAD,
    &pack::ROWS,
    &pack::TRANSPOSED,
    &single_channel::FPROP,
    &single_channel::DGRAD,
    &single_channel::WGRAD,
    &linear::DOT,
    &batch_norm::SLICES,
    &batch_norm::COMBINE,
    &batch_norm::NORMALISE,
    &batch_norm::GRADIENT_SLICES,
    &batch_norm::GRADIENT,
    &elementwise::LEAKY_RELU,
    &elementwise::LEAKY_RELU_GRADIENT,
    &elementwise::TANH,
    &elementwise::TANH_GRADIENT,
    &elementwise::ADD,
    &elementwise::COPY,
    &elementwise::UPDATE_RUNNING,
    &loss::BCE,
    &loss::BCE_GRADIENT,
    &reduce::PARTIALS,
    &reduce::TOTALS,
    &reduce::SQUARE_PARTIALS,
    &adam::ADAM,
    &data::GATHER,
    &data::GATHER_HALF,
];

/// Every module that the paper's model uses with GEMM operands of this format.
pub fn modules_for(operand: Precision) -> Vec<Module> {
    let mut modules: Vec<Module> = MANIFEST
        .iter()
        .filter(|kernel| !SPECIALISED.contains(&kernel.source))
        .map(|kernel| Module::new(kernel, Vec::new()))
        .collect();
    // Linear layers have a 1×1 window, which has no compile-time constants.
    let (convolution, linear) = (shape([5, 5], 128), shape([1, 1], 128));
    for to in [Precision::F32, operand] {
        modules.push(single_channel::fprop(to, &convolution).module);
        modules.push(
            elementwise::leaky_relu_gradient([to, Precision::F32, Precision::F32], 1, 1).module,
        );
        modules.push(batch_norm::normalise([Precision::F32, to], [1; 3]).module);
        modules.push(batch_norm::gradient([Precision::F32, Precision::F32, to], [1; 3]).module);
    }
    if operand == Precision::Bf16 {
        // Activations between GEMMs and normalisations are stored in bf16.
        modules.push(elementwise::leaky_relu_gradient([operand; 3], 1, 1).module);
        modules.push(reduce::partials(operand, 1, 1).module);
        for formats in [
            [operand; 3],
            [operand, operand, Precision::F32],
            [operand, Precision::F32, operand],
        ] {
            modules.push(batch_norm::gradient(formats, [1; 3]).module);
        }
    }
    modules.push(convolution::fprop(&convolution).module);
    modules.push(convolution::fprop(&linear).module);
    modules.push(pack::rows(operand, 1, 1).module);
    modules.push(batch_norm::combine([1; 3]).launch.module);
    for shape in [convolution, linear, shape([5, 5], 64)] {
        for product in [ConvProduct::Fprop, ConvProduct::Wgrad] {
            modules.extend(default_module(product, operand, &shape));
        }
    }
    modules.sort();
    modules.dedup();
    modules
}

/// The module of a tiled GEMM with its default configuration.
fn default_module(product: ConvProduct, operand: Precision, shape: &ConvShape) -> Option<Module> {
    let problem = Problem::new(product, operand, shape, false);
    problem.module(&problem.default_config())
}

/// Modules of the Hopper kernels that replace some of the modules above on compute capability 9.0.
pub fn hopper_modules_for(operand: Precision) -> Vec<Module> {
    let shapes = [128, 64].map(|outputs| ConvShape {
        batch: 64,
        channels: 64,
        ..shape([5, 5], outputs)
    });
    // Both shapes have 64 channels, so that dgrad computes two phases per tile.
    let problems = shapes.iter().flat_map(|shape| {
        ConvProduct::ALL.map(|product| Problem::new(product, operand, shape, true))
    });
    let mut modules: Vec<Module> = problems
        .filter(|problem| problem.tier == Tier::Hopper)
        .filter_map(|problem| problem.module(&problem.default_config()))
        .collect();
    modules.sort();
    modules.dedup();
    modules
}

/// Every module that the paper's model uses in any precision, and those for any other window.
pub fn modules() -> Vec<Module> {
    let any_window = shape([3, 3], 64);
    let mut modules = Vec::new();
    for operand in [Precision::F32, Precision::Bf16, Precision::Tf32] {
        modules.extend(modules_for(operand));
        modules.extend(hopper_modules_for(operand));
        modules.extend(default_module(ConvProduct::Fprop, operand, &any_window));
        modules.push(single_channel::fprop(operand, &any_window).module);
    }
    modules.sort();
    modules.dedup();
    modules
}

/// Sources whose modules have constants.
const SPECIALISED: [&str; 9] = [
    "batch_norm.cu",
    "convolution.cu",
    "elementwise.cu",
    "implicit_gemm.cu",
    "implicit_gemm_hopper.cu",
    "implicit_gemm_hopper_wgrad.cu",
    "implicit_gemm_wgrad.cu",
    "pack.cu",
    "single_channel.cu",
];

/// A shape with the window and the number of columns that determine a module.
fn shape(kernel: [usize; 2], outputs: usize) -> ConvShape {
    ConvShape {
        batch: 1,
        input: [16, 16],
        channels: 1,
        output: [8, 8],
        outputs,
        kernel,
        stride: [2, 2],
        begin: [0, 0],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sources::FAMILIES;
    use crate::{Sources, tensor_map};

    #[test]
    fn the_manifest_and_the_sources_name_the_same_kernels() {
        let mut defined = BTreeSet::new();
        for (file, text) in FAMILIES {
            for rest in text.split("__global__").skip(1) {
                let head = rest.split('(').next().unwrap_or_default();
                // A launch bound may stand between `void` and the name.
                let head = if head.contains("__launch_bounds__") {
                    rest.split(')')
                        .nth(1)
                        .and_then(|rest| rest.split('(').next())
                } else {
                    Some(head)
                };
                let name = head.unwrap_or_default().split_whitespace().last();
                defined.insert((*file, name.unwrap_or_default()));
            }
        }
        let listed: BTreeSet<_> = MANIFEST
            .iter()
            .map(|kernel| (kernel.source, kernel.name))
            .collect();
        assert_eq!(listed.len(), MANIFEST.len());
        assert_eq!(defined, listed);
    }

    #[test]
    fn every_kernel_is_in_a_module() {
        let modules = modules();
        for kernel in MANIFEST {
            let compiled = modules.iter().any(|module| module.source == kernel.source);
            assert!(compiled, "{}", kernel.name);
        }
    }

    #[test]
    fn what_rust_and_cuda_both_know_agrees() {
        let constants = [
            ("adam.cu", "CHUNK", adam::CHUNK),
            ("adam.cu", "MOST_TENSORS", adam::MOST_TENSORS),
            ("batch_norm.cu", "SLICE", batch_norm::SLICE),
            ("moments.cuh", "SLICE_PIXELS", batch_norm::SLICE_PIXELS),
            ("reduce.cu", "SLICE", reduce::SLICE),
            ("reduce.cu", "SQUARES", reduce::SQUARES),
            ("single_channel.cu", "LANES", single_channel::LANES),
            ("single_channel.cu", "WARPS", single_channel::WARPS),
            (
                "single_channel.cu",
                "PER_THREAD",
                single_channel::PER_THREAD,
            ),
            ("single_channel.cu", "PATCH", single_channel::PATCH),
            ("single_channel.cu", "TILE", single_channel::TILE),
            ("single_channel.cu", "CHANNELS", single_channel::CHANNELS),
            ("single_channel.cu", "STAGED", single_channel::STAGED),
            ("single_channel.cu", "MOST_TAPS", single_channel::MOST_TAPS),
            (
                "implicit_gemm.cu",
                "THREADS",
                implicit_gemm::THREADS as usize,
            ),
            (
                "implicit_gemm_wgrad.cu",
                "THREADS",
                implicit_gemm::THREADS as usize,
            ),
            (
                "implicit_gemm_hopper_wgrad.cu",
                "SLAB_PIXELS",
                implicit_gemm_hopper_wgrad::SLAB,
            ),
            ("hopper.cuh", "SLAB_BYTES", tensor_map::BOX_BYTES),
        ];
        let sources = Sources::built_in();
        for (file, name, value) in constants {
            let line = format!("constexpr int {name} = {value};");
            let text = [sources.family(file), sources.header(file)].concat();
            assert!(text.contains(&line), "{file} lacks `{line}`");
        }
    }
}
