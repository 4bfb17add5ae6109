//! The readers of all file formats, each with valid samples, and what must hold for whatever it accepts.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cosmogan::Generator;
use cosmogan::data::{MapFile, MapWriter, Survey};
use cosmogan::files::sha256;
use cosmogan::model::Preset;
use cosmogan::model::preset::with_overrides;
use cosmogan::provenance::{DatasetManifest, MapRecord, Provenance};
use cosmogan::simulate::nbody::NBodyBox;
use cosmogan::train::checkpoint;
use cosmogan_engine::backend::Backend;
use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_oracle::Case;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{small_run, succeed, text, write_noise};

/// A valid file that mutants are made of, at the place where it is read.
pub(crate) struct Sample {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a file; panics if what it accepts is not sound.
type Read = Box<dyn Fn(&Path) -> Result<(), String>>;

pub(crate) struct Reader {
    pub(crate) name: &'static str,
    pub(crate) samples: Vec<Sample>,
    pub(crate) read: Read,
}

/// A reader that panics if what it reads is not sound.
fn reader(
    name: &'static str,
    samples: impl IntoIterator<Item = PathBuf>,
    read: impl Fn(&Path) -> Result<(), String> + 'static,
) -> Reader {
    let samples: Vec<Sample> = samples
        .into_iter()
        .map(|path| Sample {
            bytes: fs::read(&path).unwrap(),
            path,
        })
        .collect();
    for sample in &samples {
        // A sample that is refused tests nothing.
        read(&sample.path).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    Reader {
        name,
        samples,
        read: Box::new(read),
    }
}

fn told<T>(result: Result<T, impl ToString>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

pub(crate) fn readers(folder: &Path) -> Vec<Reader> {
    let maps = maps(folder);
    let run = folder.join("run");
    let (config, data) = small_run(folder, 8);
    let train = ["train", "--config", text(&config), "--data", text(&data)];
    succeed(
        &[
            &train[..],
            &["--device", "cpu", "--steps", "2", "--out", text(&run)],
        ]
        .concat(),
    );
    let checkpoint = run.join("checkpoint.safetensors");
    let record = checkpoint::record(&checkpoint).unwrap();
    let backend: Arc<dyn Backend> = Arc::new(CpuBackend::new());

    let boxes = folder.join("a.box");
    let simulate = [
        "simulate", "--method", "nbody", "--maps", "1", "--pixels", "16",
    ];
    let small = ["--particles", "8", "--mesh", "16", "--steps", "2"];
    let out = folder.join("a.npy");
    succeed(
        &[
            &simulate[..],
            &small,
            &["--box", text(&boxes), "--out", text(&out)],
        ]
        .concat(),
    );
    let set = folder.join("set");
    let dataset = ["dataset", "--training", text(&boxes), "--out", text(&set)];
    let few = [
        "--maps-per-box",
        "2",
        "--pixels",
        "16",
        "--size",
        "8",
        "--per-map",
        "2",
    ];
    succeed(&[&dataset[..], &few].concat());
    let planes = fs::read_dir(&boxes).unwrap();
    let planes = planes.map(|entry| entry.unwrap().path());
    let planes: Vec<PathBuf> = planes
        .filter(|path| path.extension().is_some_and(|extension| extension == "npy"))
        .collect();

    let cases = folder.join("cases.txt");
    fs::write(
        &cases,
        "conv2d n=2 h=8 w=6 c=3 k=4 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=3\n",
    )
    .unwrap();

    let whole = MapFile::open(&set.join("training.npy")).unwrap();
    let dims = [whole.count(), whole.height(), whole.width()];
    drop(whole);
    vec![
        reader("maps", maps, read_maps),
        reader(
            "weights",
            [golden("four_generator0.safetensors", folder)],
            read_weights,
        ),
        reader("checkpoint", [checkpoint], move |path| {
            let (read, _) = told(checkpoint::load(path, &backend))?;
            // Everything in it is under its hash.
            assert_eq!(read, record, "an altered checkpoint was accepted");
            Ok(())
        }),
        reader("box", [boxes.join("manifest.json")], |path| {
            read_box(path.parent().unwrap())
        }),
        reader("planes", planes, read_forged),
        reader(
            "data-set",
            [set.join("dataset.json"), set.join("training.npy")],
            move |path| {
                told(DatasetManifest::read(&path.with_file_name("dataset.json")))?;
                told(Provenance::of(&path.with_file_name("training.npy"), dims)).map(|_| ())
            },
        ),
        reader("settings", [config], |path| {
            let (model, training) = told(with_overrides(Preset::Tiny, path))?;
            assert_eq!((model.problem(), training.problem()), (None, None));
            Ok(())
        }),
        reader("map-record", [record_of(&data)], |path| {
            let side = MapRecord::of(&path.with_extension("")).side_degrees;
            assert!(side.is_none_or(f64::is_finite));
            Ok(())
        }),
        reader("case", [cases], |path| {
            let line = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            let refused = |problem| cosmogan::error::Error::refused("--case", problem).to_string();
            let case: Case = line.trim_end().parse().map_err(refused)?;
            // What was understood is said again in the same words.
            assert_eq!(
                case.to_string().parse::<Case>()?.to_string(),
                case.to_string()
            );
            Ok(())
        }),
    ]
}

/// Files of maps in every form that is read.
fn maps(folder: &Path) -> Vec<PathBuf> {
    let float = folder.join("float.npy");
    write_noise(&float, 3, 8);
    let fits = folder.join("float.fits");
    let mut writer = MapWriter::create(&fits, 2, 8, 8, Some(0.5)).unwrap();
    for map in 0..2_u8 {
        let values: Vec<f32> = (0..64_u8)
            .map(|pixel| f32::from(pixel + map) * 1e-3)
            .collect();
        writer.push(&values).unwrap();
    }
    writer.finish().unwrap();
    let scaled = folder.join("scaled.fits");
    let cards = [
        "SIMPLE  =                    T",
        "BITPIX  =                   16",
        "NAXIS   =                    2",
        "NAXIS1  =                    8",
        "NAXIS2  =                    8",
        "BSCALE  =                1E-03",
        "BZERO   =                 0.25",
        "ANGLE   =                  0.5",
        "COMMENT maps of noise",
        "END",
    ];
    let mut bytes: Vec<u8> = cards
        .iter()
        .flat_map(|card| format!("{card:80}").into_bytes())
        .collect();
    bytes.resize(2880, b' ');
    bytes.extend((0..64_i16).flat_map(|pixel| (pixel * 3 - 90).to_be_bytes()));
    bytes.resize(2 * 2880, 0);
    fs::write(&scaled, &bytes).unwrap();
    let zipped = folder.join("scaled.fits.gz");
    let mut encoder = GzEncoder::new(fs::File::create(&zipped).unwrap(), Compression::fast());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap();
    let other = |name: &str, kind: &str, values: Vec<u8>| {
        let path = folder.join(name);
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (2, 8, 8), }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(118_u16.to_le_bytes());
        bytes.extend(format!("{header:117}\n").into_bytes());
        bytes.extend(values);
        fs::write(&path, bytes).unwrap();
        path
    };
    let wide = (0..128_u8).flat_map(|pixel| (f64::from(pixel) * 1e-3).to_be_bytes());
    let half = (0..128_u16).flat_map(|pixel| (0x2000 + 8 * pixel).to_le_bytes());
    let wide = other("wide.npy", ">f8", wide.collect());
    let half = other("half.npy", "<f2", half.collect());
    vec![float, fits, scaled, zipped, wide, half]
}

fn read_maps(path: &Path) -> Result<(), String> {
    let maps = told(MapFile::open(path))?;
    let _ = maps.side_degrees();
    let survey = told(Survey::of(&maps))?;
    assert!(survey.mean.is_finite());
    let values = told(maps.read_maps(0..maps.count().min(8)))?;
    assert_eq!(
        values.len(),
        maps.count().min(8) * maps.height() * maps.width()
    );
    assert!(values.iter().all(|value| value.is_finite()));
    Ok(())
}

fn read_weights(path: &Path) -> Result<(), String> {
    let bytes = fs::read(path).unwrap();
    let generator = told(Generator::from_bytes(&bytes))?;
    let maps = told(generator.sample(1, 0))?;
    assert_eq!(maps.len(), generator.size().pow(2));
    assert!(maps.iter().all(|value| value.abs() <= 1.0));
    Ok(())
}

fn read_box(folder: &Path) -> Result<(), String> {
    let settings = told(NBodyBox::settings_in(folder))?;
    let simulated = told(NBodyBox::open(folder, &settings))?;
    told(simulated.verify())?;
    if !simulated.is_complete() {
        return Err("is not complete".to_owned());
    }
    for map in told(simulated.maps(0..1, 16, 0.5))? {
        assert!(map.iter().all(|value| value.is_finite()));
    }
    Ok(())
}

/// Reads a box whose manifest has the length and the hash of the damaged planes, so that only their contents can tell.
fn read_forged(planes: &Path) -> Result<(), String> {
    let manifest = planes.with_file_name("manifest.json");
    let original = fs::read(&manifest).unwrap();
    let mut forged: serde_json::Value = serde_json::from_slice(&original).unwrap();
    let bytes = fs::read(planes).unwrap();
    let name = planes.file_name().unwrap().to_str();
    let slabs = forged["slabs"].as_array_mut().unwrap();
    for slab in slabs
        .iter_mut()
        .filter(|slab| slab["file"].as_str() == name)
    {
        slab["bytes"] = bytes.len().into();
        slab["sha256"] = sha256(&bytes).into();
    }
    fs::write(&manifest, forged.to_string()).unwrap();
    let read = read_box(planes.parent().unwrap());
    fs::write(&manifest, original).unwrap();
    read
}

/// A copy of a golden file.
fn golden(name: &str, folder: &Path) -> PathBuf {
    let original = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../oracle/golden")
        .join(name);
    let path = folder.join(name);
    fs::copy(original, &path).unwrap();
    path
}

/// The record beside a file of maps.
fn record_of(maps: &Path) -> PathBuf {
    let record = MapRecord {
        method: None,
        side_degrees: Some(0.5),
    };
    record.write(maps).unwrap();
    PathBuf::from(format!("{}.json", maps.display()))
}
