//! wgmmas of threads in flight, and the steps that the warps of a warpgroup make together.

use std::collections::VecDeque;
use std::fmt;

use super::memory::WARP;

/// Warps of a warpgroup.
pub(super) const WARPS: usize = 4;
/// Threads of a warpgroup.
pub(super) const WARPGROUP: usize = WARPS * WARP;

/// One wgmma, as issued by one thread.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// The thread's sums, two per column and row.
    pub(super) sums: *mut f32,
    pub(super) columns: usize,
    /// Descriptors of the operands with 64 rows and with `columns` columns.
    pub(super) operands: [u64; 2],
    /// Whether the inner dimension is not the contiguous one in memory.
    pub(super) transposed: bool,
    /// 16 for bf16, 19 for tf32.
    pub(super) bits: u32,
    /// Previous sums, if no earlier wgmma still has to add to them.
    pub(super) saved: Option<Vec<f32>>,
}

impl Product {
    pub(super) fn sums(&mut self) -> &mut [f32] {
        // SAFETY: `wgmma` passes an array of this many sums, which lives on the stack of a waiting coroutine.
        unsafe { std::slice::from_raw_parts_mut(self.sums, self.columns / 2) }
    }

    /// Saves the sums and sets them to NaN until they are computed.
    fn hide(&mut self) {
        let sums = self.sums();
        let values = sums.to_vec();
        sums.fill(f32::NAN);
        self.saved = Some(values);
    }

    pub(super) fn reveal(&mut self) {
        if let Some(values) = self.saved.take() {
            self.sums().copy_from_slice(&values);
        }
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.columns, self.operands, self.transposed, self.bits)
            == (other.columns, other.operands, other.transposed, other.bits)
    }

    pub(super) fn value_bytes(&self) -> u64 {
        if self.bits == 16 { 2 } else { 4 }
    }
}

/// A step that all warps of a warpgroup make in the same order (PTX ISA: `.aligned`, and one descriptor for all
/// threads).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    Multiply {
        columns: usize,
        operands: [u64; 2],
        transposed: bool,
    },
    Commit,
    Wait(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multiply {
                columns,
                operands: [rows, others],
                transposed,
            } => write!(
                formatter,
                "multiplies by {columns} columns, descriptors {rows:#x} and {others:#x}{}",
                if *transposed { ", transposed" } else { "" }
            ),
            Self::Commit => formatter.write_str("closes a wgmma group"),
            Self::Wait(pending) => {
                write!(formatter, "waits for all but {pending} wgmma groups")
            }
        }
    }
}

/// Steps of a warpgroup that not all of its warps have made.
#[derive(Debug, Default)]
pub(super) struct Warpgroup {
    steps: VecDeque<Step>,
    /// Number of steps that all warps have made.
    over: usize,
    /// Number of steps that each warp has made.
    made: [usize; WARPS],
}

impl Warpgroup {
    /// Records or compares the next step of `warp`.
    pub(super) fn step(&mut self, warp: usize, step: Step) -> Result<(), String> {
        let at = self.made[warp] - self.over;
        match self.steps.get(at) {
            None => self.steps.push_back(step),
            Some(expected) if *expected != step => {
                return Err(format!(
                    "the warps of its warpgroup differ: it {step}, but another {expected}"
                ));
            }
            Some(_) => {}
        }
        self.made[warp] += 1;
        while self.made.iter().all(|&made| made > self.over) {
            self.steps.pop_front();
            self.over += 1;
        }
        Ok(())
    }

    /// Returns the warp that ended before others, and their next step.
    pub(super) fn unfinished(&self) -> Option<(usize, String)> {
        let next = self.steps.front()?;
        let warp = self.made.iter().position(|&made| made == self.over)?;
        let problem = format!("the warps of its warpgroup differ: it ends, but another {next}");
        Some((warp, problem))
    }
}

/// wgmmas of one thread that have not been waited for.
#[derive(Debug, Default)]
pub(super) struct Products {
    open: Vec<Product>,
    pub(super) groups: VecDeque<Vec<Product>>,
    pub(super) fenced: bool,
}

impl Products {
    pub(super) fn fence(&mut self) {
        self.fenced = true;
    }

    pub(super) fn begin(&mut self, mut product: Product) -> Result<(), String> {
        if !self.fenced {
            return Err("a wgmma starts without a fence before it".to_owned());
        }
        let mut under_way = self.groups.iter().flatten().chain(&self.open);
        if !under_way.any(|other| other.sums == product.sums) {
            product.hide();
        }
        self.open.push(product);
        Ok(())
    }

    pub(super) fn commit(&mut self) {
        let group = std::mem::take(&mut self.open);
        self.groups.push_back(group);
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.open.is_empty() || self.groups.iter().any(|group| !group.is_empty())
    }

    /// Hides the sums to which wgmmas in flight still add.
    pub(super) fn hide_again(&mut self) {
        let mut hidden = Vec::new();
        for product in self.groups.iter_mut().flatten().chain(&mut self.open) {
            if !hidden.contains(&product.sums) {
                hidden.push(product.sums);
                if product.saved.is_none() {
                    product.hide();
                }
            }
        }
    }
}
