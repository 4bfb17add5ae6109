//! The header of NumPy's NPY format, versions 1 to 3.

use std::io::Read;
use std::path::Path;

use npyz::{DType, NpyHeader, Order, TypeChar};

use super::map_file::{Layout, NumberFormat};
use crate::error::{Error, Result};

pub(super) const SIGNATURE: &[u8] = b"\x93NUMPY";

/// No header of a plain array is longer; what claims to be is damaged or hostile.
const LONGEST_HEADER: u64 = 1 << 16;

const REMEDY: &str = "save it with numpy.save as float32, (N, H, W)";

/// Reads the header from the start of `file`.
pub(super) fn read_layout(path: &Path, file: &mut impl Read, length: u64) -> Result<Layout> {
    // The parser allocates what the header says it needs: it gets to see a bounded prefix only, and the length field
    // is checked first.
    let mut prefix = Vec::new();
    file.take(LONGEST_HEADER.min(length))
        .read_to_end(&mut prefix)
        .map_err(|error| Error::file(path, error, REMEDY))?;
    let offset = header_end(&prefix).ok_or_else(|| {
        Error::file(
            path,
            "its NPY header is damaged: it is longer than the file or than any header of an array",
            REMEDY,
        )
    })?;
    if !is_plain(&prefix[..offset]) {
        return Err(Error::file(
            path,
            "is cut short or damaged: its header is not that of an array that can be counted",
            REMEDY,
        ));
    }
    let header = NpyHeader::from_reader(&prefix[..offset]).map_err(|error| {
        Error::file(path, format!("its NPY header is damaged: {error}"), REMEDY)
    })?;
    if header.order() == Order::Fortran && header.shape().len() > 1 {
        return Err(Error::file(
            path,
            "is stored column by column (Fortran order)",
            "save numpy.ascontiguousarray of it",
        ));
    }
    Ok(Layout {
        dims: dims(path, header.shape())?,
        format: number_format(path, &header.dtype())?,
        offset: offset as u64,
        scale: 1.0,
        zero: 0.0,
        side_degrees: None,
    })
}

/// Where the data begin: after the magic, the version, the length field and the text it counts.
fn header_end(prefix: &[u8]) -> Option<usize> {
    let (start, text): (usize, usize) = match prefix.get(6)? {
        1 => (
            10,
            usize::from(u16::from_le_bytes(prefix.get(8..10)?.try_into().ok()?)),
        ),
        2 | 3 => (
            12,
            usize::try_from(u32::from_le_bytes(prefix.get(8..12)?.try_into().ok()?)).ok()?,
        ),
        _ => return None,
    };
    let end = start.checked_add(text)?;
    (end <= prefix.len()).then_some(end)
}

/// Whether the header is as NumPy writes it: one flat dictionary, with extents whose product can be counted. The parser
/// neither bounds how deep a header nests nor looks for overflow when it multiplies.
fn is_plain(header: &[u8]) -> bool {
    // A record of fields nests deeper than an array of numbers; that is refused by its type, not here.
    const MOST_BRACKETS: usize = 200;
    let text = String::from_utf8_lossy(header);
    let brackets = text.matches(['(', '[', '{']).count();
    let extents = text
        .split_once("'shape'")
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .and_then(|rest| rest.trim_start().strip_prefix('('))
        .and_then(|rest| rest.split_once(')'))
        .map(|(extents, _)| extents.trim().trim_end_matches(','));
    let count = extents.and_then(|extents| {
        extents
            .split(',')
            .map(|extent| extent.trim().parse::<u64>().ok())
            // Eight bytes a number at most.
            .try_fold(8_u64, |product, extent| product.checked_mul(extent?.max(1)))
    });
    brackets <= MOST_BRACKETS && nesting(&text) <= 4 && count.is_some()
}

/// How many brackets stand inside one another at most.
fn nesting(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for character in text.chars() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn dims(path: &Path, shape: &[u64]) -> Result<[usize; 3]> {
    let refused = |problem: String| Error::file(path, problem, REMEDY);
    let [maps, height, width] = match *shape {
        [height, width] => [1, height, width],
        [maps, height, width] | [maps, 1, height, width] => [maps, height, width],
        [_, channels, _, _] => {
            return Err(refused(format!("has {channels} channels; maps have one")));
        }
        _ => {
            return Err(refused(format!(
                "has {} axes; maps have two to four",
                shape.len()
            )));
        }
    };
    let extent = |extent: u64| {
        usize::try_from(extent)
            .ok()
            .filter(|&extent| extent > 0)
            .ok_or_else(|| refused(format!("has the shape {shape:?}, which holds no maps")))
    };
    Ok([extent(maps)?, extent(height)?, extent(width)?])
}

fn number_format(path: &Path, dtype: &DType) -> Result<NumberFormat> {
    if let DType::Plain(plain) = dtype
        && plain.type_char() == TypeChar::Float
        && let Ok(bytes @ (4 | 8)) = usize::try_from(plain.size_field())
    {
        // The descriptor's first character is the byte order.
        let big_endian = plain.to_string().starts_with('>');
        return Ok(NumberFormat { bytes, big_endian });
    }
    Err(Error::file(
        path,
        format!("holds numbers of type {}", dtype.descr()),
        "save it as float32 or float64",
    ))
}
