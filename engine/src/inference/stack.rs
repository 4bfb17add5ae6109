//! A generator with packed weights: latent vectors in, maps out.
#![allow(unsafe_code)]

use super::dense::{Dense, DenseKernel};
use super::direct::{Direct, DirectKernel};
use super::image::Extents;
use super::last_layer::{LastLayer, SingleKernel};
use super::team::{self, Worker};
use super::watch::{Unwatched, Watch};
use super::winograd::{self, ProductKernel, WindowKernel, Winograd};
use super::workspaces::{Workspace, Workspaces};
use crate::simd::InstructionSet;
use crate::simd::memory::{Aligned, Shared};
use crate::simd::phases::KERNEL;

/// Little-endian f32 values as stored in files, at any address.
pub type FileValues<'a> = &'a [[u8; 4]];

/// A linear operator with scale, shift and, except in the last layer, a rectifier.
///
/// Scale and shift are batch normalisation at inference.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// Weights in PyTorch's layout.
    pub weight: FileValues<'a>,
    /// One factor per output channel.
    pub scale: Vec<f32>,
    /// Values added after scaling, one per output channel.
    ///
    /// The linear layer has one per feature (C, H, W).
    pub shift: Vec<f32>,
}

/// Extents and layers of a generator.
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

/// Algorithm of a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By definition: 25 multiplications per input pixel and pair of channels.
    Direct,
    /// Winograd (minimal) filtering: 7.6 multiplications per input pixel and pair of channels.
    Winograd,
}

impl Method {
    /// Returns the faster method for a layer.
    ///
    /// With few channels, transforming windows costs more than it saves.
    pub fn faster(inputs: usize, outputs: usize) -> Self {
        match inputs >= 32 && outputs >= 16 {
            true => Self::Winograd,
            false => Self::Direct,
        }
    }
}

#[derive(Debug)]
enum Convolution {
    Direct(Direct),
    Winograd(Winograd),
}

/// A generator that can run on any number of threads at once.
#[derive(Debug)]
pub struct Stack {
    set: InstructionSet,
    latent: usize,
    dense: Dense,
    /// Hidden feature maps, coarsest first.
    images: Vec<Extents>,
    /// Number of images that are processed together at each of them.
    groups: Vec<usize>,
    convolutions: Vec<Convolution>,
    single: LastLayer,
    workspaces: Workspaces,
}

/// Latent vectors that pass the first layers together, so that weights are read once for all of them.
const GROUP: usize = 8;
/// Most values of transformed windows that are kept for their GEMMs: 10 MB fit a third-level cache.
const WINDOWS: usize = 2_500_000;

impl Stack {
    /// Packs weights for an instruction set, on `threads` threads.
    ///
    /// `method` selects the algorithm of each hidden layer from its numbers of inputs and outputs: [`Method::faster`],
    /// or one of the two.
    ///
    /// # Panics
    /// If weights, scales or shifts do not have the lengths that follow from the extents.
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
                    Method::Winograd => Convolution::Winograd(Winograd::pack(
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
        let single = LastLayer::pack(
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
                Convolution::Winograd(layer) => layer.windows(1),
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
            workspaces: Workspaces::new(),
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

    /// Algorithms of the hidden layers, coarsest first.
    pub fn methods(&self) -> Vec<Method> {
        self.convolutions
            .iter()
            .map(|convolution| match convolution {
                Convolution::Direct(_) => Method::Direct,
                Convolution::Winograd(_) => Method::Winograd,
            })
            .collect()
    }

    /// The instruction set for which weights were packed.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set
    }

    /// Computes the maps of `latents`, concatenated in `maps`, on `threads` threads.
    ///
    /// Any number of threads may call this at once; if they would use more threads than there are cores, some calls
    /// wait, so that memory stays bounded. A latent vector gives the same bits whatever the other ones are, and on any
    /// number of threads.
    ///
    /// # Panics
    /// If the lengths are not those of a whole and equal number of latent vectors and maps.
    pub fn run(&self, latents: &[f32], maps: &mut [f32], threads: usize) {
        self.run_watched(latents, maps, threads, &Unwatched);
    }

    /// Like [`Stack::run`], and notifies `watch` when layers begin and end.
    ///
    /// # Panics
    /// As [`Stack::run`].
    pub fn run_watched(
        &self,
        latents: &[f32],
        maps: &mut [f32],
        threads: usize,
        watch: &dyn Watch,
    ) {
        let map = self.size().pow(2);
        let count = latents.len() / self.latent;
        assert!(latents.len() == count * self.latent && maps.len() == count * map);
        let threads = threads.max(1);
        let mut turn = self.workspaces.take(threads, || self.workspace(threads));
        let Workspace {
            images,
            windows,
            scratch,
        } = &mut turn.workspace;
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

    fn workspace(&self, threads: usize) -> Workspace {
        let images = self.images.iter().zip(&self.groups);
        let windows = self.convolutions.iter().zip(&self.groups[1..]);
        let windows = windows.map(|(convolution, &group)| match convolution {
            Convolution::Direct(_) => 0,
            Convolution::Winograd(layer) => layer.windows(group),
        });
        let scratch = self.single.scratch().max(winograd::SCRATCH);
        Workspace {
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

/// Working memory of a call, shared by its workers.
struct Memory<'a> {
    images: Vec<Shared<'a>>,
    windows: Shared<'a>,
    maps: Shared<'a>,
}

/// One worker's pass through the layers; all workers of a call go through the same stages.
struct Pass<'a, 'b> {
    stack: &'a Stack,
    memory: &'a Memory<'a>,
    worker: &'a mut Worker<'b>,
    scratch: &'a mut Aligned,
    watch: &'a dyn Watch,
}

impl Pass<'_, '_> {
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

    /// Computes maps from index `map` on, from `count` images of feature maps `level`, from image `first` on.
    ///
    /// Works depth first, so that only coarse feature maps of many images are in memory at a time.
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
        // SAFETY: all workers read these images in this layer; the next writer has waited for the end of its stages.
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
            Convolution::Winograd(layer) => {
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
