//! Work model of operators: a lower bound of operations and bytes that does not depend on the algorithm.
//!
//! It is the work model of the kernels ([`cosmogan_kernels::Work`]) without the overhead of a kernel, such as partial
//! sums. It counts the operations of the definition, with a multiply-add as two, and the bytes of each operand once.
//! Only the gradient of a normalisation reads its operands twice, because it first needs two sums over all of them.

use cosmogan_kernels::Work;

use super::operator::{Extents, Kind, Operator};
use crate::geometry::{ConvGeometry, ConvMethod};
use crate::simd::winograd::{PRODUCTS, phases_at};

impl Operator {
    /// Lower bound of operations and bytes.
    pub fn work(&self) -> Work {
        let (operations, elements) = match self.extents {
            Extents::Convolution(geometry) => (geometry.operations(), operands(&geometry)),
            Extents::Linear {
                rows,
                inputs,
                outputs,
            } => {
                let bias = if self.kind == Kind::Linear {
                    outputs
                } else {
                    0
                };
                let elements = rows * (inputs + outputs) + inputs * outputs + bias;
                (2.0 * product([rows, inputs, outputs]), elements)
            }
            Extents::Images {
                batch,
                size: [height, width],
                channels,
            } => self.per_channel(batch * height * width, channels),
            Extents::Matrix { rows, channels } => self.per_channel(rows, channels),
            Extents::Values { length, .. } => self.per_channel(length, 1),
        };
        Work {
            operations,
            bytes: (size_of::<f32>() * elements) as f64,
        }
    }

    /// Operations of the multiplications that the algorithm executes.
    ///
    /// For a convolution by Winograd (minimal) filtering these are the products of transformed tiles: 121 for all four
    /// phases of a tile of 4×4 pixels of y and one pair of channels (`simd/winograd.rs`). Transforms are not counted.
    pub fn multiplied(&self, method: ConvMethod) -> f64 {
        match (self.extents, method) {
            (Extents::Convolution(geometry), ConvMethod::Winograd) => {
                let tiles = geometry.output.map(|extent| extent.div_ceil(4));
                let channels = geometry.input_channels * geometry.output_channels;
                let products = (0..PRODUCTS).map(|point| phases_at(point).len()).sum();
                2.0 * product([products, geometry.batch, tiles[0], tiles[1], channels])
            }
            _ => self.work().operations,
        }
    }

    /// Operations and elements of an operator over a matrix `[rows, channels]`, including its per-channel vectors.
    fn per_channel(&self, rows: usize, channels: usize) -> (f64, usize) {
        let (operations, matrices, vectors) = match self.kind {
            Kind::BiasGradient => (1, 1, 1),
            Kind::BatchStatistics => (4, 1, 2),
            Kind::Normalise => (5, 2, 4),
            Kind::NormaliseGradient => (19, 5, 6),
            Kind::UpdateRunning | Kind::TanhGradient => (3, 3, 0),
            Kind::Relu | Kind::LeakyRelu | Kind::Tanh => (1, 2, 0),
            Kind::BceWithLogits => (6, 1, 1),
            Kind::BceWithLogitsGradient => (6, 2, 1),
            Kind::SquaredNorm => (2, 1, 1),
            Kind::Copy | Kind::Gather => (0, 2, 0),
            Kind::Adam => (12, 7, 0),
            // `Add` and the gradients of rectifiers; GEMMs have other extents.
            _ => (1, 3, 0),
        };
        let elements = rows * channels;
        (
            f64::from(operations) * elements as f64,
            matrices * elements + vectors * channels,
        )
    }
}

fn operands(geometry: &ConvGeometry) -> usize {
    let dims = [
        geometry.input_dims(),
        geometry.output_dims(),
        geometry.weight_dims(),
    ];
    dims.iter().map(|dims| dims.iter().product::<usize>()).sum()
}

fn product<const N: usize>(extents: [usize; N]) -> f64 {
    extents.iter().map(|&extent| extent as f64).product()
}

#[cfg(test)]
mod tests {
    use cosmogan_kernels::Precision;
    use cosmogan_kernels::{adam, batch_norm, elementwise, loss};

    use super::*;

    /// Counts the operations of the definition one by one.
    fn count(geometry: &ConvGeometry) -> f64 {
        let mut operations = 0.0;
        for _image in 0..geometry.batch {
            for _position in 0..geometry.output[0] * geometry.output[1] {
                for _result in 0..geometry.output_channels {
                    for _tap in 0..geometry.kernel[0] * geometry.kernel[1] {
                        for _channel in 0..geometry.input_channels {
                            operations += 2.0;
                        }
                    }
                }
            }
        }
        operations
    }

    #[test]
    fn convolutions_are_counted_as_they_are_defined() {
        for shape in [
            "n=2 h=16 w=16 c=3 k=4",
            "n=1 h=9 w=8 c=6 k=7",
            "n=3 h=5 w=7 c=2 k=1 kernel=3x2 stride=1x2 pad=0,1,1,0",
        ] {
            for kind in [Kind::Fprop, Kind::Dgrad, Kind::Wgrad] {
                let operator = Operator::of_kind(kind, shape).unwrap();
                let Extents::Convolution(geometry) = operator.extents else {
                    unreachable!("a convolution has the extents of one");
                };
                assert_eq!(operator.work().operations, count(&geometry), "{shape}");
                assert_eq!(operator.multiplied(ConvMethod::Direct), count(&geometry));
                let values = |dims: [usize; 4]| dims.iter().product::<usize>();
                let bytes = 4
                    * (values(geometry.input_dims())
                        + values(geometry.output_dims())
                        + values(geometry.weight_dims()));
                assert_eq!(operator.work().bytes, bytes as f64);
            }
        }
    }

    #[test]
    fn winograd_multiplies_less_than_a_third() {
        let whole = Operator::parse("dgrad", "n=2 h=64 w=64 c=128 k=256").unwrap();
        let share = whole.multiplied(ConvMethod::Winograd) / whole.work().operations;
        assert!((share - 121.0 / 16.0 / 25.0).abs() < 1e-12, "{share}");
        // Partial tiles at the edges cost as much as whole tiles.
        let ragged = Operator::parse("dgrad", "n=2 h=36 w=36 c=128 k=256").unwrap();
        assert!(ragged.multiplied(ConvMethod::Winograd) > share * ragged.work().operations);
    }

    #[test]
    fn operators_and_kernels_have_one_work_model() {
        let (rows, channels) = (12 * 8 * 8, 16);
        let length = rows * channels;
        let images = "n=12 h=8 w=8 c=16";
        let over = |name: &str, shape: &str| Operator::parse(name, shape).unwrap().work();
        let values = format!("length={length}");
        let pairs = [
            (
                over("add", &values),
                elementwise::launch(&elementwise::ADD, length),
            ),
            (
                over("tanh", images),
                elementwise::launch(&elementwise::TANH, length),
            ),
            (
                over("tanh_gradient", images),
                elementwise::launch(&elementwise::TANH_GRADIENT, length),
            ),
            (
                over("leaky_relu_gradient", images),
                elementwise::launch(&elementwise::LEAKY_RELU_GRADIENT, length),
            ),
            (
                over("copy", images),
                elementwise::launch(&elementwise::COPY, length),
            ),
            (
                over("update_running", &values),
                elementwise::launch(&elementwise::UPDATE_RUNNING, length),
            ),
            (
                over("normalise", images),
                batch_norm::normalise([Precision::F32; 2], [1, rows, channels]),
            ),
            (over("adam", &values), adam::step([length].into_iter())),
            (over("bce_with_logits", &values), loss::bce(length)),
            (
                over("bce_with_logits_gradient", &values),
                loss::bce_gradient(length),
            ),
        ];
        for (model, launch) in pairs {
            assert_eq!(model, launch.work, "{}", launch.kernel.name);
        }
        // An operator of two kernels differs only by the partial sums between them.
        let slices = [
            batch_norm::gradient_slices([Precision::F32; 2], [1, rows, channels]),
            batch_norm::gradient([Precision::F32; 3], [1, rows, channels]),
        ];
        let model = over("normalise_gradient", images);
        let operations: f64 = slices.iter().map(|launch| launch.work.operations).sum();
        let bytes: f64 = slices.iter().map(|launch| launch.work.bytes).sum();
        assert_eq!(model.operations, operations);
        assert!((1.0..1.02).contains(&(bytes / model.bytes)));
    }
}
