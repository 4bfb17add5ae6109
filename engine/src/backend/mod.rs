//! The interface of a device: memory and operators.
//!
//! An operator writes into memory provided by the caller.

pub mod cache;
pub mod cpu;
#[allow(unsafe_code, reason = "the driver's functions are foreign")]
pub mod cuda;
pub mod launch;
mod op;
#[allow(
    unsafe_code,
    reason = "the executor switches stacks and calls compiled kernels"
)]
pub mod simt;

use std::fmt;

use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, ConvMethod, ConvProduct};
use crate::shape::Shape;
use crate::tensor::Tensor;

pub use self::op::{Activation, ActivationForm, Epilogue, Normalisation, Op};
pub use cosmogan_kernels::Precision;

/// Passes before and after a GEMM with which its kernel can be fused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fusion {
    /// Whether all three GEMMs of the geometry read packed tensors of several channels.
    ///
    /// See [`Backend::empty_packed`].
    pub packed: bool,
    /// Whether [`Epilogue::Statistics`] is supported.
    pub statistics: bool,
    /// Whether [`Epilogue::Activation`] is supported.
    pub activation: bool,
    /// Whether [`Epilogue::Normalised`] is supported.
    pub normalisation: bool,
    /// Whether the result may be packed.
    pub packed_result: bool,
}

impl Fusion {
    /// Whether a tensor of `channels` channels may be packed for these GEMMs.
    pub(crate) fn takes_packed(self, channels: usize) -> bool {
        self.packed && channels > 1
    }
}

/// Recorded work that is queued together for the cost of one launch.
pub trait Recording: Send + fmt::Debug {
    /// Queues the work again, on the same memory as when it was recorded.
    fn replay(&self) -> Result<()>;
}

/// The part of a device on which the bits of results depend, besides the version of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arithmetic {
    /// Device and kernels, e.g. `cpu, AVX-512` or `NVIDIA H200, compute capability 9.0`.
    pub device: String,
    /// Operand precision of GEMMs.
    pub precision: Precision,
}

/// A device: memory, one entry for all operators ([`Op`]), and how the device prefers to run them.
///
/// Tensors are contiguous and belong to this device. Callers guarantee that shapes fit; the files in [`crate::ops`]
/// check them and report errors. A backend may rely on this, but must stay memory-safe if it is violated. Every
/// element of an output is written. The same inputs give the same bits on any number of threads, and the convolution
/// of an image does not depend on the other images of its batch.
pub trait Backend: Send + Sync + fmt::Debug {
    /// One line about the device, e.g. `cpu (2 threads, AVX-512)`.
    fn description(&self) -> String;

    /// Everything about the device on which the bits of results depend. Two devices of equal arithmetic give the same
    /// bits.
    fn arithmetic(&self) -> Arithmetic;

    /// Runs an operator.
    fn run(&self, op: Op<'_>) -> Result<()>;

    /// Allocates memory with unspecified contents.
    fn empty(&self, shape: Shape) -> Result<Tensor>;

    /// Copies `values` to the device.
    fn upload(&self, shape: Shape, values: &[f32]) -> Result<Tensor> {
        let mut tensor = self.empty(shape)?;
        self.write(&mut tensor, values)?;
        Ok(tensor)
    }

    /// Overwrites the elements of `tensor` in place, so that launches recorded for it stay valid.
    fn write(&self, tensor: &mut Tensor, values: &[f32]) -> Result<()> {
        expect_length("upload", values.len(), tensor.shape().len())?;
        self.write_part(tensor, 0, values)
    }

    /// Overwrites elements of `tensor` from index `first` on, in place.
    ///
    /// Data that exceeds host memory is uploaded in parts.
    fn write_part(&self, tensor: &mut Tensor, first: usize, values: &[f32]) -> Result<()>;

    /// Copies the elements of `tensor` from the device, after all work queued before.
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>>;

    /// Records the work that `body` queues, to repeat it for the cost of one launch.
    ///
    /// `body` must neither upload nor download, and no other thread may queue work meanwhile. Returns `None` without
    /// running `body` on a device that gains nothing from recording.
    fn record(&self, body: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Recording>>> {
        let _ = body;
        Ok(None)
    }

    /// Free memory in bytes, for a device with memory of its own.
    fn free_memory(&self) -> Option<usize> {
        None
    }

    /// Algorithm of a convolution GEMM; depends only on the geometry.
    ///
    /// It determines the bound on the rounding errors.
    fn conv_method(&self, product: ConvProduct, geometry: &ConvGeometry) -> ConvMethod {
        let _ = (product, geometry);
        ConvMethod::Direct
    }

    /// Fusions that the device supports for a convolution GEMM. Depends only on the geometry.
    fn conv_fusion(&self, product: ConvProduct, geometry: &ConvGeometry) -> Fusion {
        let _ = (product, geometry);
        Fusion::default()
    }

    /// Fusions that the device supports for a linear layer.
    ///
    /// The layer maps N vectors from I to O features, which are images of `channels` channels. The result depends only
    /// on these numbers.
    fn linear_fusion(&self, [rows, inputs, outputs]: [usize; 3], channels: usize) -> Fusion {
        let _ = (rows, inputs, outputs, channels);
        Fusion::default()
    }

    /// Allocates memory with unspecified contents for a packed tensor.
    ///
    /// A packed tensor is rounded and laid out as an operand of convolution GEMMs. It cannot be downloaded. Writers
    /// are GEMMs that offer a packed result, [`Op::Pack`], normalisation and its gradient, and the gradient of ReLU or
    /// LeakyReLU. Readers are GEMMs, normalisation and its gradient (as x and dy), the gradient of a bias, and the
    /// gradient of ReLU or LeakyReLU (as dy and as the output).
    fn empty_packed(&self, shape: Shape) -> Result<Tensor> {
        self.empty(shape)
    }

    /// Whether intermediate tensors of training are stored packed, in half the memory.
    ///
    /// These are the inputs of normalisation, and gradients between GEMMs, normalisations and rectifiers. Statistics
    /// are those of the values before rounding.
    fn keeps_packed(&self) -> bool {
        false
    }

    /// Whether backward passes recompute cheap operands instead of storing them.
    ///
    /// Normalised activations are cheap. True for devices where memory is scarcer than time.
    fn recomputes(&self) -> bool {
        false
    }
}

/// Extents of maps `[M, H, W, C]`, and number, rows and columns of their crops `[N, h, w, C]`.
fn gather_extents(maps: &Shape, crops: &Tensor) -> Result<([usize; 4], [usize; 3])> {
    match (maps.dims(), crops.shape().dims()) {
        (&[count, height, width, channels], &[taken, rows, columns, same])
            if count > 0 && rows <= height && columns <= width && same == channels =>
        {
            Ok(([count, height, width, channels], [taken, rows, columns]))
        }
        _ => Err(Error::ShapeMismatch {
            operator: "gather",
            left_name: "the crops",
            left: crops.shape().clone(),
            right_name: "the maps",
            right: maps.clone(),
        }),
    }
}

/// Rejects values that would be written beyond the end of an operand.
fn expect_room(operator: &'static str, length: usize, first: usize, count: usize) -> Result<()> {
    if first.checked_add(count).is_some_and(|end| end <= length) {
        return Ok(());
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("an operand of {length} elements has no room for {count} from {first} on"),
    })
}

/// Number of equal parts of `x` that `statistics`, `[C]` or `[parts, C]`, describes, and rows per part.
fn parts_of(operator: &'static str, x: &Tensor, statistics: &Tensor) -> Result<[usize; 2]> {
    let (rows, parts) = (x.shape().rows(), statistics.shape().rows());
    if parts > 0 && rows.is_multiple_of(parts) {
        return Ok([parts, rows / parts]);
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("{rows} values per channel cannot be split into {parts} equal parts"),
    })
}

/// Rejects an operand that does not have the number of elements that the operator accesses.
fn expect_length(operator: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::InvalidOperand {
        operator,
        problem: format!("an operand has {found} elements where {expected} are needed"),
    })
}
