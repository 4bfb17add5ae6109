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

    /// Parses the extents of an operator of this kind.
    ///
    /// # Errors
    /// If `shape` does not fit the operator; the message contains an example.
    pub fn of_kind(kind: Kind, shape: &str) -> Result<Self, String> {
        extents(kind, shape)
            .map(|extents| Self { kind, extents })
            .map_err(|problem| format!("{problem}; {} takes {}", kind.name(), kind.form()))
    }
}

fn extents(kind: Kind, shape: &str) -> Result<Extents, String> {
    let mut fields = Fields::split(shape)?;
    let extents = match kind {
        Kind::Fprop | Kind::Dgrad | Kind::Wgrad => {
            let [top, left, bottom, right] = fields.list("pad", ',', [1, 1, 2, 2])?;
            let geometry = ConvGeometry::from_input(
                fields.positive("n")?,
                [fields.positive("h")?, fields.positive("w")?],
                [fields.positive("c")?, fields.positive("k")?],
                fields.list("kernel", 'x', [5, 5])?,
                fields.list("stride", 'x', [2, 2])?,
                Padding {
                    begin: [top, left],
                    end: [bottom, right],
                },
            );
            Extents::Convolution(geometry.map_err(|error| error.to_string())?)
        }
        Kind::Linear | Kind::LinearDgrad | Kind::LinearWgrad => Extents::Linear {
            rows: fields.positive("rows")?,
            inputs: fields.positive("inputs")?,
            outputs: fields.positive("outputs")?,
        },
        Kind::Add
        | Kind::UpdateRunning
        | Kind::BceWithLogits
        | Kind::BceWithLogitsGradient
        | Kind::SquaredNorm
        | Kind::Adam => Extents::Values {
            tensors: 1,
            length: fields.positive("length")?,
        },
        _ => Extents::Images {
            batch: fields.positive("n")?,
            size: [fields.positive("h")?, fields.positive("w")?],
            channels: fields.positive("c")?,
        },
    };
    match fields.0.first() {
        None => Ok(extents),
        Some((name, _)) => Err(format!("`{name}=` is not an extent of this operator")),
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
        ] {
            let problem = Operator::parse(name, shape).unwrap_err();
            assert!(problem.contains(needle), "{problem}");
        }
    }
}
