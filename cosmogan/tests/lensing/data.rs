//! Reading and writing map files, and rejection of invalid files.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its data has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{run, succeed, text};
use cosmogan::data::{MapFile, MapSet, MapWriter};
use proptest::prelude::*;

fn write(path: &Path, maps: &[Vec<f32>], width: usize, side: Option<f64>) {
    let height = maps[0].len() / width;
    let mut writer = MapWriter::create(path, maps.len(), height, width, side).unwrap();
    maps.iter().for_each(|map| writer.push(map).unwrap());
    writer.finish().unwrap();
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        count in 1..4_usize,
        height in 1..9_usize,
        width in 2..9_usize,
        fits in any::<bool>(),
        side in proptest::option::of(0.01..50.0_f64),
        seed in any::<u32>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if fits { "maps.fits" } else { "maps.npy" });
        let maps: Vec<Vec<f32>> = (0..count)
            .map(|map| {
                (0..height * width)
                    .map(|pixel| f32::from_bits(seed.wrapping_mul(2 * (map * 97 + pixel) as u32 + 1) & 0xbfff_ffff))
                    .collect()
            })
            .collect();
        write(&path, &maps, width, side);
        let found = MapSet::read(&path).unwrap();
        prop_assert_eq!((found.count(), found.height(), found.width()), (count, height, width));
        for (found, map) in found.iter().zip(&maps) {
            prop_assert_eq!(found, &map[..]);
        }
        prop_assert_eq!(found.side_degrees(), Ok(side.filter(|_| fits)));
    }
}

#[test]
fn a_file_that_is_cut_short_while_it_is_read_ends_in_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maps.npy");
    let maps: Vec<Vec<f32>> = (0..4).map(|map| vec![map as f32; 64]).collect();
    write(&path, &maps, 8, None);
    let file = MapFile::open(&path).unwrap();
    let mut rows = vec![0.0; 16];
    file.read_rows(3, 6..8, &mut rows).unwrap();
    assert_eq!(rows, [3.0; 16]);
    let shortened = fs::OpenOptions::new().write(true).open(&path).unwrap();
    shortened.set_len(128 + 3 * 256 + 100).unwrap();
    let mut map = vec![0.0; 64];
    file.read(2, &mut map).unwrap();
    assert_eq!(map, [2.0; 64]);
    let error = file.read(3, &mut map).unwrap_err().to_string();
    let needles = ["maps.npy", "was truncated", "map 3", "nothing writes"];
    assert!(
        needles.iter().all(|needle| error.contains(needle)),
        "{error}"
    );
}

/// Formats FITS header cards as whole blocks.
fn header(cards: &[&str]) -> Vec<u8> {
    let mut text: String = cards.iter().map(|card| format!("{card:<80}")).collect();
    text.push_str("END");
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(2880), b' ');
    bytes
}

#[test]
fn fits_of_other_programs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maps.fits");
    // An empty primary header with the angle, a table, and then a scaled image in double precision.
    let mut bytes = header(&[
        "SIMPLE  =                    T / conforms to FITS standard",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
        "EXTEND  =                    T",
        "ANGLE   =                3.5D0 / [deg] side",
    ]);
    bytes.extend(header(&[
        "XTENSION= 'BINTABLE'           / binary table",
        "BITPIX  =                    8",
        "NAXIS   =                    2",
        "NAXIS1  =                   10",
        "NAXIS2  =                    7",
        "PCOUNT  =                    5",
        "GCOUNT  =                    1",
    ]));
    bytes.extend([7; 2880]);
    bytes.extend(header(&[
        "XTENSION= 'IMAGE   '",
        "BITPIX  =                  -64",
        "NAXIS   =                    2",
        "NAXIS1  =                    3",
        "NAXIS2  =                    2",
        "PCOUNT  =                    0",
        "GCOUNT  =                    1",
        "BSCALE  =                  2.0",
        "BZERO   =                  1.0",
    ]));
    for value in 0..6 {
        bytes.extend(f64::from(value).to_be_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(2880), 0);
    fs::write(&path, bytes).unwrap();
    let maps = MapSet::read(&path).unwrap();
    assert_eq!((maps.count(), maps.height(), maps.width()), (1, 2, 3));
    assert_eq!(maps.values(), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
    assert_eq!(maps.side_degrees(), Ok(Some(3.5)));
}

/// Builds an NPY file of version 1.0 with the given header dictionary.
fn npy(dictionary: &str, data: &[u8]) -> Vec<u8> {
    npy_of_version(1, dictionary, data)
}

fn npy_of_version(version: u8, dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut text = dictionary.to_owned();
    while !(text.len() + 11).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((text.len() as u16).to_le_bytes()),
        _ => bytes.extend((text.len() as u32).to_le_bytes()),
    }
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn npy_of_other_programs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maps.npy");
    let big_endian: Vec<u8> = (0..6)
        .flat_map(|value| f64::from(value).to_be_bytes())
        .collect();
    for (shape, dims) in [
        ("(2, 3)", (1, 2, 3)),
        ("(3, 1, 2)", (3, 1, 2)),
        ("(1, 1, 3, 2)", (1, 3, 2)),
    ] {
        let header = format!("{{'descr': '>f8', 'fortran_order': False, 'shape': {shape}, }}");
        fs::write(&path, npy(&header, &big_endian)).unwrap();
        let maps = MapSet::read(&path).unwrap();
        assert_eq!((maps.count(), maps.height(), maps.width()), dims);
        assert_eq!(maps.values(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }
}

/// Headers that NumPy 2.4 reads.
#[test]
fn npy_headers_of_all_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maps.npy");
    let little_endian: Vec<u8> = (0..6)
        .flat_map(|value| (value as f32).to_le_bytes())
        .collect();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }";
    let mut cases: Vec<(u8, String)> = (1..=3)
        .map(|version| (version, header.to_owned()))
        .collect();
    for (old, new) in [
        ("(1, 2, 3)", "(1L, 2L, 3L)"),
        ("(1, 2, 3)", "(1L, 0x2L, 3 L,)"),
        ("(1, 2, 3)", "(1,2,3)"),
        ("(1, 2, 3)", "( +1 ,2, 0b_11, )"),
        ("(1, 2, 3)", "((1,\n2, # rows\n3))"),
        ("'", "\""),
        ("'descr'", "u'descr'"),
        ("'<f4'", "'float32'"),
        ("'<f4'", "'=f4'"),
        (", }", "}"),
        ("'descr'", "'shape': (9, 9), 'descr'"),
        ("False", "(False)"),
        // Rows of one map: no other order is possible.
        ("False, 'shape': (1, 2, 3)", "True, 'shape': (1, 6)"),
        ("{", " \t{"),
        ("{", "\n{"),
    ] {
        cases.push((1, header.replace(old, new)));
    }
    for (version, header) in cases {
        fs::write(&path, npy_of_version(version, &header, &little_endian)).unwrap();
        let maps = MapSet::read(&path).expect(&header);
        assert_eq!(maps.values(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{header}");
        assert_eq!(maps.count(), 1);
    }
    // Digits in groups.
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1_000, 16, 16)}";
    fs::write(&path, npy(header, &[0; 1_024_000])).unwrap();
    assert_eq!(MapFile::open(&path).unwrap().count(), 1000);
}

/// Headers that NumPy 2.4 refuses.
#[test]
fn damaged_npy_headers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maps.npy");
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }";
    let mut cases = vec![
        (0, header.to_owned()),
        (4, header.to_owned()),
        (3, header.replace("(1, 2, 3)", "(1L, 2L, 3L)")),
        (1, header.replace("{", &format!("{{{}", " ".repeat(10_000)))),
    ];
    for (old, new) in [
        ("(1, 2, 3)", "(1,024, 2, 3)"),
        ("(1, 2, 3)", "(1, 2, 3l)"),
        ("(1, 2, 3)", "[1, 2, 3]"),
        ("(1, 2, 3)", "(6)"),
        ("(1, 2, 3)", "(1, 2, 3.0)"),
        ("(1, 2, 3)", "(1, 2, None)"),
        ("(1, 2, 3)", "(1, 2 3)"),
        ("(1, 2, 3)", "(1,, 2, 3)"),
        ("(1, 2, 3)", "(1, 2, 3"),
        ("False", "0"),
        ("False", "false"),
        ("'descr': '<f4', ", ""),
        ("'descr'", "'Descr'"),
        ("'descr'", "'extra': 1, 'descr'"),
        ("{'descr'", "{'descr"),
        (", }", ", }}"),
        (", }", ", },"),
        ("{", "\n {"),
        ("{", "["),
    ] {
        cases.push((1, header.replace(old, new)));
    }
    for (version, header) in cases {
        fs::write(&path, npy_of_version(version, &header, &[0; 96])).unwrap();
        let error = MapSet::read(&path).expect_err(&header).to_string();
        assert!(error.contains("NPY header is damaged"), "{header}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn what_is_not_maps_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let dictionary = |descr: &str, order: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}")
    };
    let array = |descr, order, shape| npy(&dictionary(descr, order, shape), &[0; 96]);
    let image = |cards: &[&str]| {
        let mut all = vec!["SIMPLE  =                    T"];
        all.extend(cards);
        header(&all)
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "integers.npy",
            array("<i4", "False", "(2, 3, 4)"),
            "float32",
        ),
        ("complex.npy", array("<c8", "False", "(1, 3, 4)"), "float32"),
        (
            "record.npy",
            npy(
                "{'descr': [('kappa', '<f4')], 'fortran_order': False, 'shape': (2, 3), }",
                &[0; 24],
            ),
            "record",
        ),
        (
            "negative.npy",
            array("<f4", "False", "(-1, 3, 4)"),
            "(-1, 3, 4), which contains no maps",
        ),
        (
            "huge.npy",
            array("<f4", "False", "(99999999999999999999, 3, 4)"),
            "more than any file can hold",
        ),
        (
            "archive.npy",
            b"PK\x03\x04arr_0.npy".to_vec(),
            "ZIP archive",
        ),
        ("fortran.npy", array("<f4", "True", "(2, 3, 4)"), "Fortran"),
        ("vector.npy", array("<f4", "False", "(24,)"), "axes"),
        ("deep.npy", array("<f4", "False", "(1, 1, 2, 3, 4)"), "axes"),
        (
            "colour.npy",
            array("<f4", "False", "(2, 3, 2, 2)"),
            "channels",
        ),
        ("none.npy", array("<f4", "False", "(0, 3, 4)"), "no maps"),
        ("short.npy", array("<f4", "False", "(3, 3, 4)"), "truncated"),
        (
            "vast.npy",
            array("<f4", "False", "(9999999999, 9999999999, 9999999999)"),
            "more than any file can hold",
        ),
        (
            "garbled.npy",
            npy("{'descr': '<f4', 'shape': (2, 2), ", &[0; 16]),
            "header",
        ),
        ("magic.npy", b"\x93NUMPY".to_vec(), "header"),
        (
            "version.npy",
            b"\x93NUMPY\x09\x00\x10\x00".to_vec(),
            "header",
        ),
        (
            "long.npy",
            b"\x93NUMPY\x02\x00\xff\xff\xff\x7f".to_vec(),
            "header",
        ),
        (
            "stub.fits",
            b"SIMPLE  =                    T".to_vec(),
            "header",
        ),
        (
            "empty.fits",
            image(&[
                "BITPIX  =                    8",
                "NAXIS   =                    0",
            ]),
            "without a 2-D or 3-D image",
        ),
        (
            "integers.fits",
            image(&[
                "BITPIX  =                   12",
                "NAXIS   =                    2",
                "NAXIS1  =                    4",
                "NAXIS2  =                    4",
            ]),
            "BITPIX",
        ),
        (
            "short.fits",
            image(&[
                "BITPIX  =                  -32",
                "NAXIS   =                    2",
                "NAXIS1  =            400000000",
                "NAXIS2  =            400000000",
            ]),
            "truncated",
        ),
        (
            "silent.fits",
            image(&[
                "BITPIX  =                  -32",
                "NAXIS   =                    2",
            ]),
            "length of its data",
        ),
    ];
    for (name, bytes, needle) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = MapSet::read(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(needle), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("maps.npy");
    let files = || fs::read_dir(folder.path()).unwrap().count();
    let mut writer = MapWriter::create(&path, 3, 2, 2, None).unwrap();
    writer.push(&[0.0; 4]).unwrap();
    assert!(!path.exists());
    assert!(writer.push(&[0.0; 5]).is_err());
    drop(writer);
    assert_eq!(files(), 0, "an abandoned file leaves nothing behind");
    let mut writer = MapWriter::create(&path, 3, 2, 2, None).unwrap();
    writer.push(&[0.0; 4]).unwrap();
    assert!(writer.finish().is_err(), "two maps are missing");
    assert_eq!(files(), 0);
}

fn crop(inputs: &[&Path], more: &[&str], out: &Path) -> Vec<String> {
    let mut arguments = vec!["crop".to_owned()];
    arguments.extend(inputs.iter().map(|path| text(path).to_owned()));
    arguments.extend(["--out".to_owned(), text(out).to_owned()]);
    arguments.extend(more.iter().map(|word| (*word).to_owned()));
    arguments
}

fn arguments(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn crops_are_pieces_of_the_averaged_map() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| -> PathBuf { folder.path().join(name) };
    let (input, out) = (named("map.fits"), named("crops.fits"));
    // 12×8 pixels with ascending values: the mean of a block identifies its position.
    let map: Vec<f32> = (0..96).map(|value| value as f32).collect();
    write(&input, &[map], 8, Some(3.0));
    let words = crop(
        &[&input],
        &["--size", "3", "--per-map", "40", "--seed", "4"],
        &out,
    );
    succeed(&arguments(&words));
    let crops = MapSet::read(&out).unwrap();
    assert_eq!((crops.count(), crops.height(), crops.width()), (40, 3, 3));
    // Six rows after downsampling span three degrees.
    assert_eq!(crops.side_degrees(), Ok(Some(1.5)));
    let mut corners = std::collections::BTreeSet::new();
    for crop in crops.iter() {
        let corner = crop[0];
        // Block means start at 4.5 and increase by 2 along rows and by 16 along columns.
        let (row, column) = (
            (corner - 4.5) as usize / 16,
            (corner - 4.5) as usize % 16 / 2,
        );
        assert!(row <= 3 && column <= 1, "{corner}");
        corners.insert((row, column));
        for (index, &value) in crop.iter().enumerate() {
            let expected = 4.5 + (16 * (row + index / 3) + 2 * (column + index % 3)) as f32;
            assert_eq!(value, expected);
        }
    }
    assert_eq!(corners.len(), 8, "40 crops reach every place");
    let again = named("again.fits");
    let words = crop(
        &[&input],
        &["--size", "3", "--per-map", "40", "--seed", "4"],
        &again,
    );
    succeed(&arguments(&words));
    assert_eq!(fs::read(&out).unwrap(), fs::read(&again).unwrap());
}

#[test]
fn crops_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| -> PathBuf { folder.path().join(name) };
    let (good, odd, holed) = (named("good.npy"), named("odd.npy"), named("holed.npy"));
    let out = named("out.npy");
    write(&good, &[vec![1.0; 64]], 8, None);
    write(&odd, &[vec![1.0; 49]], 7, None);
    let mut map = vec![1.0; 128];
    map[64 + 2 * 8 + 5] = f32::INFINITY;
    write(&holed, &[map[..64].to_vec(), map[64..].to_vec()], 8, None);
    let refused = |inputs: &[&Path], more: &[&str], status: i32, needles: &[&str]| {
        let words = crop(inputs, more, &out);
        let output = run(&arguments(&words));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        for needle in needles {
            assert!(stderr.contains(needle), "{needle}: {stderr}");
        }
        assert!(!out.exists());
    };
    refused(&[&good], &["--size", "5"], 1, &["good.npy", "4×4", "5×5"]);
    refused(&[&good, &odd], &["--size", "2"], 1, &["odd.npy", "7×7"]);
    refused(
        &[&holed],
        &["--size", "2"],
        1,
        &["holed.npy", "map 1", "row 2", "column 5"],
    );
    refused(&[&good], &["--size", "0"], 2, &["--size"]);
    refused(&[&good], &["--per-map", "0"], 2, &["--per-map"]);
    refused(&[&good], &["--downsample", "0"], 2, &["--downsample"]);
    refused(&[&named("none.npy")], &[], 1, &["none.npy"]);
}
