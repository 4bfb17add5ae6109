//! Headers of NumPy's NPY format, versions 1.0, 2.0 and 3.0.
//!
//! A header is accepted or refused as by `numpy.lib.format`. Of the arrays, only maps of real numbers in C order are.

use std::io::Read;
use std::path::Path;

use super::layout::{Layout, Number};
use super::literal::{self, Literal};
use cosmogan_base::{Error, Result};

pub(super) const SIGNATURE: &[u8] = b"\x93NUMPY";

/// Upper limit for the length of a header in characters, as in NumPy.
const LONGEST_HEADER: usize = 10_000;

const REMEDY: &str = "save it with numpy.save as float32, (N, H, W)";

/// Description of an array.
struct Header {
    dtype: Literal,
    fortran_order: bool,
    /// `None` for an extent that does not fit 64 bits.
    shape: Vec<Option<i64>>,
    /// Byte offset of the data.
    offset: u64,
}

/// Reads the header from the start of `file`, which has `length` bytes.
pub(super) fn read_layout(path: &Path, file: &mut impl Read, length: u64) -> Result<Layout> {
    // A character of UTF-8 takes up to four bytes.
    let longest = 12 + 4 * LONGEST_HEADER as u64;
    let mut prefix = Vec::new();
    file.take(longest.min(length))
        .read_to_end(&mut prefix)
        .map_err(|error| Error::file(path, error, REMEDY))?;
    let header = Header::parse(&prefix).map_err(|problem| Error::file(path, problem, REMEDY))?;
    let dims = dims(path, &header.shape)?;
    let (number, big_endian) = number(path, &header.dtype)?;
    let axes = dims.iter().filter(|extent| **extent > 1).count();
    if header.fortran_order && axes > 1 {
        return Err(Error::file(
            path,
            "is stored column by column (Fortran order)",
            "save numpy.ascontiguousarray(maps) instead",
        ));
    }
    Ok(Layout {
        dims,
        number,
        big_endian,
        offset: header.offset,
        scale: 1.0,
        zero: 0.0,
        blank: None,
        side: Ok(None),
    })
}

impl Header {
    fn parse(prefix: &[u8]) -> std::result::Result<Self, String> {
        let damaged = |problem: &str| format!("its NPY header is damaged: {problem}");
        let truncated = || damaged("the file ends inside it");
        let version = prefix.get(6..8).ok_or_else(truncated)?;
        let (start, length) = match *version {
            [1, 0] => {
                let length = prefix.get(8..10).ok_or_else(truncated)?;
                (10, usize::from(length[0]) | usize::from(length[1]) << 8)
            }
            [2 | 3, 0] => {
                let (_, lengths) = prefix[..prefix.len().min(12)].as_rchunks::<4>();
                let length = *lengths
                    .last()
                    .filter(|_| prefix.len() >= 12)
                    .ok_or_else(truncated)?;
                (12, u32::from_le_bytes(length) as usize)
            }
            [major, minor] => {
                return Err(damaged(&format!(
                    "version {major}.{minor} is not 1.0, 2.0 or 3.0"
                )));
            }
            _ => return Err(truncated()),
        };
        let long = || damaged(&format!("it has more than {LONGEST_HEADER} characters"));
        if length > 4 * LONGEST_HEADER {
            return Err(long());
        }
        let bytes = prefix.get(start..start + length).ok_or_else(truncated)?;
        let text = match version[0] {
            // Latin-1: bytes are code points.
            1 | 2 => bytes.iter().copied().map(char::from).collect(),
            _ => String::from_utf8(bytes.to_vec()).map_err(|_| damaged("it is not UTF-8"))?,
        };
        if text.chars().count() > LONGEST_HEADER {
            return Err(long());
        }
        let literal = literal::parse(&text, version[0] < 3).map_err(|problem| damaged(&problem))?;
        let Literal::Dict(entries) = literal else {
            return Err(damaged("it is not a dictionary"));
        };
        let (mut dtype, mut order, mut shape) = (None, None, None);
        for (key, value) in entries {
            // As in Python, the last of several equal keys counts.
            match key {
                Literal::Text(key) if key == "descr" => dtype = Some(value),
                Literal::Text(key) if key == "fortran_order" => order = Some(value),
                Literal::Text(key) if key == "shape" => shape = Some(value),
                _ => {
                    return Err(damaged(
                        "it has a key other than descr, fortran_order and shape",
                    ));
                }
            }
        }
        let missing = |key: &str| damaged(&format!("the key {key} is missing"));
        let shape = match shape.ok_or_else(|| missing("shape"))? {
            Literal::Tuple(extents) => extents.into_iter().map(|extent| match extent {
                Literal::Integer(extent) => Some(extent),
                _ => None,
            }),
            _ => return Err(damaged("the shape is not a tuple")),
        };
        let shape = shape.collect::<Option<_>>();
        Ok(Self {
            shape: shape
                .ok_or_else(|| damaged("the shape has an extent that is not an integer"))?,
            fortran_order: match order.ok_or_else(|| missing("fortran_order"))? {
                Literal::Bool(order) => order,
                _ => return Err(damaged("fortran_order is neither True nor False")),
            },
            dtype: dtype.ok_or_else(|| missing("descr"))?,
            offset: (start + length) as u64,
        })
    }
}

fn dims(path: &Path, shape: &[Option<i64>]) -> Result<[usize; 3]> {
    let refused = |problem: String, remedy: &str| Err(Error::file(path, problem, remedy));
    let shown: Vec<String> = shape
        .iter()
        .map(|extent| extent.map_or("…".to_owned(), |extent| extent.to_string()))
        .collect();
    let shown = format!("has the shape ({})", shown.join(", "));
    let mut extents = Vec::new();
    for extent in shape {
        match extent.map(usize::try_from) {
            Some(Ok(extent @ 1..)) => extents.push(extent),
            None => return refused(format!("{shown}, more than any file can hold"), REMEDY),
            _ => return refused(format!("{shown}, which contains no maps"), REMEDY),
        }
    }
    match extents[..] {
        [height, width] => Ok([1, height, width]),
        [maps, height, width] | [maps, 1, height, width] | [maps, height, width, 1] => {
            Ok([maps, height, width])
        }
        [_, channels, _, _] => refused(
            format!("{shown}: {channels} channels, but maps have one"),
            REMEDY,
        ),
        _ => refused(
            format!("has {} axes; maps have two to four", shape.len()),
            REMEDY,
        ),
    }
}

/// Type of the numbers, and whether they are big-endian.
fn number(path: &Path, dtype: &Literal) -> Result<(Number, bool)> {
    let name = match dtype {
        Literal::Text(name) => name,
        _ => "record",
    };
    let native = cfg!(target_endian = "big");
    let (big_endian, code) = match name.split_at_checked(1) {
        Some(("<", code)) => (false, code),
        Some((">", code)) => (true, code),
        Some(("=" | "|", code)) => (native, code),
        _ => (native, name),
    };
    let has_order = code.len() < name.len();
    let number = match code {
        "f2" | "e" => Number::F16,
        "f4" | "f" => Number::F32,
        "f8" | "d" => Number::F64,
        "float16" | "half" if !has_order => Number::F16,
        "float32" | "single" if !has_order => Number::F32,
        "float64" | "double" | "float" if !has_order => Number::F64,
        _ => {
            return Err(Error::file(
                path,
                format!(
                    "holds numbers of type {}, not float16, float32 or float64",
                    described(name)
                ),
                "save maps.astype(\"float32\") instead",
            ));
        }
    };
    Ok((number, big_endian))
}

/// A NumPy type code, with the name of the type if it is a common one.
fn described(code: &str) -> String {
    let name = match code.trim_start_matches(['<', '>', '=', '|']) {
        "f16" | "g" => "longdouble",
        "i1" => "int8",
        "i2" => "int16",
        "i4" => "int32",
        "i8" => "int64",
        "u1" => "uint8",
        "u2" => "uint16",
        "u4" => "uint32",
        "u8" => "uint64",
        "c8" => "complex64",
        "c16" => "complex128",
        "b1" | "?" => "bool",
        "O" => "object",
        _ => return format!("`{}`", code.escape_debug()),
    };
    format!("{name} ({code})")
}
