//! FFTs of real fields on a periodic cubic mesh.
//!
//! A mesh is stored in (x, y, z) order with z contiguous. Its spectrum is Hermitian; only the half with 0 ≤ k_z ≤ n/2
//! is stored.

use std::sync::Arc;

use cosmogan_fft::num_complex::Complex32;
use cosmogan_fft::{ComplexToReal, Fft, RealToComplex};
use rayon::prelude::*;

/// Columns transformed together, so that whole cache lines are read and written.
const COLUMNS: usize = 32;
/// Padding between buffer columns.
/// A power-of-two stride would map all of them to the same cache sets.
const GAP: usize = 8;

/// FFT plans for meshes of one size.
pub(super) struct Fourier {
    side: usize,
    along_z: Arc<dyn RealToComplex<f32>>,
    back_along_z: Arc<dyn ComplexToReal<f32>>,
    along_columns: Arc<dyn Fft<f32>>,
    back_along_columns: Arc<dyn Fft<f32>>,
}

/// Buffers of one thread, reused between transforms.
struct Workspace {
    columns: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Fourier {
    /// Plans transforms for meshes of `side`³, where `side` is even.
    pub(super) fn new(side: usize) -> Self {
        let [along_columns, back_along_columns] = cosmogan_fft::f32::complex(side);
        Self {
            side,
            along_z: cosmogan_fft::f32::real(side),
            back_along_z: cosmogan_fft::f32::real_inverse(side),
            along_columns,
            back_along_columns,
        }
    }

    /// Points on a side.
    pub(super) fn side(&self) -> usize {
        self.side
    }

    /// Number of stored k_z modes per (k_x, k_y).
    pub(super) fn depth(&self) -> usize {
        self.side / 2 + 1
    }

    /// Allocates a mesh of zeros.
    pub(super) fn mesh(&self) -> Vec<f32> {
        vec![0.0; self.side.pow(3)]
    }

    /// Allocates a spectrum of zeros.
    pub(super) fn spectrum(&self) -> Vec<Complex32> {
        vec![Complex32::default(); self.side.pow(2) * self.depth()]
    }

    /// Wave number of row or column `index`, from −n/2 + 1 to n/2.
    /// The unit is the fundamental mode.
    pub(super) fn wave(&self, index: usize) -> f64 {
        let (index, side) = (index as f64, self.side as f64);
        if index <= side / 2.0 {
            index
        } else {
            index - side
        }
    }

    /// Forward transform Σ_x f(x)·e^{−ikx}. The mesh is overwritten.
    pub(super) fn forward(&self, mesh: &mut [f32], spectrum: &mut [Complex32]) {
        let (side, depth) = (self.side, self.depth());
        mesh.par_chunks_exact_mut(side * side)
            .zip(spectrum.par_chunks_exact_mut(side * depth))
            .for_each_init(
                || self.workspace(),
                |workspace, (plane, modes)| {
                    for (row, modes) in plane
                        .chunks_exact_mut(side)
                        .zip(modes.chunks_exact_mut(depth))
                    {
                        self.along_z
                            .process_with_scratch(row, modes, &mut workspace.scratch)
                            .expect("rows have the planned lengths");
                    }
                    let mut rows: Vec<_> = modes.chunks_exact_mut(depth).collect();
                    workspace.transform_in_place(&mut rows, &*self.along_columns);
                },
            );
        self.by_row(spectrum).into_par_iter().for_each_init(
            || self.workspace(),
            |workspace, mut rows| workspace.transform_in_place(&mut rows, &*self.along_columns),
        );
    }

    /// Inverse transform Σ_k response(k)·F(k)·e^{ikx}, not normalised.
    ///
    /// The result is not divided by the number of points. `response` gets the indices of a mode; `work` is as large as
    /// the spectrum and is overwritten.
    pub(super) fn inverse(
        &self,
        spectrum: &[Complex32],
        work: &mut [Complex32],
        mesh: &mut [f32],
        response: impl Fn([usize; 3]) -> Complex32 + Sync,
    ) {
        let (side, depth) = (self.side, self.depth());
        self.by_row(work).into_par_iter().enumerate().for_each_init(
            || self.workspace(),
            |workspace, (y, mut rows)| {
                for first in (0..depth).step_by(COLUMNS) {
                    let last = (first + COLUMNS).min(depth);
                    for x in 0..side {
                        let modes = &spectrum[(x * side + y) * depth..][first..last];
                        workspace.gather(
                            side,
                            x,
                            modes
                                .iter()
                                .enumerate()
                                .map(|(column, mode)| mode * response([x, y, first + column])),
                        );
                    }
                    workspace.transform(side, last - first, &*self.back_along_columns);
                    workspace.scatter(side, &mut rows, first..last);
                }
            },
        );
        mesh.par_chunks_exact_mut(side * side)
            .zip(work.par_chunks_exact_mut(side * depth))
            .for_each_init(
                || self.workspace(),
                |workspace, (plane, modes)| {
                    let mut rows: Vec<_> = modes.chunks_exact_mut(depth).collect();
                    workspace.transform_in_place(&mut rows, &*self.back_along_columns);
                    for (row, modes) in plane.chunks_exact_mut(side).zip(rows) {
                        // The field is real, but realfft rejects imaginary parts left by rounding here.
                        modes[0].im = 0.0;
                        modes[depth - 1].im = 0.0;
                        self.back_along_z
                            .process_with_scratch(modes, row, &mut workspace.scratch)
                            .expect("rows have the planned lengths, and their ends are real");
                    }
                },
            );
    }

    /// Groups the rows along k_z by k_y, each group over all k_x.
    fn by_row<'a>(&self, spectrum: &'a mut [Complex32]) -> Vec<Vec<&'a mut [Complex32]>> {
        let mut rows: Vec<Vec<_>> = (0..self.side)
            .map(|_| Vec::with_capacity(self.side))
            .collect();
        for (index, row) in spectrum.chunks_exact_mut(self.depth()).enumerate() {
            rows[index % self.side].push(row);
        }
        rows
    }

    fn workspace(&self) -> Workspace {
        let scratch = [
            self.along_z.get_scratch_len(),
            self.back_along_z.get_scratch_len(),
            self.along_columns.get_inplace_scratch_len(),
            self.back_along_columns.get_inplace_scratch_len(),
        ];
        Workspace {
            columns: vec![Complex32::default(); COLUMNS * (self.side + GAP)],
            scratch: vec![Complex32::default(); scratch.into_iter().max().unwrap_or(0)],
        }
    }
}

impl Workspace {
    /// Transforms across `rows`, whose number is the transform length.
    fn transform_in_place(&mut self, rows: &mut [&mut [Complex32]], fft: &dyn Fft<f32>) {
        let (side, depth) = (rows.len(), rows[0].len());
        for first in (0..depth).step_by(COLUMNS) {
            let last = (first + COLUMNS).min(depth);
            for (index, row) in rows.iter().enumerate() {
                self.gather(side, index, row[first..last].iter().copied());
            }
            self.transform(side, last - first, fft);
            self.scatter(side, rows, first..last);
        }
    }

    /// Stores `values` at `index`, one in each column.
    fn gather(&mut self, side: usize, index: usize, values: impl Iterator<Item = Complex32>) {
        for (column, value) in self.columns.chunks_exact_mut(side + GAP).zip(values) {
            column[index] = value;
        }
    }

    fn transform(&mut self, side: usize, columns: usize, fft: &dyn Fft<f32>) {
        for column in self.columns.chunks_exact_mut(side + GAP).take(columns) {
            fft.process_with_scratch(&mut column[..side], &mut self.scratch);
        }
    }

    fn scatter(&self, side: usize, rows: &mut [&mut [Complex32]], range: std::ops::Range<usize>) {
        for (index, row) in rows.iter_mut().enumerate() {
            let columns = self.columns.chunks_exact(side + GAP);
            for (value, column) in row[range.clone()].iter_mut().zip(columns) {
                *value = column[index];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    #[test]
    fn a_plane_wave_is_one_mode_and_its_gradient_another_phase() {
        let fourier = Fourier::new(16);
        let mut mesh = fourier.mesh();
        let wave = [3.0, -2.0, 5.0];
        let phase = |index: usize| {
            let at = [index / 256, index / 16 % 16, index % 16];
            TAU / 16.0 * (0..3).map(|axis| wave[axis] * at[axis] as f64).sum::<f64>()
        };
        for (index, value) in mesh.iter_mut().enumerate() {
            *value = phase(index).cos() as f32;
        }
        let (mut spectrum, mut work) = (fourier.spectrum(), fourier.spectrum());
        fourier.forward(&mut mesh, &mut spectrum);
        let mode = (3 * 16 + 14) * fourier.depth() + 5;
        for (index, value) in spectrum.iter().enumerate() {
            let expected = if index == mode { 2048.0 } else { 0.0 };
            assert!((value - expected).norm() < 1e-3, "mode {index}: {value}");
        }
        // Derivative along y: −k_y·sin.
        fourier.inverse(&spectrum, &mut work, &mut mesh, |[_, y, _]| {
            Complex32::new(0.0, fourier.wave(y) as f32 / 4096.0)
        });
        for (index, value) in mesh.iter().enumerate() {
            let expected = -wave[1] * phase(index).sin();
            assert!((f64::from(*value) - expected).abs() < 1e-5);
        }
    }
}
