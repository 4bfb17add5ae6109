//! Tensors that are computed when they are first read.
//!
//! The reader determines the operators with which a kernel can be fused.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::backend::{Backend, Epilogue, Fusion, Op};
use crate::error::{Error, Result};
use crate::part::Part;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Computation of a tensor, which can be repeated and always gives the same bits.
pub(crate) trait Recipe: fmt::Debug + Send + Sync {
    /// Computes the tensor into `y`.
    fn compute(&self, backend: &dyn Backend, y: &mut Tensor) -> Result<()>;

    /// Whether recomputing the tensor in the backward pass costs no more than storing it, because all operands are
    /// stored anyway.
    fn is_cheap(&self) -> bool {
        false
    }

    /// Whether `y` may be packed; see [`Backend::empty_packed`].
    fn packs(&self, backend: &dyn Backend) -> bool {
        let _ = backend;
        false
    }

    /// The computation of one part of the tensor.
    ///
    /// # Errors
    /// If a part cannot be computed separately.
    fn part(&self, part: Part) -> Result<Arc<dyn Recipe>> {
        Err(Error::InvalidOperand {
            operator: "gradient",
            problem: format!("{part} of an operand cannot be recomputed separately"),
        })
    }

    /// The GEMM, if the tensor is the unmodified result of one.
    fn product(self: Arc<Self>) -> Option<Arc<dyn Product>> {
        None
    }

    /// The same elements as images of `channels` channels, if the computation can produce them.
    fn as_images(&self, channels: usize) -> Option<Arc<dyn Recipe>> {
        let _ = channels;
        None
    }
}

/// A convolution or linear layer, with which a device may fuse the passes after it.
pub(crate) trait Product: fmt::Debug + Send + Sync {
    /// Fusions that the device supports.
    fn fusion(&self, backend: &dyn Backend) -> Fusion;

    /// Computes the result into `y`.
    fn run(&self, backend: &dyn Backend, epilogue: Epilogue<'_>, y: &mut Tensor) -> Result<()>;
}

/// Allocates memory with unspecified contents, for f32 values or for a packed tensor.
pub(crate) fn fresh(backend: &dyn Backend, shape: &Shape, packed: bool) -> Result<Tensor> {
    if packed {
        backend.empty_packed(shape.clone())
    } else {
        backend.empty(shape.clone())
    }
}

/// A tensor or its computation, in the form in which it is read: f32 values, or packed for GEMMs.
pub(crate) struct Lazy {
    shape: Shape,
    values: OnceLock<Tensor>,
    packed: OnceLock<Tensor>,
    /// `None` if there are values from the start.
    recipe: Option<(Arc<dyn Backend>, Arc<dyn Recipe>)>,
}

impl From<Tensor> for Lazy {
    fn from(values: Tensor) -> Self {
        Self {
            shape: values.shape().clone(),
            values: OnceLock::from(values),
            packed: OnceLock::new(),
            recipe: None,
        }
    }
}

impl From<Tensor> for Arc<Lazy> {
    fn from(values: Tensor) -> Self {
        Self::new(values.into())
    }
}

impl Lazy {
    /// Creates a tensor that has not been computed yet.
    pub(crate) fn deferred(
        shape: Shape,
        backend: Arc<dyn Backend>,
        recipe: Arc<dyn Recipe>,
    ) -> Self {
        Self {
            shape,
            values: OnceLock::new(),
            packed: OnceLock::new(),
            recipe: Some((backend, recipe)),
        }
    }

    /// Its extents.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The computation of the tensor.
    pub(crate) fn recipe(&self) -> Option<&Arc<dyn Recipe>> {
        self.recipe.as_ref().map(|(_, recipe)| recipe)
    }

    /// The tensor's values.
    pub(crate) fn values(&self) -> Result<&Tensor> {
        if let Some(values) = self.values.get() {
            return Ok(values);
        }
        let (backend, recipe) = self.pending();
        let mut values = backend.empty(self.shape.clone())?;
        recipe.compute(&**backend, &mut values)?;
        Ok(self.values.get_or_init(|| values))
    }

    /// The tensor as a GEMM operand; packed if `packed` is set, its values have not been read yet, and it can be
    /// computed in that form.
    pub(crate) fn operand(&self, packed: bool) -> Result<&Tensor> {
        if let Some(tensor) = self.packed.get().filter(|_| packed) {
            return Ok(tensor);
        }
        match &self.recipe {
            Some((backend, recipe))
                if packed && self.values.get().is_none() && recipe.packs(&**backend) =>
            {
                let mut tensor = backend.empty_packed(self.shape.clone())?;
                recipe.compute(&**backend, &mut tensor)?;
                Ok(self.packed.get_or_init(|| tensor))
            }
            _ => self.values(),
        }
    }

    /// Whether `operand` is its packed form.
    pub(crate) fn is_packed(&self, operand: &Tensor) -> bool {
        let packed = self.packed.get();
        packed.is_some_and(|packed| packed.shares_memory(operand))
    }

    /// The tensor in the form in which it is stored already; otherwise its values.
    pub(crate) fn stored(&self) -> Result<&Tensor> {
        match (self.values.get(), self.packed.get()) {
            (None, Some(packed)) => Ok(packed),
            _ => self.values(),
        }
    }

    /// The GEMM that will compute it, if its values have not been computed.
    pub(crate) fn unfinished(&self) -> Option<Arc<dyn Product>> {
        if self.values.get().is_some() {
            return None;
        }
        Arc::clone(self.recipe()?).product()
    }

    /// The same elements with other extents, if they have not been computed yet and can be computed in that shape.
    pub(crate) fn reshaped(&self, shape: &Shape) -> Option<Self> {
        if self.values.get().is_some() || shape.len() != self.shape.len() {
            return None;
        }
        let (backend, recipe) = self.recipe.as_ref()?;
        let recipe = recipe.as_images(shape.channels())?;
        Some(Self::deferred(shape.clone(), Arc::clone(backend), recipe))
    }

    /// The tensor as read by a normalisation, packed where the device stores it packed, and mean and biased variance
    /// of each channel, `[C]` or `[parts, C]`. If its GEMM has not run yet, the epilogue computes the statistics where
    /// possible.
    pub(crate) fn with_statistics(
        &self,
        backend: &dyn Backend,
        mean: &mut Tensor,
        variance: &mut Tensor,
    ) -> Result<&Tensor> {
        if let Some(product) = self.unfinished() {
            let fusion = product.fusion(backend);
            if fusion.statistics {
                let packs = backend.keeps_packed() && fusion.packed_result;
                let mut image = fresh(backend, &self.shape, packs)?;
                let epilogue = Epilogue::Statistics { mean, variance };
                product.run(backend, epilogue, &mut image)?;
                let form = if packs { &self.packed } else { &self.values };
                return Ok(form.get_or_init(|| image));
            }
        }
        let values = self.values()?;
        backend.run(Op::BatchStatistics {
            x: values,
            mean,
            variance,
        })?;
        if !backend.keeps_packed() {
            return Ok(values);
        }
        let mut packed = backend.empty_packed(self.shape.clone())?;
        backend.run(Op::Pack {
            values,
            packed: &mut packed,
        })?;
        Ok(self.packed.get_or_init(|| packed))
    }

    fn pending(&self) -> &(Arc<dyn Backend>, Arc<dyn Recipe>) {
        self.recipe
            .as_ref()
            .expect("a tensor without values has a recipe")
    }
}

impl fmt::Debug for Lazy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.values.get(), &self.recipe) {
            (Some(values), _) => write!(formatter, "{values:?}"),
            (None, recipe) => write!(formatter, "{} by {recipe:?}", self.shape),
        }
    }
}
