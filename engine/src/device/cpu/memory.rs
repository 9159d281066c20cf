//! The CPU's memory: blocks from a pool, and the one place where they become slices.
//!
//! A fresh page from the system costs about as much as an op that writes it, so freed blocks are
//! kept by size and used again: after the first steps a training run allocates nothing.

use crate::device::failure::Failure;
use crate::device::{Destination, Fault, MemoryUse, Operand, View, ViewMut};
use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// 64 bytes: a cache line, and the widest vector register.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

type Lines = Box<[UnsafeCell<Line>]>;

/// Memory of one tensor, or of several that share it. Its last handle returns it to the pool. It is
/// empty if there was no room; then the failure was noted before it was made, and nobody looks at it.
pub(crate) struct Block {
    lines: Option<Lines>,
    pool: Arc<Pool>,
    /// How many borrow it for reading now, or −1 while one borrows it for writing.
    borrowed: AtomicI32,
}

// SAFETY: the lines are only reached through `borrow`, which grants either any number of readers
// or one writer at a time, by an atomic count, and panics on anything else.
unsafe impl Sync for Block {}

/// Freed blocks by their number of lines.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<PoolState>,
    failure: Failure,
}

#[derive(Default)]
struct PoolState {
    free: HashMap<usize, Vec<Lines>>,
    memory: MemoryUse,
    limit: Option<u64>,
}

impl Pool {
    pub fn allocate(self: &Arc<Pool>, elements: usize) -> Block {
        let lines = self.take(rounded_lines(elements)).unwrap_or_default();
        Block { lines: Some(lines), pool: self.clone(), borrowed: AtomicI32::new(0) }
    }

    /// `count` lines, or `None`, with the failure noted, if there is no room.
    fn take(&self, count: usize) -> Option<Lines> {
        let bytes = line_bytes(count);
        let mut state = self.lock();
        let in_use = state.memory.in_use;
        if let Some(limit) = state.limit.filter(|limit| in_use + bytes > *limit) {
            self.failure.above_limit(bytes, limit, "of all tensors");
            return None;
        }
        let lines = match state.free.get_mut(&count).and_then(Vec::pop) {
            Some(lines) => lines,
            None => {
                // What waits to be used again counts too, and is given back first.
                if state.limit.is_some_and(|limit| state.memory.reserved + bytes > limit) {
                    state.free.clear();
                    state.memory.reserved = in_use;
                }
                let lines = (!self.failure.is_due(Fault::NoMemory)).then(|| new_lines(count));
                let Some(lines) = lines.flatten() else {
                    self.failure.no_memory(bytes, "the system did not give them");
                    return None;
                };
                state.memory.reserved += bytes;
                state.memory.allocations += 1;
                lines
            }
        };
        let memory = &mut state.memory;
        memory.in_use += bytes;
        memory.peak = memory.peak.max(memory.in_use);
        Some(lines)
    }

    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    pub fn set_limit(&self, bytes: u64) {
        self.lock().limit = Some(bytes);
    }

    pub fn memory(&self) -> MemoryUse {
        self.lock().memory
    }

    pub fn reset_peak(&self) {
        let memory = &mut self.lock().memory;
        memory.peak = memory.in_use;
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().expect("no code panics while it holds the pool")
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
            state.memory.in_use -= line_bytes(lines.len());
            state.free.entry(lines.len()).or_default().push(lines);
        }
    }
}

impl Block {
    /// Copies the elements from `start` on.
    pub fn read(&self, start: usize, elements: usize) -> Vec<f32> {
        let piece = Piece { block: self, start, elements, write: false };
        let _claims = Claims::new(&[piece]);
        // SAFETY: claimed for reading until the end of this function.
        unsafe { piece.slice() }.to_vec()
    }

    /// Overwrites the elements from `start` on.
    pub fn write(&self, start: usize, data: &[f32]) {
        let piece = Piece { block: self, start, elements: data.len(), write: true };
        let _claims = Claims::new(&[piece]);
        // SAFETY: claimed for writing until the end of this function.
        unsafe { piece.slice_mut() }.copy_from_slice(data);
    }
}

/// Lends the memory of a kernel's arguments as slices for as long as `body` runs.
///
/// # Panics
/// If a destination overlaps another argument, or another thread is writing to (or, for a
/// destination, using) the same memory.
pub(super) fn borrow<R>(
    inputs: &[Operand],
    outputs: &[Destination],
    body: impl FnOnce(&[View], &mut [ViewMut]) -> R,
) -> R {
    let pieces: Vec<Piece> = outputs
        .iter()
        .map(|output| Piece::new(&output.operand, true))
        .chain(inputs.iter().map(|input| Piece::new(input, false)))
        .collect();
    let _claims = Claims::new(&pieces);
    let (written, read) = pieces.split_at(outputs.len());
    // SAFETY: `_claims` has checked that no written piece overlaps another piece of this call, and
    // keeps other calls away from these blocks until `body` has returned. The slices can't leave
    // `body`, which must work for any lifetime.
    let mut targets: Vec<ViewMut> = written
        .iter()
        .zip(outputs)
        .map(|(piece, output)| ViewMut {
            shape: output.operand.shape,
            data: unsafe { piece.slice_mut() },
            add: output.add,
        })
        .collect();
    let views: Vec<View> = read
        .iter()
        .zip(inputs)
        // SAFETY: as above.
        .map(|(piece, input)| View { shape: input.shape, data: unsafe { piece.slice() } })
        .collect();
    body(&views, &mut targets)
}

/// Elements of a block that one argument of a kernel uses.
#[derive(Clone, Copy)]
struct Piece<'a> {
    block: &'a Block,
    start: usize,
    elements: usize,
    write: bool,
}

impl<'a> Piece<'a> {
    fn new(operand: &Operand<'a>, write: bool) -> Piece<'a> {
        let Operand { storage, shape } = operand;
        let elements = shape.elements();
        Piece { block: storage.cpu(), start: storage.offset, elements, write }
    }

    fn pointer(&self) -> *mut f32 {
        let lines = self.block.lines.as_ref().expect("present until dropped");
        assert!(self.start + self.elements <= lines.len() * LINE, "a tensor outside its memory");
        lines.as_ptr().cast::<f32>().cast_mut().wrapping_add(self.start)
    }

    /// # Safety
    /// The piece must be claimed for as long as the slice lives.
    unsafe fn slice(&self) -> &'a [f32] {
        unsafe { std::slice::from_raw_parts(self.pointer(), self.elements) }
    }

    /// # Safety
    /// The piece must be claimed for writing for as long as the slice lives, and sliced once.
    unsafe fn slice_mut(&self) -> &'a mut [f32] {
        unsafe { std::slice::from_raw_parts_mut(self.pointer(), self.elements) }
    }

    fn overlaps(&self, other: &Piece) -> bool {
        std::ptr::eq(self.block, other.block)
            && self.start < other.start + other.elements
            && other.start < self.start + self.elements
    }
}

/// The blocks that one call uses, each claimed once.
struct Claims<'a>(Vec<(&'a Block, bool)>);

impl<'a> Claims<'a> {
    fn new(pieces: &[Piece<'a>]) -> Claims<'a> {
        for (index, piece) in pieces.iter().enumerate() {
            let clash =
                piece.write && pieces[index + 1..].iter().any(|later| later.overlaps(piece));
            assert!(!clash, "a kernel's result overlaps another of its arguments");
        }
        let mut claims = Claims(Vec::with_capacity(pieces.len()));
        // Written pieces stand first, so a block that is both read and written is claimed once.
        for piece in pieces {
            if !claims.0.iter().any(|(block, _)| std::ptr::eq(*block, piece.block)) {
                claims.claim(piece.block, piece.write);
            }
        }
        claims
    }

    fn claim(&mut self, block: &'a Block, write: bool) {
        let step = |count: i32| match (write, count) {
            (true, 0) => Some(-1),
            (false, 0..) => Some(count + 1),
            _ => None,
        };
        let claimed = block.borrowed.fetch_update(Ordering::Acquire, Ordering::Relaxed, step);
        assert!(claimed.is_ok(), "another thread is changing this tensor");
        self.0.push((block, write));
    }
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        for (block, write) in &self.0 {
            block.borrowed.fetch_add(if *write { 1 } else { -1 }, Ordering::Release);
        }
    }
}

/// The lines a tensor gets: a few sizes an octave, so that similar tensors share freed blocks.
fn rounded_lines(elements: usize) -> usize {
    let lines = elements.div_ceil(LINE).max(1);
    let grain = (lines.next_power_of_two() / 16).max(1);
    lines.next_multiple_of(grain)
}

fn line_bytes(lines: usize) -> u64 {
    (lines * size_of::<Line>()) as u64
}

/// The bytes that `elements` numbers take here.
pub(crate) fn rounded_bytes(elements: usize) -> u64 {
    line_bytes(rounded_lines(elements))
}
