//! The CPU's memory: blocks from a pool, and the one place where they become slices.
//!
//! A fresh page from the system costs about as much as an op that writes it, so freed blocks are
//! kept by size and used again: after the first steps a training run takes no more memory for tensors
//! from the system.

use crate::Shape;
use crate::device::account::{Account, rounded_bytes};
use crate::device::failure::{Failure, Fault, Refusal};
use crate::device::view::{View, ViewMut};
use crate::memory_use::MemoryUse;
use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// 64 bytes: a cache line, and the widest vector register.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

type Lines = Box<[UnsafeCell<Line>]>;

/// Memory of one tensor, or of several that share it. Its last handle returns it to the pool.
pub(crate) struct Block {
    lines: Option<Lines>,
    pool: Arc<Pool>,
    /// What of it is borrowed now: few stretches, and seldom by more than one thread.
    loans: Mutex<Vec<Loan>>,
}

// SAFETY: the lines are only reached through `Borrows`, which grants each element either any number of
// readers or one writer at a time, by the list of loans, and panics on anything else.
unsafe impl Sync for Block {}

/// Elements that are borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Loan {
    start: usize,
    end: usize,
    write: bool,
}

impl Loan {
    fn overlaps(&self, other: &Loan) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Freed blocks by their number of lines.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    failure: Failure,
}

#[derive(Default)]
struct PoolState {
    free: HashMap<usize, Vec<Lines>>,
    account: Account,
}

impl Pool {
    /// Memory for so many numbers, if there is room.
    pub fn allocate(self: &Arc<Pool>, elements: usize) -> Result<Block, Refusal> {
        let bytes = rounded_bytes(elements, u64::MAX);
        let lines = self.take(bytes.div_ceil(size_of::<Line>() as u64) as usize)?;
        Ok(Block { lines: Some(lines), pool: self.clone(), loans: Mutex::default() })
    }

    fn take(&self, count: usize) -> Result<Lines, Refusal> {
        let bytes = line_bytes(count);
        let mut state = self.lock();
        state.account.admit(bytes, &self.failure)?;
        let lines = match state.free.get_mut(&count).and_then(Vec::pop) {
            Some(lines) => lines,
            None => {
                if state.account.has_to_give_back(bytes) {
                    state.give_back();
                }
                let lines = self.fresh(&mut state, count);
                let refused = || self.failure.refuse(bytes, "the system did not give them");
                let lines = lines.ok_or_else(refused)?;
                state.account.reserved(bytes);
                lines
            }
        };
        state.account.handed_out(bytes);
        Ok(lines)
    }

    /// Lines from the system. If it refuses them, it gets back what waits here and is asked again.
    fn fresh(&self, state: &mut PoolState, count: usize) -> Option<Lines> {
        if self.failure.is_due(Fault::NoMemory) {
            return None;
        }
        let short = self.failure.is_due(Fault::ShortOfMemory);
        let lines = (!short).then(|| new_lines(count)).flatten();
        lines.or_else(|| {
            state.give_back();
            new_lines(count)
        })
    }

    /// Gives what waits here back to the system.
    pub fn trim(&self) {
        self.lock().give_back();
    }

    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    pub fn set_limit(&self, bytes: u64) {
        self.lock().account.set_limit(bytes);
    }

    pub fn memory(&self) -> MemoryUse {
        self.lock().account.memory()
    }

    pub fn reset_peak(&self) {
        self.lock().account.reset_peak();
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().expect("no code panics while it holds the pool")
    }
}

impl PoolState {
    fn give_back(&mut self) {
        self.free.clear();
        self.account.gave_back();
    }
}

/// Fresh memory, unless the system refuses it.
fn new_lines(count: usize) -> Option<Lines> {
    let mut lines = Vec::new();
    lines.try_reserve_exact(count).ok()?;
    lines.extend((0..count).map(|_| UnsafeCell::new(Line([0.0; LINE]))));
    Some(lines.into_boxed_slice())
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(lines) = self.lines.take() {
            let mut state = self.pool.lock();
            state.account.returned(line_bytes(lines.len()));
            state.free.entry(lines.len()).or_default().push(lines);
        }
    }
}

impl Block {
    /// Copies the elements from `start` on, into memory that is there already.
    pub fn read(&self, start: usize, elements: usize, mut to: Vec<f32>) -> Vec<f32> {
        to.clear();
        self.with(start, elements, |from| to.extend_from_slice(from));
        to
    }

    /// Overwrites the elements from `start` on.
    pub fn write(&self, start: usize, data: &[f32]) {
        self.with_mut(start, data.len(), |to| to.copy_from_slice(data));
    }

    /// Lets `look` see the elements from `start` on.
    pub fn with<R>(&self, start: usize, elements: usize, look: impl FnOnce(&[f32]) -> R) -> R {
        let region = Region { block: self, start, elements, write: false };
        let regions = [region];
        let _borrows = Borrows::new(&regions);
        // SAFETY: borrowed for reading until the end of this function, and `look` must work for any lifetime.
        look(unsafe { region.slice() })
    }

    /// Lets `change` put others in their place.
    pub fn with_mut<R>(
        &self,
        start: usize,
        elements: usize,
        change: impl FnOnce(&mut [f32]) -> R,
    ) -> R {
        let region = Region { block: self, start, elements, write: true };
        let regions = [region];
        let _borrows = Borrows::new(&regions);
        // SAFETY: borrowed for writing until the end of this function, and `change` must work for any lifetime.
        change(unsafe { region.slice_mut() })
    }
}

/// Lends the memory of a kernel's arguments as slices for as long as `body` runs.
///
/// # Panics
/// If a destination overlaps another argument, or another thread is writing to (or, for a
/// destination, using) the same elements.
pub(super) fn borrow<R>(
    inputs: &[Argument],
    outputs: &[Argument],
    body: impl FnOnce(&[View], &mut [ViewMut]) -> R,
) -> R {
    let regions: Vec<Region> = outputs
        .iter()
        .map(|output| Region::new(output, true))
        .chain(inputs.iter().map(|input| Region::new(input, false)))
        .collect();
    let _borrows = Borrows::new(&regions);
    let (written, read) = regions.split_at(outputs.len());
    // SAFETY: `_borrows` has checked that no written region overlaps another one of this call, and
    // keeps other calls away from these elements until `body` has returned. The slices can't leave
    // `body`, which must work for any lifetime.
    let mut targets: Vec<ViewMut> = written
        .iter()
        .zip(outputs)
        .map(|(region, output)| ViewMut {
            shape: output.shape,
            data: unsafe { region.slice_mut() },
            add: output.add,
        })
        .collect();
    let views: Vec<View> = read
        .iter()
        .zip(inputs)
        // SAFETY: as above.
        .map(|(region, input)| View { shape: input.shape, data: unsafe { region.slice() } })
        .collect();
    body(&views, &mut targets)
}

/// A kernel's argument: where it begins in its block, and for an output whether it is added to what
/// is there.
#[derive(Clone, Copy)]
pub(crate) struct Argument<'a> {
    pub block: &'a Block,
    pub start: usize,
    pub shape: Shape,
    pub add: bool,
}

/// Elements of a block that one argument of a kernel uses.
#[derive(Clone, Copy)]
struct Region<'a> {
    block: &'a Block,
    start: usize,
    elements: usize,
    write: bool,
}

impl<'a> Region<'a> {
    fn new(argument: &Argument<'a>, write: bool) -> Region<'a> {
        let Argument { block, start, shape, .. } = *argument;
        Region { block, start, elements: shape.elements(), write }
    }

    fn pointer(&self) -> *mut f32 {
        let lines = self.block.lines.as_ref().expect("present until dropped");
        assert!(self.start + self.elements <= lines.len() * LINE, "a tensor outside its memory");
        lines.as_ptr().cast::<f32>().cast_mut().wrapping_add(self.start)
    }

    /// # Safety
    /// The region must be borrowed for as long as the slice lives.
    unsafe fn slice(&self) -> &'a [f32] {
        unsafe { std::slice::from_raw_parts(self.pointer(), self.elements) }
    }

    /// # Safety
    /// The region must be borrowed for writing for as long as the slice lives, and sliced once.
    unsafe fn slice_mut(&self) -> &'a mut [f32] {
        unsafe { std::slice::from_raw_parts_mut(self.pointer(), self.elements) }
    }

    fn loan(&self) -> Loan {
        Loan { start: self.start, end: self.start + self.elements, write: self.write }
    }

    fn overlaps(&self, other: &Region) -> bool {
        std::ptr::eq(self.block, other.block) && self.loan().overlaps(&other.loan())
    }
}

/// The regions that one call uses.
struct Borrows<'r, 'a>(&'r [Region<'a>]);

impl<'r, 'a> Borrows<'r, 'a> {
    /// Written regions must stand first.
    fn new(regions: &'r [Region<'a>]) -> Borrows<'r, 'a> {
        for (index, region) in regions.iter().enumerate() {
            let clash =
                region.write && regions[index + 1..].iter().any(|later| later.overlaps(region));
            assert!(!clash, "a kernel's result overlaps another of its arguments");
        }
        // Those that were borrowed are given back if a later one can not be.
        let mut borrows = Borrows(&regions[..0]);
        for (index, region) in regions.iter().enumerate() {
            let granted = region.block.lend(region.loan());
            let what = if region.write { "using" } else { "changing" };
            assert!(granted, "another thread is {what} this tensor, or a part of it");
            borrows.0 = &regions[..=index];
        }
        borrows
    }
}

impl Drop for Borrows<'_, '_> {
    fn drop(&mut self) {
        for region in self.0 {
            region.block.take_back(region.loan());
        }
    }
}

impl Block {
    /// Whether these elements can be borrowed; then they are, until they are taken back.
    fn lend(&self, loan: Loan) -> bool {
        let mut loans = self.loans();
        let free = !loans.iter().any(|other| (loan.write || other.write) && loan.overlaps(other));
        if free {
            loans.push(loan);
        }
        free
    }

    fn take_back(&self, loan: Loan) {
        let mut loans = self.loans();
        // Of several readers of the same elements it does not matter which one.
        if let Some(index) = loans.iter().position(|other| *other == loan) {
            loans.swap_remove(index);
        }
    }

    fn loans(&self) -> MutexGuard<'_, Vec<Loan>> {
        self.loans.lock().expect("no code panics while it holds the loans")
    }
}

fn line_bytes(lines: usize) -> u64 {
    (lines as u64).saturating_mul(size_of::<Line>() as u64)
}

#[cfg(test)]
mod tests;
