//! FITS image headers (FITS Standard 4.0): the subset that maps need.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::layout::{Layout, NumberFormat};
use cosmogan_base::{Error, Result};

pub(super) const SIGNATURE: &[u8] = b"SIMPLE  =";

/// Block size of a FITS file in bytes.
/// Headers and data are padded to a multiple of it.
pub(super) const BLOCK: usize = 2880;
/// Length of a header line (card) in bytes.
const CARD: usize = 80;
/// Upper limit for the length of a header in blocks.
/// A longer one without END is treated as damaged.
const MOST_BLOCKS: usize = 1000;

const REMEDY: &str = "name a FITS file with a 2-D or 3-D image of BITPIX -32 or -64";

/// Keywords and values of one header, in order.
struct Header(Vec<(String, String)>);

impl Header {
    /// Returns the value of a keyword, without quotes.
    fn get(&self, keyword: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == keyword);
        found.map(|(_, value)| value.as_str())
    }

    fn number(&self, keyword: &str) -> Option<f64> {
        // FORTRAN writes exponents with a D.
        self.get(keyword)?.replace(['D', 'd'], "E").parse().ok()
    }

    fn extent(&self, keyword: &str) -> Option<u64> {
        self.get(keyword)?.parse().ok()
    }

    /// Extents NAXIS1, NAXIS2, …: fastest-varying axis first.
    fn axes(&self) -> Option<Vec<u64>> {
        let count = self.extent("NAXIS")?;
        (1..=count.min(999))
            .map(|axis| self.extent(&format!("NAXIS{axis}")))
            .collect()
    }

    /// Bytes of the data unit that follows this header, before padding.
    fn data_bytes(&self) -> Option<u64> {
        let axes = self.axes()?;
        let bits = self.get("BITPIX")?.parse::<i64>().ok()?.unsigned_abs();
        let parameters = self.extent("PCOUNT").unwrap_or(0);
        let groups = self.extent("GCOUNT").unwrap_or(1);
        let elements = axes
            .iter()
            .try_fold(u64::from(!axes.is_empty()), |product, &extent| {
                product.checked_mul(extent)
            })?;
        elements
            .checked_add(parameters)?
            .checked_mul(groups)?
            .checked_mul(bits / 8)
    }

    fn is_image(&self) -> bool {
        let extension = self.get("XTENSION");
        extension.is_none_or(|kind| kind == "IMAGE")
            && self
                .axes()
                .is_some_and(|axes| matches!(axes.len(), 2 | 3) && !axes.contains(&0))
    }
}

/// Finds the first header that describes a 2-D or 3-D image.
pub(super) fn read_layout(
    path: &Path,
    file: &mut (impl Read + Seek),
    length: u64,
) -> Result<Layout> {
    let damaged = |problem: &str| Error::file(path, problem, REMEDY);
    let mut position = 0;
    let mut side_degrees = None;
    while position < length {
        file.seek(SeekFrom::Start(position))
            .map_err(|error| Error::file(path, error, REMEDY))?;
        let (header, header_bytes) =
            read_header(file).ok_or_else(|| damaged("its FITS header is damaged or cut short"))?;
        let data = position + header_bytes;
        // The angle may be in an empty primary header before the image.
        side_degrees = header
            .number("ANGLE")
            .filter(|angle| angle.is_finite() && *angle > 0.0)
            .or(side_degrees);
        if header.is_image() {
            return image(path, &header, data, side_degrees);
        }
        let bytes = header
            .data_bytes()
            .and_then(|bytes| bytes.checked_next_multiple_of(BLOCK as u64))
            .and_then(|bytes| bytes.checked_add(data))
            .ok_or_else(|| damaged("its FITS header does not give the length of its data"))?;
        position = bytes;
    }
    Err(damaged("is a FITS file that contains no 2-D or 3-D image"))
}

fn image(path: &Path, header: &Header, offset: u64, side_degrees: Option<f64>) -> Result<Layout> {
    let bytes = match header.get("BITPIX") {
        Some("-32") => 4,
        Some("-64") => 8,
        other => {
            return Err(Error::file(
                path,
                format!("its image has BITPIX {}", other.unwrap_or("missing")),
                "store maps as BITPIX -32 or -64",
            ));
        }
    };
    let axes: Vec<usize> = header
        .axes()
        .unwrap_or_default()
        .iter()
        .map(|&extent| usize::try_from(extent).unwrap_or(usize::MAX))
        .collect();
    let dims = match axes[..] {
        [width, height] => [1, height, width],
        [width, height, maps] => [maps, height, width],
        _ => return Err(Error::file(path, "its image is not 2-D or 3-D", REMEDY)),
    };
    Ok(Layout {
        dims,
        format: NumberFormat {
            bytes,
            big_endian: true,
        },
        offset,
        scale: scaling(path, header, "BSCALE", 1.0)?,
        zero: scaling(path, header, "BZERO", 0.0)?,
        side_degrees,
    })
}

/// Reads BSCALE or BZERO.
/// They are rarely present, but an unreadable value must not be ignored.
fn scaling(path: &Path, header: &Header, keyword: &str, absent: f64) -> Result<f64> {
    match header.get(keyword) {
        None => Ok(absent),
        Some(text) => header.number(keyword).ok_or_else(|| {
            Error::file(
                path,
                format!("its keyword {keyword} is {text}"),
                "correct the header",
            )
        }),
    }
}

/// Reads blocks up to and including the one with END.
fn read_header(file: &mut impl Read) -> Option<(Header, u64)> {
    let mut cards = Vec::new();
    let mut block = [0; BLOCK];
    for blocks in 1..=MOST_BLOCKS {
        file.read_exact(&mut block).ok()?;
        for card in block.chunks_exact(CARD) {
            let card = std::str::from_utf8(card).ok()?;
            let keyword = card.get(..8)?.trim_end();
            if keyword == "END" {
                return Some((Header(cards), (blocks * BLOCK) as u64));
            }
            if let Some(value) = card.get(8..).and_then(|rest| rest.strip_prefix("= ")) {
                cards.push((keyword.to_owned(), parse_value(value)));
            }
        }
    }
    None
}

/// Extracts the value without its comment: a quoted string, or everything up to the slash.
fn parse_value(text: &str) -> String {
    let text = text.trim_start();
    match text.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next().unwrap_or_default().trim_end(),
        None => text.split('/').next().unwrap_or_default().trim(),
    }
    .to_owned()
}

/// Formats the header of a primary image of `count` maps, padded to whole blocks.
pub(super) fn header(
    count: usize,
    height: usize,
    width: usize,
    side_degrees: Option<f64>,
) -> Vec<u8> {
    let mut cards = vec![
        ("SIMPLE", "T".to_owned()),
        ("BITPIX", "-32".to_owned()),
        ("NAXIS", if count == 1 { "2" } else { "3" }.to_owned()),
        ("NAXIS1", width.to_string()),
        ("NAXIS2", height.to_string()),
    ];
    if count > 1 {
        cards.push(("NAXIS3", count.to_string()));
    }
    if let Some(angle) = side_degrees {
        // FITS requires a capital E in exponents.
        cards.push(("ANGLE", format!("{angle:?}").to_uppercase()));
    }
    let mut text: String = cards
        .iter()
        .map(|(keyword, value)| format!("{:<80}", format!("{keyword:<8}= {value:>20}")))
        .collect();
    text.push_str("END");
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), b' ');
    bytes
}
