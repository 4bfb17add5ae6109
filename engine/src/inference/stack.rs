//! A generator with its weights packed: latent vectors in, maps out.
#![allow(unsafe_code)]

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::dense::{Dense, DenseKernel};
use super::direct::{Direct, DirectKernel};
use super::image::Extents;
use super::minimal::{self, Minimal, ProductKernel, WindowKernel};
use super::single::{Single, SingleKernel};
use super::team::{self, Worker};
use super::watch::{Unwatched, Watch};
use crate::simd::InstructionSet;
use crate::simd::memory::{Aligned, Shared};
use crate::simd::phases::KERNEL;

/// Little-endian single-precision values, as files hold them, at any address.
pub type FileValues<'a> = &'a [[u8; 4]];

/// A linear operator whose results are scaled, shifted and, except in the last layer, rectified: batch normalisation at
/// inference is a scale and a shift.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// Weights in PyTorch's layout.
    pub weight: FileValues<'a>,
    /// One factor for each output channel.
    pub scale: Vec<f32>,
    /// What is added after scaling, one for each output channel; in the linear layer for each feature (C, H, W).
    pub shift: Vec<f32>,
}

/// What a generator is made of.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// Width of the latent vector.
    pub latent: usize,
    /// Rows and columns of the coarsest feature maps.
    pub coarse: usize,
    /// Channels of the hidden feature maps, coarsest first.
    pub channels: Vec<usize>,
    /// `[channels·coarse², latent]`.
    pub linear: Layer<'a>,
    /// Transposed convolutions between hidden feature maps, `[in, out, 5, 5]`.
    pub hidden: Vec<Layer<'a>>,
    /// The transposed convolution to one channel, before tanh.
    pub last: Layer<'a>,
}

/// How a transposed convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// As it is defined: 25 multiplications for each input pixel and pair of channels.
    Direct,
    /// By minimal filtering: 9.
    Minimal,
}

impl Method {
    /// The faster one for a layer: where channels are few, transforming windows costs more than is saved.
    pub fn faster(inputs: usize, outputs: usize) -> Self {
        match inputs >= 32 && outputs >= 16 {
            true => Self::Minimal,
            false => Self::Direct,
        }
    }
}

#[derive(Debug)]
enum Convolution {
    Direct(Direct),
    Minimal(Minimal),
}

/// A generator, ready to run on any number of threads at once.
#[derive(Debug)]
pub struct Stack {
    set: InstructionSet,
    latent: usize,
    dense: Dense,
    /// Hidden feature maps, coarsest first.
    images: Vec<Extents>,
    /// Images that are worked on together at each of them.
    groups: Vec<usize>,
    convolutions: Vec<Convolution>,
    single: Single,
    benches: Benches,
}

/// Latent vectors that go through the first layers together, so that their weights are read once for all of them.
const GROUP: usize = 8;
/// Values of transformed windows that may wait for their products: 10 MB stay in a third-level cache.
const WINDOWS: usize = 2_500_000;

/// Memory that one call works in.
#[derive(Debug, Default)]
struct Bench {
    images: Vec<Aligned>,
    windows: Aligned,
    scratch: Vec<Aligned>,
}

impl Stack {
    /// Packs weights for an instruction set, on `threads` threads. `method` chooses how each hidden layer is computed,
    /// from its inputs and outputs: [`Method::faster`], or one of the two.
    ///
    /// # Panics
    /// Where weights, scales or shifts do not have the lengths that the extents ask for.
    pub fn pack(
        description: &Description<'_>,
        set: InstructionSet,
        threads: usize,
        method: impl Fn(usize, usize) -> Method,
    ) -> Self {
        let channels = &description.channels;
        assert_eq!(channels.len(), description.hidden.len() + 1);
        let images: Vec<Extents> = channels
            .iter()
            .enumerate()
            .map(|(layer, &channels)| Extents::new(description.coarse << layer, channels))
            .collect();
        let dense = dense(description, set, images[0], threads);
        let convolutions: Vec<Convolution> = description
            .hidden
            .iter()
            .enumerate()
            .map(|(index, layer)| {
                let (inputs, outputs) = (channels[index], channels[index + 1]);
                assert_eq!(layer.weight.len(), inputs * outputs * KERNEL * KERNEL);
                assert!(layer.scale.len() == outputs && layer.shift.len() == outputs);
                let weight = |[row, column]: [usize; 2], input: usize, output: usize| {
                    let at = ((input * outputs + output) * KERNEL + row) * KERNEL + column;
                    f32::from_le_bytes(layer.weight[at]) * layer.scale[output]
                };
                let extents = [images[index], images[index + 1]];
                match method(inputs, outputs) {
                    Method::Direct => Convolution::Direct(Direct::pack(
                        set,
                        extents,
                        weight,
                        &layer.shift,
                        inputs,
                    )),
                    Method::Minimal => Convolution::Minimal(Minimal::pack(
                        set,
                        extents,
                        weight,
                        &layer.shift,
                        inputs,
                        threads,
                    )),
                }
            })
            .collect();
        let last = &description.last;
        let inputs = channels[channels.len() - 1];
        assert_eq!(last.weight.len(), inputs * KERNEL * KERNEL);
        let single = Single::pack(
            set,
            images[images.len() - 1],
            |[row, column], input| {
                f32::from_le_bytes(last.weight[(input * KERNEL + row) * KERNEL + column])
                    * last.scale[0]
            },
            last.shift[0],
            inputs,
        );
        let mut groups = vec![GROUP];
        for (index, convolution) in convolutions.iter().enumerate() {
            let largest = groups[index];
            let windows = match convolution {
                Convolution::Direct(_) => 0,
                Convolution::Minimal(layer) => layer.windows(1),
            };
            let mut group = largest;
            while group > 1 && group * windows > WINDOWS {
                group /= 2;
            }
            groups.push(group);
        }
        Self {
            set,
            latent: description.latent,
            dense,
            images,
            groups,
            convolutions,
            single,
            benches: Benches::default(),
        }
    }

    /// Width of the latent vector.
    pub fn latent(&self) -> usize {
        self.latent
    }

    /// Rows and columns of a map.
    pub fn size(&self) -> usize {
        2 * self.images[self.images.len() - 1].size
    }

    /// How the hidden layers are computed, coarsest first.
    pub fn methods(&self) -> Vec<Method> {
        self.convolutions
            .iter()
            .map(|convolution| match convolution {
                Convolution::Direct(_) => Method::Direct,
                Convolution::Minimal(_) => Method::Minimal,
            })
            .collect()
    }

    /// The instructions that weights were packed for.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set
    }

    /// Computes the maps of `latents`, one after the other, into `maps`, on `threads` threads. Any number of threads may
    /// call this at once; when they would be more than there are cores, some wait for their turn, so that
    /// memory stays bounded.
    ///
    /// The same latent vector gives the same bits, whatever the other ones, and however many threads there are.
    ///
    /// # Panics
    /// Where the lengths are not whole numbers of latent vectors and of maps, or not of equally many.
    pub fn run(&self, latents: &[f32], maps: &mut [f32], threads: usize) {
        self.run_watched(latents, maps, threads, &Unwatched);
    }

    /// The same, and tells `watch` when layers begin and end.
    ///
    /// # Panics
    /// As [`Stack::run`].
    pub fn run_watched(
        &self,
        latents: &[f32],
        maps: &mut [f32],
        threads: usize,
        watch: &impl Watch,
    ) {
        let map = self.size().pow(2);
        let count = latents.len() / self.latent;
        assert!(latents.len() == count * self.latent && maps.len() == count * map);
        let threads = threads.max(1);
        let mut turn = self.benches.take(threads, || self.bench(threads));
        let Bench {
            images,
            windows,
            scratch,
        } = &mut turn.bench;
        let shared = Memory {
            images: images
                .iter_mut()
                .map(|values| Shared::new(values))
                .collect(),
            windows: Shared::new(windows),
            maps: Shared::new(maps),
        };
        team::run(&mut scratch[..threads], |worker, scratch| {
            let mut pass = Pass {
                stack: self,
                memory: &shared,
                worker,
                scratch,
                watch,
            };
            for first in (0..count).step_by(GROUP) {
                let last = (first + GROUP).min(count);
                pass.linear(&latents[first * self.latent..last * self.latent]);
                pass.convolve(0, 0, last - first, first);
            }
        });
    }

    fn bench(&self, threads: usize) -> Bench {
        let images = self.images.iter().zip(&self.groups);
        let windows = self.convolutions.iter().zip(&self.groups[1..]);
        let windows = windows.map(|(convolution, &group)| match convolution {
            Convolution::Direct(_) => 0,
            Convolution::Minimal(layer) => layer.windows(group),
        });
        let scratch = self.single.scratch().max(minimal::SCRATCH);
        Bench {
            images: images
                .map(|(extents, &group)| extents.allocate(group))
                .collect(),
            windows: Aligned::zeroed(windows.max().unwrap_or(0)),
            scratch: (0..threads).map(|_| Aligned::zeroed(scratch)).collect(),
        }
    }
}

fn dense(
    description: &Description<'_>,
    set: InstructionSet,
    features: Extents,
    threads: usize,
) -> Dense {
    let (channels, pixels) = (description.channels[0], description.coarse.pow(2));
    let (layer, latent) = (&description.linear, description.latent);
    assert_eq!(layer.weight.len(), channels * pixels * latent);
    assert!(layer.scale.len() == channels && layer.shift.len() == channels * pixels);
    Dense::pack(
        set,
        latent,
        features,
        channels,
        |[pixel, channel], input| {
            let at = (channel * pixels + pixel) * latent + input;
            f32::from_le_bytes(layer.weight[at]) * layer.scale[channel]
        },
        |[pixel, channel]| layer.shift[channel * pixels + pixel],
        threads,
    )
}

/// The memory of a call, as all of its workers see it.
struct Memory<'a> {
    images: Vec<Shared<'a>>,
    windows: Shared<'a>,
    maps: Shared<'a>,
}

/// One worker's way through the layers; all workers of a call go through the same stages.
struct Pass<'a, 'b, W> {
    stack: &'a Stack,
    memory: &'a Memory<'a>,
    worker: &'a mut Worker<'b>,
    scratch: &'a mut Aligned,
    watch: &'a W,
}

impl<W: Watch> Pass<'_, '_, W> {
    fn linear(&mut self, latents: &[f32]) {
        let stack = self.stack;
        let images = latents.len() / stack.latent;
        self.watch.begin(0, images);
        let output = self.memory.images[0];
        self.worker.share(stack.dense.items(), |item| {
            stack.set.dispatch(DenseKernel {
                layer: &stack.dense,
                item,
                latents,
                output,
            });
        });
        self.watch.end(0, images);
    }

    /// Takes `count` images of feature maps `level`, from image `first` on, to maps, from map `map` on. Works depth
    /// first, so that only coarse feature maps of many images are in memory at a time.
    fn convolve(&mut self, level: usize, first: usize, count: usize, map: usize) {
        let Some(convolution) = self.stack.convolutions.get(level) else {
            self.watch.begin(level + 1, count);
            self.last(first, count, map);
            return self.watch.end(level + 1, count);
        };
        let group = self.stack.groups[level + 1];
        for start in (0..count).step_by(group) {
            let images = group.min(count - start);
            self.watch.begin(level + 1, images);
            self.layer(convolution, level, first + start, images);
            self.watch.end(level + 1, images);
            self.convolve(level + 1, 0, images, map + start);
        }
    }

    fn layer(&mut self, convolution: &Convolution, level: usize, first: usize, images: usize) {
        let stack = self.stack;
        let (input, output) = (self.memory.images[level], self.memory.images[level + 1]);
        let image = stack.images[level].image();
        // SAFETY: all workers read these images in this layer; who writes there next has waited for the end of its stages.
        let input = unsafe { input.read(first * image..(first + images) * image) };
        match convolution {
            Convolution::Direct(layer) => self.worker.share(layer.items(images), |item| {
                stack.set.dispatch(DirectKernel {
                    layer,
                    images,
                    item,
                    input,
                    output,
                });
            }),
            Convolution::Minimal(layer) => {
                let windows = self.memory.windows;
                self.worker.share(layer.window_items(images), |item| {
                    stack.set.dispatch(WindowKernel {
                        layer,
                        images,
                        item,
                        input,
                        windows,
                    });
                });
                // SAFETY: all windows are written, and written again only after the end of the next stage.
                let windows = unsafe { windows.read(0..layer.windows(images)) };
                let scratch = &mut *self.scratch;
                self.worker.share(layer.product_items(images), |item| {
                    stack.set.dispatch(ProductKernel {
                        layer,
                        images,
                        item,
                        windows,
                        scratch,
                        output,
                    });
                });
            }
        }
    }

    fn last(&mut self, first: usize, count: usize, map: usize) {
        let stack = self.stack;
        let level = stack.images.len() - 1;
        let image = stack.images[level].image();
        // SAFETY: as in `layer`.
        let input =
            unsafe { self.memory.images[level].read(first * image..(first + count) * image) };
        let map_length = stack.size().pow(2);
        let output = self
            .memory
            .maps
            .part(map * map_length..(map + count) * map_length);
        let scratch = &mut *self.scratch;
        self.worker.share(stack.single.items(count), |item| {
            stack.set.dispatch(SingleKernel {
                layer: &stack.single,
                item,
                input,
                scratch,
                output,
            });
        });
    }
}

/// The memory of calls, kept from one to the next.
#[derive(Debug, Default)]
struct Benches {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Bench>,
    in_use: usize,
}

/// Memory in use; it goes back when the call ends, however it ends.
struct Turn<'a> {
    benches: &'a Benches,
    bench: Bench,
}

impl Benches {
    /// Waits for a turn; a new bench is made where none for so many threads is idle.
    fn take(&self, threads: usize, make: impl FnOnce() -> Bench) -> Turn<'_> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = (cores / threads).max(1);
        let mut state = self.lock();
        while state.in_use >= most {
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.in_use += 1;
        let mut idle = state.idle.iter();
        let fitting = idle.position(|bench| bench.scratch.len() >= threads);
        let bench = fitting.map(|index| state.idle.swap_remove(index));
        if bench.is_none() {
            // Those for fewer threads would only take up memory.
            state.idle.clear();
        }
        drop(state);
        Turn {
            benches: self,
            bench: bench.unwrap_or_else(make),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let bench = std::mem::take(&mut self.bench);
        let mut state = self.benches.lock();
        state.in_use -= 1;
        state.idle.push(bench);
        drop(state);
        // One, however many wait: a thousand would be woken to find that another had been faster. Who waits for more
        // threads than have become free is woken again when the last call has ended.
        self.benches.returned.notify_one();
    }
}
