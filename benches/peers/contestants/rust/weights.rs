//! Reader of the folded layers.

use std::fs;

use safetensors::SafeTensors;

use crate::worker::{Arguments, Outcome};

/// Extents and values.
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Weight and bias of one layer.
pub struct Layer {
    pub weight: Array,
    pub bias: Array,
    /// Whether this is a plain convolution that computes the four phases of a transposed one.
    pub in_phases: bool,
}

/// The linear layer, then the others in the form of the variant.
pub fn layers(arguments: &Arguments) -> Outcome<Vec<Layer>> {
    let bytes = fs::read(&arguments.folded)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let array = |name: &str| -> Outcome<Array> {
        let view = file.tensor(name)?;
        let values = view.data().chunks_exact(4);
        let values =
            values.map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
        Ok(Array {
            shape: view.shape().to_vec(),
            values: values.collect(),
        })
    };
    let layer = |name: &str, in_phases| -> Outcome<Layer> {
        Ok(Layer {
            weight: array(&format!("{name}.weight"))?,
            bias: array(&format!("{name}.bias"))?,
            in_phases,
        })
    };
    let count = file
        .names()
        .iter()
        .filter(|name| name.starts_with("deconv"))
        .count()
        / 2;
    let mut found = vec![layer("fc", false)?];
    for number in 1..=count {
        let in_phases = match arguments.variant.as_str() {
            "deconv" => false,
            "last_in_phases" => number == count,
            "all_in_phases" => true,
            other => Err(format!("no such variant: {other}"))?,
        };
        let kind = if in_phases { "phases" } else { "deconv" };
        found.push(layer(&format!("{kind}{number}"), in_phases)?);
    }
    Ok(found)
}
