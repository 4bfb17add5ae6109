//! Who looks on while a generator works.

/// Is told by every worker when a layer begins and when all workers have finished it. The linear layer has number 0, the
/// transposed convolutions follow, and a layer comes as often as there are groups of images.
pub trait Watch: Sync {
    /// `images` images are about to go through `layer`.
    fn begin(&self, layer: usize, images: usize);

    /// They have.
    fn end(&self, layer: usize, images: usize);
}

/// Nobody: compiled to nothing.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    #[inline(always)]
    fn begin(&self, _: usize, _: usize) {}

    #[inline(always)]
    fn end(&self, _: usize, _: usize) {}
}
