//! Error bounds of a convolution computed by Winograd (minimal) filtering.
//!
//! A 5×5 convolution with stride 2 is split into its sub-pixel phases, each a stride-1 convolution with at most 3×3
//! taps, which is computed in tiles (S. Winograd 1980; A. Lavin and S. Gray 2016, arXiv:1509.09308).
//!
//! # Algorithm
//!
//! Three real matrices, [`Transforms`], satisfy Aᵀ[(G·w) ⊙ (Bᵀ·d)]ᵢ = Σⱼ w_j·d_{i+j} for three taps w, a window d of
//! six values and i < 4. In two dimensions, with the transforms applied along rows and columns and summed over any
//! number of terms,
//! ```text
//! value = Σ_uv  L_iu · L_jv · Σ_terms  (M w Mᵀ)_uv · (Bᵀ d B)_uv
//! ```
//!
//! where positions are those of y, and row 2i + a of x is position i of phase a:
//!
//! | GEMM | one term | d | w | M | L |
//! | --- | --- | --- | --- | --- | --- |
//! | dgrad | each of K channels | 6×6 of y around a tile of 4×4 | the taps of the phase | G | Aᵀ |
//! | fprop | each of 4 phases and C channels | 6×6 of a phase of x | the taps of the phase | G | Aᵀ |
//! | wgrad | each tile of each image | 6×6 of a phase of x | 4×4 of y | A | Gᵀ |
//!
//! Windows start one position before their tile and end one after it; tiles start at position 0. Values outside an
//! image and taps that a phase does not have are zero.
//!
//! # Error bound
//!
//! A transform along one axis multiplies by rounded constants and adds. Let each operand reach a result along one path
//! only, as in a sum of n products, or in a factored form such as (d₄ − 2d₂) + √½·(d₃ − 2d₁). On its path it passes at
//! most n + 2 roundings: n − 1 additions, one multiplication, and two for the constant, which may itself be a product
//! of two. So an operand passes 2(n + 2) roundings in a transform along both axes. With k terms every monomial of the expanded
//! formula (w·d times two elements each of L, M and B) passes no more than
//!
//! ```text
//! N = 2(n_M + 2) + 2(n_B + 2) + k + 2(n_L + 2)
//! ```
//!
//! because a term of a sum of k products passes one rounding as a product and k − 1 as part of the sum, in any order.
//! The computed value is therefore the same sum of monomials, each multiplied by some 1 + θ with |θ| ≤ γ_N (Higham,
//! *Accuracy and Stability of Numerical Algorithms*, 2nd ed., lemma 3.1), and
//!
//! ```text
//! |error| ≤ γ_N · Σ_uv |L_iu| · |L_jv| · Σ_terms (|M| |w| |Mᵀ|)_uv · (|Bᵀ| |d| |B|)_uv
//! ```
//!
//! with no higher-order terms left out. This has the form of theorem 2 of B. Barabasz, A. Anderson, K. M. Soodhalter
//! and D. Gregg, "Error analysis and improving the accuracy of Winograd convolution for deep neural networks", ACM
//! Trans. Math. Softw. 46 (2020), arXiv:1803.10986, element by element where they use norms. Weights that are
//! transformed in double precision and rounded once pass fewer roundings.
//!
//! If operands are rounded to a shorter format before they are transformed, the formula above holds for the rounded
//! operands, whose sizes are at most 1 + u_op times the original ones. In addition, rounding them changes the exact
//! value by the second term below, which has far fewer terms than the monomials:
//!
//! ```text
//! |error| ≤ (1 + u_op)²·γ_N · Σ_uv … + ((1 + u_op)² − 1) · Σ |aᵢbᵢ|
//! ```
//!
//! Scaling a row of M and dividing the row of Bᵀ by the same number does not change the bound, so an implementation
//! may put the factors of its points into either matrix.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use super::convolution::{Convolution, coordinates, index};
use crate::arithmetic::SMALLEST_NORMAL;
use crate::{Arithmetic, Bounded};

/// Positions of a tile along an axis.
pub const TILE: usize = 4;
/// Taps along an axis, including those that a phase does not have.
pub const TAPS: usize = 3;
/// Positions of a window along an axis, and points of the transforms.
pub const POINTS: usize = TILE + TAPS - 1;

/// The transform matrices for a choice of six points, the last of them ∞.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transforms {
    /// Aᵀ: from the values at the points to a tile. Row i has the points' i-th powers.
    pub tile: [[f64; POINTS]; TILE],
    /// G: from taps to points.
    ///
    /// Row u has the powers of the point p_u over Π (p_u − p_v), v ≠ u.
    pub taps: [[f64; TAPS]; POINTS],
    /// Bᵀ: from a window to points. Row u has the coefficients of Π (x − p_v), v ≠ u.
    pub window: [[f64; POINTS]; POINTS],
}

impl Transforms {
    /// The points 0, ±√½, ±√2, ∞.
    pub const BALANCED: Self = Self {
        tile: [
            [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
            [0.0, FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2, 0.0],
            [0.0, 0.5, 0.5, 2.0, 2.0, 0.0],
            [
                0.0,
                0.5 * FRAC_1_SQRT_2,
                -0.5 * FRAC_1_SQRT_2,
                2.0 * SQRT_2,
                -2.0 * SQRT_2,
                1.0,
            ],
        ],
        taps: [
            [1.0, 0.0, 0.0],
            [-1.0 / 1.5, -FRAC_1_SQRT_2 / 1.5, -0.5 / 1.5],
            [-1.0 / 1.5, FRAC_1_SQRT_2 / 1.5, -0.5 / 1.5],
            [1.0 / 6.0, SQRT_2 / 6.0, 2.0 / 6.0],
            [1.0 / 6.0, -SQRT_2 / 6.0, 2.0 / 6.0],
            [0.0, 0.0, 1.0],
        ],
        window: [
            [1.0, 0.0, -2.5, 0.0, 1.0, 0.0],
            [0.0, -SQRT_2, -2.0, FRAC_1_SQRT_2, 1.0, 0.0],
            [0.0, SQRT_2, -2.0, -FRAC_1_SQRT_2, 1.0, 0.0],
            [0.0, -FRAC_1_SQRT_2, -0.5, SQRT_2, 1.0, 0.0],
            [0.0, FRAC_1_SQRT_2, -0.5, -SQRT_2, 1.0, 0.0],
            [0.0, 1.0, 0.0, -2.5, 0.0, 1.0],
        ],
    };
}

impl Convolution {
    /// This convolution with the error bounds of Winograd filtering by [`Transforms::BALANCED`].
    ///
    /// # Panics
    /// If [`Winograd`] does not support this kernel, stride or padding.
    pub fn winograd(&self) -> Winograd {
        Winograd::new(*self, Transforms::BALANCED).expect(
            "Winograd filtering needs a 5×5 kernel, stride 2 and one zero of padding before",
        )
    }
}

/// The GEMMs of a convolution by Winograd filtering: the values of [`Convolution`] with other bounds.
#[derive(Clone, Copy, Debug)]
pub struct Winograd {
    shape: Convolution,
    transforms: Transforms,
}

impl Winograd {
    /// Creates the filtering with the given transforms.
    ///
    /// `None` unless the kernel is 5×5, the stride 2 and the padding before the image 1.
    pub fn new(shape: Convolution, transforms: Transforms) -> Option<Self> {
        let fits = shape.kernel == [5; 2] && shape.stride == [2; 2] && shape.begin == [1; 2];
        fits.then_some(Self { shape, transforms })
    }

    /// Returns one element of y from x and w.
    pub fn fprop(&self, x: &[f64], w: &[f64], element: usize, arithmetic: &Arithmetic) -> Bounded {
        let [n, p, q, k] = coordinates(element, self.shape.output_dims());
        let (windows, taps) = (self.windows(), Absolute::new(&self.transforms.taps));
        let mut products = Products::new(windows.cost, taps.cost);
        for phase in PHASES {
            for c in 0..self.shape.input_channels {
                let window = self.window_of_x(x, n, [p / TILE, q / TILE], phase, c);
                let taps = taps.apply(&self.taps(w, phase, Towards::Y, [c, k]));
                products.add(&windows.apply(&window), &taps);
            }
        }
        let error = products.finish(&self.transforms.tile, [p % TILE, q % TILE], arithmetic);
        let converted = self.shape.fprop(x, w, element, &arithmetic.of_conversion());
        Bounded {
            error: converted.error + error,
            ..converted
        }
    }

    /// Returns one element of x from y and w.
    pub fn dgrad(&self, y: &[f64], w: &[f64], element: usize, arithmetic: &Arithmetic) -> Bounded {
        let [n, row, column, c] = coordinates(element, self.shape.input_dims());
        let (phase, position) = ([row % 2, column % 2], [row / 2, column / 2]);
        let (windows, taps) = (self.windows(), Absolute::new(&self.transforms.taps));
        let mut products = Products::new(windows.cost, taps.cost);
        for k in 0..self.shape.output_channels {
            let window = window(position.map(|position| position / TILE), |[p, q]| {
                self.y(y, [n, p, q, k])
            });
            let taps = taps.apply(&self.taps(w, phase, Towards::X, [c, k]));
            products.add(&windows.apply(&window), &taps);
        }
        let error = products.finish(
            &self.transforms.tile,
            position.map(|position| position % TILE),
            arithmetic,
        );
        let converted = self.shape.dgrad(y, w, element, &arithmetic.of_conversion());
        Bounded {
            error: converted.error + error,
            ..converted
        }
    }

    /// Returns one element of w from x and y.
    pub fn wgrad(&self, x: &[f64], y: &[f64], element: usize, arithmetic: &Arithmetic) -> Bounded {
        let [r, s, c, k] = coordinates(element, self.shape.weight_dims());
        // Tap r at position p of y reads row 2p + r − 1 of x: odd rows for even taps.
        let phase = [r, s].map(|tap| 1 - tap % 2);
        let place = [r, s].map(|tap| tap.div_ceil(2));
        let windows = self.windows();
        let tiles = Absolute::new(&transposed(&self.transforms.tile));
        let mut products = Products::new(windows.cost, tiles.cost);
        let [down, across] = self.shape.output.map(|extent| extent.div_ceil(TILE));
        for n in 0..self.shape.batch {
            for i in 0..down {
                for j in 0..across {
                    let window = self.window_of_x(x, n, [i, j], phase, c);
                    let mut tile = [[0.0; TILE]; TILE];
                    for (row, values) in tile.iter_mut().enumerate() {
                        for (column, value) in values.iter_mut().enumerate() {
                            *value = self.y(y, [n, TILE * i + row, TILE * j + column, k]);
                        }
                    }
                    products.add(&windows.apply(&window), &tiles.apply(&tile));
                }
            }
        }
        let last = transposed(&self.transforms.taps);
        let error = products.finish(&last, place, arithmetic);
        let converted = self.shape.wgrad(x, y, element, &arithmetic.of_conversion());
        Bounded {
            error: converted.error + error,
            ..converted
        }
    }

    fn windows(&self) -> Absolute<POINTS> {
        Absolute::new(&self.transforms.window)
    }

    /// The value of y at `[n, p, q, k]`; zero outside.
    fn y(&self, y: &[f64], [n, p, q, k]: [usize; 4]) -> f64 {
        let [rows, columns] = self.shape.output;
        if p < rows && q < columns {
            y[index([n, p, q, k], self.shape.output_dims())]
        } else {
            0.0
        }
    }

    /// The window of a phase of x around a tile.
    fn window_of_x(
        &self,
        x: &[f64],
        image: usize,
        tile: [usize; 2],
        phase: [usize; 2],
        channel: usize,
    ) -> [[f64; POINTS]; POINTS] {
        let [rows, columns] = self.shape.input;
        window(tile, |[i, j]| {
            let (row, column) = (2 * i + phase[0], 2 * j + phase[1]);
            if row < rows && column < columns {
                x[index([image, row, column, channel], self.shape.input_dims())]
            } else {
                0.0
            }
        })
    }

    /// The taps of a phase at offsets −1, 0 and 1.
    fn taps(
        &self,
        w: &[f64],
        phase: [usize; 2],
        towards: Towards,
        [c, k]: [usize; 2],
    ) -> [[f64; TAPS]; TAPS] {
        // Tap 2j + a + 1 − 2p connects row 2j + a of x with row p of y.
        let tap = |axis: usize, place: usize| match towards {
            Towards::Y => (phase[axis] + 2 * place).checked_sub(1),
            Towards::X => (phase[axis] + 3).checked_sub(2 * place),
        };
        let mut taps = [[0.0; TAPS]; TAPS];
        for (row, taps) in taps.iter_mut().enumerate() {
            for (column, value) in taps.iter_mut().enumerate() {
                if let (Some(r @ 0..5), Some(s @ 0..5)) = (tap(0, row), tap(1, column)) {
                    *value = w[index([r, s, c, k], self.shape.weight_dims())];
                }
            }
        }
        taps
    }
}

const PHASES: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// The side of the convolution that is computed.
#[derive(Clone, Copy)]
enum Towards {
    X,
    Y,
}

/// The positions around a tile; those before the image are zero, and `value` is not called for them.
fn window(tile: [usize; 2], value: impl Fn([usize; 2]) -> f64) -> [[f64; POINTS]; POINTS] {
    let mut window = [[0.0; POINTS]; POINTS];
    for (i, values) in window.iter_mut().enumerate() {
        for (j, to) in values.iter_mut().enumerate() {
            let row = (TILE * tile[0] + i).checked_sub(1);
            let column = (TILE * tile[1] + j).checked_sub(1);
            if let (Some(row), Some(column)) = (row, column) {
                *to = value([row, column]);
            }
        }
    }
    window
}

fn transposed<const ROWS: usize, const COLUMNS: usize>(
    matrix: &[[f64; COLUMNS]; ROWS],
) -> [[f64; ROWS]; COLUMNS] {
    let mut result = [[0.0; ROWS]; COLUMNS];
    for (i, row) in matrix.iter().enumerate() {
        for (j, value) in row.iter().enumerate() {
            result[j][i] = *value;
        }
    }
    result
}

/// |M| of a transform M to the points, and the cost of the transform along both axes.
struct Absolute<const FROM: usize> {
    matrix: [[f64; FROM]; POINTS],
    cost: Cost,
}

impl<const FROM: usize> Absolute<FROM> {
    fn new(matrix: &[[f64; FROM]; POINTS]) -> Self {
        Self {
            matrix: matrix.map(|row| row.map(f64::abs)),
            cost: Cost::of(matrix),
        }
    }

    /// |M| |v| |Mᵀ|.
    fn apply(&self, values: &[[f64; FROM]; FROM]) -> [[f64; POINTS]; POINTS] {
        self.matrix.map(|down| {
            let mut sums = [0.0; FROM];
            for (factor, values) in down.iter().zip(values) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += factor * value.abs();
                }
            }
            self.matrix
                .map(|across| across.iter().zip(sums).map(|(a, b)| a * b).sum())
        })
    }
}

/// Rounding cost of a transform along both axes.
#[derive(Clone, Copy)]
struct Cost {
    /// Upper bound on the roundings that an operand passes.
    roundings: usize,
    /// Error that underflow adds to a result.
    underflow: f64,
}

impl Cost {
    fn of<const FROM: usize, const TO: usize>(matrix: &[[f64; FROM]; TO]) -> Self {
        let (mut terms, mut total, mut largest) = (0, 0.0_f64, 1.0_f64);
        for row in matrix {
            terms = terms.max(row.iter().filter(|value| **value != 0.0).count());
            total = total.max(row.iter().map(|value| value.abs()).sum());
            largest = row
                .iter()
                .fold(largest, |most, value| most.max(value.abs()));
        }
        // Along one axis, each of n products and n − 1 sums may lose the smallest normal number, which the constants
        // that follow magnify. The second axis passes on the loss of the first one, and both pass on the loss of the
        // operands when they were read.
        let along_one = 2.0 * terms as f64 * largest;
        Self {
            roundings: 2 * (terms + 2),
            underflow: (along_one * (1.0 + total) + total * total) * SMALLEST_NORMAL,
        }
    }
}

/// Sums over terms, for each pair of points.
struct Products {
    /// Costs of the transforms of the two operands.
    costs: [Cost; 2],
    terms: usize,
    /// Sums of the sizes of the products.
    sizes: [[f64; POINTS]; POINTS],
    /// Sums of what the products may have lost to underflow.
    underflow: [[f64; POINTS]; POINTS],
}

impl Products {
    fn new(left: Cost, right: Cost) -> Self {
        Self {
            costs: [left, right],
            terms: 0,
            sizes: Default::default(),
            underflow: Default::default(),
        }
    }

    /// Adds one term, from the sizes of both transformed operands.
    fn add(&mut self, left: &[[f64; POINTS]; POINTS], right: &[[f64; POINTS]; POINTS]) {
        let [of_left, of_right] = self.costs.map(|cost| cost.underflow);
        self.terms += 1;
        for u in 0..POINTS {
            for v in 0..POINTS {
                let (left, right) = (left[u][v], right[u][v]);
                self.sizes[u][v] += left * right;
                self.underflow[u][v] +=
                    left * of_right + right * of_left + of_left * of_right + 2.0 * SMALLEST_NORMAL;
            }
        }
    }

    /// Returns the bound on the element at `place` after the matrix `last` is applied to the products.
    fn finish<const TO: usize>(
        &self,
        last: &[[f64; POINTS]; TO],
        place: [usize; 2],
        arithmetic: &Arithmetic,
    ) -> f64 {
        let (mut size, mut underflow) = (0.0, 0.0);
        for (u, down) in last[place[0]].iter().enumerate() {
            for (v, across) in last[place[1]].iter().enumerate() {
                let factor = (down * across).abs();
                size += factor * self.sizes[u][v];
                underflow += factor * self.underflow[u][v];
            }
        }
        let [left, right, last] = [self.costs[0], self.costs[1], Cost::of(last)];
        let roundings = left.roundings + right.roundings + self.terms + last.roundings;
        // Roundings after an underflow at most double its contribution.
        arithmetic.relative_error_after_conversion(roundings) * size
            + 2.0 * (underflow + last.underflow)
    }
}
