//! Warpgroup GEMMs (wgmma), which read their operands from shared memory as descriptors state.
//!
//! A wgmma is computed when it is waited for, and not before. Until then its sums are NaN, and its operands must not
//! change.
//!
//! A warp computes its own rows when it waits for them. All four warps of a warpgroup must issue the same steps: the
//! first warp to wait records them, and the others are compared with the record.

use std::collections::VecDeque;
use std::fmt;

use super::executor::{Executor, WARP};
use super::tma::{CHUNK, swizzled};

/// Rows of a wgmma that belong to one warp; a warpgroup has four warps.
const ROWS: usize = 16;
const WARPS: usize = 4;
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
    fn sums(&mut self) -> &mut [f32] {
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

    fn reveal(&mut self) {
        if let Some(values) = self.saved.take() {
            self.sums().copy_from_slice(&values);
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.columns, self.operands, self.transposed, self.bits)
            == (other.columns, other.operands, other.transposed, other.bits)
    }

    fn value_bytes(&self) -> u64 {
        if self.bits == 16 { 2 } else { 4 }
    }
}

/// A step that all warps of a warpgroup make in the same order (PTX ISA: `.aligned`, and one descriptor for all
/// threads).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
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
    fn step(&mut self, warp: usize, step: Step) -> Result<(), String> {
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
    fn unfinished(&self) -> Option<(usize, String)> {
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
    groups: VecDeque<Vec<Product>>,
    fenced: bool,
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
    fn hide_again(&mut self) {
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

impl Executor {
    /// Returns the first thread of a warp that ended before others of its warpgroup.
    pub(super) fn unfinished_warp(&self) -> Option<(usize, String)> {
        let mut groups = self.warpgroups.iter().enumerate();
        groups.find_map(|(group, warps)| {
            let (warp, problem) = warps.unfinished()?;
            // A block may end in the middle of a warpgroup.
            let thread = (group * WARPS + warp) * WARP;
            Some((thread.min(self.threads.len() - 1), problem))
        })
    }

    /// Computes the wgmmas for which a warp waits: all but the last `pending` groups.
    pub(super) fn finish_products(&mut self, warp: usize, pending: usize) -> Result<(), String> {
        let lanes = warp * WARP..((warp + 1) * WARP).min(self.threads.len());
        let heard = self.pipelines.heard_by_warp(warp);
        let (group, place) = (warp / WARPS, warp % WARPS);
        while self.threads[lanes.start].products.groups.len() > pending {
            let mut groups = Vec::new();
            for lane in lanes.clone() {
                let products = &mut self.threads[lane].products;
                groups.push(products.groups.pop_front().unwrap_or_default());
            }
            for index in 0..groups[0].len() {
                let first = groups[0][index].clone();
                let same = |group: &Vec<Product>| {
                    group.get(index).is_some_and(|other| other.is_like(&first))
                };
                if !groups.iter().all(same) || groups.len() != WARP {
                    return Err("the lanes of a warp multiply different operands".to_owned());
                }
                let step = Step::Multiply {
                    columns: first.columns,
                    operands: first.operands,
                    transposed: first.transposed,
                };
                self.warpgroups[group].step(place, step)?;
                let mut products: Vec<_> =
                    groups.iter_mut().map(|group| &mut group[index]).collect();
                self.multiply(warp, &heard, &first, &mut products)?;
            }
            self.warpgroups[group].step(place, Step::Commit)?;
        }
        self.warpgroups[group].step(place, Step::Wait(pending))?;
        for lane in lanes {
            let products = &mut self.threads[lane].products;
            products.hide_again();
            products.fenced = false;
        }
        Ok(())
    }

    /// Computes one wgmma for one warp.
    ///
    /// Sum i of a lane belongs to row lane / 4 + 8 (i / 2 % 2) and column 8 (i / 4) + 2 (lane % 4) + i % 2 (PTX ISA,
    /// "Register fragments and shared memory matrix layouts").
    fn multiply(
        &mut self,
        warp: usize,
        heard: &[u32],
        product: &Product,
        lanes: &mut [&mut Product],
    ) -> Result<(), String> {
        let columns = product.columns;
        let rows = warp % WARPS * ROWS..(warp % WARPS + 1) * ROWS;
        let left = self.operand(product, 0, rows, warp, heard)?;
        let right = self.operand(product, 1, 0..columns, warp, heard)?;
        let place = |lane: usize, sum: usize| {
            let (row, column) = (
                lane / 4 + sum / 2 % 2 * 8,
                sum / 4 * 8 + lane % 4 * 2 + sum % 2,
            );
            row * columns + column
        };
        let mut total = vec![0.0; ROWS * columns];
        for (lane, product) in lanes.iter_mut().enumerate() {
            product.reveal();
            for (sum, value) in product.sums().iter().enumerate() {
                total[place(lane, sum)] = *value;
            }
        }
        for (left, right) in left.chunks(ROWS).zip(right.chunks(columns)) {
            for (row, left) in total.chunks_mut(columns).zip(left) {
                row.iter_mut()
                    .zip(right)
                    .for_each(|(to, right)| *to += left * right);
            }
        }
        for (lane, product) in lanes.iter_mut().enumerate() {
            for (sum, value) in product.sums().iter_mut().enumerate() {
                *value = total[place(lane, sum)];
            }
        }
        Ok(())
    }

    /// Reads rows of an operand; the result has the inner dimension as its outer one.
    fn operand(
        &mut self,
        product: &Product,
        which: usize,
        rows: std::ops::Range<usize>,
        warp: usize,
        heard: &[u32],
    ) -> Result<Vec<f32>, String> {
        let descriptor = Descriptor::decode(product.operands[which])?;
        let bytes = product.value_bytes();
        let shared = self.shared.end - self.shared.start;
        let mut values = Vec::with_capacity(32 / bytes as usize * rows.len());
        let mut chunk = None;
        for inner in 0..32 / bytes {
            for row in rows.clone() {
                let at = descriptor.offset(product.transposed, row as u64, inner, bytes);
                if at + bytes > shared {
                    return Err(format!("a wgmma reads outside shared memory, at byte {at}"));
                }
                if chunk != Some(at / CHUNK) {
                    chunk = Some(at / CHUNK);
                    let read = self.pipelines.read(at, warp, heard);
                    read.map_err(|problem| {
                        format!("at byte {at} of shared memory, a wgmma {problem}")
                    })?;
                }
                let from = (self.shared.start + at) as *const u8;
                // SAFETY: the bytes lie inside shared memory.
                let value = unsafe {
                    if bytes == 2 {
                        u32::from(from.cast::<u16>().read_unaligned()) << 16
                    } else {
                        // The hardware reads the 19 high bits of a 32-bit operand.
                        from.cast::<u32>().read_unaligned() & !0x1fff
                    }
                };
                values.push(f32::from_bits(value));
            }
        }
        Ok(values)
    }
}

/// Matrix descriptor (PTX ISA, "Matrix descriptor format" and "Strides").
struct Descriptor {
    start: u64,
    leading: u64,
    stride: u64,
}

impl Descriptor {
    fn decode(bits: u64) -> Result<Self, String> {
        if bits >> 62 != 1 || bits >> 49 & 7 != 0 {
            return Err("a wgmma descriptor does not select the 128-byte swizzle".to_owned());
        }
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        Ok(Self {
            start: field(0),
            leading: field(16),
            stride: field(32),
        })
    }

    /// Offset of inner value `inner` of row `row`.
    fn offset(&self, transposed: bool, row: u64, inner: u64, bytes: u64) -> u64 {
        let within = if transposed {
            let group = 128 / bytes;
            row % group * bytes
                + row / group * self.leading
                + inner % 8 * 128
                + inner / 8 * self.stride
        } else {
            row % 8 * 128 + row / 8 * self.stride + inner * bytes
        };
        swizzled(self.start + within)
    }
}
