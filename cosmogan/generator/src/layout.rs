//! Conversion between the tensor layouts of files (PyTorch's) and of the engine (channels last).
/// The order of a tensor's elements in a file and in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The same order in both.
    Same,
    /// `[K, C, R, S]` of a convolution in files, `[R, S, C, K]` in the engine.
    Convolution,
    /// `[K, C, R, S]` of a transposed convolution in files, where K counts its input channels, `[R, S, C, K]` in the
    /// engine: the permutation of [`Convolution`](Self::Convolution), whose adjoint it is.
    TransposedConvolution,
    /// A first axis that runs over (C, H, W) in files and over (H, W, C) in the engine, with `inner` elements per
    /// entry: the rows of the generator's linear layer, and its bias.
    ImageRows {
        /// Channels C.
        channels: usize,
        /// Pixels H·W.
        pixels: usize,
        /// Elements per entry of the axis.
        inner: usize,
    },
    /// A last axis that runs over (C, H, W) in files and over (H, W, C) in the engine: the inputs of the
    /// discriminator's linear layer.
    ImageColumns {
        /// Channels C.
        channels: usize,
        /// Pixels H·W.
        pixels: usize,
    },
}

impl Layout {
    /// The engine's extents of a tensor whose extents in the file are `dims`.
    pub fn engine_dims(self, dims: &[usize]) -> Vec<usize> {
        match (self, dims) {
            (Self::Convolution | Self::TransposedConvolution, &[outer, inner, rows, columns]) => {
                vec![rows, columns, inner, outer]
            }
            _ => dims.to_vec(),
        }
    }

    /// Reorders elements from the file's order to the engine's. `dims` are the file's.
    pub fn to_engine<T: Copy + Default>(self, values: &[T], dims: &[usize]) -> Vec<T> {
        self.permuted(values, dims, |file, engine| (engine, file))
    }

    /// Reorders elements from the engine's order to the file's. `dims` are the file's.
    pub fn to_file<T: Copy + Default>(self, values: &[T], dims: &[usize]) -> Vec<T> {
        self.permuted(values, dims, |file, engine| (file, engine))
    }

    /// Permutes the elements; `direction` maps (index in file, index in engine) to (destination, source).
    fn permuted<T: Copy + Default>(
        self,
        values: &[T],
        dims: &[usize],
        direction: impl Fn(usize, usize) -> (usize, usize),
    ) -> Vec<T> {
        let mut result = vec![T::default(); values.len()];
        self.pairs(dims, |file, engine| {
            let (destination, source) = direction(file, engine);
            result[destination] = values[source];
        });
        result
    }

    /// Calls `visit` with every element's index in the file and in the engine.
    fn pairs(self, dims: &[usize], mut visit: impl FnMut(usize, usize)) {
        match (self, dims) {
            (Self::Convolution | Self::TransposedConvolution, &[outer, inner, rows, columns]) => {
                let taps = rows * columns;
                for k in 0..outer {
                    for c in 0..inner {
                        for tap in 0..taps {
                            visit((k * inner + c) * taps + tap, (tap * inner + c) * outer + k);
                        }
                    }
                }
            }
            (
                Self::ImageRows {
                    channels,
                    pixels,
                    inner,
                },
                _,
            ) => {
                for channel in 0..channels {
                    for pixel in 0..pixels {
                        let file = (channel * pixels + pixel) * inner;
                        let engine = (pixel * channels + channel) * inner;
                        (0..inner).for_each(|offset| visit(file + offset, engine + offset));
                    }
                }
            }
            (Self::ImageColumns { channels, pixels }, _) => {
                let width = channels * pixels;
                let rows = dims.iter().product::<usize>() / width;
                for row in 0..rows {
                    for channel in 0..channels {
                        for pixel in 0..pixels {
                            visit(
                                row * width + channel * pixels + pixel,
                                row * width + pixel * channels + channel,
                            );
                        }
                    }
                }
            }
            _ => (0..dims.iter().product()).for_each(|index| visit(index, index)),
        }
    }
}

/// Converts activations `[N, H, W, C]` to `[N, C, H, W]`.
pub fn channels_first(values: &[f32], dims: [usize; 4]) -> Vec<f32> {
    let [batch, height, width, channels] = dims;
    let layout = Layout::ImageColumns {
        channels,
        pixels: height * width,
    };
    layout.to_file(values, &[batch, height * width * channels])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolution_weights_move_to_channels_last() {
        // [K=2, C=3, R=1, S=2], numbered in file order.
        let dims = [2, 3, 1, 2];
        let file: Vec<usize> = (0..12).collect();
        let engine = Layout::Convolution.to_engine(&file, &dims);
        assert_eq!(Layout::Convolution.engine_dims(&dims), [1, 2, 3, 2]);
        // Engine order: s, then c, then k.
        assert_eq!(engine, [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]);
    }

    #[test]
    fn every_layout_comes_back() {
        let image = Layout::ImageRows {
            channels: 3,
            pixels: 4,
            inner: 2,
        };
        let columns = Layout::ImageColumns {
            channels: 3,
            pixels: 4,
        };
        let cases = [
            (Layout::Same, vec![7]),
            (Layout::Convolution, vec![4, 3, 5, 5]),
            (Layout::TransposedConvolution, vec![4, 3, 5, 5]),
            (image, vec![12, 2]),
            (columns, vec![2, 12]),
        ];
        for (layout, dims) in cases {
            let file: Vec<usize> = (0..dims.iter().product()).collect();
            let engine = layout.to_engine(&file, &dims);
            assert_eq!(layout.to_file(&engine, &dims), file, "{layout:?}");
        }
    }
}
