//! Implementation of [`Backend`] by kernels.

use cosmogan_kernels::Precision;
use cosmogan_kernels::convolution::ConvShape;
use cosmogan_kernels::{adam, elementwise, loss, reduce, single_channel};

use super::convolution::linear_shape;
use super::epilogue::Finish;
use super::{Arguments, Format, LaunchBackend, Recording, packed};
use crate::adam::AdamStep;
use crate::backend::{
    Activation, Backend, Buffer, Epilogue, Fusion, Normalisation, expect_room, parts_of,
};
use crate::error::Result;
use crate::geometry::{ConvGeometry, ConvProduct};
use crate::shape::Shape;
use crate::tensor::Tensor;

impl Backend for LaunchBackend {
    fn description(&self) -> String {
        let tier = if self.tiled { "" } else { ", plain kernels" };
        format!("{}, {}{tier}", self.launcher.description(), self.precision)
    }

    fn empty(&self, shape: Shape) -> Result<Tensor> {
        self.allocate(shape, Format::Values)
    }

    fn upload(&self, shape: Shape, values: &[f32]) -> Result<Tensor> {
        let mut tensor = self.allocate(shape, Format::Values)?;
        self.write(&mut tensor, values)?;
        Ok(tensor)
    }

    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()> {
        let length = tensor.shape().len();
        self.output_of("upload", tensor, length)?;
        expect_room("upload", length, first, values.len())?;
        if let Buffer::Device(buffer) = tensor.buffer() {
            self.launcher.write(&*buffer.allocation, first, values)?;
        }
        Ok(())
    }

    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.input("download", tensor)?;
        if tensor.is_part() {
            // Launchers read memory from its start.
            let mut whole = self.empty(tensor.shape().clone())?;
            self.copy(tensor, &mut whole, 0)?;
            return self.download(&whole);
        }
        let mut values = vec![0.0; tensor.shape().len()];
        if let Buffer::Device(buffer) = tensor.buffer() {
            self.launcher.read(&*buffer.allocation, &mut values)?;
        }
        Ok(values)
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()> {
        const NAME: &str = "linear";
        let (rows, inputs, outputs) = (x.shape().rows(), x.shape().channels(), bias.shape().len());
        let channels = y.shape().channels();
        let s = linear_shape(rows, inputs, outputs);
        let x = self.image_of(NAME, x, s.output_len())?;
        let addresses = [
            self.input_of(NAME, weight, s.weight_len())?,
            self.input_of(NAME, bias, outputs)?,
        ];
        let y = self.output_image_of(NAME, y, s.input_len())?;
        if channels != outputs && y.format.row(channels) != channels {
            return Err(packed(NAME));
        }
        let finish = self.finish(NAME, epilogue, outputs)?;
        self.dgrad(&s, x, addresses, y, finish)
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

    fn linear_dgrad(&self, dy: &Tensor, weight: &Tensor, dx: &mut Tensor) -> Result<()> {
        const NAME: &str = "linear gradient";
        let (inputs, outputs) = (dx.shape().channels(), dy.shape().channels());
        let s = linear_shape(dx.shape().rows(), inputs, outputs);
        let dy = self.image_of(NAME, dy, s.input_len())?;
        let addresses = [self.input_of(NAME, weight, s.weight_len())?, 0];
        let dx = self.output_image_of(NAME, dx, s.output_len())?;
        self.fprop(&s, dy, addresses, dx, Finish::None)
    }

    fn linear_wgrad(&self, x: &Tensor, dy: &Tensor, dweight: &mut Tensor) -> Result<()> {
        const NAME: &str = "linear gradient";
        let (inputs, outputs) = (x.shape().channels(), dy.shape().channels());
        let s = linear_shape(x.shape().rows(), inputs, outputs);
        let dy = self.image_of(NAME, dy, s.input_len())?;
        let x = self.image_of(NAME, x, s.output_len())?;
        let dweight = self.output_of(NAME, dweight, s.weight_len())?;
        self.wgrad(&s, [dy, x], dweight)
    }

    fn bias_gradient(&self, dy: &Tensor, dbias: &mut Tensor) -> Result<()> {
        const NAME: &str = "bias gradient";
        let (rows, columns) = (dy.shape().rows(), dy.shape().channels());
        let dy = self.image_of(NAME, dy, rows * columns)?;
        let dbias = self.output_of(NAME, dbias, columns)?;
        let slices = reduce::slices(rows);
        let partials = self.scratch(4 * slices * columns)?;
        let arguments = Arguments::new()
            .int(rows)
            .int(columns)
            .int(dy.format.row(columns))
            .address(dy.address)
            .address(partials.address());
        let launch = reduce::partials(dy.format, rows, columns);
        self.launch(&launch, &arguments)?;
        self.column_totals(slices, columns, partials.address(), dbias)
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

    fn pack(&self, values: &Tensor, packed: &mut Tensor) -> Result<()> {
        const NAME: &str = "pack";
        let (rows, channels) = (values.shape().rows(), values.shape().channels());
        let values = self.input(NAME, values)?;
        let packed = self.output_image_of(NAME, packed, rows * channels)?;
        self.pack_into(packed, [rows, channels], values)
    }

    fn conv_fprop(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        y: &mut Tensor,
    ) -> Result<()> {
        const NAME: &str = "convolution";
        let s = ConvShape::from(geometry);
        let x = self.image_of(NAME, x, s.input_len())?;
        let addresses = [
            self.input_of(NAME, weight, s.weight_len())?,
            bias.map_or(Ok(0), |bias| self.input_of(NAME, bias, s.outputs))?,
        ];
        let y = self.output_image_of(NAME, y, s.output_len())?;
        let finish = self.finish(NAME, epilogue, s.outputs)?;
        let extents = [s.output_len() / s.outputs.max(1), s.outputs];
        let run = |y, finish| self.fprop(&s, x, addresses, y, finish);
        self.finishing(y, extents, finish, run)
    }

    fn conv_dgrad(
        &self,
        geometry: &ConvGeometry,
        y: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        epilogue: Epilogue<'_>,
        x: &mut Tensor,
    ) -> Result<()> {
        const NAME: &str = "transposed convolution";
        let s = ConvShape::from(geometry);
        let y = self.image_of(NAME, y, s.output_len())?;
        let addresses = [
            self.input_of(NAME, weight, s.weight_len())?,
            bias.map_or(Ok(0), |bias| self.input_of(NAME, bias, s.channels))?,
        ];
        let x = self.output_image_of(NAME, x, s.input_len())?;
        let finish = self.finish(NAME, epilogue, s.channels)?;
        let extents = [s.input_len() / s.channels.max(1), s.channels];
        let run = |x, finish| self.dgrad(&s, y, addresses, x, finish);
        self.finishing(x, extents, finish, run)
    }

    fn conv_wgrad(
        &self,
        geometry: &ConvGeometry,
        x: &Tensor,
        y: &Tensor,
        weight: &mut Tensor,
    ) -> Result<()> {
        const NAME: &str = "weight gradient";
        let s = ConvShape::from(geometry);
        let x = self.image_of(NAME, x, s.input_len())?;
        let y = self.image_of(NAME, y, s.output_len())?;
        let weight = self.output_of(NAME, weight, s.weight_len())?;
        self.wgrad(&s, [x, y], weight)
    }

    fn batch_statistics(&self, x: &Tensor, mean: &mut Tensor, variance: &mut Tensor) -> Result<()> {
        const NAME: &str = "batch_norm";
        let ([parts, rows], channels) = (parts_of(NAME, x, mean)?, x.shape().channels());
        let x = self.input(NAME, x)?;
        let to = [
            self.output_of(NAME, mean, parts * channels)?,
            self.output_of(NAME, variance, parts * channels)?,
        ];
        self.statistics(x, [parts, rows, channels], to)
    }

    fn normalise(&self, x: &Tensor, by: Normalisation<'_>, y: &mut Tensor) -> Result<()> {
        self.normalise_image(x, by, y)
    }

    fn normalise_gradient(
        &self,
        x: &Tensor,
        by: Normalisation<'_>,
        dy: &Tensor,
        dx: &mut Tensor,
        dscale: &mut Tensor,
        dshift: &mut Tensor,
    ) -> Result<()> {
        self.normalise_image_gradient([x, dy], by, [dx, dscale, dshift])
    }

    fn update_running(
        &self,
        running: &mut Tensor,
        batch: &Tensor,
        momentum: f32,
        factor: f32,
    ) -> Result<()> {
        const NAME: &str = "batch_norm";
        let length = batch.shape().len();
        let arguments = Arguments::new()
            .int(length)
            .float(1.0 - momentum)
            .float(momentum * factor)
            .address(self.input(NAME, batch)?)
            .address(self.output_of(NAME, running, length)?);
        let launch = elementwise::launch(&elementwise::UPDATE_RUNNING, length);
        self.launch(&launch, &arguments)
    }

    fn activate(&self, activation: Activation, x: &Tensor, y: &mut Tensor) -> Result<()> {
        const NAME: &str = "activation";
        let length = x.shape().len();
        let (x, y) = (self.input(NAME, x)?, self.output_of(NAME, y, length)?);
        self.activate_values(activation, length, [x, y])
    }

    fn activate_gradient(
        &self,
        activation: Activation,
        y: &Tensor,
        dy: &Tensor,
        dx: &mut Tensor,
    ) -> Result<()> {
        const NAME: &str = "activation gradient";
        let (rows, channels) = (y.shape().rows(), y.shape().channels());
        let length = rows * channels;
        let dy = self.image_of(NAME, dy, length)?;
        let dx = self.output_image_of(NAME, dx, length)?;
        let Some(slope) = activation.slope() else {
            let arguments = Arguments::new()
                .int(length)
                .address(self.input(NAME, y)?)
                .address(dy.values(NAME)?)
                .address(dx.values(NAME)?);
            let launch = elementwise::launch(&elementwise::TANH_GRADIENT, length);
            return self.launch(&launch, &arguments);
        };
        let y = self.image_of(NAME, y, length)?;
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

    fn bce_with_logits(&self, logits: &Tensor, target: f32, loss: &mut Tensor) -> Result<()> {
        const NAME: &str = "bce_with_logits";
        let length = logits.shape().len();
        let arguments = Arguments::new()
            .int(length)
            .float(target)
            .address(self.input(NAME, logits)?)
            .address(self.output_of(NAME, loss, 1)?);
        self.launch(&loss::bce(length), &arguments)
    }

    fn bce_with_logits_gradient(
        &self,
        logits: &Tensor,
        target: f32,
        dloss: &Tensor,
        dlogits: &mut Tensor,
    ) -> Result<()> {
        const NAME: &str = "bce_with_logits gradient";
        let length = logits.shape().len();
        let arguments = Arguments::new()
            .int(length)
            .float(target)
            .address(self.input(NAME, logits)?)
            .address(self.input_of(NAME, dloss, 1)?)
            .address(self.output_of(NAME, dlogits, length)?);
        self.launch(&loss::bce_gradient(length), &arguments)
    }

    fn add(&self, a: &Tensor, b: &Tensor, y: &mut Tensor) -> Result<()> {
        const NAME: &str = "add";
        let length = a.shape().len();
        let arguments = Arguments::new()
            .int(length)
            .address(self.input(NAME, a)?)
            .address(self.input_of(NAME, b, length)?)
            .address(self.output_of(NAME, y, length)?);
        let launch = elementwise::launch(&elementwise::ADD, length);
        self.launch(&launch, &arguments)
    }

    fn copy(&self, from: &Tensor, to: &mut Tensor, first: usize) -> Result<()> {
        const NAME: &str = "copy";
        let (length, room) = (from.shape().len(), to.shape().len());
        expect_room(NAME, room, first, length)?;
        let arguments = Arguments::new()
            .int(length)
            .address(self.input(NAME, from)?)
            .address(self.output_of(NAME, to, room)? + 4 * first as u64);
        let launch = elementwise::launch(&elementwise::COPY, length);
        self.launch(&launch, &arguments)
    }

    fn squared_norm(&self, tensors: &[Tensor], sum: &mut Tensor) -> Result<()> {
        const NAME: &str = "squared norm";
        let slices = |tensor: &Tensor| reduce::square_slices(tensor.shape().len());
        let all: usize = tensors.iter().map(slices).sum();
        let partials = self.scratch(4 * all)?;
        let mut at = partials.address();
        for tensor in tensors {
            let length = tensor.shape().len();
            let arguments = Arguments::new()
                .int(length)
                .address(self.input(NAME, tensor)?)
                .address(at);
            self.launch(&reduce::square_partials(length), &arguments)?;
            at += 4 * slices(tensor) as u64;
        }
        let sum = self.output_of(NAME, sum, 1)?;
        self.column_totals(all, 1, partials.address(), sum)
    }

    fn free_memory(&self) -> Option<usize> {
        Some(self.launcher.free_memory())
    }

    fn gather(&self, maps: &Tensor, table: &Tensor, crops: &mut Tensor) -> Result<()> {
        let address = self.input("gather", maps)?;
        self.gather_from(maps.shape(), (address, false), table, crops)
    }

    fn gather_half(
        &self,
        pairs: &Tensor,
        extents: [usize; 4],
        table: &Tensor,
        crops: &mut Tensor,
    ) -> Result<()> {
        let shape = Shape::from(extents);
        let address = self.input_of("gather", pairs, shape.len().div_ceil(2))?;
        self.gather_from(&shape, (address, true), table, crops)
    }

    fn adam(&self, step: AdamStep<'_>) -> Result<()> {
        const NAME: &str = "adam";
        let settings = step.settings;
        let state = self.input_of(NAME, step.state, 2)?;
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
                    self.output_of(NAME, operand.parameter, length)?,
                    self.input(NAME, operand.gradient)?,
                    self.output_of(NAME, operand.first, length)?,
                    self.output_of(NAME, operand.second, length)?,
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

    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recording>>> {
        self.launcher.record(body).map(Some)
    }
}
