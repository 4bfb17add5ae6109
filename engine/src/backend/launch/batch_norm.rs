//! Batch normalisation as separate passes, over tensors of one or several parts.

use cosmogan_kernels::batch_norm;

use super::{Arguments, LaunchBackend};
use crate::backend::{Normalisation, parts_of};
use crate::error::Result;
use crate::tensor::Tensor;

impl LaunchBackend {
    /// y from x.
    pub(super) fn normalise(
        &self,
        name: &'static str,
        x: &Tensor,
        by: Normalisation<'_>,
        y: &mut Tensor,
    ) -> Result<()> {
        let ([parts, rows], channels) = (parts_of(name, x, by.mean)?, x.shape().channels());
        let x = self.image_of(name, x, parts * rows * channels)?;
        let y = self.output_image_of(name, y, parts * rows * channels)?;
        let vectors = self.vectors_of(name, by, [parts, channels])?;
        let extents = Arguments::new()
            .int(rows)
            .int(channels)
            .int(x.format.row(channels));
        self.packing(y, [parts * rows, channels], |y| {
            let arguments = extents
                .int(y.format.row(channels))
                .float(by.epsilon)
                .float(by.slope)
                .address(x.address);
            let arguments = vectors.into_iter().fold(arguments, Arguments::address);
            let launch = batch_norm::normalise([x.format, y.format], [parts, rows, channels]);
            self.launch(&launch, &arguments.address(y.address))
        })
    }

    /// dx, dscale and dshift from x and dy.
    pub(super) fn normalise_gradient(
        &self,
        name: &'static str,
        [x, dy]: [&Tensor; 2],
        by: Normalisation<'_>,
        [dx, dscale, dshift]: [&mut Tensor; 3],
    ) -> Result<()> {
        let ([parts, rows], channels) = (parts_of(name, x, by.mean)?, x.shape().channels());
        let elements = parts * rows * channels;
        let (x, dy) = (
            self.image_of(name, x, elements)?,
            self.image_of(name, dy, elements)?,
        );
        let vectors = self.vectors_of(name, by, [parts, channels])?;
        let dx = self.output_image_of(name, dx, elements)?;
        let dscale = self.output_of(name, dscale, channels)?;
        let dshift = self.output_of(name, dshift, channels)?;

        let extents = Arguments::new()
            .int(rows)
            .int(channels)
            .int(x.format.row(channels))
            .int(dy.format.row(channels));
        let common = |extents: Arguments| {
            let arguments = extents.float(by.epsilon).float(by.slope).address(x.address);
            let arguments = vectors.into_iter().fold(arguments, Arguments::address);
            arguments.address(dy.address)
        };
        // Each slice has both sums of all parts, so that one launch adds the slices of all of them.
        let (slices, columns) = (batch_norm::slices(rows), parts * 2 * channels);
        let partials = self.scratch(4 * slices * columns)?;
        let totals = self.scratch(4 * columns)?;
        let arguments = common(extents.clone()).address(partials.address());
        let launch = batch_norm::gradient_slices([x.format, dy.format], [parts, rows, channels]);
        self.launch(&launch, &arguments)?;
        self.column_totals(slices, columns, partials.address(), totals.address())?;
        self.packing(dx, [parts * rows, channels], |dx| {
            let arguments = common(extents.int(dx.format.row(channels)))
                .address(totals.address())
                .address(dscale)
                .address(dshift)
                .address(dx.address);
            let formats = [x.format, dy.format, dx.format];
            let launch = batch_norm::gradient(formats, [parts, rows, channels]);
            self.launch(&launch, &arguments)
        })
    }

    /// Addresses of mean, variance, scale and shift; the first two have one row per part.
    pub(super) fn vectors_of(
        &self,
        operator: &'static str,
        by: Normalisation<'_>,
        [parts, channels]: [usize; 2],
    ) -> Result<[u64; 4]> {
        Ok([
            self.input_of(operator, by.mean, parts * channels)?,
            self.input_of(operator, by.variance, parts * channels)?,
            self.input_of(operator, by.scale, channels)?,
            self.input_of(operator, by.shift, channels)?,
        ])
    }
}
