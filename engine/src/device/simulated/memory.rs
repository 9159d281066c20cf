//! The memory of a simulated GPU: words on the host.

use crate::device::account::Account;
use crate::device::failure::{Failure, Refusal};
use crate::device::gpu::GpuLimits;
use crate::memory_use::MemoryUse;
use std::sync::{Arc, Mutex, MutexGuard};

/// What memory holds before anything is written there: the bits of a number that is none. What is
/// computed from it is none either, and as an index it lies outside of everything.
const NOTHING: u32 = 0x7fc0_dead;

/// The words of one tensor, or of several that share them.
#[derive(Debug)]
pub(in crate::device) struct Words(Mutex<Vec<u32>>);

impl Words {
    pub fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        // What a panic elsewhere leaves behind is a shader's half-done work, which nobody reads.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Memory of one tensor, or of several that share it. Its last handle takes it off the books.
pub(crate) struct Block {
    pub(in crate::device) words: Arc<Words>,
    bytes: u64,
    account: Arc<Mutex<Account>>,
}

impl Block {
    pub fn write(&self, offset: usize, data: &[u32]) {
        self.words.lock()[offset..offset + data.len()].copy_from_slice(data);
    }

    pub fn read(&self, offset: usize, elements: usize) -> Vec<f32> {
        let words = self.words.lock();
        words[offset..offset + elements].iter().map(|word| f32::from_bits(*word)).collect()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        lock(&self.account).returned(self.bytes);
    }
}

/// The part of a block that one binding of a shader sees.
#[derive(Clone, Debug)]
pub(in crate::device) struct Slice {
    pub words: Arc<Words>,
    /// Words from the block's start.
    pub offset: usize,
    /// Words.
    pub size: usize,
}

/// Where blocks come from. Nothing waits here to be used again: every block is new.
#[derive(Default)]
pub(super) struct Pool {
    account: Arc<Mutex<Account>>,
    pub failure: Failure,
}

impl Pool {
    /// Memory for so many numbers, if it may be had.
    pub fn allocate(&self, elements: usize) -> Result<Block, Refusal> {
        let bytes = GpuLimits::NONE.bytes(elements, &self.failure)?;
        let mut account = lock(&self.account);
        account.admit(bytes, &self.failure)?;
        account.handed_out(bytes);
        let words = vec![NOTHING; (bytes / 4) as usize];
        Ok(Block {
            words: Arc::new(Words(Mutex::new(words))),
            bytes,
            account: self.account.clone(),
        })
    }

    pub fn trim(&self) {
        lock(&self.account).gave_back();
    }

    pub fn set_limit(&self, bytes: u64) {
        lock(&self.account).set_limit(bytes);
    }

    pub fn memory(&self) -> MemoryUse {
        lock(&self.account).memory()
    }

    pub fn reset_peak(&self) {
        lock(&self.account).reset_peak();
    }
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().expect("no code panics while it holds the books")
}
