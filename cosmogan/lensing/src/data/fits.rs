//! FITS images (FITS Standard 4.0): the choice of an image, and its layout.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::fits_header::{BLOCK, Header};
use super::layout::{Layout, Number};
use cosmogan_base::{Error, Result};

pub(super) const SIGNATURE: &[u8] = b"SIMPLE  =";

const REMEDY: &str = "name a FITS file with an image of maps";
/// Largest side of a map to which the flat-sky approximation could apply, in degrees.
const LARGEST_SIDE: f64 = 90.0;
/// Relative difference up to which two statements of a side agree.
const SAME: f64 = 0.01;

/// A header and data unit.
struct Unit {
    index: usize,
    header: Header,
    /// Byte offset of its data.
    data: u64,
}

impl Unit {
    /// Name in messages and for `--hdu`.
    fn label(&self) -> String {
        match self.header.text("EXTNAME") {
            Some(name) if !name.is_empty() => format!("{} {}", self.index, name.escape_debug()),
            _ if self.index == 0 => "0 (primary)".to_owned(),
            _ => self.index.to_string(),
        }
    }

    /// Extents of its maps: number, rows, columns; `None` if it holds no maps.
    fn dims(&self) -> Option<[u64; 3]> {
        let extension = self.header.text("XTENSION");
        if extension.is_some_and(|kind| kind != "IMAGE") {
            return None;
        }
        let mut axes = self.header.axes()?;
        // A first axis of length 1 is a single channel, stored last by its writer.
        if axes.len() > 2 && axes[0] == 1 {
            axes.remove(0);
        }
        let mut index = 0;
        axes.retain(|&extent| {
            index += 1;
            index <= 2 || extent != 1
        });
        match axes[..] {
            [width, height] if width > 0 && height > 0 => Some([1, height, width]),
            [width, height, maps] if width > 0 && height > 0 && maps > 0 => {
                Some([maps, height, width])
            }
            _ => None,
        }
    }

    /// What it is if it holds no maps.
    fn kind(&self) -> String {
        let header = &self.header;
        match header.text("XTENSION").as_deref() {
            Some("BINTABLE" | "TABLE") if header.text("ZIMAGE").as_deref() == Some("T") => {
                "a compressed image; unpack the file with funpack".to_owned()
            }
            Some("BINTABLE" | "TABLE") => {
                let healpix = header.text("PIXTYPE").as_deref() == Some("HEALPIX");
                match healpix {
                    true => "a HEALPix table; project it to flat maps first".to_owned(),
                    false => {
                        "a table (of a HEALPix map?); project it to flat maps first".to_owned()
                    }
                }
            }
            Some(other) if other != "IMAGE" => {
                format!("an extension of type {}", other.escape_debug())
            }
            _ => match header.axes() {
                Some(axes) if !axes.is_empty() => format!("an image with the axes {axes:?}"),
                _ => "empty".to_owned(),
            },
        }
    }
}

/// Finds the image of maps: that of `hdu`, a number or name, or the only one.
pub(super) fn read_layout(
    path: &Path,
    file: &mut (impl Read + Seek),
    length: u64,
    hdu: Option<&str>,
) -> Result<Layout> {
    let units = units(path, file, length)?;
    let chosen = match hdu {
        Some(hdu) => named(path, &units, hdu)?,
        None => only(path, &units)?,
    };
    let refuse = |problem: String| Error::file(path, problem, "correct the header");
    let dims = chosen.dims().ok_or_else(|| {
        let kind = chosen.kind();
        Error::file(
            path,
            format!("its HDU {} is {kind}", chosen.label()),
            REMEDY,
        )
    })?;
    let header = &chosen.header;
    let bits = header.integer("BITPIX").map_err(refuse)?;
    let number = match bits {
        Some(8) => Number::U8,
        Some(16) => Number::I16,
        Some(32) => Number::I32,
        Some(64) => Number::I64,
        Some(-32) => Number::F32,
        Some(-64) => Number::F64,
        other => {
            let shown = other.map_or("missing".to_owned(), |bits| bits.to_string());
            return Err(refuse(format!("its BITPIX is {shown}")));
        }
    };
    let scaling = |keyword: &str, absent: f64| -> Result<f64> {
        let value = header.number(keyword).map_err(refuse)?.unwrap_or(absent);
        match value.is_finite() {
            true => Ok(value),
            false => Err(refuse(format!("its keyword {keyword} is {value}"))),
        }
    };
    let (scale, zero) = (scaling("BSCALE", 1.0)?, scaling("BZERO", 0.0)?);
    if scale == 0.0 {
        return Err(refuse("its keyword BSCALE is 0".to_owned()));
    }
    let is_integer = bits.is_some_and(|bits| bits > 0);
    let side = match side(header) {
        // The angle may be in an empty primary header before the image.
        Ok(None) if chosen.index > 0 => side(&units[0].header),
        side => side,
    };
    Ok(Layout {
        dims: dims.map(|extent| usize::try_from(extent).unwrap_or(usize::MAX)),
        number,
        big_endian: true,
        offset: chosen.data,
        scale,
        zero,
        blank: match is_integer {
            true => header.integer("BLANK").map_err(refuse)?,
            false => None,
        },
        side,
    })
}

/// Reads all headers.
fn units(path: &Path, file: &mut (impl Read + Seek), length: u64) -> Result<Vec<Unit>> {
    let damaged = |problem: String| Error::file(path, problem, REMEDY);
    let mut units = Vec::new();
    let mut position = 0;
    while position < length {
        file.seek(SeekFrom::Start(position))
            .map_err(|error| Error::file(path, error, REMEDY))?;
        let (header, bytes) = match Header::read(file) {
            Ok(read) => read,
            // Anything may follow the last HDU.
            Err(_) if !units.is_empty() && !Header::begins(file, position) => break,
            Err(problem) => return Err(damaged(problem)),
        };
        let doubtful = |problem| Error::file(path, problem, "correct the header");
        header.refuse_doubts().map_err(doubtful)?;
        let data = position + bytes;
        position = header
            .data_bytes()
            .and_then(|bytes| bytes.checked_next_multiple_of(BLOCK as u64))
            .and_then(|bytes| bytes.checked_add(data))
            .ok_or_else(|| {
                damaged("its FITS header does not give the length of its data".to_owned())
            })?;
        units.push(Unit {
            index: units.len(),
            header,
            data,
        });
    }
    Ok(units)
}

/// The unit that `hdu` numbers or names.
fn named<'a>(path: &Path, units: &'a [Unit], hdu: &str) -> Result<&'a Unit> {
    let is_named = |unit: &&Unit| {
        let name = unit.header.text("EXTNAME");
        name.is_some_and(|name| name.eq_ignore_ascii_case(hdu))
    };
    let by_number = hdu.parse().ok().and_then(|index: usize| units.get(index));
    let mut by_name = units.iter().filter(is_named);
    let found = match (by_number, by_name.next(), by_name.next()) {
        (None, Some(unit), None) | (Some(unit), None, _) => Some(unit),
        (Some(a), Some(b), None) if a.index == b.index => Some(a),
        _ => None,
    };
    found.ok_or_else(|| {
        let labels: Vec<String> = units.iter().map(Unit::label).collect();
        Error::usage(
            "--hdu",
            format_args!(
                "{} has no HDU `{}`, or several; it has {}",
                path.display(),
                hdu.escape_debug(),
                labels.join(", ")
            ),
            "give one of these numbers",
        )
    })
}

/// The only unit with maps.
fn only<'a>(path: &Path, units: &'a [Unit]) -> Result<&'a Unit> {
    let images: Vec<&Unit> = units.iter().filter(|unit| unit.dims().is_some()).collect();
    match images[..] {
        [image] => Ok(image),
        [] => {
            let kinds: Vec<String> = units
                .iter()
                .map(|unit| format!("HDU {} is {}", unit.label(), unit.kind()))
                .filter(|kind| units.len() == 1 || !kind.ends_with("empty"))
                .collect();
            Err(Error::file(
                path,
                format!(
                    "is a FITS file without a 2-D or 3-D image: {}",
                    kinds.join(", ")
                ),
                REMEDY,
            ))
        }
        _ => {
            let list: Vec<String> = images
                .iter()
                .map(|unit| {
                    let dims = unit.dims().unwrap_or_default();
                    format!("{} of {}×{}×{}", unit.label(), dims[0], dims[1], dims[2])
                })
                .collect();
            Err(Error::file(
                path,
                format!("has {} images: {}", images.len(), list.join(", ")),
                "choose one with --hdu NAME or --hdu NUMBER",
            ))
        }
    }
}

/// Side of a map in degrees by ANGLE, which LensTools writes, or by the pixel size of the coordinate system.
fn side(header: &Header) -> std::result::Result<Option<f64>, String> {
    let by_pixels = side_of_pixels(header);
    let Some(card) = header.find("ANGLE") else {
        return Ok(by_pixels);
    };
    let shown = card.text().trim_end().to_owned();
    let unclear = |why: &str| Err(format!("its card `{shown}` {why}"));
    let comment = card.comment().to_ascii_lowercase();
    let Ok(angle) = header.number("ANGLE") else {
        return unclear("is not a side in degrees");
    };
    match angle {
        Some(angle) if angle.is_finite() && angle > 0.0 && angle <= LARGEST_SIDE => {
            let other = by_pixels.filter(|side| (angle / side - 1.0).abs() > SAME);
            if let Some(other) = other {
                return unclear(&format!(
                    "contradicts CDELT, by which a map has a side of {other:.4}°"
                ));
            }
            let other_meaning = ["rotat", "position", "arcmin", "arcsec", "radian"];
            if other_meaning.iter().any(|word| comment.contains(word)) {
                return unclear("does not mean a side in degrees");
            }
            Ok(Some(angle))
        }
        _ => unclear("is not the side of a flat map in degrees"),
    }
}

/// Side of a map in degrees by CDELT or CD, if these are angles and pixels are square.
fn side_of_pixels(header: &Header) -> Option<f64> {
    let degrees = |axis: usize| {
        let unit = header.text(&format!("CUNIT{axis}")).unwrap_or_default();
        let kind = header.text(&format!("CTYPE{axis}")).unwrap_or_default();
        match unit.to_ascii_lowercase().as_str() {
            "deg" | "degree" | "degrees" => Some(1.0),
            "arcmin" => Some(1.0 / 60.0),
            "arcsec" => Some(1.0 / 3600.0),
            "rad" => Some(1.0_f64.to_degrees()),
            // Celestial coordinates are in degrees unless stated otherwise.
            "" if kind.contains('-') => Some(1.0),
            _ => None,
        }
    };
    let number = |keyword: String| header.number(&keyword).ok().flatten();
    let side = |axis: usize| {
        let column = [1, 2].map(|row| number(format!("CD{row}_{axis}")));
        let size = match column {
            [None, None] => number(format!("CDELT{axis}"))?.abs(),
            [a, b] => a.unwrap_or(0.0).hypot(b.unwrap_or(0.0)),
        };
        let pixels = header.integer(&format!("NAXIS{axis}")).ok().flatten()?;
        let side = size * degrees(axis)? * pixels as f64;
        (side.is_finite() && side > 0.0 && side <= LARGEST_SIDE).then_some(side)
    };
    let [width, height] = [side(1)?, side(2)?];
    ((width / height - 1.0).abs() < SAME).then_some(width)
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
