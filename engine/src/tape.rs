//! Reverse-mode automatic differentiation.
//!
//! Operators run at once, except those that a device can fuse with the next one ([`Fusion`](crate::backend::Fusion)):
//! these run when their result is first read. If a gradient may be requested later, an operator leaves a record on the
//! tape with its input variables and the tensors that the backward pass needs. Several results may share one forward
//! pass: a GAN's two losses are differentiated by two calls of [`Tape::gradients`], each of which visits only the
//! records between its own result and the requested variables.
//!
//! A batch may consist of several equal parts that pass through a network together ([`Tape::concatenate`],
//! [`Tape::part`]). If only the gradient of one part reaches a record, the record is narrowed to that part: it
//! computes what it would have computed for the part alone, and nothing for the other parts.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::gradient::Gradient;
use crate::lazy::{Lazy, Recipe, fresh};
use crate::part::Part;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A tensor, and its node on the tape if it has one.
#[derive(Clone, Debug)]
pub struct Variable {
    value: Arc<Lazy>,
    node: Option<usize>,
}

/// An operand that a backward pass needs: the tensor, or its recomputation in the backward pass.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    shape: Shape,
    /// Whether it was read in packed form.
    is_packed: bool,
    kept: std::result::Result<Tensor, Arc<dyn Recipe>>,
}

impl Saved {
    /// The extents.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// One part of the operand.
    pub(crate) fn part(&self, part: Part) -> Result<Self> {
        let kept = match &self.kept {
            Ok(tensor) => Ok(tensor.part(part)?),
            Err(recipe) => Err(recipe.part(part)?),
        };
        Ok(Self {
            shape: part.shape(&self.shape)?,
            is_packed: self.is_packed,
            kept,
        })
    }

    /// Returns the tensor; recomputes it if it was not stored.
    pub(crate) fn get(&self, backend: &dyn Backend) -> Result<Tensor> {
        match &self.kept {
            Ok(tensor) => Ok(tensor.clone()),
            Err(recipe) => {
                let mut tensor = fresh(backend, &self.shape, self.is_packed)?;
                recipe.compute(backend, &mut tensor)?;
                Ok(tensor)
            }
        }
    }
}

impl Variable {
    /// Creates a variable that the tape does not track.
    pub(crate) fn untracked(value: Arc<Lazy>) -> Self {
        Self { value, node: None }
    }

    /// The tensor.
    ///
    /// # Errors
    /// If the tensor has not been computed yet and the device fails.
    pub fn value(&self) -> Result<&Tensor> {
        self.value.values()
    }

    /// The extents of the tensor.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// The tensor, which may not have been computed yet.
    pub(crate) fn lazy(&self) -> &Arc<Lazy> {
        &self.value
    }

    /// Whether the tape tracks this variable.
    pub(crate) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// Saves this variable, which was read as `operand`, for a backward pass.
    pub(crate) fn save(&self, backend: &dyn Backend, operand: &Tensor) -> Saved {
        let recipe = self.value.recipe();
        let again = recipe.filter(|recipe| recipe.is_cheap() && backend.recomputes());
        Saved {
            shape: self.shape().clone(),
            is_packed: self.value.is_packed(operand),
            kept: again.map_or_else(|| Ok(operand.clone()), |recipe| Err(Arc::clone(recipe))),
        }
    }
}

/// The backward pass of an operator, with the tensors that it needs.
pub(crate) trait Backward {
    /// Returns the gradients with respect to the operator's inputs, given that with respect to its output.
    ///
    /// Entry i is present exactly where `wanted[i]` is; other gradients are not computed.
    fn backward(
        &self,
        backend: &dyn Backend,
        gradient: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>>;

    /// Whether the gradient with respect to the output may be packed, given which input gradients are wanted: only the
    /// operators listed at [`Backend::empty_packed`] may read it.
    fn takes_packed(&self, backend: &dyn Backend, wanted: &[bool]) -> bool {
        let _ = (backend, wanted);
        false
    }

    /// The part of the first input to which its gradient belongs; `None` for the whole input.
    fn reaches(&self) -> Option<Part> {
        None
    }

    /// Returns the record for one part of the output's first axis, for when only that part has a gradient.
    ///
    /// # Errors
    /// If the parts of the batch depend on each other.
    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        Err(Error::InvalidOperand {
            operator: "gradient",
            problem: format!("an operator has no separate gradient for {part} of a batch"),
        })
    }
}

/// A record narrowed to one part of a batch.
pub(crate) struct Narrowed {
    /// Backward pass of the part.
    record: Box<dyn Backward>,
    /// As [`Backward::reaches`]; every other input has a gradient of its own.
    reaches: Option<Part>,
}

impl Narrowed {
    /// For an operator whose first input has the same parts as its output.
    pub(crate) fn along<B: Backward + 'static>(part: Part, record: B) -> Self {
        Self {
            record: Box::new(record),
            reaches: Some(part),
        }
    }

    /// For an operator of which one input is the part.
    pub(crate) fn ending<B: Backward + 'static>(record: B) -> Self {
        Self {
            record: Box::new(record),
            reaches: None,
        }
    }
}

/// Whether and in which form a gradient is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Not requested.
    No,
    /// Requested as f32 values.
    Yes,
    /// Requested, and may be packed; see [`Backend::empty_packed`].
    Packed,
}

impl Wanted {
    /// Whether it is requested in any form.
    pub(crate) fn is_wanted(self) -> bool {
        self != Self::No
    }

    /// Requests packed form only if it is `offered`.
    pub(crate) fn packed_if(self, offered: bool) -> Self {
        match self {
            Self::Packed if !offered => Self::Yes,
            wanted => wanted,
        }
    }
}

/// One entry of the tape. Parents precede it.
struct Node {
    parents: Vec<Option<usize>>,
    /// `None` for a parameter, where the gradient ends.
    operator: Option<Box<dyn Backward>>,
}

/// Records operators as they run.
pub struct Tape {
    backend: Arc<dyn Backend>,
    nodes: RefCell<Vec<Node>>,
}

impl Tape {
    /// An empty tape for tensors of `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            nodes: RefCell::new(Vec::new()),
        }
    }

    /// The device.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Creates a variable whose gradient may be requested.
    pub fn parameter(&self, value: Tensor) -> Variable {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node {
            parents: Vec::new(),
            operator: None,
        });
        Variable {
            value: value.into(),
            node: Some(nodes.len() - 1),
        }
    }

    /// Creates a variable without a gradient.
    ///
    /// Operators on constants only leave no record and keep no tensors alive.
    pub fn constant(&self, value: Tensor) -> Variable {
        Variable::untracked(value.into())
    }

    /// Creates a tensor that is computed when it is read.
    pub(crate) fn defer(&self, shape: Shape, recipe: Arc<dyn Recipe>) -> Arc<Lazy> {
        Arc::new(Lazy::deferred(shape, Arc::clone(&self.backend), recipe))
    }

    /// Records an operator's result if any of its inputs is tracked.
    ///
    /// `operator` is called only in that case.
    pub(crate) fn record<B: Backward + 'static>(
        &self,
        inputs: &[&Variable],
        value: impl Into<Arc<Lazy>>,
        operator: impl FnOnce() -> B,
    ) -> Variable {
        let value = value.into();
        let parents: Vec<_> = inputs.iter().map(|input| input.node).collect();
        if parents.iter().all(Option::is_none) {
            return Variable::untracked(value);
        }
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node {
            parents,
            operator: Some(Box::new(operator())),
        });
        Variable {
            value,
            node: Some(nodes.len() - 1),
        }
    }

    /// Returns the gradients of Σ `seed`·`result` with respect to each of `wanted`.
    ///
    /// For a loss the seed is the scalar 1.
    ///
    /// # Errors
    /// If the shapes of seed and result differ, or `result` does not depend on a wanted variable, and errors of the
    /// backend.
    pub fn gradients(
        &self,
        result: &Variable,
        seed: Tensor,
        wanted: &[&Variable],
    ) -> Result<Vec<Tensor>> {
        if seed.shape() != result.shape() {
            return Err(Error::ShapeMismatch {
                operator: "gradient",
                left_name: "the upstream gradient",
                left: seed.shape().clone(),
                right_name: "the result",
                right: result.shape().clone(),
            });
        }
        let root = result
            .node
            .ok_or_else(|| Error::NoGradient("the result depends on constants only".to_owned()))?;
        let wanted_nodes = wanted
            .iter()
            .map(|variable| variable.node)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| {
                Error::NoGradient("a gradient with respect to a constant was requested".to_owned())
            })?;

        let nodes = self.nodes.borrow();
        let leads_to_wanted = leads_to(&nodes[..=root], &wanted_nodes);
        let readers = readers(&nodes[..=root], &leads_to_wanted, &wanted_nodes);
        let mut gradients: Vec<Option<Gradient>> = vec![None; root + 1];
        gradients[root] = Some(Gradient::Whole(seed));
        for (index, node) in nodes[..=root].iter().enumerate().rev() {
            let Some(operator) = &node.operator else {
                continue;
            };
            if !leads_to_wanted[index] {
                continue;
            }
            // A wanted intermediate keeps its gradient; every other one is freed as soon as it is passed on.
            let gradient = if wanted_nodes.contains(&index) {
                gradients[index].clone()
            } else {
                gradients[index].take()
            };
            let Some(gradient) = gradient else {
                continue;
            };
            let wanted_parents: Vec<Wanted> = node
                .parents
                .iter()
                .map(|parent| match *parent {
                    Some(parent) if leads_to_wanted[parent] => {
                        if readers[parent] == 1
                            && self.takes_packed(&nodes[parent], &leads_to_wanted)
                        {
                            Wanted::Packed
                        } else {
                            Wanted::Yes
                        }
                    }
                    _ => Wanted::No,
                })
                .collect();
            let (gradient, part) = gradient.joined(self.backend())?;
            let narrowed = part.map(|part| operator.narrowed(part)).transpose()?;
            let (operator, reaches) = match &narrowed {
                Some(narrowed) => (&*narrowed.record, narrowed.reaches),
                None => (&**operator, operator.reaches()),
            };
            let contributions = operator.backward(self.backend(), &gradient, &wanted_parents)?;
            for (input, (parent, contribution)) in
                node.parents.iter().zip(contributions).enumerate()
            {
                let (Some(parent), Some(contribution)) = (*parent, contribution) else {
                    continue;
                };
                let part = reaches.filter(|_| input == 0);
                let contribution = Gradient::of(contribution, part);
                let sum = match gradients[parent].take() {
                    None => contribution,
                    Some(first) => first.plus(self.backend(), contribution)?,
                };
                gradients[parent] = Some(sum);
            }
        }
        wanted_nodes
            .iter()
            .map(|&node| {
                let gradient = gradients.get(node).cloned().flatten().ok_or_else(|| {
                    Error::NoGradient(
                        "the result does not depend on a requested variable".to_owned(),
                    )
                })?;
                match gradient.joined(self.backend())? {
                    (gradient, None) => Ok(gradient),
                    (_, Some(part)) => Err(Error::NoGradient(format!(
                        "the result depends only on {part} of a requested variable"
                    ))),
                }
            })
            .collect()
    }

    /// Returns the gradients of the scalar `loss` with respect to each of `wanted`.
    ///
    /// # Errors
    /// As [`Tape::gradients`], and if `loss` is not a scalar.
    pub fn gradients_of_loss(&self, loss: &Variable, wanted: &[&Variable]) -> Result<Vec<Tensor>> {
        let one = self.backend.upload(Shape::from([]), &[1.0])?;
        self.gradients(loss, one, wanted)
    }

    /// Whether a node's operator accepts its gradient in packed form.
    fn takes_packed(&self, node: &Node, leads_to_wanted: &[bool]) -> bool {
        let wanted: Vec<bool> = node
            .parents
            .iter()
            .map(|parent| parent.is_some_and(|parent| leads_to_wanted[parent]))
            .collect();
        let operator = node.operator.as_ref();
        operator.is_some_and(|operator| operator.takes_packed(self.backend(), &wanted))
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Tape({} records on {})",
            self.nodes.borrow().len(),
            self.backend.description()
        )
    }
}

/// Nodes that are wanted or have a wanted ancestor.
fn leads_to(nodes: &[Node], wanted: &[usize]) -> Vec<bool> {
    let mut leads = vec![false; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        leads[index] =
            wanted.contains(&index) || node.parents.iter().flatten().any(|&parent| leads[parent]);
    }
    leads
}

/// Number of nodes that contribute to each node's gradient, plus the caller if it is wanted.
///
/// If it is 1, the gradient is the contribution of that node.
fn readers(nodes: &[Node], leads: &[bool], wanted: &[usize]) -> Vec<usize> {
    let mut readers = vec![0; nodes.len()];
    let contributors = nodes.iter().zip(leads).filter(|(_, leads)| **leads);
    let parents = contributors.flat_map(|(node, _)| node.parents.iter().flatten());
    for &node in parents.chain(wanted) {
        if let Some(count) = readers.get_mut(node) {
            *count += 1;
        }
    }
    readers
}
