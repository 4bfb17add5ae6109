//! Reverse-mode automatic differentiation: the whole of it.
//!
//! Operators run at once, but for those that a device can finish together with what comes after them
//! ([`Fusion`](crate::backend::Fusion)): they run when their result is first read. Where a gradient may be asked for later,
//! they leave a record on the tape: which variables went in, and whatever the backward pass needs. Several results may
//! share one forward pass: a GAN's two losses are differentiated by two calls of [`Tape::gradients`], each of which
//! visits only the records between its own result and the variables that were asked for.
//!
//! A batch may be of several equal parts that go through a network together ([`Tape::concatenate`], [`Tape::part`]). Where
//! the gradient of one part alone has come to a record, that record is narrowed to the part: it does what it would have
//! done had the part gone through the network by itself, and nothing is computed for the others.

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

/// A tensor, and its place on the tape if it has one.
#[derive(Clone, Debug)]
pub struct Variable {
    value: Arc<Lazy>,
    node: Option<usize>,
}

/// An operand that a backward pass needs, or how to get it back.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    shape: Shape,
    /// Whether it was read packed.
    is_packed: bool,
    kept: std::result::Result<Tensor, Arc<dyn Recipe>>,
}

impl Saved {
    /// Its extents.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// One part of it.
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

    /// The tensor, computed again where it was not kept.
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
    /// One that the tape does not follow.
    pub(crate) fn untracked(value: Arc<Lazy>) -> Self {
        Self { value, node: None }
    }

    /// The tensor.
    ///
    /// # Errors
    /// Where it has yet to be computed and the device fails.
    pub fn value(&self) -> Result<&Tensor> {
        self.value.values()
    }

    /// The extents of the tensor.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// The tensor, which may have yet to be computed.
    pub(crate) fn lazy(&self) -> &Arc<Lazy> {
        &self.value
    }

    /// Whether the tape follows this variable.
    pub(crate) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// What a backward pass keeps of this variable, which was read as `operand`.
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

/// The backward half of an operator, with the tensors it needs.
pub(crate) trait Backward {
    /// Gradients with respect to the operator's inputs, given that with respect to its output. Entry i is present
    /// exactly where `wanted[i]` is: what nobody asked for is not computed.
    fn backward(
        &self,
        backend: &dyn Backend,
        gradient: &Tensor,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<Tensor>>>;

    /// Whether the gradient with respect to the output may be packed, where those with respect to the inputs are wanted or not:
    /// nothing reads it but what [`Backend::empty_packed`] names.
    fn takes_packed(&self, backend: &dyn Backend, wanted: &[bool]) -> bool {
        let _ = (backend, wanted);
        false
    }

    /// The part of the first input that the gradient with respect to it is of, if it is not of all of it.
    fn reaches(&self) -> Option<Part> {
        None
    }

    /// The record of one part of the output's first axis, for where the gradient of that part alone has come.
    ///
    /// # Errors
    /// Where the parts have more to do with each other than that they are computed together.
    fn narrowed(&self, part: Part) -> Result<Narrowed> {
        Err(Error::InvalidOperand {
            operator: "gradient",
            problem: format!(
                "an operator that {part} of a batch went through has no gradient of that part alone"
            ),
        })
    }
}

/// A record of one part of a batch.
pub(crate) struct Narrowed {
    /// What it does.
    record: Box<dyn Backward>,
    /// As [`Backward::reaches`]; every other input has a gradient of its own.
    reaches: Option<Part>,
}

impl Narrowed {
    /// Of an operator whose first input comes in the same parts as its output.
    pub(crate) fn along<B: Backward + 'static>(part: Part, record: B) -> Self {
        Self {
            record: Box::new(record),
            reaches: Some(part),
        }
    }

    /// Of an operator of which one input is the part.
    pub(crate) fn ending<B: Backward + 'static>(record: B) -> Self {
        Self {
            record: Box::new(record),
            reaches: None,
        }
    }
}

/// Whether a gradient is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nobody reads it.
    No,
    /// It is.
    Yes,
    /// It is, and may be packed; see [`Backend::empty_packed`].
    Packed,
}

impl Wanted {
    /// Whether it is asked for in any form.
    pub(crate) fn is_wanted(self) -> bool {
        self != Self::No
    }

    /// The same, packed only where that is `offered`.
    pub(crate) fn packed_if(self, offered: bool) -> Self {
        match self {
            Self::Packed if !offered => Self::Yes,
            wanted => wanted,
        }
    }
}

/// One entry of the tape. Parents stand before it.
struct Node {
    parents: Vec<Option<usize>>,
    /// Absent for a parameter, where the gradient ends.
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

    /// A variable whose gradient may be asked for.
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

    /// A variable without a gradient. Operators on constants alone leave no record and keep nothing alive.
    pub fn constant(&self, value: Tensor) -> Variable {
        Variable::untracked(value.into())
    }

    /// A tensor that is computed when it is read.
    pub(crate) fn defer(&self, shape: Shape, recipe: Arc<dyn Recipe>) -> Arc<Lazy> {
        Arc::new(Lazy::deferred(shape, Arc::clone(&self.backend), recipe))
    }

    /// Puts an operator's result on the tape if any of its inputs is there; `operator` is built only then.
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

    /// Gradients of Σ `seed`·`result` with respect to each of `wanted`; for a loss the seed is the scalar 1.
    ///
    /// # Errors
    /// Where the seed's shape is not the result's, where `result` does not depend on a wanted variable, and whatever
    /// the backend reports.
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
        let root = result.node.ok_or_else(|| {
            Error::NoGradient("the result was computed from constants alone".to_owned())
        })?;
        let wanted_nodes = wanted
            .iter()
            .map(|variable| variable.node)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::NoGradient("a constant was asked for its gradient".to_owned()))?;

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
                        "the result does not depend on a variable that was asked for".to_owned(),
                    )
                })?;
                match gradient.joined(self.backend())? {
                    (gradient, None) => Ok(gradient),
                    (_, Some(part)) => Err(Error::NoGradient(format!(
                        "the result depends on {part} of a variable that was asked for, and on no other"
                    ))),
                }
            })
            .collect()
    }

    /// Gradients of the scalar `loss` with respect to each of `wanted`.
    ///
    /// # Errors
    /// As [`Tape::gradients`], and where `loss` is not a scalar.
    pub fn gradients_of_loss(&self, loss: &Variable, wanted: &[&Variable]) -> Result<Vec<Tensor>> {
        let one = self.backend.upload(Shape::from([]), &[1.0])?;
        self.gradients(loss, one, wanted)
    }

    /// Whether a node's operator takes its gradient packed.
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

/// Which nodes are wanted, or have a wanted one among their ancestors.
fn leads_to(nodes: &[Node], wanted: &[usize]) -> Vec<bool> {
    let mut leads = vec![false; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        leads[index] =
            wanted.contains(&index) || node.parents.iter().flatten().any(|&parent| leads[parent]);
    }
    leads
}

/// Who has to do with each node's gradient: those that contribute to it, and the caller where it is wanted. With one of them,
/// the gradient is what that one makes of it.
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
