//! Measured peak rates of the CPU.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;

use crate::backend::cpu::multiply_rows;

/// An f32 GEMM on all threads; each thread computes a block of rows, as in the engine.
#[derive(Debug)]
pub struct MatrixProduct {
    extents: [usize; 3],
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl MatrixProduct {
    /// A product of an m×k and a k×n matrix.
    pub fn new(m: usize, n: usize, k: usize) -> Self {
        let noise = |length: usize| (0..length).map(|i| (i as f32 * 0.7).sin()).collect();
        Self {
            extents: [m, n, k],
            a: noise(m * k),
            b: noise(k * n),
            c: vec![0.0; m * n],
        }
    }

    /// Number of multiplications and additions.
    pub fn operations(&self) -> f64 {
        2.0 * self.extents.iter().product::<usize>() as f64
    }

    /// Multiplies once; returns the time in seconds.
    pub fn run(&mut self) -> f64 {
        let [m, n, k] = self.extents;
        let rows = m.div_ceil(rayon::current_num_threads());
        let b = &self.b;
        let started = Instant::now();
        self.c
            .par_chunks_mut(rows * n)
            .zip(self.a.par_chunks(rows * k))
            .for_each(|(c, a)| multiply_rows([c.len() / n, n, k], a, b, c));
        started.elapsed().as_secs_f64()
    }
}

/// A copy between two buffers larger than any cache, on all threads.
#[derive(Debug)]
pub struct Copy {
    from: Vec<f32>,
    to: Vec<f32>,
}

impl Copy {
    /// Allocates two buffers of 256 MiB, or of the size of the last-level cache if that is larger.
    #[expect(clippy::new_without_default, reason = "this allocates half a gigabyte")]
    pub fn new() -> Self {
        Self::of(cache_bytes().max(256 << 20))
    }

    /// Allocates two buffers of `bytes` bytes.
    pub fn of(bytes: usize) -> Self {
        let length = bytes / size_of::<f32>();
        Self {
            from: vec![1.0; length],
            to: vec![0.0; length],
        }
    }

    /// Bytes read and written by one copy.
    pub fn bytes(&self) -> f64 {
        2.0 * size_of_val(&self.from[..]) as f64
    }

    /// Copies once; returns the time in seconds.
    pub fn run(&mut self) -> f64 {
        let started = Instant::now();
        self.to
            .par_chunks_mut(1 << 20)
            .zip(self.from.par_chunks(1 << 20))
            .for_each(|(to, from)| to.copy_from_slice(from));
        started.elapsed().as_secs_f64()
    }
}

/// Size of the CPU's last-level cache in bytes, as reported by Linux; 64 MiB if unknown.
pub fn cache_bytes() -> usize {
    let folder = Path::new("/sys/devices/system/cpu/cpu0/cache");
    let sizes = (0..8).filter_map(|index| {
        let text = fs::read_to_string(folder.join(format!("index{index}/size"))).ok()?;
        let (digits, unit) = text.trim().split_at(text.trim().len().checked_sub(1)?);
        let unit = match unit {
            "K" => 1 << 10,
            "M" => 1 << 20,
            _ => return None,
        };
        Some(digits.parse::<usize>().ok()? * unit)
    });
    sizes.max().unwrap_or(64 << 20)
}

/// CPU clock in Hz, as reported by the operating system.
///
/// This is the mean over all cores of the current values of the frequency driver, or else of `/proc/cpuinfo`. In a
/// virtual machine it may be a nominal value; see [`chain_rate`].
pub fn reported_clock() -> Option<f64> {
    let mean = |values: Vec<f64>| {
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let cores = fs::read_dir("/sys/devices/system/cpu").ok()?;
    let kilohertz: Vec<f64> = cores
        .flatten()
        .filter_map(|core| {
            let text = fs::read_to_string(core.path().join("cpufreq/scaling_cur_freq")).ok()?;
            text.trim().parse().ok()
        })
        .collect();
    if let Some(value) = mean(kilohertz) {
        return Some(1e3 * value);
    }
    let information = fs::read_to_string("/proc/cpuinfo").ok()?;
    let megahertz: Vec<f64> = information
        .lines()
        .filter(|line| line.starts_with("cpu MHz"))
        .filter_map(|line| line.split_once(':')?.1.trim().parse().ok())
        .collect();
    mean(megahertz).map(|value| 1e6 * value)
}

/// Links per second of a chain of dependent integer operations.
///
/// This is proportional to the actual clock of the core, whatever the operating system reports. Returns the best of
/// several attempts, so that interrupts have no effect.
pub fn chain_rate() -> f64 {
    const LINKS: u64 = 200_000;
    let attempt = || {
        let mut value = black_box(1u64);
        let started = Instant::now();
        for _ in 0..LINKS {
            value = (value ^ (value >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        black_box(value);
        LINKS as f64 / started.elapsed().as_secs_f64()
    };
    (0..10).map(|_| attempt()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_count_what_they_do() {
        let mut product = MatrixProduct::new(5, 6, 7);
        assert!(product.run() > 0.0);
        assert_eq!(product.operations(), 420.0);
        let expected: f32 = (0..7)
            .map(|k| product.a[7 + k] * product.b[6 * k + 2])
            .sum();
        assert!((product.c[6 + 2] - expected).abs() < 1e-5);
        let mut copy = Copy::of(4096);
        assert_eq!(copy.bytes(), 8192.0);
        copy.run();
        assert!(copy.to.iter().all(|&value| value == 1.0));
        assert!(cache_bytes() > 0 && chain_rate() > 0.0);
    }
}
