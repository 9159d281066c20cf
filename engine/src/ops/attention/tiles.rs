//! How attention is cut up on the CPU: blocks of queries by tiles of keys.

use super::sizes::Sizes;
use crate::device::cpu::products::Matrix;
use crate::device::cpu::tasks::Tasks;
use rayon::prelude::*;

/// The queries of a block: enough for products to run well, few enough that little work above the
/// diagonal of a causal mask is wasted.
pub(super) fn block_size(sizes: &Sizes) -> usize {
    if sizes.queries < 1024 { sizes.queries.min(32) } else { LARGEST_BLOCK }
}

pub(super) const LARGEST_BLOCK: usize = 128;
/// The keys of a tile: with a block's queries, scores that stay in the L2 cache.
pub(super) const KEYS: usize = 512;

/// The scores of the largest tile.
pub(super) fn tile_size(sizes: &Sizes) -> usize {
    block_size(sizes) * KEYS.min(sizes.keys)
}

/// Batch number `index` of batches of `size` elements.
pub(super) fn part(x: &[f32], index: usize, size: usize) -> &[f32] {
    &x[index * size..(index + 1) * size]
}

/// Keys or values (batch, keys, kv heads, head size), to be multiplied with as the right operand,
/// transposed.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a> {
    AsGiven(&'a [f32]),
    /// (batch, kv heads, head size, keys): a product need not put these in order first, again for
    /// every block of queries.
    Transposed(&'a [f32]),
}

impl<'a> Columns<'a> {
    /// Whether a transposed copy pays: if there are some blocks of queries that use it.
    pub fn are_copied(sizes: &Sizes) -> bool {
        sizes.queries > 2 * block_size(sizes)
    }

    /// The columns of `x`, with room for a copy of it, if there is to be one.
    pub fn new(sizes: &Sizes, x: &'a [f32], memory: &'a mut [f32]) -> Columns<'a> {
        if !Columns::are_copied(sizes) {
            return Columns::AsGiven(x);
        }
        let Sizes { keys, kv_heads, head_size, .. } = *sizes;
        memory.par_chunks_mut(head_size * keys).enumerate().each(|(index, columns)| {
            let (batch, head) = (index / kv_heads, index % kv_heads);
            let x = part(x, batch, keys * kv_heads * head_size);
            // A few positions at a time: what is read and what is written stay in the cache.
            for start in (0..keys).step_by(16) {
                let end = keys.min(start + 16);
                for (channel, column) in columns.chunks_exact_mut(keys).enumerate() {
                    let from = &x[(start * kv_heads + head) * head_size + channel..];
                    let from = from.iter().step_by(kv_heads * head_size);
                    column[start..end].iter_mut().zip(from).for_each(|(y, x)| *y = *x);
                }
            }
        });
        Columns::Transposed(memory)
    }

    /// Those of one batch.
    pub fn of_batch(self, sizes: &Sizes, batch: usize) -> Columns<'a> {
        let size = sizes.keys * sizes.kv_heads * sizes.head_size;
        match self {
            Columns::AsGiven(x) => Columns::AsGiven(part(x, batch, size)),
            Columns::Transposed(x) => Columns::Transposed(part(x, batch, size)),
        }
    }

    /// Of one batch: head size by `count` keys, from `first_key` on, for a query head.
    pub fn tile(&self, sizes: &Sizes, head: usize, first_key: usize, count: usize) -> Matrix<'a> {
        let Sizes { keys, kv_heads, head_size, .. } = *sizes;
        let kv_head = head / sizes.group();
        match *self {
            Columns::AsGiven(x) => {
                let rows = &x[(first_key * kv_heads + kv_head) * head_size..];
                Matrix::strided(rows, count, head_size, kv_heads * head_size).transposed()
            }
            Columns::Transposed(x) => Matrix::strided(
                &x[kv_head * head_size * keys + first_key..],
                head_size,
                count,
                keys,
            ),
        }
    }
}

/// A tile of scores: the rows from query `start` on by `count` keys from `first_key` on.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub sizes: &'a Sizes,
    pub start: usize,
    pub first_key: usize,
    pub count: usize,
}

impl Tile<'_> {
    /// How many of its keys, from the first on, a row of it sees.
    #[inline(always)]
    pub fn visible(&self, row: usize) -> usize {
        self.sizes.visible(self.start + row).saturating_sub(self.first_key).min(self.count)
    }
}
