//! Epilogues of GEMMs.

use cosmogan_kernels::{Launch, batch_norm, elementwise};
use cosmogan_kernels::{Precision, pack};

use super::moments::{self, Slicing, Statistics};
use super::{Arguments, Image, LaunchBackend, packed};
use crate::backend::{Activation, ActivationForm, Epilogue, Normalisation};
use crate::error::{Error, Result};

/// Operator name in errors.
const NAME: &str = "convolution";

/// Operation on a GEMM result before it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum LoweredEpilogue {
    /// None.
    None,
    /// Applies an activation.
    Activation(Activation),
    /// Writes mean and variance of the channels.
    Statistics(Statistics),
    /// Normalises and rectifies.
    Normalised {
        /// Addresses of mean, variance, scale and shift per channel.
        by: [u64; 4],
        epsilon: f32,
        slope: f32,
        channels: usize,
    },
}

impl LoweredEpilogue {
    pub(super) fn expect_none(self) -> Result<()> {
        match self {
            Self::None => Ok(()),
            _ => Err(self.refused()),
        }
    }

    /// `struct Activation` of `activation.cuh`.
    pub(super) fn activation(self) -> Result<[u8; 8]> {
        let (slope, tangent) = match self {
            Self::None => (1.0, 0),
            Self::Activation(activation) => match activation.form() {
                ActivationForm::Rectifier(slope) => (slope, 0),
                ActivationForm::Tanh => (1.0, 1),
            },
            Self::Statistics(_) | Self::Normalised { .. } => return Err(self.refused()),
        };
        let (slope, tangent) = (f32::to_ne_bytes(slope), i32::to_ne_bytes(tangent));
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&slope);
        bytes[4..].copy_from_slice(&tangent);
        Ok(bytes)
    }

    fn refused(self) -> Error {
        Error::InvalidOperand {
            operator: NAME,
            problem: format!("the kernel for this shape has no epilogue for {self:?}"),
        }
    }
}

/// Result of a tiled GEMM: destination and epilogue.
#[derive(Clone, Copy, Debug)]
pub(super) struct GemmResult {
    image: Image,
    /// Rows and columns of the result as a matrix.
    extents: [usize; 2],
    /// Address of the per-column bias; 0 without one.
    bias: u64,
    epilogue: LoweredEpilogue,
}

impl GemmResult {
    /// Creates the result of a GEMM of `operand`.
    pub(super) fn new(
        operand: Precision,
        image: Image,
        extents: [usize; 2],
        bias: u64,
        epilogue: LoweredEpilogue,
    ) -> Result<Self> {
        if operand == Precision::F32 {
            // The multiply-adds of f32 kernels leave registers only for a bias.
            epilogue.expect_none()?;
        }
        if matches!(epilogue, LoweredEpilogue::Activation(_)) {
            return Err(epilogue.refused());
        }
        if image.format != Precision::F32 && image.format != operand {
            return Err(packed(NAME));
        }
        Ok(Self {
            image,
            extents,
            bias,
            epilogue,
        })
    }

    /// `struct Epilogue` of `epilogue.cuh`.
    fn argument(&self) -> Vec<u8> {
        let (by, epsilon, slope, channels) = match self.epilogue {
            LoweredEpilogue::Normalised {
                by,
                epsilon,
                slope,
                channels,
            } => (by, epsilon, slope, channels),
            _ => ([0; 4], 0.0, 0.0, 0),
        };
        let padded = match self.image.format {
            Precision::F32 => 0,
            format => format.row(self.extents[1]),
        };
        let [mean, variance, scale, shift] = by;
        let addresses = [self.bias, mean, variance, scale, shift].map(u64::to_ne_bytes);
        let settings = [epsilon, slope].map(f32::to_ne_bytes);
        let extents = [channels, padded]
            .map(|extent| i32::try_from(extent).unwrap_or(i32::MAX).to_ne_bytes());
        [addresses.concat(), settings.concat(), extents.concat()].concat()
    }

    /// Adds the work of the epilogue except statistics to a launch.
    fn priced(&self, launch: Launch) -> Launch {
        let [rows, columns] = self.extents;
        let launch = match self.image.format {
            Precision::F32 => launch,
            format => pack::with_packed_result(launch, format, rows, columns),
        };
        match self.epilogue {
            LoweredEpilogue::Normalised { channels, .. } => {
                batch_norm::with_normalisation(launch, rows * columns, channels)
            }
            _ => launch,
        }
    }
}

impl LaunchBackend {
    /// Converts an epilogue for a result of `columns` columns.
    ///
    /// The columns are channels; for normalisation they may also be several pixels of channels each.
    pub(super) fn lowered(
        &self,
        operator: &'static str,
        epilogue: Epilogue<'_>,
        columns: usize,
    ) -> Result<LoweredEpilogue> {
        Ok(match epilogue {
            Epilogue::None => LoweredEpilogue::None,
            Epilogue::Activation(activation) => LoweredEpilogue::Activation(activation),
            Epilogue::Statistics { mean, variance } => {
                let parts = mean.shape().rows();
                LoweredEpilogue::Statistics(Statistics {
                    parts,
                    to: [
                        self.output_of(operator, mean, parts * columns)?,
                        self.output_of(operator, variance, parts * columns)?,
                    ],
                })
            }
            Epilogue::Normalised(by) => self.normalised(operator, by, columns)?,
        })
    }

    fn normalised(
        &self,
        operator: &'static str,
        by: Normalisation<'_>,
        columns: usize,
    ) -> Result<LoweredEpilogue> {
        let channels = by.mean.shape().channels();
        if channels == 0 || !columns.is_multiple_of(channels) {
            return Err(Error::InvalidOperand {
                operator,
                problem: format!("{columns} features are not a multiple of {channels} channels"),
            });
        }
        Ok(LoweredEpilogue::Normalised {
            by: self.vectors_of(operator, by, [1, channels])?,
            epsilon: by.epsilon,
            slope: by.slope,
            channels,
        })
    }

    /// Runs a GEMM with its epilogue on `[rows, channels]`.
    ///
    /// Without fusion, runs the activation as a separate pass.
    pub(super) fn with_epilogue(
        &self,
        to: Image,
        extents: [usize; 2],
        epilogue: LoweredEpilogue,
        run: impl FnOnce(Image, LoweredEpilogue) -> Result<()>,
    ) -> Result<()> {
        self.packing(to, extents, |to| match epilogue {
            LoweredEpilogue::Activation(activation) if !self.fused => {
                run(to, LoweredEpilogue::None)?;
                let values = to.values(NAME)?;
                self.activate_values(activation, extents[0] * extents[1], [values; 2])
            }
            epilogue => run(to, epilogue),
        })
    }

    /// y = activation(x) for `length` values; x may be y.
    pub(super) fn activate_values(
        &self,
        activation: Activation,
        length: usize,
        [x, y]: [u64; 2],
    ) -> Result<()> {
        let (kernel, arguments) = match activation.form() {
            ActivationForm::Rectifier(slope) => (
                &elementwise::LEAKY_RELU,
                Arguments::new().int(length).float(slope),
            ),
            ActivationForm::Tanh => (&elementwise::TANH, Arguments::new().int(length)),
        };
        let launch = elementwise::launch(kernel, length);
        self.launch(&launch, &arguments.address(x).address(y))
    }

    /// Launches a tiled GEMM whose statistics come in slices as `slicing` describes.
    ///
    /// `arguments` are those before the result; `complete` appends the last ones. Statistics for which the slices do
    /// not fit are computed in separate passes over f32 values, which are then packed.
    pub(super) fn product_with_epilogue(
        &self,
        launch: Launch,
        arguments: Arguments,
        to: &GemmResult,
        slicing: Slicing,
        complete: impl FnOnce(Arguments) -> Arguments,
    ) -> Result<()> {
        let run = |to: &GemmResult, launch: Launch, moments: Vec<u8>| {
            let arguments = arguments.address(to.image.address);
            let arguments = complete(arguments.bytes(&to.argument()).bytes(&moments));
            self.launch(&to.priced(launch), &arguments)
        };
        let none = moments::slices([0; 4]);
        let LoweredEpilogue::Statistics(statistics) = to.epilogue else {
            return run(to, launch, none);
        };
        let (parts, [rows, channels]) = (statistics.parts, to.extents);
        if slicing.comes_in(parts) {
            let count = slicing.count;
            let moments = self.moments([parts, count / parts, channels])?;
            let launch = batch_norm::with_slices(launch, rows * channels, count, channels);
            run(to, launch, moments.argument())?;
            return self.join(moments, statistics.to);
        }
        let extents = [parts, rows / parts, channels];
        if to.image.format == Precision::F32 {
            run(to, launch, none)?;
            return self.statistics(to.image.address, extents, statistics.to);
        }
        let values = self.scratch(4 * rows * channels)?;
        let image = Image::of(values.address());
        run(&GemmResult { image, ..*to }, launch, none)?;
        self.statistics(image.address, extents, statistics.to)?;
        self.pack_into(to.image, to.extents, image.address)
    }
}
