//! The sizes of one attention, and which keys a query sees.

use crate::gpu::Uniform;
use crate::{Shape, uniforms};

/// The queries and the keys of a tile on a GPU, as in the shaders.
pub(super) const TILE: usize = 32;

/// Where a GPU keeps the sums of a workgroup until it has seen all of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    /// In registers, for heads of at most 32, 64 or 128 channels.
    Registers32,
    Registers64,
    Registers128,
    /// In the memory of the result: heads of any size.
    Memory,
}

/// Q is (batch, queries, heads, head_size); K and V are (batch, keys, kv_heads, head_size).
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub batch: usize,
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_size: usize,
    pub causal: bool,
}

impl Sizes {
    /// The sizes of queries and keys that are known to fit.
    pub fn new(q: &Shape, k: &Shape, causal: bool) -> Sizes {
        let [batch, queries, heads, head_size] = [q[0], q[1], q[2], q[3]];
        Sizes { batch, queries, keys: k[1], heads, kv_heads: k[2], head_size, causal }
    }

    /// The sizes of q, k and v, or in what way they do not fit.
    pub fn check(inputs: &[Shape], causal: bool) -> Result<Sizes, String> {
        let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]];
        let layout = "it takes queries of (batch, time, heads, head size) and keys and values of \
                      (batch, time, kv heads, head size)";
        if q.rank() != 4 || k.rank() != 4 || q[0] != k[0] || q[3] != k[3] {
            return Err(layout.into());
        }
        if k != v {
            return Err("keys and values need the same shape".into());
        }
        if q.elements() == 0 || k.elements() == 0 {
            return Err("no size can be 0".into());
        }
        if q[2] % k[2] != 0 {
            return Err("the number of heads must be a multiple of the kv heads".into());
        }
        if causal && k[1] < q[1] {
            return Err("causal attention needs a key for each query".into());
        }
        Ok(Sizes::new(q, k, causal))
    }

    /// One number for each query and head.
    pub fn rows(&self) -> Shape {
        Shape::from([self.batch, self.queries, self.heads])
    }

    /// The query heads that share a kv head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// How many keys, from the first on, the query at `row` sees.
    pub fn visible(&self, row: usize) -> usize {
        if self.causal { self.keys - self.queries + row + 1 } else { self.keys }
    }

    /// What scores are multiplied by.
    pub fn scale(&self) -> f32 {
        1.0 / (self.head_size as f32).sqrt()
    }

    /// The pairs of a query and a key that it sees, over all batches and heads.
    pub fn pairs(&self) -> u64 {
        let [first, last] = [self.visible(0), self.visible(self.queries - 1)];
        let a_head = (first + last) as u64 * self.queries as u64 / 2;
        (self.batch * self.heads) as u64 * a_head
    }

    /// The operations of `products` products of queries and keys on a GPU. Tiles that the mask
    /// hides are counted: they are not the same for every workgroup.
    pub fn gpu_flops(&self, products: usize) -> u64 {
        let pairs = self.batch * self.heads * self.queries.next_multiple_of(TILE) * self.keys;
        pairs as u64 * (2 * products * self.head_size) as u64
    }

    /// Which kernels suit the heads. Those with registers read and write vectors of four numbers; every tensor
    /// begins with a whole one.
    pub(super) fn blocks(&self) -> Blocks {
        match self.head_size {
            size if size % 4 != 0 => Blocks::Memory,
            ..=32 => Blocks::Registers32,
            33..=64 => Blocks::Registers64,
            65..=128 => Blocks::Registers128,
            _ => Blocks::Memory,
        }
    }

    /// The row of the values (of batch, keys and kv heads) at the position, and of the kv head, of
    /// a row of the queries (of batch, queries and heads).
    #[inline(always)]
    pub fn own_value(&self, row: usize) -> usize {
        let (head, query, batch) =
            (row % self.heads, row / self.heads % self.queries, row / self.heads / self.queries);
        let position = batch * self.keys + self.keys - self.queries + query;
        position * self.kv_heads + head / self.group()
    }

    /// The other way round: the first of the rows of the queries at the position of a row of the
    /// values, and of its heads; `None` where there is no query.
    #[inline(always)]
    pub fn query_of(&self, row: usize) -> Option<usize> {
        let (head, key, batch) =
            (row % self.kv_heads, row / self.kv_heads % self.keys, row / self.kv_heads / self.keys);
        let query = (key + self.queries).checked_sub(self.keys)?;
        Some((batch * self.queries + query) * self.heads + head * self.group())
    }

    /// The uniforms by which shaders match positions of queries and of values.
    pub fn position_uniforms(&self) -> [Uniform; 5] {
        let Sizes { queries, keys, heads, kv_heads, head_size, .. } = *self;
        *uniforms! { queries, keys, heads, kv_heads, head_size }
    }

    /// The uniforms with which the shaders of attention and of its derivative begin.
    pub fn uniforms(&self) -> [Uniform; 8] {
        let Sizes { batch, queries, keys, heads, kv_heads, head_size, causal } = *self;
        let scale = self.scale();
        *uniforms! { batch, queries, keys, heads, kv_heads, head_size, causal, scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_for_heads_of_whole_vectors_that_fit() {
        let blocks = |head_size: usize| {
            let shape = Shape::from([1, 1, 1, head_size]);
            Sizes::new(&shape, &shape, false).blocks()
        };
        for (head_size, expected) in [
            (1, Blocks::Memory),
            (4, Blocks::Registers32),
            (32, Blocks::Registers32),
            (34, Blocks::Memory),
            (36, Blocks::Registers64),
            (64, Blocks::Registers64),
            (80, Blocks::Registers128),
            (128, Blocks::Registers128),
            (132, Blocks::Memory),
        ] {
            assert_eq!(blocks(head_size), expected, "{head_size}");
        }
    }
}
