//! Text form of operators on the command line: a name, and extents as in `n=8 h=64 w=64 c=128 k=256`.

use std::fmt;
use std::str::FromStr;

use super::operator::{Extents, Kind, Operator};
use crate::geometry::{ConvGeometry, Padding};

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("unknown operator `{name}`; choose from {names}")
            })
    }
}

/// The complete extents, in the form that [`Operator::parse`] reads.
impl fmt::Display for Extents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convolution(ConvGeometry {
                batch,
                input: [height, width],
                input_channels,
                output_channels,
                kernel: [rows, columns],
                stride: [down, across],
                padding: Padding { begin, end },
                ..
            }) => write!(
                formatter,
                "n={batch} h={height} w={width} c={input_channels} k={output_channels} kernel={rows}x{columns} stride={down}x{across} pad={},{},{},{}",
                begin[0], begin[1], end[0], end[1]
            ),
            Self::Linear {
                rows,
                inputs,
                outputs,
            } => write!(formatter, "rows={rows} inputs={inputs} outputs={outputs}"),
            Self::Images {
                batch,
                size: [height, width],
                channels,
            } => write!(formatter, "n={batch} h={height} w={width} c={channels}"),
            Self::Matrix { rows, channels } => write!(formatter, "rows={rows} channels={channels}"),
            Self::Values { tensors: 1, length } => write!(formatter, "length={length}"),
            Self::Values { tensors, length } => {
                write!(formatter, "tensors={tensors} length={length}")
            }
        }
    }
}

impl Kind {
    /// Example of the extents that [`Operator::parse`] reads for this kind, for messages.
    pub fn form(self) -> &'static str {
        match self {
            Self::Fprop | Self::Dgrad | Self::Wgrad => {
                "n=8 h=64 w=64 c=128 k=256, where x is [n, h, w, c] and y has k channels; defaults: kernel=5x5 stride=2x2 pad=1,1,2,2"
            }
            Self::Linear | Self::LinearDgrad | Self::LinearWgrad => {
                "rows=8 inputs=64 outputs=131072"
            }
            Self::BiasGradient
            | Self::BatchStatistics
            | Self::Normalise
            | Self::NormaliseGradient
            | Self::Relu
            | Self::ReluGradient
            | Self::LeakyRelu
            | Self::LeakyReluGradient
            | Self::Tanh
            | Self::TanhGradient
            | Self::Copy
            | Self::Gather => "n=8 h=64 w=64 c=128",
            Self::Add
            | Self::UpdateRunning
            | Self::BceWithLogits
            | Self::BceWithLogitsGradient
            | Self::SquaredNorm
            | Self::Adam => "length=1000000",
        }
    }
}

impl Operator {
    /// Parses an operator from its name and extents.
    ///
    /// # Errors
    /// If there is no such operator, or `shape` does not fit it; the message contains an example.
    pub fn parse(name: &str, shape: &str) -> Result<Self, String> {
        Self::of_kind(name.parse()?, shape)
    }

    /// Parses the extents of an operator of this kind, or a whole case of `cosmogan verify` that contains it.
    ///
    /// # Errors
    /// If `shape` does not fit the operator; the message contains an example.
    pub fn of_kind(kind: Kind, shape: &str) -> Result<Self, String> {
        extents(kind, shape)
            .map(|extents| Self { kind, extents })
            .map_err(|problem| format!("{problem}; {} takes {}", kind.name(), kind.form()))
    }
}

impl Kind {
    /// Names of the cases of `cosmogan verify` that contain this operator and are called otherwise.
    fn cases(self) -> &'static [&'static str] {
        match self {
            Self::Fprop | Self::Dgrad | Self::Wgrad => &["conv2d", "conv_transpose2d"],
            Self::LinearDgrad | Self::LinearWgrad | Self::BiasGradient => &["linear"],
            Self::Normalise => &["batch_norm_training", "batch_norm_inference"],
            Self::BatchStatistics | Self::NormaliseGradient | Self::UpdateRunning => {
                &["batch_norm_training"]
            }
            Self::ReluGradient => &["relu"],
            Self::LeakyReluGradient => &["leaky_relu"],
            Self::TanhGradient => &["tanh"],
            Self::BceWithLogitsGradient => &["bce_with_logits"],
            _ => &[],
        }
    }

    /// Fields of a case that do not change what is computed, only with which values.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::BatchStatistics
            | Self::Normalise
            | Self::NormaliseGradient
            | Self::UpdateRunning => &["seed", "slope"],
            Self::BceWithLogits | Self::BceWithLogitsGradient => &["seed", "target"],
            Self::Adam => &["seed", "rate", "beta1", "beta2", "epsilon", "step"],
            _ => &["seed"],
        }
    }
}

/// Most values of the operands: their numbers can be multiplied by small factors in 64 bits.
const MOST_VALUES: f64 = (1_u64 << 48) as f64;

impl Extents {
    /// Values of the operands, without overflow.
    fn values(self) -> f64 {
        let product =
            |extents: &[usize]| -> f64 { extents.iter().map(|&extent| extent as f64).product() };
        match self {
            Self::Convolution(geometry) => [
                geometry.input_dims(),
                geometry.weight_dims(),
                geometry.output_dims(),
            ]
            .iter()
            .map(|dims| product(dims))
            .sum(),
            Self::Linear {
                rows,
                inputs,
                outputs,
            } => product(&[rows, inputs]) + product(&[rows, outputs]) + product(&[inputs, outputs]),
            Self::Images {
                batch,
                size: [height, width],
                channels,
            } => product(&[batch, height, width, channels]),
            Self::Matrix { rows, channels } => product(&[rows, channels]),
            Self::Values { length, .. } => length as f64,
        }
    }
}

/// Reads extents, or a whole case of `cosmogan verify` that contains the operator.
fn extents(kind: Kind, shape: &str) -> Result<Extents, String> {
    let (case, shape) = match shape.trim_start().split_once(char::is_whitespace) {
        Some((name, fields)) if !name.contains('=') && fields.contains('=') => (name, fields),
        _ => (kind.name(), shape),
    };
    if case != kind.name() && !kind.cases().contains(&case) {
        return Err(format!("`{case}` does not contain this operator"));
    }
    let mut fields = Fields::split(shape)?;
    let extents = match kind {
        Kind::Fprop | Kind::Dgrad | Kind::Wgrad => {
            let [top, left, bottom, right] = fields.list("pad", ',', [1, 1, 2, 2])?;
            let padding = Padding {
                begin: [top, left],
                end: [bottom, right],
            };
            let batch = fields.positive("n")?;
            let size = [fields.positive("h")?, fields.positive("w")?];
            let [from, to] = [fields.positive("c")?, fields.positive("k")?];
            let kernel = fields.list("kernel", 'x', [5, 5])?;
            let stride = fields.list("stride", 'x', [2, 2])?;
            // The input of a transposed convolution is y.
            let geometry = if case == "conv_transpose2d" {
                ConvGeometry::from_output(batch, size, [to, from], kernel, stride, padding)
            } else {
                ConvGeometry::from_input(batch, size, [from, to], kernel, stride, padding)
            };
            Extents::Convolution(geometry.map_err(|error| error.to_string())?)
        }
        Kind::Linear | Kind::LinearDgrad | Kind::LinearWgrad => Extents::Linear {
            rows: fields.positive("rows")?,
            inputs: fields.positive("inputs")?,
            outputs: fields.positive("outputs")?,
        },
        Kind::BiasGradient if case == "linear" => {
            fields.positive("inputs")?;
            Extents::Matrix {
                rows: fields.positive("rows")?,
                channels: fields.positive("outputs")?,
            }
        }
        Kind::UpdateRunning if case == "batch_norm_training" => {
            fields.positive("rows")?;
            Extents::Values {
                tensors: 1,
                length: fields.positive("channels")?,
            }
        }
        Kind::SquaredNorm | Kind::Adam if fields.has("tensors") => Extents::Values {
            tensors: fields.positive("tensors")?,
            length: fields.positive("length")?,
        },
        Kind::Gather if fields.has("crops") => {
            // The time of a gather depends on the crops, not on the maps that they are cut from.
            for map in ["n", "h", "w"] {
                fields.positive(map)?;
            }
            Extents::Images {
                batch: fields.positive("crops")?,
                size: [fields.positive("rows")?, fields.positive("columns")?],
                channels: fields.positive("c")?,
            }
        }
        Kind::Add
        | Kind::UpdateRunning
        | Kind::BceWithLogits
        | Kind::BceWithLogitsGradient
        | Kind::SquaredNorm
        | Kind::Adam => fields.values()?,
        // Sums and normalisation need channels.
        Kind::BiasGradient
        | Kind::BatchStatistics
        | Kind::Normalise
        | Kind::NormaliseGradient
        | Kind::Gather
            if fields.has("length") =>
        {
            return Err("`length=` does not say how many channels there are".to_owned());
        }
        _ if fields.has("length") => fields.values()?,
        _ if fields.has("channels") => Extents::Matrix {
            rows: fields.positive("rows")?,
            channels: fields.positive("channels")?,
        },
        _ => Extents::Images {
            batch: fields.positive("n")?,
            size: [fields.positive("h")?, fields.positive("w")?],
            channels: fields.positive("c")?,
        },
    };
    for name in kind.settings() {
        if let Some(value) = fields.take(name)
            && value.parse::<f64>().is_err()
        {
            return Err(format!("`{name}={value}` is not a number"));
        }
    }
    if let Some((name, _)) = fields.0.first() {
        return Err(format!("`{name}=` is not an extent of this operator"));
    }
    match extents.values() {
        values if values > MOST_VALUES => Err(format!("its operands have {values:.1e} values")),
        _ => Ok(extents),
    }
}

/// The NAME=VALUE fields that have not been read yet.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn split(shape: &'a str) -> Result<Self, String> {
        shape
            .split_whitespace()
            .map(|word| {
                word.split_once('=')
                    .ok_or_else(|| format!("`{word}` is not NAME=VALUE"))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| *field == name)
    }

    fn values(&mut self) -> Result<Extents, String> {
        Ok(Extents::Values {
            tensors: 1,
            length: self.positive("length")?,
        })
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(field, _)| *field == name)?;
        Some(self.0.remove(at).1)
    }

    fn positive(&mut self, name: &str) -> Result<usize, String> {
        let text = self
            .take(name)
            .ok_or_else(|| format!("`{name}=` is missing"))?;
        match text.parse() {
            // Larger extents are typing errors, and their products would overflow.
            Ok(value) if (1..=1 << 31).contains(&value) => Ok(value),
            _ => Err(format!("`{name}={text}` is not a number from 1 to 2³¹")),
        }
    }

    fn list<const N: usize>(
        &mut self,
        name: &str,
        separator: char,
        otherwise: [usize; N],
    ) -> Result<[usize; N], String> {
        let Some(text) = self.take(name) else {
            return Ok(otherwise);
        };
        let values: Option<Vec<usize>> = text
            .split(separator)
            .map(|part| part.parse().ok().filter(|&value: &usize| value <= 1 << 16))
            .collect();
        values
            .and_then(|values| values.try_into().ok())
            .ok_or_else(|| format!("`{name}={text}` is not {N} numbers separated by `{separator}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let operators = [
            (
                "dgrad",
                "n=2 h=64 w=48 c=3 k=4 kernel=5x3 stride=2x1 pad=1,0,2,1",
            ),
            ("linear_wgrad", "rows=3 inputs=4 outputs=5"),
            ("normalise", "n=2 h=3 w=4 c=5"),
            ("adam", "length=77"),
        ];
        for (name, shape) in operators {
            let operator = Operator::parse(name, shape).unwrap();
            assert_eq!(operator.kind.name(), name);
            assert_eq!(operator.extents.to_string(), shape);
        }
        for kind in Kind::ALL {
            let example = kind.form().split([',', ';']).next().unwrap_or_default();
            assert!(Operator::of_kind(kind, example).is_ok(), "{example}");
        }
        let operator = Operator::parse("dgrad", "n=8 h=64 w=64 c=128 k=256").unwrap();
        assert_eq!(operator.to_string(), "dgrad 256→128 at 64²");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (name, shape, needle) in [
            ("dgrda", "", "choose from fprop, dgrad"),
            (
                "dgrad",
                "n=2 h=64 w=64 c=3",
                "`k=` is missing; dgrad takes n=8",
            ),
            ("dgrad", "n=2 h=64 w=0 c=3 k=4", "`w=0` is not a number"),
            ("dgrad", "n=2 h=1 w=1 c=3 k=4 pad=0,0,0,0", "does not fit"),
            (
                "dgrad",
                "n=2 h=8 w=8 c=3 k=4 pad=0,0",
                "`pad=0,0` is not 4 numbers",
            ),
            ("linear", "8 64 131072", "`8` is not NAME=VALUE"),
            (
                "adam",
                "length=1 n=2",
                "`n=` is not an extent of this operator",
            ),
            (
                "relu",
                "n=2147483647 h=2147483647 w=2147483647 c=2147483647",
                "values; relu takes",
            ),
        ] {
            let problem = Operator::parse(name, shape).unwrap_err();
            assert!(problem.contains(needle), "{problem}");
        }
    }
}
