//! Per-layer observer of a running generator.

/// Called by every worker when a layer begins and when all workers have finished it.
///
/// The linear layer is layer 0, the transposed convolutions follow. A layer runs once per group of images.
pub trait Watch: Sync {
    /// `images` images are about to pass through `layer`.
    fn begin(&self, layer: usize, images: usize);

    /// `images` images have passed through `layer`.
    fn end(&self, layer: usize, images: usize);
}

/// No observer.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _: usize, _: usize) {}

    fn end(&self, _: usize, _: usize) {}
}
