//! Dropout: y = mask ⊙ x / (1 − p), where each element of the mask is 0 with probability p, else 1
//! ("inverted": the mean of y is x, and evaluation just leaves the op out; Srivastava et al. 2014).
//!
//! The mask is made of the key's random words, element i from word i, the same on every device.
//!
//! Derivative: dx = mask ⊙ dy / (1 − p): the same kernel, which makes the mask again from the key.
//! Saves nothing but the key. Cost an element: 1 flop, 8 bytes, in both directions.

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd::{Body, CHUNK, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::random::{Key, threefry};
use crate::{Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// Sets each element to 0 with the probability given and divides the others by
    /// 1 − probability. The key decides which: the same key gives the same mask, so every step and
    /// every place in a model needs a key of its own.
    ///
    /// # Panics
    /// If the probability is not in [0, 1).
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor, random::Key};
    /// let x = Tensor::full(1.0, [1000], &Device::cpu());
    /// let y = x.dropout(0.5, Key::new(1)).to_vec()?;
    /// assert!(y.iter().all(|y| [0.0, 2.0].contains(y)));
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn dropout(&self, probability: f32, key: Key) -> Tensor {
        assert!((0.0..1.0).contains(&probability), "dropout: {probability} is not in [0, 1)");
        if probability == 0.0 {
            return self.clone();
        }
        let [y] = apply_built_in(Dropout { probability, key }, &[self]);
        y
    }
}

/// y = mask ⊙ x / (1 − probability).
#[derive(Clone, Debug)]
pub struct Dropout {
    probability: f32,
    key: Key,
}

impl Dropout {
    /// An element is kept if the upper 24 bits of its word, a whole number, are no less than this.
    /// (That is u ≥ p for the uniform number u = bits / 2²⁴.)
    fn threshold(&self) -> u32 {
        (f64::from(self.probability) * f64::from(1u32 << 24)).ceil() as u32
    }

    /// What elements that are kept are multiplied by.
    fn factor(&self) -> f32 {
        1.0 / (1.0 - self.probability)
    }
}

impl Kernel for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 1, 2 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let add = outputs[0].add;
        let Dropout { key, .. } = *self;
        let (threshold, factor) = (self.threshold(), self.factor());
        let chunks = outputs[0].par_chunks_mut(CHUNK).zip(inputs[0].par_chunks(CHUNK));
        chunks.enumerate().each(|(index, (y, x))| {
            vectorized(Masked {
                key,
                block: (index * CHUNK / 2) as u64,
                threshold,
                factor,
                x,
                y,
                add,
            });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let [x, y] = [&inputs[0], &outputs[0]];
        let elements = x.shape.elements();
        let [key_0, key_1] = self.key.words();
        let uniforms = uniforms! {
            elements,
            add: y.add,
            key_0,
            key_1,
            threshold: self.threshold(),
            factor: self.factor(),
        };
        // An invocation for the two elements of a block of random words.
        let blocks = elements.div_ceil(2);
        gpu.dispatch_elements("dropout_forward", &[x], &[y], uniforms, blocks);
    }
}

/// The loop of [`Dropout`] over a chunk that starts with random block number `block`: a block has
/// the words of two elements.
struct Masked<'a> {
    key: Key,
    block: u64,
    threshold: u32,
    factor: f32,
    x: &'a [f32],
    y: &'a mut [f32],
    add: bool,
}

impl Body for Masked<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let key = self.key.words();
        let [low, high] = [self.block as u32, (self.block >> 32) as u32];
        let words = |pair: usize| threefry(key, [low.wrapping_add(pair as u32), high]);
        let masked =
            |word: u32, x: f32| if word >> 8 >= self.threshold { x * self.factor } else { 0.0 };
        let (pairs, rest) = self.y.as_chunks_mut::<2>();
        let (x_pairs, x_rest) = self.x.as_chunks::<2>();
        let last = pairs.len();
        for (pair, (y, x)) in pairs.iter_mut().zip(x_pairs).enumerate() {
            let word = words(pair);
            for i in 0..2 {
                let before = if self.add { y[i] } else { 0.0 };
                y[i] = before + masked(word[i], x[i]);
            }
        }
        for (y, x) in rest.iter_mut().zip(x_rest) {
            let before = if self.add { *y } else { 0.0 };
            *y = before + masked(words(last)[0], *x);
        }
    }
}

impl Op for Dropout {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
        let gradient = context.take_of_output(0);
        context.accumulate_with(self, &[&gradient], &[0]);
    }
}

impl Proven for Dropout {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let p = f64::from(self.probability);
        let masked = |i: usize| {
            let kept = f64::from(self.key.uniform(i as u64)) >= p;
            if kept { inputs[0].data[i] / (1.0 - p) } else { 0.0 }
        };
        vec![Array64::from_fn(inputs[0].shape, masked)]
    }

    fn cases() -> Vec<Case> {
        let case = |(count, probability)| {
            let op = Dropout { probability, key: Key::new(u64::MAX - 5).fold(count as u64) };
            Case::new(format!("{count}, p = {probability}"), op).input([count])
        };
        [(1, 0.5), (3, 0.1), (17, 0.3), (63, 0.9), (65, 0.5), (257, 0.2), (40_001, 0.1)]
            .map(case)
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn the_kept_fraction_is_right() {
        let count = 200_000;
        let x = Tensor::full(1.0, [count], &Device::cpu());
        for probability in [0.1, 0.5, 0.9] {
            let y = x.dropout(probability, Key::new(9)).to_vec().unwrap();
            let kept = y.iter().filter(|y| **y != 0.0).count() as f32 / count as f32;
            let deviation = (probability * (1.0 - probability) / count as f32).sqrt();
            assert!((kept - (1.0 - probability)).abs() < 4.0 * deviation, "{probability}: {kept}");
        }
    }

    #[test]
    fn the_key_alone_decides() {
        let x = Tensor::full(1.0, [1001], &Device::cpu());
        let mask = |key: Key| x.dropout(0.5, key).to_vec().unwrap();
        assert_eq!(mask(Key::new(1)), mask(Key::new(1)));
        assert_ne!(mask(Key::new(1)), mask(Key::new(2)));
    }

    #[test]
    #[should_panic(expected = "dropout: 1 is not in [0, 1)")]
    fn a_probability_of_one_is_refused() {
        Tensor::full(1.0, [1], &Device::cpu()).dropout(1.0, Key::new(1));
    }
}
