//! The strided convolution (cross-correlation) and its adjoints.
//!
//! `y[n, p, q, k] = Σ x[n, p·stride − begin + r, q·stride − begin + s, c]·w[r, s, c, k]`.
//!
//! fprop, dgrad and wgrad are written in gather form, one output element at a time, so that a sample of a large output
//! costs no more than its elements. The transposed convolution is the adjoint of the convolution in x: its forward
//! pass is [`Convolution::dgrad`], its gradients are [`Convolution::fprop`] and [`Convolution::wgrad`].

use crate::{Arithmetic, Bounded};

/// Shape of a convolution.
///
/// x is `[batch, input, input_channels]`, w `[kernel, input_channels, output_channels]`, y
/// `[batch, output, output_channels]`; extents are rows, then columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// N.
    pub batch: usize,
    /// H, W.
    pub input: [usize; 2],
    /// C.
    pub input_channels: usize,
    /// P, Q.
    pub output: [usize; 2],
    /// K.
    pub output_channels: usize,
    /// R, S.
    pub kernel: [usize; 2],
    /// Distance between neighbouring windows.
    pub stride: [usize; 2],
    /// Zeros above and to the left of x.
    ///
    /// The padding below and to the right follows from the extents.
    pub begin: [usize; 2],
}

/// Algorithm of a convolution GEMM. It changes the error bound, not the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// One sum of products per element of the result.
    #[default]
    Direct,
    /// Winograd (minimal) filtering with balanced points ([`Convolution::winograd`]).
    Winograd,
}

/// Algorithms of the three convolution GEMMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    /// y from x and w.
    pub fprop: Method,
    /// x from y and w.
    pub dgrad: Method,
    /// w from x and y.
    pub wgrad: Method,
}

impl Methods {
    /// Uses one method for all three.
    pub const fn all(method: Method) -> Self {
        Self {
            fprop: method,
            dgrad: method,
            wgrad: method,
        }
    }
}

impl Convolution {
    /// Zeros below and to the right of x: the least padding that gives y its extents.
    pub fn end(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let reach = (self.output[axis] - 1) * self.stride[axis] + self.kernel[axis];
            reach.saturating_sub(self.input[axis] + self.begin[axis])
        })
    }

    /// Extents of x.
    pub fn input_dims(&self) -> [usize; 4] {
        let [height, width] = self.input;
        [self.batch, height, width, self.input_channels]
    }

    /// Extents of y.
    pub fn output_dims(&self) -> [usize; 4] {
        let [height, width] = self.output;
        [self.batch, height, width, self.output_channels]
    }

    /// Extents of w.
    pub fn weight_dims(&self) -> [usize; 4] {
        let [height, width] = self.kernel;
        [height, width, self.input_channels, self.output_channels]
    }

    /// Returns one element of y from x and w.
    pub fn fprop(&self, x: &[f64], w: &[f64], element: usize, arithmetic: &Arithmetic) -> Bounded {
        let [n, p, q, k] = coordinates(element, self.output_dims());
        let mut products = Vec::new();
        for r in 0..self.kernel[0] {
            for s in 0..self.kernel[1] {
                let (Some(h), Some(column)) = (self.tap(0, p, r), self.tap(1, q, s)) else {
                    continue;
                };
                for c in 0..self.input_channels {
                    products.push((
                        x[index([n, h, column, c], self.input_dims())],
                        w[index([r, s, c, k], self.weight_dims())],
                    ));
                }
            }
        }
        arithmetic.sum_of_products(products.into_iter())
    }

    /// Returns one element of x from y and w: the sum over all windows that contain it.
    pub fn dgrad(&self, y: &[f64], w: &[f64], element: usize, arithmetic: &Arithmetic) -> Bounded {
        let [n, h, column, c] = coordinates(element, self.input_dims());
        let mut products = Vec::new();
        for r in 0..self.kernel[0] {
            for s in 0..self.kernel[1] {
                let (Some(p), Some(q)) = (self.window(0, h, r), self.window(1, column, s)) else {
                    continue;
                };
                for k in 0..self.output_channels {
                    products.push((
                        y[index([n, p, q, k], self.output_dims())],
                        w[index([r, s, c, k], self.weight_dims())],
                    ));
                }
            }
        }
        arithmetic.sum_of_products(products.into_iter())
    }

    /// Returns one element of w from x and y: the sum over all windows of the batch.
    pub fn wgrad(&self, x: &[f64], y: &[f64], element: usize, arithmetic: &Arithmetic) -> Bounded {
        let [r, s, c, k] = coordinates(element, self.weight_dims());
        let mut products = Vec::new();
        for n in 0..self.batch {
            for p in 0..self.output[0] {
                for q in 0..self.output[1] {
                    if let (Some(h), Some(column)) = (self.tap(0, p, r), self.tap(1, q, s)) {
                        products.push((
                            x[index([n, h, column, c], self.input_dims())],
                            y[index([n, p, q, k], self.output_dims())],
                        ));
                    }
                }
            }
        }
        arithmetic.sum_of_products(products.into_iter())
    }

    /// The row (axis 0) or column (axis 1) of x under tap `tap` of window `window`, unless it is padding.
    fn tap(&self, axis: usize, window: usize, tap: usize) -> Option<usize> {
        (window * self.stride[axis] + tap)
            .checked_sub(self.begin[axis])
            .filter(|&position| position < self.input[axis])
    }

    /// The window whose tap `tap` lies on `position`, if there is one.
    fn window(&self, axis: usize, position: usize, tap: usize) -> Option<usize> {
        let offset = (position + self.begin[axis]).checked_sub(tap)?;
        let window = offset / self.stride[axis];
        (offset.is_multiple_of(self.stride[axis]) && window < self.output[axis]).then_some(window)
    }
}

pub(super) fn index(coordinates: [usize; 4], dims: [usize; 4]) -> usize {
    coordinates
        .iter()
        .zip(dims)
        .fold(0, |index, (&coordinate, extent)| {
            index * extent + coordinate
        })
}

pub(super) fn coordinates(mut element: usize, dims: [usize; 4]) -> [usize; 4] {
    let mut result = [0; 4];
    for axis in (0..4).rev() {
        result[axis] = element % dims[axis];
        element /= dims[axis];
    }
    result
}
