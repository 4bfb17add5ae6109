//! tract on the CPU, from ONNX, for a fixed batch size.

#[path = "../../rust/worker.rs"]
mod worker;

use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;
use worker::{Arguments, Outcome, serve};

fn prepare(arguments: &Arguments) -> Outcome<impl FnMut(&[f32]) -> Outcome<Vec<f32>> + use<>> {
    if arguments.threads > 1 {
        set_default_executor(Executor::multithread(arguments.threads));
    }
    let shape = [arguments.batch, arguments.width];
    let model = tract_onnx::onnx()
        .model_for_path(&arguments.onnx)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()?;
    Ok(move |latents: &[f32]| {
        let latents = Tensor::from_shape(&shape, latents)?;
        let maps = model.run(tvec!(latents.into()))?;
        Ok(maps[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    })
}

fn main() -> Outcome<()> {
    serve("0.23.9", prepare)
}
