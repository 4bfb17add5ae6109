//! Records the layers of the inference generator.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use super::operator::{Extents, Operator};
use super::profiler::Profiler;
use crate::geometry::ConvMethod;
use crate::inference::Watch;

/// Records every layer of a [`Stack`](crate::inference::Stack), once for each group of images.
#[derive(Debug)]
pub struct Layers {
    profiler: Profiler,
    /// For each layer, the operator for one image and its algorithm.
    operators: Vec<(Operator, ConvMethod)>,
    /// The thread that is timed. All threads work on the same layer at a time, so one clock is enough.
    caller: ThreadId,
    started: Mutex<Option<Instant>>,
}

impl Layers {
    pub(super) fn new(profiler: Profiler, operators: Vec<(Operator, ConvMethod)>) -> Self {
        Self {
            profiler,
            operators,
            caller: thread::current().id(),
            started: Mutex::new(None),
        }
    }

    fn is_caller(&self) -> bool {
        thread::current().id() == self.caller
    }
}

impl Watch for Layers {
    fn begin(&self, _: usize, _: usize) {
        if self.is_caller() {
            let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
            *started = Some(Instant::now());
        }
    }

    fn end(&self, layer: usize, images: usize) {
        if !self.is_caller() {
            return;
        }
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(started), Some(&(operator, method))) =
            (started.take(), self.operators.get(layer))
        {
            self.profiler
                .ran(operator.with_images(images), method, started);
        }
    }
}

impl Operator {
    /// The same operator for another number of images or vectors.
    fn with_images(self, images: usize) -> Self {
        let extents = match self.extents {
            Extents::Convolution(mut geometry) => {
                geometry.batch = images;
                Extents::Convolution(geometry)
            }
            Extents::Linear {
                inputs, outputs, ..
            } => Extents::Linear {
                rows: images,
                inputs,
                outputs,
            },
            Extents::Images { size, channels, .. } => Extents::Images {
                batch: images,
                size,
                channels,
            },
            other => other,
        };
        Self { extents, ..self }
    }
}
