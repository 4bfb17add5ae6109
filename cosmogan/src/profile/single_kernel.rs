//! A single operator in a loop, for `perf` and `ncu`.

use std::sync::Arc;

use cosmogan_engine::Shape;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::profile::{Extents, Kind, Operator};
use cosmogan_kernels::{MANIFEST, data};
use cosmogan_oracle::Case;

use super::job::{self, Job};
use super::workload::Workload;
use crate::error::{Error, Result};

/// An operator, optionally restricted to one of its kernels.
#[derive(Clone, Copy, Debug)]
pub struct SingleKernel {
    /// The operator.
    pub operator: Operator,
    /// The only kernel to launch; `None` for all.
    pub kernel: Option<&'static str>,
}

/// The kind of operator to which the kernel of this name belongs.
pub fn kind_of(kernel: &str) -> Option<Kind> {
    MANIFEST.iter().find(|listed| listed.name == kernel)?;
    let products = [
        ("fprop", Kind::Fprop),
        ("dgrad", Kind::Dgrad),
        ("wgrad", Kind::Wgrad),
        // Every GEMM packs its operands, with the same kernels.
        ("pack", Kind::Fprop),
    ];
    if let Some((_, kind)) = products.into_iter().find(|(word, _)| kernel.contains(word)) {
        return Some(kind);
    }
    Some(match kernel {
        "linear_dot" => Kind::Linear,
        "batch_norm_slices" | "batch_norm_combine" => Kind::BatchStatistics,
        "batch_norm_normalise" => Kind::Normalise,
        "batch_norm_gradient_slices" | "batch_norm_gradient" => Kind::NormaliseGradient,
        "hyperbolic_tangent" => Kind::Tanh,
        "hyperbolic_tangent_gradient" => Kind::TanhGradient,
        "column_partials" | "column_totals" => Kind::BiasGradient,
        "square_partials" => Kind::SquaredNorm,
        "gather_crops" | "gather_crops_half" => Kind::Gather,
        // All other kernels have the name of their operator.
        other => return other.parse().ok(),
    })
}

impl SingleKernel {
    /// Parses the name of an operator, or of a kernel if the device has kernels, and its extents.
    ///
    /// # Errors
    /// If there is no such operator or kernel, or the extents do not fit it; the message lists the tile_configs.
    pub fn parse(name: &str, shape: &str, has_kernels: bool) -> Result<Self> {
        let kernel = MANIFEST
            .iter()
            .map(|kernel| kernel.name)
            .find(|kernel| has_kernels && *kernel == name);
        // A name that an operator shares with its only kernel means the kernel.
        let kind = match kernel.and_then(kind_of) {
            Some(kind) => kind,
            None => name.parse().map_err(|_| unknown(name, has_kernels))?,
        };
        let operator =
            Operator::of_kind(kind, shape).map_err(|message| Error::refused("--shape", message))?;
        Ok(Self { operator, kernel })
    }

    /// The oracle's case that contains this operator.
    ///
    /// Returns `None` for padding as wide as the window, which the oracle does not support, and for a copy.
    pub fn case(&self) -> Option<Case> {
        let Operator { kind, extents } = self.operator;
        format!("{} {extents}", kind.name()).parse().ok()
    }

    /// Creates a workload with its own operands; each pass waits for the device.
    ///
    /// # Errors
    /// If the device's memory is too small.
    pub fn workload(&self, backend: &Arc<dyn Backend>) -> Result<Workload> {
        let mut job = self.job(backend)?;
        let token = backend.upload(Shape::from([1]), &[0.0])?;
        let backend = Arc::clone(backend);
        Ok(Workload::new(move || {
            job(&*backend)?;
            backend.download(&token)?;
            Ok(())
        }))
    }

    fn job(&self, backend: &Arc<dyn Backend>) -> Result<Job> {
        match self.operator.extents {
            Extents::Convolution(geometry) => {
                job::convolution(self.operator.kind, geometry, backend)
            }
            Extents::Linear {
                rows,
                inputs,
                outputs,
            } => job::linear(self.operator.kind, [rows, inputs, outputs], backend),
            extents if self.kernel == Some(data::GATHER_HALF.name) => {
                job::gather_half(&dims(extents), backend)
            }
            extents => job::elementwise(self.operator.kind, &dims(extents), backend),
        }
    }
}

fn unknown(name: &str, has_kernels: bool) -> Error {
    let operators = Kind::ALL.map(Kind::name).join(", ");
    if MANIFEST.iter().any(|kernel| kernel.name == name) {
        return Error::usage(
            "--kernel",
            format!("`{name}` is a GPU kernel"),
            format!("use --device cuda, or choose from {operators}"),
        );
    }
    let remedy = if has_kernels {
        let kernels: Vec<&str> = MANIFEST.iter().map(|kernel| kernel.name).collect();
        format!(
            "choose an operator ({operators}) or a kernel ({})",
            kernels.join(", ")
        )
    } else {
        format!("choose from {operators}")
    };
    Error::usage("--kernel", format!("unknown name `{name}`"), remedy)
}

fn dims(extents: Extents) -> Vec<usize> {
    match extents {
        Extents::Images {
            batch,
            size: [height, width],
            channels,
        } => vec![batch, height, width, channels],
        Extents::Matrix { rows, channels } => vec![rows, channels],
        Extents::Values { length, .. } => vec![length],
        // GEMMs have operands of different extents.
        Extents::Convolution(_) | Extents::Linear { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use cosmogan_engine::backend::cpu::CpuBackend;

    use super::*;

    #[test]
    fn every_operator_runs_alone_and_does_what_it_says() {
        let device = Arc::new(cosmogan_engine::profile::Profiled::on_processor(Arc::new(
            CpuBackend::new(),
        )));
        let backend: Arc<dyn Backend> = device.clone();
        for kind in Kind::ALL {
            let shape = match kind.form() {
                form if form.contains("k=256") => "n=2 h=8 w=6 c=3 k=5",
                form if form.contains("inputs") => "rows=2 inputs=3 outputs=4",
                form if form.contains("length") => "length=100",
                _ => "n=2 h=8 w=6 c=3",
            };
            let single = SingleKernel::parse(kind.name(), shape, false).unwrap();
            let mut workload = single.workload(&backend).unwrap();
            device.start();
            workload.run().unwrap();
            let samples = device.finish().unwrap();
            assert_eq!(samples.len(), 1, "{}", kind.name());
            assert_eq!(samples[0].operator, single.operator);
            // Only operators that move values have no operations.
            let moves = matches!(kind, Kind::Copy | Kind::Gather);
            assert_eq!(single.operator.work().operations > 0.0, !moves);
            assert_eq!(single.case().is_some(), kind != Kind::Copy);
        }
    }

    #[test]
    fn every_kernel_belongs_to_an_operator() {
        for kernel in MANIFEST {
            assert!(kind_of(kernel.name).is_some(), "{}", kernel.name);
        }
        assert_eq!(kind_of("conv_dgrad_tiled"), Some(Kind::Dgrad));
        assert_eq!(kind_of("nothing"), None);
    }
}
