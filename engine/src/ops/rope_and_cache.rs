//! Queries and keys turned by their positions, and keys and values put into their caches, in one go: what
//! attention over a cache needs of new tokens. The same as [`rope_at`](Tensor::rope_at) and
//! [`Cache::write`] one after another, bit for bit, in one dispatch and not four.
//!
//! It writes caches in place, so it is no op: there is no derivative and nothing to record.

use super::cache::{Cache, Places, pack, words};
use super::rope::{Rope, rotate};
use crate::device::cpu::few_rows::MOST_ROWS;
use crate::device::cpu::simd::{Body, vectorized};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::half::{Half, format_number};
use crate::tensor::{check, check_devices, launch_into};
use crate::{Ids, Shape, Tensor, uniforms};

/// New keys (rows, kv heads, d), and where they belong.
#[derive(Clone, Copy, Debug)]
pub struct Keep<'a> {
    /// K or a value of new tokens.
    pub rows: &'a Tensor,
    /// Where it is put.
    pub cache: &'a Cache,
}

impl Tensor {
    /// These queries (rows, heads, d) turned by their positions, at d/2 frequencies. Turned keys, and values
    /// as they are, are put into their caches; in half precision each number becomes the nearest.
    ///
    /// # Panics
    /// If the shapes, devices or formats do not fit, a place is not in a cache, or both caches are one.
    ///
    /// ```
    /// use neutreno_engine::half::Precision;
    /// use neutreno_engine::ops::cache::{Cache, Places, Span};
    /// use neutreno_engine::ops::rope_and_cache::Keep;
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let [keys, values] = [0, 1].map(|_| Cache::new([1, 8, 1, 2], Precision::F32, &device));
    /// let row = Tensor::new(&[1.0, 0.0], [1, 1, 2], &device);
    /// let places = Places::new(&[Span { sequence: 0, position: 3, tokens: 1 }], 8);
    /// let [keep, value] = [&keys, &values].map(|cache| Keep { rows: &row, cache });
    /// let query = row.rope_and_cache(keep, Some(value), &places, &[0.25]);
    /// let turned = [0.75_f32.cos(), 0.75_f32.sin()];
    /// assert_eq!(query.to_vec()?, turned);
    /// assert_eq!(keys.read(0, 4).to_vec()?[6..], turned);
    /// assert_eq!(values.read(0, 4).to_vec()?[6..], [1.0, 0.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn rope_and_cache(
        &self,
        keys: Keep,
        values: Option<Keep>,
        places: &Places,
        frequencies: &[f64],
    ) -> Tensor {
        for keep in [keys].into_iter().chain(values) {
            check_devices("rope_and_cache", self.device(), keep.rows.device());
            keep.cache.check_rows(keep.rows, places);
        }
        if let Some(values) = values {
            let apart = !values.cache.is_same(keys.cache);
            assert!(apart, "rope_and_cache: keys and values are put into one cache");
            let alike = values.cache.precision() == keys.cache.precision()
                && values.cache.shape() == keys.cache.shape();
            assert!(alike, "rope_and_cache: keys and values are kept in different ways");
        }
        if places.rows() > MOST_ROWS {
            keys.cache.write(&keys.rows.rope_at(places, frequencies), places);
            values.inspect(|values| values.cache.write(values.rows, places));
            return self.rope_at(places, frequencies);
        }
        let (half, memory) = (keys.cache.precision().half(), keys.cache.memory().shape());
        let turn = Turn { places: places.clone(), table: Rope::at(places, frequencies).table() };
        let kernel = RopeAndCache { half, turn, memory };
        let inputs = [self.detach(), keys.rows.detach()].into_iter();
        let inputs: Vec<Tensor> = inputs.chain(values.map(|values| values.rows.detach())).collect();
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let shape = check(&kernel, &inputs)[0];
        let turned = Tensor::uninitialized(shape, self.device());
        let kept = [keys].into_iter().chain(values).map(|keep| (keep.cache.memory(), false));
        let destinations: Vec<_> = [(&turned, false)].into_iter().chain(kept).collect();
        launch_into(&kernel, &inputs, &destinations);
        turned
    }
}

/// Where rows belong, and the cosines and sines of all positions.
#[derive(Clone, Debug)]
struct Turn {
    places: Places,
    table: Ids,
}

/// Inputs: q, k, and perhaps v. Outputs: q turned, and the memories of keys, and perhaps of values, of which
/// all else is left as it is.
#[derive(Clone, Debug)]
struct RopeAndCache {
    half: Option<Half>,
    turn: Turn,
    /// The shape of a memory.
    memory: Shape,
}

impl Kernel for RopeAndCache {
    fn name(&self) -> &'static str {
        "rope_and_cache"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let (q, k) = (inputs[0], inputs[1]);
        let size = self.turn.table.shape()[1];
        if q.rank() != 3 || q[0] != k[0] || q[2] != size || k[2] != size {
            return Err(format!("queries and keys are (rows, heads, {size})"));
        }
        Ok([q].into_iter().chain(inputs[1..].iter().map(|_| self.memory)).collect())
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs.iter().map(Shape::elements).sum();
        Cost::elementwise(elements, 3, 2 * elements)
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        Some(inputs[0][2])
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        vectorized(Rows { turn: &self.turn, half: self.half, inputs, outputs });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (q, k) = (&inputs[0], &inputs[1]);
        let [rows, heads, size] = [0, 1, 2].map(|axis| q.shape[axis]);
        let (kv_heads, length) = (k.shape[1], words(self.half, size));
        let (context, format) = (self.turn.places.context(), format_number(self.half));
        let has_values = inputs.len() > 2;
        let kept = if has_values { 2 } else { 1 };
        let count = rows * (heads * size + kept * kv_heads * length);
        let uniforms = uniforms! { count, rows, heads, kv_heads, size, length, context, format };
        let (table, places) = (gpu.ids(&self.turn.table), gpu.ids(self.turn.places.table()));
        let unused = gpu.scratch([1]);
        let inputs = [q, k, inputs.get(2).unwrap_or(k), &table, &places];
        let outputs = [&outputs[0], &outputs[1], outputs.get(2).unwrap_or(&unused)];
        gpu.dispatch_elements("rope_and_cache", &inputs, &outputs, uniforms, count);
    }
}

/// The loop over rows.
struct Rows<'a, 'b, 'c> {
    turn: &'a Turn,
    half: Option<Half>,
    inputs: &'a [View<'b>],
    outputs: &'a mut [ViewMut<'c>],
}

impl Body for Rows<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [heads, size] = [self.inputs[0].shape[1], self.inputs[0].shape[2]];
        let (kv_heads, length) = (self.inputs[1].shape[1], words(self.half, size));
        let Turn { places, table } = self.turn;
        let table: &[f32] = bytemuck::cast_slice(table.as_slice());
        let (turned, outputs) = self.outputs.split_last_mut().expect("working memory");
        let turned = &mut turned.data[..size];
        for (row, (position, slot)) in places.positions().zip(places.slots()).enumerate() {
            let angles = table[position * size..][..size].split_at(size / 2);
            for head in row * heads..(row + 1) * heads {
                let q = &self.inputs[0].data[head * size..][..size];
                rotate(q, &mut outputs[0].data[head * size..][..size], angles, 1.0, false);
            }
            for head in 0..kv_heads {
                let at = places.row_of_memory(slot, head, kv_heads) * length;
                let numbers = (row * kv_heads + head) * size;
                rotate(&self.inputs[1].data[numbers..][..size], turned, angles, 1.0, false);
                pack(self.half, turned, &mut outputs[1].data[at..at + length]);
                if let Some(v) = self.inputs.get(2) {
                    let v = &v.data[numbers..][..size];
                    pack(self.half, v, &mut outputs[2].data[at..at + length]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::half::Precision;
    use crate::ops::cache::Span;
    use crate::random::Key;

    /// Rows of two sequences, one of which goes beyond its last position.
    #[test]
    fn it_keeps_what_the_two_steps_keep() {
        let device = Device::cpu();
        let spans = [(1, 2, 3), (0, 9, 1)];
        let spans = spans.map(|(sequence, position, tokens)| Span { sequence, position, tokens });
        let places = Places::new(&spans, 6);
        let tensor = |seed, heads: usize| {
            let numbers = Key::new(seed).normals(4 * heads * 10, 0.0, 1.0);
            Tensor::new(&numbers, [4, heads, 10], &device)
        };
        let [q, k, v] = [tensor(1, 6), tensor(2, 3), tensor(3, 3)];
        let frequencies = [1.0, 0.5, 0.25, 0.125, 0.01];
        for precision in Precision::ALL {
            let caches = || {
                [0, 1].map(|_| {
                    let cache = Cache::new([2, 6, 3, 10], precision, &device);
                    cache.memory().overwrite(&vec![0.0; cache.memory().elements()]);
                    cache
                })
            };
            let all = |[keys, values]: &[Cache; 2]| {
                let read = |cache: &Cache| [0, 1].map(|i| cache.read(i, 6).to_vec().unwrap());
                (read(keys), read(values))
            };
            let expected = caches();
            expected[0].write(&k.rope_at(&places, &frequencies), &places);
            for with_values in [false, true] {
                let found = caches();
                let [keys, values] =
                    [(&k, &found[0]), (&v, &found[1])].map(|(rows, cache)| Keep { rows, cache });
                let values = with_values.then_some(values);
                let turned = q.rope_and_cache(keys, values, &places, &frequencies);
                let query = q.rope_at(&places, &frequencies).to_vec().unwrap();
                assert_eq!(turned.to_vec().unwrap(), query);
                if with_values {
                    expected[1].write(&v, &places);
                }
                assert!(all(&found) == all(&expected), "{precision} {with_values}");
            }
        }
    }
}
