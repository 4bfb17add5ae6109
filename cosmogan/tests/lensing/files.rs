//! Files of maps that can be misread: the readers take what is unambiguous and refuse the rest, with a remedy.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cosmogan::data::{MapFile, MapSet};

use crate::support::{refused, run, succeed, text, write_npy};

const SIZE: usize = 8;

fn pixel(index: usize) -> f32 {
    ((index * 37) % 101) as f32 / 1000.0 - 0.05
}

fn pixels() -> Vec<f32> {
    (0..SIZE * SIZE).map(pixel).collect()
}

fn big_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

/// A header and data unit: `first` is SIMPLE or XTENSION; `axes` are NAXIS1, NAXIS2, ….
fn unit(first: &str, bits: i32, axes: &[usize], cards: &[&str], data: &[u8]) -> Vec<u8> {
    let mut lines = vec![
        first.to_owned(),
        format!("BITPIX  = {bits:>20}"),
        format!("NAXIS   = {:>20}", axes.len()),
    ];
    for (axis, extent) in axes.iter().enumerate() {
        lines.push(format!("{:<8}= {extent:>20}", format!("NAXIS{}", axis + 1)));
    }
    lines.extend(cards.iter().map(|card| (*card).to_owned()));
    lines.push("END".to_owned());
    // As Latin-1: every character is a byte.
    let mut bytes: Vec<u8> = lines
        .iter()
        .flat_map(|line| {
            let mut card: Vec<u8> = line.chars().map(|letter| letter as u8).collect();
            card.resize(80, b' ');
            card
        })
        .collect();
    bytes.resize(bytes.len().next_multiple_of(2880), b' ');
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(2880), 0);
    bytes
}

const PRIMARY: &str = "SIMPLE  =                    T";
const IMAGE: &str = "XTENSION= 'IMAGE   '";

fn image(cards: &[&str]) -> Vec<u8> {
    unit(PRIMARY, -32, &[SIZE, SIZE], cards, &big_endian(&pixels()))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Expects that a file cannot be opened or read, with `needles` in the message.
fn expect_refused(path: &Path, needles: &[&str]) {
    let error = MapSet::read(path).expect_err(text(path)).to_string();
    for needle in needles {
        assert!(error.contains(needle), "no {needle:?} in {error:?}");
    }
}

#[test]
fn cards_that_programs_read_differently() {
    let folder = Folder::new();
    for (card, needle) in [
        ("BSCALE  =2.0", "lacks `= `"),
        ("BZERO= 0.5", "lacks `= `"),
        ("bscale  =                  2.0", "lower case"),
        ("Naxis1  =                    8", "lower case"),
        ("BSCALE  = 2,0", "no number"),
        ("BSCALE  =                      / not defined", "no number"),
        ("BSCALE  = NaN", "BSCALE is NaN"),
        ("BSCALE  = 0.0", "BSCALE is 0"),
    ] {
        let path = folder.write("card.fits", &image(&[card]));
        expect_refused(&path, &["card.fits", needle, "correct the header"]);
    }
    let twice = [
        "BSCALE  =                  2.0",
        "BSCALE  =                  4.0",
    ];
    let path = folder.write("twice.fits", &image(&twice));
    expect_refused(&path, &["BSCALE twice, as 2.0 and as 4.0"]);
    // A repetition of the same value is no doubt.
    let path = folder.write("same.fits", &image(&[twice[0], twice[0]]));
    assert_eq!(MapSet::read(&path).unwrap().values()[1], 2.0 * pixel(1));
}

#[test]
fn cards_that_are_unusual_but_clear() {
    let folder = Folder::new();
    for card in [
        "BSCALE  = 2.0 scale factor",
        "BSCALE  = '2.0     '",
        "BSCALE  = 2.0D0 / FORTRAN",
        "BSCALE  = 2.0/ comment",
    ] {
        let path = folder.write("scale.fits", &image(&[card]));
        assert_eq!(
            MapSet::read(&path).unwrap().values()[1],
            2.0 * pixel(1),
            "{card}"
        );
    }
    let comments = [
        "COMMENT side in ° by M. Muñoz",
        "HISTORY bscale = 3",
        "OBSERVER= 'O''Hara = x'",
    ];
    let path = folder.write("latin.fits", &image(&comments));
    assert_eq!(MapSet::read(&path).unwrap().values(), pixels());
}

#[test]
fn several_images_need_a_choice() {
    let folder = Folder::new();
    let extension = |name: &str, values: &[f32]| {
        let card = format!("EXTNAME = '{name:<8}'");
        unit(IMAGE, -32, &[SIZE, SIZE], &[&card], &big_endian(values))
    };
    let mask = vec![1.0; SIZE * SIZE];
    let bytes = [
        unit(PRIMARY, 8, &[], &[], &[]),
        extension("MASK", &mask),
        extension("KAPPA", &pixels()),
    ]
    .concat();
    let path = folder.write("survey.fits", &bytes);
    expect_refused(&path, &["2 images: 1 MASK", "2 KAPPA", "--hdu"]);
    for hdu in ["KAPPA", "kappa", "2"] {
        let maps = MapSet::read_hdu(&path, Some(hdu)).unwrap();
        assert_eq!(maps.values(), pixels());
    }
    for hdu in ["GAMMA1", "3", "0", ""] {
        assert!(MapFile::open_hdu(&path, Some(hdu)).is_err(), "{hdu}");
    }
    // An integer thumbnail before a float image is an image as well.
    let thumbnail = unit(PRIMARY, 16, &[SIZE, SIZE], &[], &[0; 2 * SIZE * SIZE]);
    let path = folder.write(
        "both.fits",
        &[thumbnail, extension("KAPPA", &pixels())].concat(),
    );
    expect_refused(&path, &["0 (primary)", "1 KAPPA"]);
    // Every command that reads maps has the flag.
    let out = folder.path("crops.npy");
    let crop = [
        "crop",
        text(&path),
        "--size",
        "8",
        "--per-map",
        "1",
        "--downsample",
        "1",
    ];
    let crop = [&crop[..], &["--out", text(&out)]].concat();
    refused(&crop, 1, &["both.fits", "--hdu"]);
    succeed(&[&crop[..], &["--hdu", "KAPPA"]].concat());
    assert_eq!(MapSet::read(&out).unwrap().values(), pixels());
    refused(
        &[&crop[..], &["--hdu", "MASK"]].concat(),
        2,
        &["--hdu", "no HDU `MASK`"],
    );
    for command in ["stats", "evaluate", "shapes", "train", "crop"] {
        let help = String::from_utf8(run(&[command, "--help"]).stdout).unwrap();
        assert!(help.contains("--hdu"), "{command}");
    }
}

#[test]
fn what_is_not_an_image_is_named() {
    let folder = Folder::new();
    let table = |cards: &[&str]| {
        let table = unit("XTENSION= 'BINTABLE'", 8, &[8, 4], cards, &[0; 32]);
        [unit(PRIMARY, 8, &[], &[], &[]), table].concat()
    };
    for (name, bytes, needle) in [
        (
            "a.fits.fz",
            table(&["ZIMAGE  =                    T"]),
            "funpack",
        ),
        ("b.fits", table(&["PIXTYPE = 'HEALPIX '"]), "HEALPix table"),
        ("c.fits", table(&[]), "is a table"),
        (
            "d.fits",
            unit(PRIMARY, -32, &[8], &[], &[0; 32]),
            "the axes [8]",
        ),
        ("e.npy", b"PK\x03\x04 and more".to_vec(), "numpy.savez"),
        (
            "f.npy",
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "git lfs pull",
        ),
        ("g.fits", b"<!DOCTYPE html><html>404".to_vec(), "web page"),
        ("h.npy", b"\x89HDF\r\n\x1a\n....".to_vec(), "HDF5"),
        ("i.npy", b"\x80\x04\x95....".to_vec(), "pickle"),
        ("j.npy", b"\x1f\x8b\x08 broken".to_vec(), "gunzip"),
    ] {
        let path = folder.write(name, &bytes);
        expect_refused(&path, &[name, needle]);
    }
}

#[test]
fn other_types_and_axes_are_read() {
    let folder = Folder::new();
    // Two integers: stored · 10⁻⁶ + 10⁻³.
    let cards = [
        "BSCALE  =                1E-06",
        "BZERO   =                0.001",
    ];
    let expected: Vec<f32> = (0..SIZE * SIZE)
        .map(|index| (f64::from(index as i16 - 30) * 1e-6 + 0.001) as f32)
        .collect();
    let short: Vec<u8> = (0..(SIZE * SIZE) as i16)
        .flat_map(|index| (index - 30).to_be_bytes())
        .collect();
    let long: Vec<u8> = (0..(SIZE * SIZE) as i64)
        .flat_map(|index| (index - 30).to_be_bytes())
        .collect();
    for (bits, data) in [(16, &short), (64, &long)] {
        let path = folder.write(
            "integers.fits",
            &unit(PRIMARY, bits, &[SIZE, SIZE], &cards, data),
        );
        assert_eq!(MapSet::read(&path).unwrap().values(), expected);
    }
    // The integer of BLANK is no pixel.
    let blank = [cards[0], "BLANK   =                  -30"];
    let path = folder.write(
        "blank.fits",
        &unit(PRIMARY, 16, &[SIZE, SIZE], &blank, &short),
    );
    expect_refused(&path, &["map 0", "NaN", "row 0, column 0"]);

    let data = big_endian(&pixels());
    for axes in [&[SIZE, SIZE, 1, 1][..], &[SIZE, SIZE, 1], &[1, SIZE, SIZE]] {
        let path = folder.write("axes.fits", &unit(PRIMARY, -32, axes, &[], &data));
        let maps = MapSet::read(&path).unwrap();
        assert_eq!([maps.count(), maps.height(), maps.width()], [1, SIZE, SIZE]);
        assert_eq!(maps.values(), pixels());
    }
    let path = folder.path("last.npy");
    write_npy(&path, "(1, 8, 8, 1)", &pixels());
    assert_eq!(MapSet::read(&path).unwrap().values(), pixels());

    let mut half = fs::read(&path).unwrap();
    half.truncate(half.len() - 4 * SIZE * SIZE);
    let at = half.windows(3).position(|text| text == b"<f4").unwrap();
    half[at..at + 3].copy_from_slice(b"<f2");
    let values: Vec<half::f16> = pixels()
        .iter()
        .map(|&value| half::f16::from_f32(value))
        .collect();
    half.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let path = folder.write("half.npy", &half);
    let expected: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
    assert_eq!(MapSet::read(&path).unwrap().values(), expected);
}

#[test]
fn compressed_files_are_unpacked() {
    let folder = Folder::new();
    let npy = folder.path("maps.npy");
    write_npy(&npy, "(1, 8, 8)", &pixels());
    for (name, bytes) in [
        ("maps.npy.gz", fs::read(&npy).unwrap()),
        ("maps.fits.gz", image(&[])),
    ] {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(&bytes).unwrap();
        let packed = packer.finish().unwrap();
        let path = folder.write(name, &packed);
        assert_eq!(MapSet::read(&path).unwrap().values(), pixels());
        let path = folder.write(name, &packed[..packed.len() / 2]);
        expect_refused(&path, &[name, "gunzip"]);
    }
}

#[test]
fn numbers_that_stand_for_missing_pixels() {
    let folder = Folder::new();
    for (value, needle) in [
        (-1.6375e30, "UNSEEN"),
        (-9999.0, "stands for a missing pixel"),
        (-999.0, "stands for a missing pixel"),
        (1e20, "no convergence has"),
        (-32768.0, "no convergence has"),
        (f32::INFINITY, "inf"),
        (f32::NAN, "NaN"),
    ] {
        let mut values = pixels().repeat(3);
        values[SIZE * SIZE + 2 * SIZE + 5] = value;
        let path = folder.path("missing.npy");
        write_npy(&path, "(3, 8, 8)", &values);
        expect_refused(&path, &["map 1", needle, "row 2, column 5"]);
    }
    // Large maps of another unit are left alone.
    let path = folder.path("large.npy");
    write_npy(
        &path,
        "(1, 8, 8)",
        &pixels().iter().map(|x| 5000.0 * x).collect::<Vec<_>>(),
    );
    assert!(MapSet::read(&path).is_ok());
}

#[test]
fn data_that_the_header_does_not_describe() {
    let folder = Folder::new();
    let path = folder.path("maps.npy");
    // Six maps of which the shape names three, and float64 under a float32 header.
    write_npy(&path, "(3, 8, 8)", &pixels().repeat(6));
    expect_refused(&path, &["maps.npy", "1536 bytes of data", "describes 768"]);
}

#[test]
fn sides_that_are_unclear_or_differ() {
    let folder = Folder::new();
    let wcs = [
        "CTYPE1  = 'RA---TAN'",
        "CTYPE2  = 'DEC--TAN'",
        "CDELT1  =                 -0.4",
        "CDELT2  =                  0.4",
        "CUNIT1  = 'deg     '",
        "CUNIT2  = 'deg     '",
    ];
    let side = |cards: &[&str]| {
        let path = folder.write("side.fits", &image(cards));
        MapSet::read(&path).unwrap().side_degrees()
    };
    assert_eq!(side(&["ANGLE   =                  3.5"]), Ok(Some(3.5)));
    assert_eq!(side(&["angle   =                  3.5"]), Ok(Some(3.5)));
    assert_eq!(side(&wcs), Ok(Some(3.2)));
    assert_eq!(side(&[]), Ok(None));
    // Pixels of a coordinate that is no angle say nothing.
    assert_eq!(side(&["CDELT1  = 1.0", "CDELT2  = 1.0"]), Ok(None));
    let rotation = "ANGLE   =                 23.5 / position angle of y axis, deg";
    for unclear in [
        &["ANGLE   =                  0.0"][..],
        &["ANGLE   =                 -2.5"],
        &["ANGLE   =                210.0 / arcmin"],
        &["ANGLE   = '2.5 deg '"],
        &["ANGLE   = 3.5 / in arcmin"],
        &[rotation],
        &[&wcs[..], &[rotation]].concat(),
    ] {
        assert!(side(unclear).unwrap_err().contains("ANGLE"), "{unclear:?}");
    }
    // The flag replaces what is unclear, but not what is clear.
    let out = folder.path("stats.json");
    let unclear = folder.write("unclear.fits", &image(&[rotation]));
    let clear = folder.write("clear.fits", &image(&["ANGLE   =                  3.5"]));
    let stats = |path: &Path, more: &[&str]| -> Vec<String> {
        let first = ["stats", text(path), "--out", text(&out)];
        first
            .iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    };
    let words = |of: &[String]| -> Vec<String> { of.to_vec() };
    let refuse = |arguments: Vec<String>, status, needles: &[&str]| {
        let arguments = words(&arguments);
        refused(
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            status,
            needles,
        );
    };
    refuse(
        stats(&unclear, &[]),
        1,
        &["unclear.fits", "ANGLE", "--side-degrees"],
    );
    refuse(
        stats(&clear, &["--side-degrees", "5"]),
        2,
        &["--side-degrees", "3.5"],
    );
    for arguments in [
        stats(&unclear, &["--side-degrees", "5"]),
        stats(&clear, &["--side-degrees", "3.5"]),
    ] {
        succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let sample = format!("A={}@0.4", text(&clear));
    let shapes = folder.path("shapes");
    refused(
        &["shapes", &sample, "--out", text(&shapes)],
        2,
        &["0.4", "3.5"],
    );
    // Crops of one set have one pixel size.
    let other = folder.write("other.fits", &image(&["ANGLE   =                  5.0"]));
    let crops = folder.path("crops.fits");
    let crop = [
        "crop",
        text(&clear),
        text(&other),
        "--size",
        "4",
        "--downsample",
        "1",
    ];
    refused(
        &[&crop[..], &["--out", text(&crops)]].concat(),
        1,
        &["other.fits", "2.5000", "1.7500"],
    );
    assert!(!crops.exists());
}

#[test]
fn outputs_that_are_inputs_links_or_devices() {
    let folder = Folder::new();
    let maps = folder.path("maps.npy");
    write_npy(&maps, "(1, 8, 8)", &pixels());
    let link = folder.path("link.npy");
    std::os::unix::fs::symlink("maps.npy", &link).unwrap();
    let before = fs::read(&maps).unwrap();
    for out in [&maps, &link] {
        let crop = [
            "crop",
            text(&maps),
            "--size",
            "4",
            "--downsample",
            "1",
            "--out",
            text(out),
        ];
        refused(&crop, 2, &["--out", "would overwrite the input"]);
        assert_eq!(fs::read(&maps).unwrap(), before);
    }
    // A link leads to its file, which need not exist yet; the link stays.
    fs::create_dir(folder.path("disk")).unwrap();
    let out = folder.path("out.npy");
    std::os::unix::fs::symlink("disk/out.npy", &out).unwrap();
    for _ in 0..2 {
        succeed(&[
            "simulate",
            "--maps",
            "1",
            "--pixels",
            "16",
            "--out",
            text(&out),
        ]);
        assert!(out.is_symlink());
        assert_eq!(
            MapSet::read(&folder.path("disk/out.npy")).unwrap().count(),
            1
        );
    }
    // A pipe or a device is written, not replaced.
    let stats = ["stats", text(&maps), "--side-degrees", "1", "--out"];
    let output = succeed(&[&stats[..], &["/dev/stdout"]].concat());
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"l_edges\""));
    assert!(Path::new("/dev/stdout").exists());
}

/// A sparse file takes no disk, but its single map would take 4 TB of memory.
#[test]
fn a_map_beyond_memory_is_refused_by_every_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.npy");
    let side = 1_000_000_u64;
    write_npy(&path, &format!("({side}, {side})"), &[]);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let header = file.metadata().unwrap().len();
    if file.set_len(header + 4 * side * side).is_err() {
        eprintln!("skipped: this file system has no files of 4 TB");
        return;
    }
    let (maps, out) = (text(&path), folder.path().join("out.npy"));
    let crop = [
        "crop",
        maps,
        "--size",
        "16",
        "--per-map",
        "1",
        "--out",
        text(&out),
    ];
    let stats = ["stats", maps, "--side-degrees", "1", "--out", "stats.json"];
    let run = folder.path().join("run");
    let train = ["train", "--data", maps, "--crops", "1", "--out", text(&run)];
    for command in [&crop[..], &stats, &train] {
        refused(command, 1, &["sparse.npy", "GiB of memory"]);
    }
    assert!(!out.exists());
}
