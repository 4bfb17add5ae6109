//! What this machine can do at most, measured and not looked up.
#![allow(
    unsafe_code,
    reason = "the matrix product is called without the engine around it"
)]

use std::time::Instant;

use rayon::prelude::*;

/// A matrix product of f32 on all threads: each thread multiplies its own block of rows, as the engine does.
#[derive(Debug)]
pub struct MatrixProduct {
    extents: [usize; 3],
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl MatrixProduct {
    /// m×k by k×n.
    pub fn new(m: usize, n: usize, k: usize) -> Self {
        let noise = |length: usize| (0..length).map(|i| (i as f32 * 0.7).sin()).collect();
        Self {
            extents: [m, n, k],
            a: noise(m * k),
            b: noise(k * n),
            c: vec![0.0; m * n],
        }
    }

    /// Multiplications and additions of one product.
    pub fn operations(&self) -> f64 {
        2.0 * self.extents.iter().product::<usize>() as f64
    }

    /// Multiplies once; returns seconds.
    pub fn run(&mut self) -> f64 {
        let [m, n, k] = self.extents;
        let rows = m.div_ceil(rayon::current_num_threads());
        let b = &self.b;
        let started = Instant::now();
        self.c
            .par_chunks_mut(rows * n)
            .zip(self.a.par_chunks(rows * k))
            .for_each(|(c, a)| {
                // SAFETY: `a` has c.len()/n rows of k elements, `b` k rows of n, `c` rows of n, all row-major.
                unsafe {
                    gemm::gemm(
                        c.len() / n,
                        n,
                        k,
                        c.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        a.as_ptr(),
                        1,
                        k as isize,
                        b.as_ptr(),
                        1,
                        n as isize,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        gemm::Parallelism::None,
                    );
                }
            });
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
    /// Of 256 MiB.
    #[expect(clippy::new_without_default, reason = "this allocates half a gigabyte")]
    pub fn new() -> Self {
        Self {
            from: vec![1.0; 1 << 26],
            to: vec![0.0; 1 << 26],
        }
    }

    /// Bytes read and written by one copy.
    pub fn bytes(&self) -> f64 {
        2.0 * size_of_val(&self.from[..]) as f64
    }

    /// Copies once; returns seconds.
    pub fn run(&mut self) -> f64 {
        let started = Instant::now();
        self.to
            .par_chunks_mut(1 << 20)
            .zip(self.from.par_chunks(1 << 20))
            .for_each(|(to, from)| to.copy_from_slice(from));
        started.elapsed().as_secs_f64()
    }
}
