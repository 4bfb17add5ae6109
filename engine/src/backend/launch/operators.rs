//! Implementation of [`Backend`] by kernels.

use cosmogan_kernels::Precision;
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::{adam, elementwise, loss, reduce, single_channel};

use super::convolution::{Weights, linear_shape};
use super::epilogue::LoweredEpilogue;
use super::{Arguments, DeviceBuffer, Format, Image, LaunchBackend, packed};
use crate::adam::AdamStep;
use crate::backend::{
    Activation, ActivationForm, Arithmetic, Backend, Fusion, Op, Recording, expect_room, parts_of,
};
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvProduct};
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Backend for LaunchBackend {
    fn description(&self) -> String {
        let tier = if self.tiled { "" } else { ", plain kernels" };
        format!(
            "{}, {}{tier}",
            self.launcher.device().description(),
            self.precision
        )
    }

    fn arithmetic(&self) -> Arithmetic {
        let mut device = match self.launcher.device().gpu() {
            Some(gpu) => format!(
                "{}, compute capability {}.{}",
                gpu.name,
                gpu.capability / 10,
                gpu.capability % 10
            ),
            None => "simt".to_owned(),
        };
        device += match (self.tiled, self.hopper_multiprocessors) {
            (false, _) => ", plain kernels",
            (true, None) => ", tiled kernels",
            (true, Some(_)) => "",
        };
        // The number of split-K slices changes bits.
        if !self.tile_configs.is_empty() {
            device += &format!(", tuning table {:016x}", self.tile_configs.fingerprint());
        }
        Arithmetic {
            device,
            precision: self.precision,
        }
    }

    fn run(&self, op: Op<'_>) -> Result<()> {
        let name = op.name();
        match op {
            Op::Linear {
                x,
                weight,
                bias,
                epilogue,
                y,
            } => {
                let (inputs, outputs) = (x.shape().channels(), bias.shape().len());
                let s = linear_shape(x.shape().rows(), inputs, outputs);
                let channels = y.shape().channels();
                let x = self.image_of(name, x, s.output_len())?;
                let weights = Weights {
                    weight: self.input_of(name, weight, s.weight_len())?,
                    bias: self.input_of(name, bias, outputs)?,
                };
                let y = self.output_image_of(name, y, s.input_len())?;
                if channels != outputs && y.format.row(channels) != channels {
                    return Err(packed(name));
                }
                let epilogue = self.lowered(name, epilogue, outputs)?;
                self.dgrad(&s, x, weights, y, epilogue)
            }
            Op::LinearDgrad { dy, weight, dx } => {
                let (inputs, outputs) = (dx.shape().channels(), dy.shape().channels());
                let s = linear_shape(dx.shape().rows(), inputs, outputs);
                let dy = self.image_of(name, dy, s.input_len())?;
                let weights = Weights {
                    weight: self.input_of(name, weight, s.weight_len())?,
                    bias: 0,
                };
                let dx = self.output_image_of(name, dx, s.output_len())?;
                self.fprop(&s, dy, weights, dx, LoweredEpilogue::None)
            }
            Op::LinearWgrad { x, dy, dweight } => {
                let (inputs, outputs) = (x.shape().channels(), dy.shape().channels());
                let s = linear_shape(x.shape().rows(), inputs, outputs);
                let dy = self.image_of(name, dy, s.input_len())?;
                let x = self.image_of(name, x, s.output_len())?;
                let dweight = self.output_of(name, dweight, s.weight_len())?;
                self.wgrad(&s, [dy, x], dweight)
            }
            Op::BiasGradient { dy, dbias } => {
                let [rows, columns] = matrix(dy);
                let dy = self.image_of(name, dy, rows * columns)?;
                let dbias = self.output_of(name, dbias, columns)?;
                self.column_sums(dy, [rows, columns], dbias)
            }
            Op::Pack { values, packed } => {
                let [rows, channels] = matrix(values);
                let values = self.input(name, values)?;
                let packed = self.output_image_of(name, packed, rows * channels)?;
                self.pack_into(packed, [rows, channels], values)
            }
            Op::ConvFprop {
                geometry,
                x,
                weight,
                bias,
                epilogue,
                y,
            } => {
                let s = ConvShape::from(geometry);
                let x = self.image_of(name, x, s.input_len())?;
                let weights = Weights {
                    weight: self.input_of(name, weight, s.weight_len())?,
                    bias: bias.map_or(Ok(0), |bias| self.input_of(name, bias, s.outputs))?,
                };
                let y = self.output_image_of(name, y, s.output_len())?;
                let epilogue = self.lowered(name, epilogue, s.outputs)?;
                let extents = [s.output_len() / s.outputs.max(1), s.outputs];
                let run = |y, epilogue| self.fprop(&s, x, weights, y, epilogue);
                self.with_epilogue(y, extents, epilogue, run)
            }
            Op::ConvDgrad {
                geometry,
                y,
                weight,
                bias,
                epilogue,
                x,
            } => {
                let s = ConvShape::from(geometry);
                let y = self.image_of(name, y, s.output_len())?;
                let weights = Weights {
                    weight: self.input_of(name, weight, s.weight_len())?,
                    bias: bias.map_or(Ok(0), |bias| self.input_of(name, bias, s.channels))?,
                };
                let x = self.output_image_of(name, x, s.input_len())?;
                let epilogue = self.lowered(name, epilogue, s.channels)?;
                let extents = [s.input_len() / s.channels.max(1), s.channels];
                let run = |x, epilogue| self.dgrad(&s, y, weights, x, epilogue);
                self.with_epilogue(x, extents, epilogue, run)
            }
            Op::ConvWgrad {
                geometry,
                x,
                y,
                weight,
            } => {
                let s = ConvShape::from(geometry);
                let x = self.image_of(name, x, s.input_len())?;
                let y = self.image_of(name, y, s.output_len())?;
                let weight = self.output_of(name, weight, s.weight_len())?;
                self.wgrad(&s, [x, y], weight)
            }
            Op::BatchStatistics { x, mean, variance } => {
                let ([parts, rows], channels) = (parts_of(name, x, mean)?, x.shape().channels());
                let x = self.input(name, x)?;
                let to = [
                    self.output_of(name, mean, parts * channels)?,
                    self.output_of(name, variance, parts * channels)?,
                ];
                self.statistics(x, [parts, rows, channels], to)
            }
            Op::Normalise { x, by, y } => self.normalise(name, x, by, y),
            Op::NormaliseGradient {
                x,
                by,
                dy,
                dx,
                dscale,
                dshift,
            } => self.normalise_gradient(name, [x, dy], by, [dx, dscale, dshift]),
            Op::UpdateRunning {
                running,
                batch,
                momentum,
                factor,
            } => {
                let length = batch.shape().len();
                let arguments = Arguments::new()
                    .int(length)
                    .float(1.0 - momentum)
                    .float(momentum * factor)
                    .address(self.input(name, batch)?)
                    .address(self.output_of(name, running, length)?);
                let launch = elementwise::launch(&elementwise::UPDATE_RUNNING, length);
                self.launch(&launch, &arguments)
            }
            Op::Activate { activation, x, y } => {
                let length = x.shape().len();
                let (x, y) = (self.input(name, x)?, self.output_of(name, y, length)?);
                self.activate_values(activation, length, [x, y])
            }
            Op::ActivateGradient {
                activation,
                y,
                dy,
                dx,
            } => self.activate_gradient(name, activation, [y, dy], dx),
            Op::BceWithLogits {
                logits,
                target,
                loss,
            } => {
                let length = logits.shape().len();
                let arguments = Arguments::new()
                    .int(length)
                    .float(target)
                    .address(self.input(name, logits)?)
                    .address(self.output_of(name, loss, 1)?);
                self.launch(&loss::bce(length), &arguments)
            }
            Op::BceWithLogitsGradient {
                logits,
                target,
                dloss,
                dlogits,
            } => {
                let length = logits.shape().len();
                let arguments = Arguments::new()
                    .int(length)
                    .float(target)
                    .address(self.input(name, logits)?)
                    .address(self.input_of(name, dloss, 1)?)
                    .address(self.output_of(name, dlogits, length)?);
                self.launch(&loss::bce_gradient(length), &arguments)
            }
            Op::Add { a, b, y } => {
                let length = a.shape().len();
                let arguments = Arguments::new()
                    .int(length)
                    .address(self.input(name, a)?)
                    .address(self.input_of(name, b, length)?)
                    .address(self.output_of(name, y, length)?);
                let launch = elementwise::launch(&elementwise::ADD, length);
                self.launch(&launch, &arguments)
            }
            Op::Copy { from, to, first } => {
                let (length, room) = (from.shape().len(), to.shape().len());
                expect_room(name, room, first, length)?;
                let arguments = Arguments::new()
                    .int(length)
                    .address(self.input(name, from)?)
                    .address(self.output_of(name, to, room)? + 4 * first as u64);
                let launch = elementwise::launch(&elementwise::COPY, length);
                self.launch(&launch, &arguments)
            }
            Op::SquaredNorm { tensors, sum } => self.squared_norm(name, tensors, sum),
            Op::Gather { maps, table, crops } => {
                let address = self.input(name, maps)?;
                self.gather(name, maps.shape(), (address, false), table, crops)
            }
            Op::GatherHalf {
                pairs,
                extents,
                table,
                crops,
            } => {
                let shape = Shape::from(extents);
                let address = self.input_of(name, pairs, shape.len().div_ceil(2))?;
                self.gather(name, &shape, (address, true), table, crops)
            }
            Op::Adam(step) => self.adam(name, step),
        }
    }

    fn empty(&self, shape: Shape) -> Result<Tensor> {
        self.allocate(shape, Format::Values)
    }

    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()> {
        let length = tensor.shape().len();
        self.output_of("upload", tensor, length)?;
        expect_room("upload", length, first, values.len())?;
        if let Some(buffer) = tensor.buffer::<DeviceBuffer>() {
            self.launcher
                .device()
                .write(&*buffer.allocation, first, values)?;
        }
        Ok(())
    }

    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.input("download", tensor)?;
        if tensor.is_part() {
            // Launchers read memory from its start.
            let mut whole = self.empty(tensor.shape().clone())?;
            self.run(Op::Copy {
                from: tensor,
                to: &mut whole,
                first: 0,
            })?;
            return self.download(&whole);
        }
        let mut values = vec![0.0; tensor.shape().len()];
        if let Some(buffer) = tensor.buffer::<DeviceBuffer>() {
            self.launcher
                .device()
                .read(&*buffer.allocation, &mut values)?;
        }
        Ok(values)
    }

    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recording>>> {
        self.launcher.record(body).map(Some)
    }

    fn free_memory(&self) -> Option<usize> {
        Some(self.launcher.device().free_memory())
    }

    fn conv_fusion(&self, product: ConvProduct, geometry: &ConvGeometry) -> Fusion {
        let s = ConvShape::from(geometry);
        if product == ConvProduct::Wgrad {
            return Fusion::default();
        }
        // Tiled kernels in f32 have no registers left for epilogues, and f32 needs no packing.
        let on_tensor_cores = self.precision != Precision::F32;
        if self.operand_for(&s).is_some() {
            return Fusion {
                packed: on_tensor_cores,
                statistics: self.fused && on_tensor_cores,
                normalisation: self.fused && on_tensor_cores,
                packed_result: on_tensor_cores,
                ..Fusion::default()
            };
        }
        let (fprop, dgrad) = (single_channel::has_fprop(&s), single_channel::has_dgrad(&s));
        let is_fprop = product == ConvProduct::Fprop;
        Fusion {
            packed: self.keeps_packed() && fprop && dgrad && single_channel::has_wgrad(&s),
            activation: if is_fprop { fprop } else { dgrad },
            packed_result: is_fprop && fprop && on_tensor_cores,
            ..Fusion::default()
        }
    }

    fn linear_fusion(&self, [rows, inputs, outputs]: [usize; 3], channels: usize) -> Fusion {
        let operand = self.operand_for(&linear_shape(rows, inputs, outputs));
        let Some(operand) = operand.filter(|operand| self.fused && *operand != Precision::F32)
        else {
            return Fusion::default();
        };
        Fusion {
            // Every row of features consists of whole pixels.
            normalisation: channels > 0 && outputs.is_multiple_of(channels),
            // A row of features is a row of several pixels, without padding between them.
            packed_result: operand.row(channels) == channels,
            ..Fusion::default()
        }
    }

    fn empty_packed(&self, shape: Shape) -> Result<Tensor> {
        let channels = shape.channels();
        let format = match self.precision {
            Precision::F32 => Format::Values,
            operand => Format::Packed { operand, channels },
        };
        self.allocate(shape, format)
    }

    /// Packed tf32 takes as much memory as f32.
    fn keeps_packed(&self) -> bool {
        self.precision == Precision::Bf16
    }
}

/// Rows and channels of a tensor seen as a matrix.
fn matrix(tensor: &Tensor) -> [usize; 2] {
    [tensor.shape().rows(), tensor.shape().channels()]
}

/// Operators of several launches.
impl LaunchBackend {
    fn column_sums(&self, dy: Image, [rows, columns]: [usize; 2], sums: u64) -> Result<()> {
        let slices = reduce::slices(rows);
        let partials = self.scratch(4 * slices * columns)?;
        let arguments = Arguments::new()
            .int(rows)
            .int(columns)
            .int(dy.format.row(columns))
            .address(dy.address)
            .address(partials.address());
        self.launch(&reduce::partials(dy.format, rows, columns), &arguments)?;
        self.column_totals(slices, columns, partials.address(), sums)
    }

    fn activate_gradient(
        &self,
        name: &'static str,
        activation: Activation,
        [y, dy]: [&Tensor; 2],
        dx: &mut Tensor,
    ) -> Result<()> {
        let [rows, channels] = matrix(y);
        let length = rows * channels;
        let dy = self.image_of(name, dy, length)?;
        let dx = self.output_image_of(name, dx, length)?;
        let slope = match activation.form() {
            ActivationForm::Rectifier(slope) => slope,
            ActivationForm::Tanh => {
                let arguments = Arguments::new()
                    .int(length)
                    .address(self.input(name, y)?)
                    .address(dy.values(name)?)
                    .address(dx.values(name)?);
                let launch = elementwise::launch(&elementwise::TANH_GRADIENT, length);
                return self.launch(&launch, &arguments);
            }
        };
        let y = self.image_of(name, y, length)?;
        self.packing(dx, [rows, channels], |dx| {
            let row = dx.format.row(channels);
            let arguments = Arguments::new()
                .int(rows * row)
                .int(channels)
                .int(y.format.row(channels))
                .int(dy.format.row(channels))
                .int(row)
                .float(slope)
                .address(y.address)
                .address(dy.address)
                .address(dx.address);
            let formats = [y.format, dy.format, dx.format];
            let launch = elementwise::leaky_relu_gradient(formats, rows, channels);
            self.launch(&launch, &arguments)
        })
    }

    fn squared_norm(&self, name: &'static str, tensors: &[Tensor], sum: &mut Tensor) -> Result<()> {
        let slices = |tensor: &Tensor| reduce::square_slices(tensor.shape().len());
        let all: usize = tensors.iter().map(slices).sum();
        let partials = self.scratch(4 * all)?;
        let mut at = partials.address();
        for tensor in tensors {
            let length = tensor.shape().len();
            let arguments = Arguments::new()
                .int(length)
                .address(self.input(name, tensor)?)
                .address(at);
            self.launch(&reduce::square_partials(length), &arguments)?;
            at += 4 * slices(tensor) as u64;
        }
        let sum = self.output_of(name, sum, 1)?;
        self.column_totals(all, 1, partials.address(), sum)
    }

    fn adam(&self, name: &'static str, step: AdamStep<'_>) -> Result<()> {
        let settings = step.settings;
        let state = self.input_of(name, step.state, 2)?;
        let mut operands = step.operands;
        for operands in operands.chunks_mut(adam::MOST_TENSORS) {
            let lengths: Vec<_> = operands
                .iter()
                .map(|operand| operand.gradient.shape().len())
                .collect();
            let mut table = Vec::with_capacity(adam::MOST_TENSORS * 40);
            let mut first_block = 0;
            for (operand, &length) in operands.iter_mut().zip(&lengths) {
                let addresses = [
                    self.output_of(name, operand.parameter, length)?,
                    self.input(name, operand.gradient)?,
                    self.output_of(name, operand.first, length)?,
                    self.output_of(name, operand.second, length)?,
                ];
                table.extend(addresses.iter().flat_map(|address| address.to_ne_bytes()));
                for extent in [length, first_block] {
                    let extent = i32::try_from(extent).unwrap_or(i32::MAX);
                    table.extend(extent.to_ne_bytes());
                }
                first_block += adam::blocks(length);
            }
            table.resize(adam::MOST_TENSORS * 40, 0);
            // Differences to 1 are taken in double precision: in f32, 1 − 0.999 would be off by 5e-5.
            let arguments = Arguments::new()
                .int(operands.len())
                .float(settings.beta1 as f32)
                .float((1.0 - settings.beta1) as f32)
                .float(settings.beta2 as f32)
                .float((1.0 - settings.beta2) as f32)
                .float(settings.epsilon as f32)
                .address(state)
                .bytes(&table);
            self.launch(&adam::step(lengths.iter().copied()), &arguments)?;
        }
        Ok(())
    }
}
