//! Cases as lines of text.

use std::fmt;
use std::str::FromStr;

use super::generate::Window;
use super::{Case, LEAKY_SLOPE, Operator};
use crate::operators::activation::Activation;
use crate::operators::adam::Adam;
use crate::operators::convolution::Convolution;
use crate::operators::gather::Gather;
use crate::operators::linear::Linear;

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operator {
            Operator::Linear(Linear {
                rows,
                inputs,
                outputs,
            }) => {
                write!(
                    formatter,
                    "linear rows={rows} inputs={inputs} outputs={outputs}"
                )?;
            }
            Operator::Conv2d(shape) => {
                let sides = (shape.input, shape.input_channels, shape.output_channels);
                write_convolution(formatter, "conv2d", shape, sides, shape.end())?;
            }
            Operator::ConvTranspose2d(shape) => {
                let sides = (shape.output, shape.output_channels, shape.input_channels);
                write_convolution(formatter, "conv_transpose2d", shape, sides, shape.end())?;
            }
            Operator::BatchNormTraining {
                rows,
                channels,
                slope,
            } => {
                write!(
                    formatter,
                    "batch_norm_training rows={rows} channels={channels} slope={slope}"
                )?;
            }
            Operator::BatchNormInference {
                rows,
                channels,
                slope,
            } => {
                write!(
                    formatter,
                    "batch_norm_inference rows={rows} channels={channels} slope={slope}"
                )?;
            }
            Operator::Activation { activation, length } => {
                let name = match activation {
                    Activation::Relu => "relu",
                    Activation::LeakyRelu { .. } => "leaky_relu",
                    Activation::Tanh => "tanh",
                };
                write!(formatter, "{name} length={length}")?;
            }
            Operator::BceWithLogits { length, target } => {
                write!(formatter, "bce_with_logits length={length} target={target}")?;
            }
            Operator::Adam { settings, length } => {
                let Adam {
                    learning_rate,
                    beta1,
                    beta2,
                    epsilon,
                    step,
                } = settings;
                write!(
                    formatter,
                    "adam length={length} rate={learning_rate} beta1={beta1} beta2={beta2} epsilon={epsilon} step={step}"
                )?;
            }
            Operator::Add { length } => write!(formatter, "add length={length}")?,
            Operator::SquaredNorm { length } => {
                write!(formatter, "squared_norm length={length}")?;
            }
            Operator::Gather(Gather {
                maps,
                size: [height, width],
                channels,
                crops,
                crop: [rows, columns],
            }) => write!(
                formatter,
                "gather n={maps} h={height} w={width} c={channels} crops={crops} rows={rows} columns={columns}"
            )?,
        }
        write!(formatter, " seed={}", self.seed)
    }
}

fn write_convolution(
    formatter: &mut fmt::Formatter<'_>,
    name: &str,
    shape: &Convolution,
    ([height, width], inputs, outputs): ([usize; 2], usize, usize),
    [bottom, right]: [usize; 2],
) -> fmt::Result {
    let ([rows, columns], [down, across], [top, left]) = (shape.kernel, shape.stride, shape.begin);
    write!(
        formatter,
        "{name} n={} h={height} w={width} c={inputs} k={outputs} kernel={rows}x{columns} stride={down}x{across} pad={top},{left},{bottom},{right}",
        shape.batch
    )
}

impl FromStr for Case {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let name = words
            .next()
            .ok_or("the case is empty; write a line such as `relu length=7 seed=1`")?;
        let fields = Fields::of(words)?;
        let length = || fields.positive("length");
        let operator = match name {
            "linear" => Operator::Linear(Linear {
                rows: fields.positive("rows")?,
                inputs: fields.positive("inputs")?,
                outputs: fields.positive("outputs")?,
            }),
            "conv2d" => Operator::Conv2d(fields.convolution(true)?),
            "conv_transpose2d" => Operator::ConvTranspose2d(fields.convolution(false)?),
            "batch_norm_training" => Operator::BatchNormTraining {
                rows: fields.positive("rows")?,
                channels: fields.positive("channels")?,
                slope: fields.get("slope")?,
            },
            "batch_norm_inference" => Operator::BatchNormInference {
                rows: fields.positive("rows")?,
                channels: fields.positive("channels")?,
                slope: fields.get("slope")?,
            },
            "relu" => Operator::Activation {
                activation: Activation::Relu,
                length: length()?,
            },
            "leaky_relu" => Operator::Activation {
                activation: Activation::LeakyRelu { slope: LEAKY_SLOPE },
                length: length()?,
            },
            "tanh" => Operator::Activation {
                activation: Activation::Tanh,
                length: length()?,
            },
            "bce_with_logits" => Operator::BceWithLogits {
                length: length()?,
                target: fields.get("target")?,
            },
            "adam" => Operator::Adam {
                settings: Adam {
                    learning_rate: fields.get("rate")?,
                    beta1: fields.get("beta1")?,
                    beta2: fields.get("beta2")?,
                    epsilon: fields.get("epsilon")?,
                    step: fields.get::<u32>("step")?.max(1),
                },
                length: length()?,
            },
            "add" => Operator::Add { length: length()? },
            "squared_norm" => Operator::SquaredNorm { length: length()? },
            "gather" => Operator::Gather(fields.gather()?),
            _ => return Err(format!("unknown operator `{name}`")),
        };
        let case = Self {
            operator,
            seed: fields.get("seed")?,
        };
        fields.expect_no_others(&case.to_string())?;
        if case.values() > MOST_VALUES {
            let values = case.values();
            return Err(format!("its operands and results have {values:.1e} values"));
        }
        Ok(case)
    }
}

/// Most values of a case: their bytes can be counted in 64 bits.
const MOST_VALUES: f64 = (1_u64 << 48) as f64;

/// Largest extent: products of two fit in 64 bits.
const LARGEST: usize = (1 << 31) - 1;

/// The NAME=VALUE fields of a line.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    /// Splits words, each NAME=VALUE with a name of its own.
    fn of(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for word in words {
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}` is not NAME=VALUE"))?;
            if let Some((_, first)) = fields.iter().find(|(known, _)| *known == name) {
                return Err(format!(
                    "`{name}=` is given twice, as {first} and as {value}"
                ));
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }

    /// Refuses fields that `canonical`, the case as it prints, does not have.
    fn expect_no_others(&self, canonical: &str) -> Result<(), String> {
        let known = |name: &str| {
            let mut words = canonical.split_whitespace();
            words.any(|word| word.split_once('=').is_some_and(|(field, _)| field == name))
        };
        match self.0.iter().find(|(name, _)| !known(name)) {
            Some((name, value)) => Err(format!(
                "`{name}={value}` is unknown; the operator takes `{canonical}`"
            )),
            None => Ok(()),
        }
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        let field = self.0.iter().find(|(field, _)| *field == name);
        field
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("`{name}=` is missing"))
    }

    fn get<T: FromStr>(&self, name: &str) -> Result<T, String> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| format!("`{name}={text}` is not a number"))
    }

    fn positive(&self, name: &str) -> Result<usize, String> {
        match self.get(name)? {
            0 => Err(format!("`{name}` must not be 0")),
            value if value > LARGEST => Err(format!("`{name}={value}` exceeds {LARGEST}")),
            value => Ok(value),
        }
    }

    fn list<const N: usize>(&self, name: &str, separator: char) -> Result<[usize; N], String> {
        let text = self.text(name)?;
        let values: Option<Vec<usize>> = text
            .split(separator)
            .map(|part| part.parse().ok())
            .collect();
        values
            .filter(|values| values.iter().all(|&value| value <= LARGEST))
            .and_then(|values| values.try_into().ok())
            .ok_or_else(|| format!("`{name}={text}` is not {N} numbers separated by `{separator}`"))
    }

    fn gather(&self) -> Result<Gather, String> {
        let shape = Gather {
            maps: self.positive("n")?,
            size: [self.positive("h")?, self.positive("w")?],
            channels: self.positive("c")?,
            crops: self.positive("crops")?,
            crop: [self.positive("rows")?, self.positive("columns")?],
        };
        if shape.crop[0] > shape.size[0] || shape.crop[1] > shape.size[1] {
            return Err("crops must not be larger than the maps".to_owned());
        }
        Ok(shape)
    }

    fn convolution(&self, from_input: bool) -> Result<Convolution, String> {
        let [top, left, bottom, right] = self.list("pad", ',')?;
        let window = Window {
            kernel: self.list("kernel", 'x')?,
            stride: self.list("stride", 'x')?,
            begin: [top, left],
            end: [bottom, right],
        };
        let (c, k) = (self.positive("c")?, self.positive("k")?);
        let channels = if from_input { [c, k] } else { [k, c] };
        window
            .shape(
                from_input,
                self.positive("n")?,
                [self.positive("h")?, self.positive("w")?],
                channels,
            )
            .ok_or_else(|| "the output is empty for this kernel, stride and padding".to_owned())
    }
}
