//! Warpgroup GEMMs (wgmma), which read their operands from shared memory as descriptors state.
//!
//! A wgmma is computed when it is waited for, and not before. Until then its sums are NaN, and its operands must not
//! change.
//!
//! A warp computes its own rows when it waits for them. All four warps of a warpgroup must issue the same steps: the
//! first warp to wait records them, and the others are compared with the record.

use super::executor::Executor;
use super::mbarrier::{CHUNK, swizzled};
use super::memory::WARP;
use super::products::{Product, Step, WARPS};

/// Rows of a wgmma that belong to one warp.
const ROWS: usize = 16;

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
