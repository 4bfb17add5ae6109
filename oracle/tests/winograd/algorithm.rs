//! Winograd (minimal) filtering in plain loops, in f32 or f64, with selectable summation orders and injected faults.

use std::ops::{Add, Mul};

use cosmogan_oracle::operators::convolution::Convolution;
use cosmogan_oracle::operators::winograd::{POINTS, TAPS, TILE, Transforms};

/// f32 or f64.
pub(crate) trait Real: Copy + Default + Add<Output = Self> + Mul<Output = Self> {
    fn of(value: f64) -> Self;
    fn wide(self) -> f64;
    fn mul_add(self, factor: Self, addend: Self) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }
    fn wide(self) -> f64 {
        self.into()
    }
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
}

/// Order and form of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Forward,
    Backward,
    Fused,
    /// Pairwise sums of products, factored transforms of windows and tiles, weights transformed in f64 and rounded
    /// once.
    Factored,
}

pub(crate) const ORDERS: [Order; 4] = [
    Order::Forward,
    Order::Backward,
    Order::Fused,
    Order::Factored,
];

/// An injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The weight of the middle tap is zero; in wgrad, the last tile is left out.
    LostTap,
    /// Windows start at their tile instead of one position before it.
    LateWindow,
    /// Row and column phases are swapped.
    SwappedPhases,
    /// A constant of the window transform is off by a hundredth.
    Coefficient,
}

pub(crate) const FAULTS: [Fault; 4] = [
    Fault::LostTap,
    Fault::LateWindow,
    Fault::SwappedPhases,
    Fault::Coefficient,
];

/// A computation by Winograd filtering. A grid of points holds 36 values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Algorithm {
    pub(crate) shape: Convolution,
    pub(crate) transforms: Transforms,
    pub(crate) order: Order,
    pub(crate) fault: Option<Fault>,
}

type Grid<T> = Vec<Vec<T>>;

const PHASES: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

impl Algorithm {
    /// y from x and w.
    pub(crate) fn fprop<T: Real>(&self, x: &[T], w: &[T]) -> Vec<T> {
        let shape = &self.shape;
        let mut y = vec![T::default(); shape.output_dims().iter().product()];
        let weights: Vec<_> = PHASES.map(|phase| self.weights(w, phase, 1)).into();
        for n in 0..shape.batch {
            for tile in tiles(shape.output) {
                let windows: Vec<_> = PHASES.map(|phase| self.x_windows(x, n, tile, phase)).into();
                let windows = windows.concat();
                for k in 0..shape.output_channels {
                    let weights: Vec<_> = weights
                        .iter()
                        .flat_map(|phase| phase.iter().skip(k).step_by(shape.output_channels))
                        .collect();
                    let values = self.tile(&self.products(&windows, &weights));
                    self.put(&mut y, shape.output_dims(), [n, k], &values, |i, axis| {
                        TILE * tile[axis] + i
                    });
                }
            }
        }
        y
    }

    /// x from y and w.
    pub(crate) fn dgrad<T: Real>(&self, y: &[T], w: &[T]) -> Vec<T> {
        let shape = &self.shape;
        let mut x = vec![T::default(); shape.input_dims().iter().product()];
        let weights = PHASES.map(|phase| self.weights(w, phase, -1));
        for n in 0..shape.batch {
            for tile in tiles(shape.input.map(|extent| extent.div_ceil(2))) {
                let windows: Vec<_> = (0..shape.output_channels)
                    .map(|k| {
                        let image = self.image(y, shape.output_dims(), n, k, [0; 2], 1);
                        self.window(&image, tile)
                    })
                    .collect();
                for (phase, weights) in PHASES.iter().zip(&weights) {
                    let phase = self.phase(*phase);
                    for c in 0..shape.input_channels {
                        let weights = &weights[c * shape.output_channels..];
                        let weights: Vec<_> = weights.iter().take(shape.output_channels).collect();
                        let values = self.tile(&self.products(&windows, &weights));
                        self.put(&mut x, shape.input_dims(), [n, c], &values, |i, axis| {
                            2 * (TILE * tile[axis] + i) + phase[axis]
                        });
                    }
                }
            }
        }
        x
    }

    /// w from x and y.
    pub(crate) fn wgrad<T: Real>(&self, x: &[T], y: &[T]) -> Vec<T> {
        let shape = &self.shape;
        let mut w = vec![T::default(); shape.weight_dims().iter().product()];
        let mut all: Vec<_> = (0..shape.batch)
            .flat_map(|n| tiles(shape.output).into_iter().map(move |tile| (n, tile)))
            .collect();
        if self.fault == Some(Fault::LostTap) {
            all.pop();
        }
        let to_points = transposed(&rows(&self.transforms.tile));
        let to_taps = transposed(&rows(&self.transforms.taps));
        let gradients: Vec<Vec<Grid<T>>> = all
            .iter()
            .map(|&(n, tile)| {
                let images = (0..shape.output_channels).map(|k| {
                    let image = self.image(y, shape.output_dims(), n, k, [0; 2], 1);
                    let tile = cut(&image, tile.map(|t| (TILE * t) as isize), TILE);
                    both(&tile, |values| self.multiply(&to_points, values))
                });
                images.collect()
            })
            .collect();
        for phase in PHASES {
            let windows: Vec<_> = all
                .iter()
                .map(|&(n, tile)| self.x_windows(x, n, tile, phase))
                .collect();
            for c in 0..shape.input_channels {
                let windows: Vec<_> = windows.iter().map(|channels| channels[c].clone()).collect();
                for k in 0..shape.output_channels {
                    let gradients: Vec<_> = gradients.iter().map(|channels| &channels[k]).collect();
                    let points = self.products(&windows, &gradients);
                    let taps = both(&points, |values| self.multiply(&to_taps, values));
                    for (i, taps) in taps.iter().enumerate() {
                        for (j, value) in taps.iter().enumerate() {
                            let tap = [2 * i + phase[0], 2 * j + phase[1]];
                            if tap.iter().all(|tap| (1..6).contains(tap)) {
                                let at = (tap[0] - 1) * 5 + tap[1] - 1;
                                w[(at * shape.input_channels + c) * shape.output_channels + k] =
                                    *value;
                            }
                        }
                    }
                }
            }
        }
        w
    }

    fn phase(&self, phase: [usize; 2]) -> [usize; 2] {
        match self.fault {
            Some(Fault::SwappedPhases) => [phase[1], phase[0]],
            _ => phase,
        }
    }

    /// One channel of an image, at every `step`-th row and column from `phase`.
    fn image<T: Real>(
        &self,
        values: &[T],
        dims: [usize; 4],
        n: usize,
        channel: usize,
        phase: [usize; 2],
        step: usize,
    ) -> Grid<T> {
        let [_, height, width, channels] = dims;
        let row = |row: usize| {
            let columns = (phase[1]..width).step_by(step);
            let at = |column| ((n * height + row) * width + column) * channels + channel;
            columns.map(|column| values[at(column)]).collect()
        };
        (phase[0]..height).step_by(step).map(row).collect()
    }

    /// Transformed windows of all channels of a phase of x.
    fn x_windows<T: Real>(
        &self,
        x: &[T],
        n: usize,
        tile: [usize; 2],
        phase: [usize; 2],
    ) -> Vec<Grid<T>> {
        let (dims, phase) = (self.shape.input_dims(), self.phase(phase));
        (0..dims[3])
            .map(|c| self.window(&self.image(x, dims, n, c, phase, 2), tile))
            .collect()
    }

    fn window<T: Real>(&self, image: &Grid<T>, tile: [usize; 2]) -> Grid<T> {
        let early = isize::from(self.fault != Some(Fault::LateWindow));
        let window = cut(
            image,
            tile.map(|tile| (TILE * tile) as isize - early),
            POINTS,
        );
        let mut matrix = rows(&self.transforms.window);
        if self.fault == Some(Fault::Coefficient) {
            matrix[0][2] *= 1.01;
        }
        let factored = self.order == Order::Factored && self.fault != Some(Fault::Coefficient);
        both(&window, |values| match factored {
            true => factored_window(values),
            false => self.multiply(&matrix, values),
        })
    }

    /// Transformed weights of all channel pairs of a phase.
    ///
    /// `direction` (±1) is the order in which windows meet the taps.
    fn weights<T: Real>(&self, w: &[T], phase: [usize; 2], direction: isize) -> Vec<Grid<T>> {
        let pairs = self.shape.input_channels * self.shape.output_channels;
        let matrix = rows(&self.transforms.taps);
        let tap = |axis: usize, place: usize| {
            let tap = phase[axis] as isize + 1 + 2 * direction * (place as isize - 1);
            (0..5).contains(&tap).then_some(tap as usize)
        };
        (0..pairs)
            .map(|pair| {
                let value = |i: usize, j: usize| match (tap(0, i), tap(1, j)) {
                    (Some(2), Some(2)) if self.fault == Some(Fault::LostTap) => T::default(),
                    (Some(r), Some(s)) => w[(r * 5 + s) * pairs + pair],
                    _ => T::default(),
                };
                let taps: Grid<T> = (0..TAPS)
                    .map(|i| (0..TAPS).map(|j| value(i, j)).collect())
                    .collect();
                if self.order != Order::Factored {
                    return both(&taps, |values| self.multiply(&matrix, values));
                }
                let taps = convert::<T, f64>(&taps);
                let exact = both(&taps, |values| self.multiply(&matrix, values));
                convert(&exact)
            })
            .collect()
    }

    fn tile<T: Real>(&self, points: &Grid<T>) -> Grid<T> {
        let matrix = rows(&self.transforms.tile);
        both(points, |values| match self.order {
            Order::Factored => factored_tile(values),
            _ => self.multiply(&matrix, values),
        })
    }

    fn put<T: Real>(
        &self,
        values: &mut [T],
        dims: [usize; 4],
        [n, channel]: [usize; 2],
        tile: &Grid<T>,
        position: impl Fn(usize, usize) -> usize,
    ) {
        for (i, tile) in tile.iter().enumerate() {
            for (j, value) in tile.iter().enumerate() {
                let (row, column) = (position(i, 0), position(j, 1));
                if row < dims[1] && column < dims[2] {
                    values[((n * dims[1] + row) * dims[2] + column) * dims[3] + channel] = *value;
                }
            }
        }
    }

    fn products<T: Real>(&self, left: &[Grid<T>], right: &[&Grid<T>]) -> Grid<T> {
        assert_eq!(left.len(), right.len());
        let at = |u: usize, v: usize| {
            let terms: Vec<_> = left
                .iter()
                .zip(right)
                .map(|(left, right)| (left[u][v], right[u][v]))
                .collect();
            self.sum(&terms)
        };
        (0..POINTS)
            .map(|u| (0..POINTS).map(|v| at(u, v)).collect())
            .collect()
    }

    fn multiply<T: Real>(&self, matrix: &[Vec<f64>], values: &[T]) -> Vec<T> {
        matrix
            .iter()
            .map(|row| {
                let pairs = row.iter().zip(values).filter(|(factor, _)| **factor != 0.0);
                let terms: Vec<_> = pairs.map(|(f, value)| (T::of(*f), *value)).collect();
                self.sum(&terms)
            })
            .collect()
    }

    fn sum<T: Real>(&self, terms: &[(T, T)]) -> T {
        let zero = T::default();
        match (self.order, terms) {
            (Order::Forward, _) => terms.iter().fold(zero, |sum, (a, b)| sum + *a * *b),
            (Order::Backward, _) => terms.iter().rev().fold(zero, |sum, (a, b)| sum + *a * *b),
            (Order::Fused, _) => terms.iter().fold(zero, |sum, (a, b)| a.mul_add(*b, sum)),
            (Order::Factored, []) => zero,
            (Order::Factored, [(a, b)]) => *a * *b,
            (Order::Factored, _) => {
                let (left, right) = terms.split_at(terms.len() / 2);
                self.sum(left) + self.sum(right)
            }
        }
    }
}

fn tiles(extents: [usize; 2]) -> Vec<[usize; 2]> {
    let [down, across] = extents.map(|extent| extent.div_ceil(TILE));
    (0..down * across)
        .map(|tile| [tile / across, tile % across])
        .collect()
}

/// A square section of an image, with zeros outside.
fn cut<T: Real>(image: &Grid<T>, start: [isize; 2], side: usize) -> Grid<T> {
    let get = |i: usize, j: usize| {
        let row = usize::try_from(start[0] + i as isize).ok()?;
        let column = usize::try_from(start[1] + j as isize).ok()?;
        image.get(row)?.get(column).copied()
    };
    (0..side)
        .map(|i| (0..side).map(|j| get(i, j).unwrap_or_default()).collect())
        .collect()
}

/// Applies a transform along columns, then along rows.
fn both<T: Real>(grid: &Grid<T>, along: impl Fn(&[T]) -> Vec<T>) -> Grid<T> {
    let half: Grid<T> = transposed(grid)
        .iter()
        .map(|column| along(column))
        .collect();
    transposed(&half).iter().map(|row| along(row)).collect()
}

fn transposed<T: Copy>(grid: &[Vec<T>]) -> Vec<Vec<T>> {
    (0..grid[0].len())
        .map(|j| grid.iter().map(|row| row[j]).collect())
        .collect()
}

fn rows<const COLUMNS: usize>(matrix: &[[f64; COLUMNS]]) -> Vec<Vec<f64>> {
    matrix.iter().map(|row| row.to_vec()).collect()
}

fn convert<T: Real, U: Real>(grid: &Grid<T>) -> Grid<U> {
    grid.iter()
        .map(|row| row.iter().map(|value| U::of(value.wide())).collect())
        .collect()
}

/// The window transform in twelve operations, for the points 0, ±√½, ±√2, ∞.
///
/// Products and sums are rounded separately.
fn factored_window<T: Real>(d: &[T]) -> Vec<T> {
    let scaled = |factor: f64, a: T, b: T| T::of(factor) * a + b;
    let (half, two) = (0.5_f64.sqrt(), 2_f64.sqrt());
    let (even, odd) = (scaled(-2.0, d[2], d[4]), scaled(-2.0, d[1], d[3]));
    let (even_far, odd_far) = (scaled(-0.5, d[2], d[4]), scaled(-0.5, d[1], d[3]));
    vec![
        scaled(-2.5, d[2], d[0] + d[4]),
        scaled(half, odd, even),
        scaled(-half, odd, even),
        scaled(two, odd_far, even_far),
        scaled(-two, odd_far, even_far),
        scaled(-2.5, d[3], d[1] + d[5]),
    ]
}

/// The inverse transform in factored form; the constants of its last row are products of two.
fn factored_tile<T: Real>(m: &[T]) -> Vec<T> {
    let scaled = |factor: f64, a: T, b: T| T::of(factor) * a + b;
    let (half, two) = (0.5_f64.sqrt(), 2_f64.sqrt());
    let minus = T::of(-1.0);
    let (sum, difference) = (m[1] + m[2], m[1] + minus * m[2]);
    let (sum_far, difference_far) = (m[3] + m[4], m[3] + minus * m[4]);
    let (near, far) = (T::of(half) * difference, T::of(two) * difference_far);
    vec![
        m[0] + (sum + sum_far),
        near + far,
        scaled(0.5, sum, T::of(2.0) * sum_far),
        scaled(0.5, near, scaled(2.0, far, m[5])),
    ]
}
