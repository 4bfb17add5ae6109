//! Measured peaks of the device: the rates of a copy and of a GEMM, measured in the same run as the profile.

use cosmogan_engine::Shape;
use cosmogan_engine::backend::{Backend, Epilogue, Op};
use cosmogan_engine::profile::ceiling::{Copy, MatrixProduct};
use cosmogan_engine::profile::{Instruments, Profiled};

use super::record::{Ceilings, Rate};
use super::samples::{median, noise};
use crate::error::Result;

/// Extent of the GEMM on a CPU: suits the caches of a core.
const PROCESSOR: usize = 1024;
/// Extent of the GEMM on a GPU: enough blocks for several waves.
const GPU: usize = 4096;
/// Runs of each measurement, both before and after the profile.
const RUNS: usize = 5;

/// Samples of the peak rates, taken before and after the profile, so that they reflect the state of the machine during
/// it.
#[derive(Debug, Default)]
pub(super) struct RateSamples {
    copy: Vec<f64>,
    product: Vec<f64>,
    rounded_product: Vec<f64>,
}

impl RateSamples {
    /// Takes a few samples of each rate.
    pub(super) fn sample(&mut self, device: &Profiled) -> Result<()> {
        match device.instruments() {
            None => self.sample_processor(),
            Some(instruments) => self.sample_gpu(device, instruments)?,
        }
        Ok(())
    }

    fn sample_processor(&mut self) {
        let mut product = MatrixProduct::new(PROCESSOR, PROCESSOR, PROCESSOR);
        product.run();
        let mut copy = Copy::new();
        copy.run();
        for _ in 0..RUNS {
            self.product.push(product.operations() / product.run());
            self.copy.push(copy.bytes() / copy.run());
        }
    }

    fn sample_gpu(&mut self, device: &Profiled, instruments: &dyn Instruments) -> Result<()> {
        let bytes = (4 * instruments.cache_bytes()).max(256 << 20);
        let launcher = device
            .launcher()
            .expect("a device with a clock takes kernels");
        let memory = launcher.device();
        let (from, to) = (memory.allocate(bytes)?, memory.allocate(bytes)?);
        for _ in 0..=RUNS {
            let begin = instruments.mark()?;
            instruments.copy(&*from, &*to, bytes)?;
            let end = instruments.mark()?;
            let seconds = instruments.seconds_between(begin, end)?;
            self.copy.push(2.0 * bytes as f64 / seconds);
        }
        instruments.clear_marks();
        // The first copy touches fresh memory.
        let first = self.copy.len() - RUNS - 1;
        self.copy.remove(first);
        drop((from, to));
        match device.in_f32()? {
            None => sample_product(device, &mut self.product),
            Some(in_f32) => {
                sample_product(device, &mut self.rounded_product)?;
                sample_product(&in_f32, &mut self.product)
            }
        }
    }

    /// The measured peaks: medians of all samples.
    pub(super) fn finish(&self, device: &Profiled) -> Ceilings {
        let rate = |samples: &[f64]| Rate {
            per_second: median(samples),
            noise: noise(samples),
        };
        let method = if device.launches() {
            format!(
                "a copy by the driver of at least 256 MiB and four times the last-level cache, and a GEMM of {GPU}³ by the fastest of this program's kernels, each {RUNS} times before and {RUNS} times after"
            )
        } else {
            format!(
                "a copy of at least 256 MiB and the last cache, and a product of {PROCESSOR}³ by the gemm-f32 crate, both on all threads, each {RUNS} times before and {RUNS} times after"
            )
        };
        Ceilings {
            copy: rate(&self.copy),
            product: rate(&self.product),
            rounded_product: (!self.rounded_product.is_empty())
                .then(|| rate(&self.rounded_product)),
            method,
        }
    }
}

/// Samples the rate of a linear layer's GEMM, without packing of operands.
fn sample_product(device: &Profiled, rates: &mut Vec<f64>) -> Result<()> {
    let values: Vec<f32> = (0..GPU * GPU).map(|i| (i as f32 * 0.7).sin()).collect();
    let square = device.upload(Shape::from([GPU, GPU]), &values)?;
    let bias = device.upload(Shape::from([GPU]), &values[..GPU])?;
    let mut y = device.empty(square.shape().clone())?;
    for run in 0..=RUNS {
        device.start();
        device.run(Op::Linear {
            x: &square,
            weight: &square,
            bias: &bias,
            epilogue: Epilogue::None,
            y: &mut y,
        })?;
        let samples = device.finish()?;
        let product = samples
            .iter()
            .max_by(|a, b| a.work.operations.total_cmp(&b.work.operations));
        if let Some(product) = product
            && let Some(seconds) = product.seconds
            && run > 0
        {
            rates.push(product.work.operations / seconds);
        }
    }
    Ok(())
}
