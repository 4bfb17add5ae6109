//! The main loop of every contestant in Rust, like `worker.py` for Python: generates one batch, then runs rounds on
//! request, and answers each with a line of JSON.

use std::error::Error;
use std::io::stdin;
use std::time::Instant;
use std::{env, fs};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The arguments of contestants.
#[allow(dead_code, reason = "not every contestant uses all of them")]
pub struct Arguments {
    pub variant: String,
    pub threads: usize,
    pub batch: usize,
    /// File of the layers with batch normalisations folded in.
    pub folded: String,
    /// File of the model in ONNX, in the form of the variant.
    pub onnx: String,
    /// Elements of a latent vector.
    pub width: usize,
}

/// Serves requests with the function that `prepare` returns, which maps a batch of latents to a batch of maps.
pub fn serve<Generate>(
    version: &str,
    prepare: impl FnOnce(&Arguments) -> Outcome<Generate>,
) -> Outcome<()>
where
    Generate: FnMut(&[f32]) -> Outcome<Vec<f32>>,
{
    let words: Vec<String> = env::args().collect();
    let flag = |name: &str| {
        let at = words.iter().position(|word| word == name);
        let value = at.and_then(|at| words.get(at + 1)).cloned();
        value.ok_or_else(|| format!("{name} is missing"))
    };
    let (latents, width) = read(&flag("--latents")?)?;
    let arguments = Arguments {
        variant: flag("--variant")?,
        threads: flag("--threads")?.parse()?,
        batch: flag("--batch")?.parse()?,
        folded: flag("--folded")?,
        onnx: flag("--onnx")?,
        width,
    };
    let latents = &latents[..arguments.batch * width];
    let mut generate = prepare(&arguments)?;
    let maps = generate(latents)?;
    println!("{{\"version\": \"{version}\"}}");
    write(&flag("--maps")?, &maps, arguments.batch)?;
    println!("{{\"written\": true}}");
    for line in stdin().lines() {
        let digits: String = line?.chars().filter(char::is_ascii_digit).collect();
        let mut seconds = Vec::new();
        for _ in 0..digits.parse()? {
            let started = Instant::now();
            generate(latents)?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        println!(
            "{{\"seconds\": {seconds:?}, \"peak_bytes\": {}}}",
            peak_bytes()?
        );
    }
    Ok(())
}

/// The values of a NumPy file of little-endian float32 in two dimensions, and its second dimension.
fn read(path: &str) -> Outcome<(Vec<f32>, usize)> {
    let bytes = fs::read(path)?;
    let body = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..body]);
    let shape = header.split(['(', ')']).nth(1).ok_or("no shape")?;
    let width = shape.split(',').nth(1).ok_or("not two dimensions")?;
    let values = bytes[body..].chunks_exact(4);
    let values = values.map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
    Ok((values.collect(), width.trim().parse()?))
}

/// Writes square maps as a NumPy file.
fn write(path: &str, maps: &[f32], count: usize) -> Outcome<()> {
    let size = (maps.len() / count).isqrt();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {size}, {size}), }}");
    // The format aligns the values to 64 bytes, after a newline.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend(maps.iter().flat_map(|value| value.to_le_bytes()));
    Ok(fs::write(path, bytes)?)
}

fn peak_bytes() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kibibytes
        .ok_or("the system does not report VmHWM")?
        .parse::<u64>()?
        * 1024)
}
