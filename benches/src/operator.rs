//! The convolutions of the paper's model, prepared to run: forward and both gradients.

use std::time::Instant;

use cosmogan_engine::backend::cpu::CpuBackend;
use cosmogan_engine::backend::{Backend, Epilogue, Op};
use cosmogan_engine::{ConvGeometry, Padding, Shape, Tensor};
use cosmogan_oracle::cases::Model;
use cosmogan_oracle::{Case, Operator};

/// One of the three convolution GEMMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// y from x and w.
    Fprop,
    /// x from y and w.
    Dgrad,
    /// w from x and y.
    Wgrad,
}

/// A convolution of the paper's model with operands in memory.
#[derive(Debug)]
pub struct Prepared {
    /// The oracle's text for the operator, without the seed.
    pub name: String,
    /// Which of the three GEMMs runs.
    pub product: Product,
    geometry: ConvGeometry,
    backend: CpuBackend,
    x: Tensor,
    weight: Tensor,
    y: Tensor,
}

/// All GEMMs of all convolutions of the paper's model at batch size `batch`.
pub fn paper(batch: usize) -> Vec<Prepared> {
    let mut all = Vec::new();
    for case in Case::model_set(&Model::PAPER, batch, 0) {
        let (shape, is_transposed) = match case.operator {
            Operator::Conv2d(shape) => (shape, false),
            Operator::ConvTranspose2d(shape) => (shape, true),
            _ => continue,
        };
        let forward = if is_transposed {
            Product::Dgrad
        } else {
            Product::Fprop
        };
        let line = case.to_string();
        let name = line
            .rsplit_once(" seed=")
            .map_or(line.as_str(), |(name, _)| name);
        let products = if is_transposed {
            [forward, Product::Fprop, Product::Wgrad]
        } else {
            [forward, Product::Dgrad, Product::Wgrad]
        };
        for product in products {
            all.push(Prepared::new(name, product, geometry(&shape)));
        }
    }
    all
}

fn geometry(shape: &cosmogan_oracle::operators::convolution::Convolution) -> ConvGeometry {
    let padding = Padding {
        begin: shape.begin,
        end: shape.end(),
    };
    ConvGeometry::from_input(
        shape.batch,
        shape.input,
        [shape.input_channels, shape.output_channels],
        shape.kernel,
        shape.stride,
        padding,
    )
    .expect("the paper's shapes fit")
}

impl Prepared {
    fn new(name: &str, product: Product, geometry: ConvGeometry) -> Self {
        let backend = CpuBackend::new();
        let noise = |dims: [usize; 4]| {
            let length = dims.iter().product();
            let values: Vec<f32> = (0..length).map(|i| (i as f32 * 0.37).sin()).collect();
            backend
                .upload(Shape::from(dims), &values)
                .expect("there are as many values as elements")
        };
        Self {
            name: name.to_owned(),
            product,
            x: noise(geometry.input_dims()),
            weight: noise(geometry.weight_dims()),
            y: noise(geometry.output_dims()),
            geometry,
            backend,
        }
    }

    /// Multiplications and additions of one run.
    pub fn operations(&self) -> f64 {
        self.geometry.operations()
    }

    /// Runs once; returns seconds.
    pub fn run(&mut self) -> f64 {
        let Self {
            product,
            geometry,
            backend,
            x,
            weight,
            y,
            ..
        } = self;
        let started = Instant::now();
        match product {
            Product::Fprop => backend.run(Op::ConvFprop {
                geometry,
                x,
                weight,
                bias: None,
                epilogue: Epilogue::None,
                y,
            }),
            Product::Dgrad => backend.run(Op::ConvDgrad {
                geometry,
                y,
                weight,
                bias: None,
                epilogue: Epilogue::None,
                x,
            }),
            Product::Wgrad => backend.run(Op::ConvWgrad {
                geometry,
                x,
                y,
                weight,
            }),
        }
        .expect("operands fit their geometry");
        started.elapsed().as_secs_f64()
    }
}
