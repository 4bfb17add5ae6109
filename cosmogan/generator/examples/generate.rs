//! Maps from trained weights, with statistics that need no further crate.
//!
//! ```
//! cargo run --release -p cosmogan-generator --example generate -- cosmogan/generator/weights/generator.safetensors
//! ```

use cosmogan_generator::{Generator, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a weight file")?;
    let generator = Generator::load_with(
        &path,
        Options {
            threads: 1,
            ..Options::default()
        },
    )?;
    let size = generator.size();

    // Map i of a seed is the same in any batch, on any number of threads.
    let maps = generator.sample(4, 42)?;
    let mut third = vec![0.0; size * size];
    generator.sample_into(2, 42, &mut third)?;
    assert_eq!(third, maps[2 * size * size..3 * size * size]);

    for (index, map) in maps.chunks(size * size).enumerate() {
        let mean = map.iter().map(|&kappa| f64::from(kappa)).sum::<f64>() / map.len() as f64;
        let largest = map.iter().copied().fold(f32::MIN, f32::max);
        println!("map {index}: {size}×{size}, mean κ {mean:+.4}, largest {largest:.3}");
    }
    Ok(())
}
