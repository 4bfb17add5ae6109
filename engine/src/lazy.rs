//! Tensors that are computed when they are first read, because who reads them decides what else is done on the way.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::backend::{Backend, Epilogue, Fusion};
use crate::error::{Error, Result};
use crate::part::Part;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How a tensor is computed, any number of times and to the same bits.
pub(crate) trait Recipe: fmt::Debug + Send + Sync {
    /// Computes it into `y`.
    fn compute(&self, backend: &dyn Backend, y: &mut Tensor) -> Result<()>;

    /// Whether it costs no more than keeping the tensor, as all operands are kept anyway.
    fn is_cheap(&self) -> bool {
        false
    }

    /// Whether `y` may be packed; see [`Backend::empty_packed`].
    fn packs(&self, backend: &dyn Backend) -> bool {
        let _ = backend;
        false
    }

    /// How one part of the tensor is computed.
    ///
    /// # Errors
    /// Where a part is not computed without the others.
    fn part(&self, part: Part) -> Result<Arc<dyn Recipe>> {
        Err(Error::InvalidOperand {
            operator: "gradient",
            problem: format!("{part} of an operand is not computed again without the others"),
        })
    }

    /// The product, where the tensor is the result of one and of nothing else.
    fn product(self: Arc<Self>) -> Option<Arc<dyn Product>> {
        None
    }

    /// The same elements as images of so many channels, where it computes those, too.
    fn as_images(&self, channels: usize) -> Option<Arc<dyn Recipe>> {
        let _ = channels;
        None
    }
}

/// A convolution or linear layer, along with which a device may do what comes after it.
pub(crate) trait Product: fmt::Debug + Send + Sync {
    /// What a device does along with it.
    fn fusion(&self, backend: &dyn Backend) -> Fusion;

    /// Computes its result into `y`.
    fn run(&self, backend: &dyn Backend, epilogue: Epilogue<'_>, y: &mut Tensor) -> Result<()>;
}

/// Fresh memory with unspecified contents, for values or for a packed image.
pub(crate) fn fresh(backend: &dyn Backend, shape: &Shape, packed: bool) -> Result<Tensor> {
    if packed {
        backend.empty_packed(shape.clone())
    } else {
        backend.empty(shape.clone())
    }
}

/// A tensor, or how to compute it, in the form in which it is read: as values, or packed for products.
pub(crate) struct Lazy {
    shape: Shape,
    values: OnceLock<Tensor>,
    packed: OnceLock<Tensor>,
    /// Absent where there are values from the beginning.
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
    /// A tensor that has yet to be computed.
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

    /// How to compute it again.
    pub(crate) fn recipe(&self) -> Option<&Arc<dyn Recipe>> {
        self.recipe.as_ref().map(|(_, recipe)| recipe)
    }

    /// Its values.
    pub(crate) fn values(&self) -> Result<&Tensor> {
        if let Some(values) = self.values.get() {
            return Ok(values);
        }
        let (backend, recipe) = self.pending();
        let mut values = backend.empty(self.shape.clone())?;
        recipe.compute(&**backend, &mut values)?;
        Ok(self.values.get_or_init(|| values))
    }

    /// It as an operand of products that take it packed if `packed` says so: packed, where nobody has read its values yet
    /// and it can be computed so.
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
        let shares = |packed: &Tensor| std::ptr::eq(packed.buffer(), operand.buffer());
        self.packed.get().is_some_and(shares)
    }

    /// It as it lies in memory already, in either form; its values where it does not.
    pub(crate) fn stored(&self) -> Result<&Tensor> {
        match (self.values.get(), self.packed.get()) {
            (None, Some(packed)) => Ok(packed),
            _ => self.values(),
        }
    }

    /// The product that has yet to compute it.
    pub(crate) fn unfinished(&self) -> Option<Arc<dyn Product>> {
        if self.values.get().is_some() {
            return None;
        }
        Arc::clone(self.recipe()?).product()
    }

    /// Its elements under other extents of the same product, where they have yet to be computed and can be so.
    pub(crate) fn reshaped(&self, shape: &Shape) -> Option<Self> {
        if self.values.get().is_some() || shape.len() != self.shape.len() {
            return None;
        }
        let (backend, recipe) = self.recipe.as_ref()?;
        let recipe = recipe.as_images(shape.channels())?;
        Some(Self::deferred(shape.clone(), Arc::clone(backend), recipe))
    }

    /// It as a normalisation reads it, packed where the device keeps it so, and mean and biased variance of each channel,
    /// `[C]` or `[parts, C]`, which the product that has yet to compute it takes on the way, where it can.
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
        backend.batch_statistics(values, mean, variance)?;
        if !backend.keeps_packed() {
            return Ok(values);
        }
        let mut packed = backend.empty_packed(self.shape.clone())?;
        backend.pack(values, &mut packed)?;
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
