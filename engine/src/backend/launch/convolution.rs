//! The three convolution GEMMs and the linear layers.
//!
//! A linear layer is a convolution of 1×1 images.
//!
//! Shapes with one channel or one output have kernels of their own or run on the plain ones, in f32: they are
//! memory-bound. All others run on Hopper kernels where the device has them and the shape fills their tiles, otherwise
//! on tiled kernels, and on the plain ones if the GPU is too old or `--tier plain` is given.

use cosmogan_kernels::ConvProduct;
use cosmogan_kernels::Precision;
use cosmogan_kernels::batch_norm::EpilogueSlices;
use cosmogan_kernels::convolution::{self, ConvShape};
use cosmogan_kernels::tuning::{Problem, TileConfig};
use cosmogan_kernels::{
    Launch, Tier, implicit_gemm, implicit_gemm_hopper, implicit_gemm_hopper_wgrad, linear, reduce,
    single_channel,
};

use super::epilogue::{GemmResult, LoweredEpilogue};
use super::moments::Slicing;
use super::{Arguments, Image, LaunchBackend};
use crate::error::Result;
use crate::geometry::{ConvGeometry, Padding};

/// Operator name in errors.
const NAME: &str = "convolution";

/// A launch of a tiled kernel, with the arguments that follow from the shape.
struct TiledProduct {
    launch: Launch,
    /// Packed depth of the source.
    depth: usize,
    slices: EpilogueSlices,
}

impl From<&ConvGeometry> for ConvShape {
    fn from(geometry: &ConvGeometry) -> Self {
        Self {
            batch: geometry.batch,
            input: geometry.input,
            channels: geometry.input_channels,
            output: geometry.output,
            outputs: geometry.output_channels,
            kernel: geometry.kernel,
            stride: geometry.stride,
            begin: geometry.padding.begin,
        }
    }
}

impl From<&ConvShape> for ConvGeometry {
    /// Kernels do not need the padding at the end; here it is the least that gives y its extents.
    fn from(shape: &ConvShape) -> Self {
        let end = [0, 1].map(|axis| {
            let reach = (shape.output[axis] - 1) * shape.stride[axis] + shape.kernel[axis];
            reach.saturating_sub(shape.input[axis] + shape.begin[axis])
        });
        Self {
            batch: shape.batch,
            input: shape.input,
            input_channels: shape.channels,
            output: shape.output,
            output_channels: shape.outputs,
            kernel: shape.kernel,
            stride: shape.stride,
            padding: Padding {
                begin: shape.begin,
                end,
            },
        }
    }
}

/// A linear layer from I to O features, as the transposed convolution of 1×1 images with I channels: its weights
/// `[O, I]` are `[1, 1, O, I]` without a change of layout.
pub(super) fn linear_shape(rows: usize, inputs: usize, outputs: usize) -> ConvShape {
    ConvShape {
        batch: rows,
        input: [1, 1],
        channels: outputs,
        output: [1, 1],
        outputs: inputs,
        kernel: [1, 1],
        stride: [1, 1],
        begin: [0, 0],
    }
}

/// Addresses of a layer's weights.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    pub(super) weight: u64,
    /// 0 without a bias.
    pub(super) bias: u64,
}

/// Addresses of the operands and the result of a plain fprop or dgrad.
struct GatherAddresses {
    from: u64,
    weights: Weights,
    to: u64,
}

/// Addresses of the operands and the result of a wgrad.
struct WgradAddresses {
    x: u64,
    y: u64,
    weight: u64,
}

impl LaunchBackend {
    /// y from x, w and a bias.
    pub(super) fn fprop(
        &self,
        s: &ConvShape,
        x: Image,
        weights: Weights,
        y: Image,
        epilogue: LoweredEpilogue,
    ) -> Result<()> {
        if single_channel::has_fprop(s) {
            let arguments = arguments(s, &[])
                .address(x.values(NAME)?)
                .weights(weights)
                .bytes(&epilogue.activation()?)
                .int(y.format.row(s.outputs))
                .address(y.address);
            return self.launch(&single_channel::fprop(y.format, s), &arguments);
        }
        let Some(operand) = self.operand_for(s) else {
            epilogue.expect_none()?;
            let addresses = GatherAddresses {
                from: x.values(NAME)?,
                weights,
                to: y.values(NAME)?,
            };
            return self.product(&convolution::fprop(s), s, &[], &addresses);
        };
        let extents = [s.batch * s.output[0] * s.output[1], s.outputs];
        let to = GemmResult::new(operand, y, extents, weights.bias, epilogue)?;
        let pixels = s.batch * s.input[0] * s.input[1];
        let x = self.pack_rows(operand, pixels, s.channels, x)?;
        let w = self.pack_transposed(operand, s, weights.weight)?;
        let tile_config = |tier| self.tile_config(ConvProduct::Fprop, operand, tier, s);
        if let Some(plan) = self.hopper_multiprocessors.and_then(|blocks| {
            implicit_gemm_hopper::fprop(operand, s, &tile_config(Tier::Hopper), blocks)
        }) {
            return self.hopper_product(plan, s, [x.address, w.address()], &to);
        }
        let product = TiledProduct {
            launch: implicit_gemm::fprop(operand, s, &tile_config(Tier::Tiled)),
            depth: operand.padded(s.channels),
            slices: EpilogueSlices::fprop(s),
        };
        self.tiled_product(product, s, [x.address, w.address()], &to)
    }

    /// x from y, w and a bias.
    pub(super) fn dgrad(
        &self,
        s: &ConvShape,
        y: Image,
        weights: Weights,
        x: Image,
        epilogue: LoweredEpilogue,
    ) -> Result<()> {
        if s.channels == 1 && s.kernel == [1, 1] && s.output == [1, 1] && s.input == [1, 1] {
            epilogue.expect_none()?;
            let arguments = Arguments::new()
                .int(s.outputs)
                .address(y.values(NAME)?)
                .weights(weights)
                .address(x.values(NAME)?);
            return self.launch(&linear::dot(s.batch, s.outputs), &arguments);
        }
        if single_channel::has_dgrad(s) {
            let arguments = arguments(s, &[y.format.row(s.outputs)])
                .address(y.address)
                .weights(weights)
                .bytes(&epilogue.activation()?)
                .address(x.values(NAME)?);
            return self.launch(&single_channel::dgrad(y.format, s), &arguments);
        }
        let Some(operand) = self.operand_for(s) else {
            epilogue.expect_none()?;
            let w = self.pack_transposed(Precision::F32, s, weights.weight)?;
            let padded = Precision::F32.padded(s.channels);
            let addresses = GatherAddresses {
                from: y.values(NAME)?,
                weights: Weights {
                    weight: w.address(),
                    ..weights
                },
                to: x.values(NAME)?,
            };
            return self.product(&convolution::dgrad(s), s, &[padded], &addresses);
        };
        let extents = [s.batch * s.input[0] * s.input[1], s.channels];
        let to = GemmResult::new(operand, x, extents, weights.bias, epilogue)?;
        let pixels = s.batch * s.output[0] * s.output[1];
        let y = self.pack_rows(operand, pixels, s.outputs, y)?;
        let w = self.pack_rows(
            operand,
            s.taps() * s.channels,
            s.outputs,
            Image::of(weights.weight),
        )?;
        let tile_config = |tier| self.tile_config(ConvProduct::Dgrad, operand, tier, s);
        if let Some(plan) = self.hopper_multiprocessors.and_then(|blocks| {
            implicit_gemm_hopper::dgrad(operand, s, &tile_config(Tier::Hopper), blocks)
        }) {
            return self.hopper_product(plan, s, [y.address, w.address], &to);
        }
        let product = TiledProduct {
            launch: implicit_gemm::dgrad(operand, s, &tile_config(Tier::Tiled)),
            depth: operand.padded(s.outputs),
            slices: EpilogueSlices::dgrad(s),
        };
        self.tiled_product(product, s, [y.address, w.address], &to)
    }

    /// w from x and y.
    pub(super) fn wgrad(&self, s: &ConvShape, [x, y]: [Image; 2], weight: u64) -> Result<()> {
        let Some(operand) = self.operand_for(s) else {
            let x = x.values(NAME)?;
            if single_channel::has_wgrad(s) {
                let (launch, split) = single_channel::wgrad(y.format, s);
                let extents = [split.rows_per_slice, y.format.row(s.outputs)];
                let y = y.address;
                let addresses = WgradAddresses { x, y, weight };
                return self.split_product(&launch, s, &extents, split.slices, &addresses);
            }
            let (launch, split) = convolution::wgrad(s);
            let extents = [split.rows_per_slice];
            let y = y.values(NAME)?;
            let addresses = WgradAddresses { x, y, weight };
            return self.split_product(&launch, s, &extents, split.slices, &addresses);
        };
        let pixels = s.batch * s.input[0] * s.input[1];
        let x = self.pack_rows(operand, pixels, s.channels, x)?;
        let pixels = s.batch * s.output[0] * s.output[1];
        let y = self.pack_rows(operand, pixels, s.outputs, y)?;
        let addresses = WgradAddresses {
            x: x.address,
            y: y.address,
            weight,
        };
        let tile_config = |tier| self.tile_config(ConvProduct::Wgrad, operand, tier, s);
        if let Some(plan) = self.hopper_multiprocessors.and_then(|blocks| {
            implicit_gemm_hopper_wgrad::wgrad(operand, s, &tile_config(Tier::Hopper), blocks)
        }) {
            return self.hopper_partials(&plan, s, &addresses);
        }
        let (launch, split) = implicit_gemm::wgrad(operand, s, &tile_config(Tier::Tiled));
        let extents = [
            operand.padded(s.channels),
            operand.padded(s.outputs),
            split.share,
        ];
        self.split_product(&launch, s, &extents, split.slices, &addresses)
    }

    /// The operand format of a shape's tiled GEMM; `None` if x or y has one channel, or if this backend
    /// is not tiled.
    pub(super) fn operand_for(&self, s: &ConvShape) -> Option<Precision> {
        (self.tiled && s.channels > 1 && s.outputs > 1).then_some(self.precision)
    }

    /// The tile configuration of a GEMM on the kernels of `tier`.
    fn tile_config(
        &self,
        product: ConvProduct,
        operand: Precision,
        tier: Tier,
        s: &ConvShape,
    ) -> TileConfig {
        let problem = Problem {
            product,
            operand,
            tier,
            shape: *s,
        };
        self.tile_configs.of(&problem)
    }

    /// Launches a plain GEMM; arguments are the shape, further extents, two operands, a bias and the result.
    fn product(
        &self,
        launch: &Launch,
        s: &ConvShape,
        extents: &[usize],
        addresses: &GatherAddresses,
    ) -> Result<()> {
        let arguments = arguments(s, extents)
            .address(addresses.from)
            .weights(addresses.weights)
            .address(addresses.to);
        self.launch(launch, &arguments)
    }

    /// Launches a GEMM of the tiled kernels.
    fn tiled_product(
        &self,
        product: TiledProduct,
        s: &ConvShape,
        operands: [u64; 2],
        to: &GemmResult,
    ) -> Result<()> {
        let [from, w] = operands;
        let arguments = arguments(s, &[product.depth]).address(from).address(w);
        let slices = product.slices;
        let slicing = Slicing {
            images: s.batch,
            count: slices.count(),
            unit: slices.unit,
        };
        self.product_with_epilogue(product.launch, arguments, to, slicing, |arguments| {
            arguments.int(slices.phase)
        })
    }

    /// Launches a GEMM of the Hopper kernels, which take both operands as tensor maps.
    fn hopper_product(
        &self,
        plan: implicit_gemm_hopper::Plan,
        s: &ConvShape,
        [source, w]: [u64; 2],
        to: &GemmResult,
    ) -> Result<()> {
        let arguments = Arguments::new()
            .ints(&s.words())
            .ints(&plan.tiles)
            .int(plan.depth)
            .bytes(&self.launcher.device().tensor_map(&plan.maps[0], source)?)
            .bytes(&self.launcher.device().tensor_map(&plan.maps[1], w)?);
        let slicing = Slicing {
            images: s.batch,
            count: plan.slices,
            unit: plan.unit,
        };
        let whole = |arguments| arguments;
        self.product_with_epilogue(plan.launch, arguments, to, slicing, whole)
    }

    /// Launches a split-K GEMM and adds the partial sums.
    fn split_product(
        &self,
        launch: &Launch,
        s: &ConvShape,
        extents: &[usize],
        slices: usize,
        addresses: &WgradAddresses,
    ) -> Result<()> {
        let arguments = arguments(s, extents)
            .address(addresses.x)
            .address(addresses.y);
        self.partials(s, slices, addresses.weight, |partials| {
            self.launch(launch, &arguments.address(partials))
        })
    }

    /// Launches a split-K GEMM of the Hopper kernels and adds the partial sums.
    fn hopper_partials(
        &self,
        plan: &implicit_gemm_hopper_wgrad::Plan,
        s: &ConvShape,
        addresses: &WgradAddresses,
    ) -> Result<()> {
        let arguments = Arguments::new()
            .ints(&s.words())
            .ints(&plan.slabs)
            .bytes(
                &self
                    .launcher
                    .device()
                    .tensor_map(&plan.maps[0], addresses.x)?,
            )
            .bytes(
                &self
                    .launcher
                    .device()
                    .tensor_map(&plan.maps[1], addresses.y)?,
            );
        self.partials(s, plan.slices, addresses.weight, |partials| {
            self.launch(&plan.launch, &arguments.address(partials))
        })
    }

    /// Calls `launch` with the address for the partial sums of w, and adds them.
    ///
    /// With a single slice, that is the address of w.
    fn partials(
        &self,
        s: &ConvShape,
        slices: usize,
        w: u64,
        launch: impl FnOnce(u64) -> Result<()>,
    ) -> Result<()> {
        if slices == 1 {
            return launch(w);
        }
        let weights = s.weight_len();
        let partials = self.scratch(4 * slices * weights)?;
        launch(partials.address())?;
        self.column_totals(slices, weights, partials.address(), w)
    }

    /// Sums of `[rows, columns]` over the rows.
    pub(super) fn column_totals(
        &self,
        rows: usize,
        columns: usize,
        partials: u64,
        totals: u64,
    ) -> Result<()> {
        let arguments = Arguments::new()
            .int(rows)
            .int(columns)
            .address(partials)
            .address(totals);
        self.launch(&reduce::totals(rows, columns), &arguments)
    }
}

/// The shape and further extents, with which the arguments of convolution kernels begin.
fn arguments(s: &ConvShape, extents: &[usize]) -> Arguments {
    let arguments = Arguments::new().ints(&s.words());
    extents
        .iter()
        .fold(arguments, |arguments, &extent| arguments.int(extent))
}

impl Arguments {
    /// Appends a layer's weight and bias, in the order in which all kernels take them.
    fn weights(self, Weights { weight, bias }: Weights) -> Self {
        self.address(weight).address(bias)
    }
}
