//! Memory for the keys, or the values, of tokens that were seen: what generation goes on from.
//!
//! It is taken whole, for so many sequences of so many positions, and written in place: nothing grows or
//! moves while text is written. A position beyond the last takes the place of the oldest. The positions of
//! one head lie one after another, so that attention, which goes through them head by head, reads memory in
//! one go.

use crate::device::cpu::half::unpack;
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::half::{Half, Precision, format_number};
use crate::tensor::{check_devices, launch, launch_into};
use crate::{Device, Ids, Shape, Tensor, uniforms};
use rayon::prelude::*;
use std::sync::Arc;

/// Some tokens of one sequence that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The number of the sequence, from 0.
    pub sequence: usize,
    /// The position of the first token in it, from 0.
    pub position: usize,
    /// How many tokens there are.
    pub tokens: usize,
}

/// Which tokens the rows of a tensor belong to, span after span, and where a [`Cache`] of so many
/// positions keeps them.
///
/// ```
/// use neutreno_engine::ops::cache::{Places, Span};
/// let spans = [(0, 3, 2), (1, 0, 1)];
/// let spans = spans.map(|(sequence, position, tokens)| Span { sequence, position, tokens });
/// assert_eq!(Places::new(&spans, 8).rows(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Places {
    spans: Arc<[Span]>,
    context: usize,
    /// For each row its position, its slot in the memory, the first slot of its sequence, and how many
    /// tokens it sees, itself included.
    table: Ids,
}

impl Places {
    /// The columns of the table.
    pub(super) const COLUMNS: usize = 4;

    /// The places of some spans in caches of `context` positions.
    ///
    /// # Panics
    /// If a span has no tokens, two are of one sequence, or one of several tokens goes beyond the last
    /// position: its first tokens would find the oldest ones overwritten that they should see.
    #[track_caller]
    pub fn new(spans: &[Span], context: usize) -> Places {
        let mut table = Vec::new();
        for (index, span) in spans.iter().enumerate() {
            let Span { sequence, position, tokens } = *span;
            assert!(tokens > 0, "a span without tokens");
            let twice = spans[..index].iter().any(|other| other.sequence == sequence);
            assert!(!twice, "two spans of sequence {sequence}");
            assert!(
                tokens == 1 || position + tokens <= context,
                "{tokens} tokens from position {position} on, in a cache of {context} positions: \
                 beyond the last one tokens go one by one"
            );
            let first = sequence * context;
            for position in position..position + tokens {
                let row = [position, first + position % context, first, context.min(position + 1)];
                let word = |value: usize| u32::try_from(value).expect("a position of 32 bits");
                table.extend(row.map(word));
            }
        }
        let table = Ids::new(table, [spans.iter().map(|span| span.tokens).sum(), Places::COLUMNS]);
        Places { spans: spans.into(), context, table }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.table.shape()[0]
    }

    pub(super) fn context(&self) -> usize {
        self.context
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn table(&self) -> &Ids {
        &self.table
    }

    /// The position of each row.
    pub(super) fn positions(&self) -> impl ExactSizeIterator<Item = usize> {
        self.column(0)
    }

    /// Which row of a memory with so many heads is that of a head at a slot.
    pub(super) fn row_of_memory(&self, slot: usize, head: usize, heads: usize) -> usize {
        (slot / self.context * heads + head) * self.context + slot % self.context
    }

    /// The slot of each row.
    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = usize> {
        self.column(1)
    }

    fn column(&self, column: usize) -> impl ExactSizeIterator<Item = usize> {
        self.table
            .as_slice()
            .iter()
            .skip(column)
            .step_by(Places::COLUMNS)
            .map(|word| *word as usize)
    }

    /// How many tokens the last row of a span sees.
    pub(super) fn seen(&self, span: &Span) -> usize {
        self.context.min(span.position + span.tokens)
    }

    /// That rows of these places belong in a memory of so many slots.
    pub(super) fn check(&self, slots: usize) -> Result<(), String> {
        let sequences = slots / self.context.max(1);
        match self.spans.iter().find(|span| span.sequence >= sequences) {
            Some(span) => Err(format!("sequence {} of {sequences}", span.sequence)),
            None if !slots.is_multiple_of(self.context.max(1)) => {
                Err(format!("places of {} positions for another cache", self.context))
            }
            None => Ok(()),
        }
    }
}

/// Memory for the keys or the values of some sequences, in f32 or half precision. A handle: a clone
/// means the same memory.
///
/// ```
/// use neutreno_engine::half::Precision;
/// use neutreno_engine::ops::cache::{Cache, Places, Span};
/// use neutreno_engine::{Device, Tensor};
/// let device = Device::cpu();
/// // One sequence, four positions, one head with two channels.
/// let cache = Cache::new([1, 4, 1, 2], Precision::F32, &device);
/// let tokens = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 1, 2], &device);
/// cache.write(&tokens, &Places::new(&[Span { sequence: 0, position: 0, tokens: 2 }], 4));
/// assert_eq!(cache.read(0, 2).to_vec()?, [1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(cache.bytes(), 4 * 2 * 4);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cache {
    /// Sequences, positions, heads, and the channels of a head.
    shape: [usize; 4],
    precision: Precision,
    /// A row for each position of each head of each sequence. In half precision, words of two numbers.
    memory: Tensor,
}

impl Cache {
    /// Memory with arbitrary contents for (sequences, positions, heads, channels of a head). Where a
    /// device has no room for it, the next wait for the device tells.
    ///
    /// # Panics
    /// If a size is 0, or in half precision a head has an odd number of channels.
    #[track_caller]
    pub fn new(shape: [usize; 4], precision: Precision, device: &Device) -> Cache {
        let [sequences, context, heads, size] = shape;
        assert!(!shape.contains(&0), "a cache of {shape:?} holds nothing");
        let even = precision.half().is_none() || size.is_multiple_of(2);
        assert!(even, "in {precision} a head needs an even number of channels, not {size}");
        let rows = sequences * heads * context;
        let memory = Tensor::uninitialized([rows, words(precision.half(), size)].into(), device);
        Cache { shape, precision, memory }
    }

    /// Sequences, positions, heads, and the channels of a head.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// How numbers are kept.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The bytes that all positions take.
    pub fn bytes(&self) -> u64 {
        4 * self.memory.elements() as u64
    }

    /// Puts rows (rows, heads, channels) in their places. In half precision each number becomes the
    /// nearest; one beyond the largest of the format becomes that.
    ///
    /// # Panics
    /// If the shapes do not fit or a place is not in the cache.
    #[track_caller]
    pub fn write(&self, rows: &Tensor, places: &Places) {
        self.check_rows(rows, places);
        if places.rows() > 0 {
            let (half, memory) = (self.precision.half(), self.memory.shape());
            let kernel = CacheWrite { half, memory, places: places.clone() };
            launch_into(&kernel, &[&rows.detach()], &[(&self.memory, false)]);
        }
    }

    /// What the first `positions` places of a sequence hold, in f32: (1, positions, heads, channels).
    ///
    /// # Panics
    /// If there is no such sequence or it has fewer positions.
    #[track_caller]
    pub fn read(&self, sequence: usize, positions: usize) -> Tensor {
        let [sequences, context, heads, size] = self.shape;
        assert!(sequence < sequences, "cache: sequence {sequence} of {sequences}");
        assert!(positions <= context, "cache: {positions} positions of {context}");
        let (half, first) = (self.precision.half(), sequence * context * heads);
        let kernel = CacheRead { half, context, heads, size, first, positions };
        let [rows] = launch(&kernel, &[&self.memory], self.memory.device());
        rows
    }

    /// That rows can be put in these places.
    #[track_caller]
    pub(super) fn check_rows(&self, rows: &Tensor, places: &Places) {
        let [_, context, heads, size] = self.shape;
        let shape = rows.shape();
        let fits = shape == [places.rows(), heads, size].into() && places.context == context;
        assert!(
            fits,
            "cache: rows of {shape} for {} places in a cache of {:?}",
            places.rows(),
            self.shape
        );
        check_devices("cache", rows.device(), self.memory.device());
        if let Err(problem) = places.check(self.memory.shape()[0] / heads) {
            panic!("cache: {problem}");
        }
    }

    /// Whether both are handles to one memory.
    pub(super) fn is_same(&self, other: &Cache) -> bool {
        self.memory.shares_memory(&other.memory)
    }

    pub(super) fn memory(&self) -> &Tensor {
        &self.memory
    }
}

/// The words of so many numbers.
pub(super) fn words(half: Option<Half>, numbers: usize) -> usize {
    if half.is_some() { numbers / 2 } else { numbers }
}

/// Rows (rows, heads, channels) into their places, in a memory that keeps the others.
#[derive(Clone, Debug)]
struct CacheWrite {
    half: Option<Half>,
    memory: Shape,
    places: Places,
}

impl Kernel for CacheWrite {
    fn name(&self) -> &'static str {
        "cache_write"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![self.memory])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 0, 2 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [heads, size] = [inputs[0].shape[1], inputs[0].shape[2]];
        let length = words(self.half, size);
        let rows = inputs[0].data.chunks_exact(heads * size);
        for (slot, row) in self.places.slots().zip(rows) {
            for (head, numbers) in row.chunks_exact(size).enumerate() {
                let at = self.places.row_of_memory(slot, head, heads) * length;
                pack(self.half, numbers, &mut outputs[0].data[at..at + length]);
            }
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let [rows, heads, size] = [0, 1, 2].map(|axis| inputs[0].shape[axis]);
        let (context, length) = (self.places.context(), words(self.half, size));
        let (count, format) = (rows * heads * length, format_number(self.half));
        let table = gpu.ids(self.places.table());
        let uniforms = uniforms! { count, heads, length, context, format };
        let inputs = [&inputs[0], &table];
        gpu.dispatch_elements("cache_write", &inputs, &[&outputs[0]], uniforms, count);
    }
}

/// Numbers as words.
pub(super) fn pack(half: Option<Half>, numbers: &[f32], words: &mut [f32]) {
    let Some(half) = half else { return words.copy_from_slice(numbers) };
    for (word, pair) in words.iter_mut().zip(numbers.as_chunks::<2>().0) {
        let [low, high] = pair.map(|number| u32::from(half.nearest_finite(number)));
        *word = f32::from_bits(low | high << 16);
    }
}

/// The first places of a sequence, in f32 and position by position: (1, positions, heads, channels).
#[derive(Clone, Debug)]
pub(super) struct CacheRead {
    pub half: Option<Half>,
    pub context: usize,
    pub heads: usize,
    pub size: usize,
    /// The row of the memory where the sequence begins.
    pub first: usize,
    pub positions: usize,
}

impl Kernel for CacheRead {
    fn name(&self) -> &'static str {
        "cache_read"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![Shape::from([1, self.positions, self.heads, self.size])])
    }

    fn cost(&self, _inputs: &[Shape]) -> Cost {
        let elements = self.positions * self.heads * self.size;
        Cost::elementwise(elements, 0, 2 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        self.read(inputs[0].data, &mut outputs[0]);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let CacheRead { context, heads, size, first, positions, .. } = *self;
        let elements = positions * heads * size;
        let format = format_number(self.half);
        let uniforms = uniforms! { elements, heads, size, context, first, format };
        gpu.dispatch_elements("cache_read", &[&inputs[0]], &[&outputs[0]], uniforms, elements);
    }
}

impl CacheRead {
    pub(super) fn read(&self, memory: &[f32], numbers: &mut [f32]) {
        let CacheRead { half, context, heads, size, first, .. } = *self;
        let length = words(half, size);
        numbers.par_chunks_mut(heads * size).enumerate().each(|(position, row)| {
            for (head, numbers) in row.chunks_exact_mut(size).enumerate() {
                let at = (first + head * context + position) * length;
                let words = &memory[at..at + length];
                match half {
                    None => numbers.copy_from_slice(words),
                    Some(half) => unpack(half, bytemuck::cast_slice(words), size, numbers),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    fn span(sequence: usize, position: usize, tokens: usize) -> Span {
        Span { sequence, position, tokens }
    }

    /// Rows of two sequences, of which one goes beyond its last position.
    #[test]
    fn rows_are_found_where_they_were_put() {
        let device = Device::cpu();
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            let cache = Cache::new([2, 3, 2, 4], precision, &device);
            let rows = |number: f32, count: usize| Tensor::full(number, [count, 2, 4], &device);
            cache.write(&rows(1.0, 3), &Places::new(&[span(0, 0, 3)], 3));
            cache.write(&rows(2.0, 2), &Places::new(&[span(1, 0, 2)], 3));
            cache.write(&rows(3.0, 2), &Places::new(&[span(1, 2, 1), span(0, 4, 1)], 3));
            let found = |sequence| {
                let all = cache.read(sequence, 3).to_vec().unwrap();
                all.chunks(8).map(|row| row[7]).collect::<Vec<_>>()
            };
            assert_eq!((found(0), found(1)), (vec![1.0, 3.0, 1.0], vec![2.0, 2.0, 3.0]));
            assert_eq!(cache.bytes(), 6 * 8 * precision.bytes() as u64);
        }
    }

    #[test]
    fn numbers_are_the_nearest_of_the_format_and_stay_finite() {
        let device = Device::cpu();
        let mut numbers = Key::new(1).uniforms(8, -3.0, 3.0);
        numbers[5] = 1e6;
        let rows = Tensor::new(&numbers, [1, 1, 8], &device);
        for (precision, half) in [(Precision::Bf16, Half::Bf16), (Precision::F16, Half::F16)] {
            let cache = Cache::new([1, 1, 1, 8], precision, &device);
            cache.write(&rows, &Places::new(&[span(0, 0, 1)], 1));
            let nearest = |number: &f32| half.value(half.nearest_finite(*number));
            let expected: Vec<f32> = numbers.iter().map(nearest).collect();
            assert_eq!(cache.read(0, 1).to_vec().unwrap(), expected);
        }
    }

    #[test]
    #[should_panic(expected = "2 tokens from position 2 on, in a cache of 3 positions")]
    fn several_tokens_do_not_go_around_the_end() {
        Places::new(&[span(0, 2, 2)], 3);
    }

    #[test]
    #[should_panic(expected = "sequence 2 of 2")]
    fn a_sequence_that_is_not_there_is_refused() {
        let device = Device::cpu();
        let cache = Cache::new([2, 3, 1, 1], Precision::F32, &device);
        let rows = Tensor::zeros([1, 1, 1], &device);
        cache.write(&rows, &Places::new(&[span(2, 0, 1)], 3));
    }
}
