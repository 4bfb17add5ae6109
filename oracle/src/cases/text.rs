//! Cases as lines of text.
//!
//! A line of a profile, an operator of a device and its extents, is read as the case that contains that operator, with
//! seed 1.

use std::cell::Cell;
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
        let length = || fields.length();
        let operator = match name {
            "linear" | "linear_dgrad" | "linear_wgrad" => Operator::Linear(Linear {
                rows: fields.positive("rows")?,
                inputs: fields.positive("inputs")?,
                outputs: fields.positive("outputs")?,
            }),
            "bias_gradient" => {
                let [rows, outputs] = fields.matrix()?;
                // The smallest layer that has a bias.
                Operator::Linear(Linear {
                    rows,
                    inputs: 1,
                    outputs,
                })
            }
            "conv2d" | "fprop" | "dgrad" | "wgrad" => Operator::Conv2d(fields.convolution(true)?),
            "conv_transpose2d" => Operator::ConvTranspose2d(fields.convolution(false)?),
            "batch_norm_training" => {
                let ([rows, channels], slope) = (fields.matrix()?, fields.get("slope")?);
                Operator::BatchNormTraining {
                    rows,
                    channels,
                    slope,
                }
            }
            "batch_statistics" | "normalise" | "normalise_gradient" => {
                let [rows, channels] = fields.matrix()?;
                Operator::BatchNormTraining {
                    rows,
                    channels,
                    slope: LEAKY_SLOPE,
                }
            }
            "update_running" => Operator::BatchNormTraining {
                rows: 2,
                channels: length()?,
                slope: LEAKY_SLOPE,
            },
            "batch_norm_inference" => {
                let ([rows, channels], slope) = (fields.matrix()?, fields.get("slope")?);
                Operator::BatchNormInference {
                    rows,
                    channels,
                    slope,
                }
            }
            "relu" | "relu_gradient" => Operator::Activation {
                activation: Activation::Relu,
                length: length()?,
            },
            "leaky_relu" | "leaky_relu_gradient" => Operator::Activation {
                activation: Activation::LeakyRelu { slope: LEAKY_SLOPE },
                length: length()?,
            },
            "tanh" | "tanh_gradient" => Operator::Activation {
                activation: Activation::Tanh,
                length: length()?,
            },
            "bce_with_logits" | "bce_with_logits_gradient" => Operator::BceWithLogits {
                length: length()?,
                target: fields.get_or("target", 1.0)?,
            },
            "adam" => Operator::Adam {
                settings: Adam {
                    learning_rate: fields.get_or("rate", 2e-4)?,
                    beta1: fields.get_or("beta1", 0.5)?,
                    beta2: fields.get_or("beta2", 0.999)?,
                    epsilon: fields.get_or("epsilon", 1e-8)?,
                    step: fields.get_or::<u32>("step", 1000)?.max(1),
                },
                length: fields.length_of_several()?,
            },
            "add" => Operator::Add { length: length()? },
            "squared_norm" => Operator::SquaredNorm {
                length: fields.length_of_several()?,
            },
            "gather" => Operator::Gather(fields.gather()?),
            "copy" => return Err("a copy has no case: it computes nothing".to_owned()),
            _ => return Err(format!("unknown operator `{name}`")),
        };
        let case = Self {
            operator,
            seed: fields.get_or("seed", 1)?,
        };
        fields.expect_no_others(&case)?;
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

/// The NAME=VALUE fields of a line, each with a mark once it has been read.
struct Fields<'a>(Vec<(&'a str, &'a str, Cell<bool>)>);

impl<'a> Fields<'a> {
    /// Splits words, each NAME=VALUE with a name of its own.
    fn of(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut fields: Vec<(&str, &str, Cell<bool>)> = Vec::new();
        for word in words {
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}` is not NAME=VALUE"))?;
            if let Some((_, first, _)) = fields.iter().find(|(known, ..)| *known == name) {
                return Err(format!(
                    "`{name}=` is given twice, as {first} and as {value}"
                ));
            }
            fields.push((name, value, Cell::new(false)));
        }
        Ok(Self(fields))
    }

    /// Refuses fields that have not been read.
    fn expect_no_others(&self, case: &Case) -> Result<(), String> {
        match self.0.iter().find(|(.., read)| !read.get()) {
            Some((name, value, _)) => Err(format!(
                "`{name}={value}` is unknown; the operator takes `{case}`"
            )),
            None => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        let (_, value, read) = self.0.iter().find(|(field, ..)| *field == name)?;
        read.set(true);
        Some(value)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, ..)| *field == name)
    }

    fn text(&self, name: &str) -> Result<&'a str, String> {
        self.find(name)
            .ok_or_else(|| format!("`{name}=` is missing"))
    }

    /// A field that profiles do not print.
    fn get_or<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, String> {
        match self.has(name) {
            true => self.get(name),
            false => Ok(otherwise),
        }
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

    fn product(&self, names: &[&str]) -> Result<usize, String> {
        let mut product: usize = 1;
        for name in names {
            product = product
                .checked_mul(self.positive(name)?)
                .filter(|&values| values as f64 <= MOST_VALUES)
                .ok_or_else(|| format!("`{}` are too many values", names.join("·")))?;
        }
        Ok(product)
    }

    /// Rows and channels, also of images.
    fn matrix(&self) -> Result<[usize; 2], String> {
        match self.has("h") {
            true => Ok([self.product(&["n", "h", "w"])?, self.positive("c")?]),
            false => Ok([self.positive("rows")?, self.positive("channels")?]),
        }
    }

    /// Number of values, also of images and matrices.
    fn length(&self) -> Result<usize, String> {
        if self.has("h") {
            return self.product(&["n", "h", "w", "c"]);
        }
        match self.has("channels") {
            true => self.product(&["rows", "channels"]),
            false => self.positive("length"),
        }
    }

    /// Total number of values of one or several tensors; how they are divided does not matter here.
    fn length_of_several(&self) -> Result<usize, String> {
        if self.has("tensors") {
            self.positive("tensors")?;
        }
        self.positive("length")
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
        let (maps, channels) = (self.positive("n")?, self.positive("c")?);
        let size = [self.positive("h")?, self.positive("w")?];
        // A profile prints the extents of the crops only: each is a whole map.
        let (crops, crop) = if ["crops", "rows", "columns"]
            .iter()
            .any(|name| self.has(name))
        {
            let crop = [self.positive("rows")?, self.positive("columns")?];
            (self.positive("crops")?, crop)
        } else {
            (maps, size)
        };
        let shape = Gather {
            maps,
            size,
            channels,
            crops,
            crop,
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
