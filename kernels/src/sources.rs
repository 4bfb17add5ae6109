//! The sources, as part of the program: nothing has to be found at run time.

macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../", $folder, "/", $name)))),*]
    };
}

/// The kernel families by file name.
pub(crate) const FAMILIES: &[(&str, &str)] = files!("cuda":
    "adam.cu",
    "batch_norm.cu",
    "convolution.cu",
    "data.cu",
    "elementwise.cu",
    "implicit_gemm.cu",
    "implicit_gemm_hopper.cu",
    "implicit_gemm_hopper_wgrad.cu",
    "implicit_gemm_wgrad.cu",
    "linear.cu",
    "loss.cu",
    "pack.cu",
    "reduce.cu",
    "single_channel.cu",
);

/// What the families include, by file name.
pub const HEADERS: &[(&str, &str)] = files!("cuda":
    "activation.cuh",
    "epilogue.cuh",
    "hopper.cuh",
    "index.cuh",
    "mma.cuh",
    "moments.cuh",
    "normalise.cuh",
    "operand.cuh",
    "pipeline.cuh",
    "product.cuh",
    "reduce.cuh",
    "shared.cuh",
    "unrolled.cuh",
);

/// What a host compiler needs besides, by file name.
pub const SIMT_HEADERS: &[(&str, &str)] = files!("simt": "simt.h", "simt_hopper.h", "simt_mma.h");

/// The text of a file in `cuda/`; empty for a name that is not in the manifest.
pub fn source(name: &str) -> &'static str {
    FAMILIES
        .iter()
        .find(|(family, _)| *family == name)
        .map_or("", |(_, text)| text)
}
