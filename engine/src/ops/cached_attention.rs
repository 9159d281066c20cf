//! Attention of new tokens over all that a cache keeps of their sequences: what generation computes.
//!
//! O = P·V′ + c·(V₁ − V) with P = softmax(Q·K′ᵀ/√d) over the tokens up to each one's own, for each head. K′
//! and V′ are what the [`Cache`]s hold, the new tokens' own included; V and V₁, of the fidelity term, are of
//! the new tokens alone, so that NeuTRENO keeps no more than a Transformer does (Nguyen et al. 2023, arXiv
//! 2312.00751).
//!
//! There is no derivative. Few queries read each key and value once, in parts of 256 that are put together
//! at the end ("Flash-Decoding": Dao, Haziza, Massa & Sizov 2023); many go the way of
//! [`attention`](super::attention). Cost a pair of a query and a key that it sees: 4·d flops; each key and
//! value is read once.

mod cpu;
mod few_queries;

use cpu::FEW;
use few_queries::PART;

use super::attention::Coefficient;
use super::attention::fused::{self, Sizes};
use super::cache::{Cache, CacheRead, Places, Span, words};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::scratch::cut;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::half::{Half, format_number};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};

/// The fidelity term of new tokens: c·(V₁ − V), from their own values and those of the first layer, both
/// (rows, kv heads, d).
#[derive(Clone, Debug)]
pub struct Fidelity<'a> {
    /// V.
    pub own: &'a Tensor,
    /// V₁.
    pub first: &'a Tensor,
    /// c.
    pub coefficient: &'a Coefficient,
}

impl Tensor {
    /// Attention of the queries of new tokens, (rows, heads, d), over the keys and values that caches
    /// keep of their sequences, up to each token's own position; those of the new tokens have been
    /// written before. A sequence that has gone beyond the last position sees all that is left.
    ///
    /// # Panics
    /// If the shapes or devices do not fit, or a tensor is tracked: there is no derivative.
    ///
    /// ```
    /// use neutreno_engine::half::Precision;
    /// use neutreno_engine::ops::cache::{Cache, Places, Span};
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let [keys, values] = [0, 1].map(|_| Cache::new([1, 4, 1, 1], Precision::F32, &device));
    /// let both = Places::new(&[Span { sequence: 0, position: 0, tokens: 2 }], 4);
    /// let zeros = Tensor::zeros([2, 1, 1], &device);
    /// keys.write(&zeros, &both);
    /// values.write(&Tensor::new(&[1.0, 3.0], [2, 1, 1], &device), &both);
    /// let o = zeros.cached_attention(&keys, &values, None, &both);
    /// assert_eq!(o.to_vec()?, [1.0, 2.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn cached_attention(
        &self,
        keys: &Cache,
        values: &Cache,
        fidelity: Option<&Fidelity>,
        places: &Places,
    ) -> Tensor {
        let [sequences, context, kv_heads, head_size] = keys.shape();
        let alike = keys.shape() == values.shape() && keys.precision() == values.precision();
        assert!(alike, "cached_attention: keys and values are kept in different ways");
        assert!(context == places.context(), "cached_attention: places of another cache");
        let shape = self.shape();
        let fits = shape.rank() == 3 && shape[0] == places.rows() && shape[2] == head_size;
        assert!(
            fits && shape[1].is_multiple_of(kv_heads),
            "cached_attention: queries of {shape} for {} rows over a cache of {:?}",
            places.rows(),
            [sequences, context, kv_heads, head_size]
        );
        let mut inputs = vec![self, keys.memory(), values.memory()];
        let mut coefficient = None;
        if let Some(Fidelity { own, first, coefficient: c }) = fidelity {
            inputs.extend([own, first]);
            coefficient = Some(match c {
                Coefficient::Constant(value) => Some(*value),
                Coefficient::Tensor(tensor) => {
                    inputs.push(tensor);
                    None
                }
            });
        }
        let half = keys.precision().half();
        let op = CachedAttention { half, kv_heads, places: places.clone(), coefficient };
        let [output] = apply_built_in(op, &inputs);
        output
    }
}

/// Inputs: q, the memories of keys and of values; with a fidelity term v, v₁, and c if it is a tensor.
#[derive(Clone, Debug)]
pub struct CachedAttention {
    half: Option<Half>,
    kv_heads: usize,
    places: Places,
    /// With a fidelity term its coefficient, `None` for that of an input.
    coefficient: Option<Option<f32>>,
}

impl CachedAttention {
    /// The sizes of the attention of a span over all that its last query sees.
    fn sizes(&self, q: &Shape, span: &Span) -> Sizes {
        Sizes {
            batch: 1,
            queries: span.tokens,
            keys: self.places.seen(span),
            heads: q[1],
            kv_heads: self.kv_heads,
            head_size: q[2],
            causal: true,
        }
    }

    /// How many keys the queries see together.
    fn pairs(&self) -> usize {
        let of_span = |span: &Span| {
            let last = self.places.seen(span);
            (last - span.tokens + 1 + last) * span.tokens / 2
        };
        self.places.spans().iter().map(of_span).sum()
    }

    /// The parts of the longest row.
    fn parts(&self) -> usize {
        let longest = self.places.spans().iter().map(|span| self.places.seen(span)).max();
        longest.unwrap_or(0).div_ceil(PART)
    }
}

impl Kernel for CachedAttention {
    fn name(&self) -> &'static str {
        "cached_attention"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]];
        if q.rank() != 3 || q[0] != self.places.rows() || q.elements() == 0 {
            return Err("it takes queries of (rows, heads, head size), and none can be 0".into());
        }
        if self.kv_heads == 0 || !q[1].is_multiple_of(self.kv_heads) {
            return Err("the number of heads must be a multiple of the kv heads".into());
        }
        if self.half.is_some() && !q[2].is_multiple_of(2) {
            return Err("in half precision a head needs an even number of channels".into());
        }
        if k != v || k.rank() != 2 || k[1] != words(self.half, q[2]) {
            return Err("the memories of keys and values need rows of the head size".into());
        }
        self.places.check(k[0] / self.kv_heads)?;
        let own = Shape::from([q[0], self.kv_heads, q[2]]);
        if self.coefficient.is_some() && inputs[3..5] != [own, own] {
            return Err(format!("the values of a fidelity term are {own}"));
        }
        if inputs.get(5).is_some_and(|shape| shape.elements() != 1) {
            return Err("a coefficient is a number or a tensor of one element".into());
        }
        Ok(vec![*q])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let [heads, head_size] = [inputs[0][1], inputs[0][2]];
        let row = 4 * words(self.half, self.kv_heads * head_size);
        let read: usize = self.places.spans().iter().map(|span| 2 * self.places.seen(span)).sum();
        let flops = self.pairs() * heads * (4 * head_size + 4);
        let bytes = read * row + 8 * inputs[0].elements();
        Cost { flops: flops as u64, bytes: bytes as u64 }
    }

    fn scratch(&self, inputs: &[Shape], threads: usize) -> Option<usize> {
        let of_span = |span: &Span| cpu::scratch(&self.sizes(&inputs[0], span), threads);
        Some(self.places.spans().iter().map(of_span).max().unwrap_or(0))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [output, scratch] = outputs else { unreachable!("o and the working memory") };
        let shape = inputs[0].shape;
        let row = shape[1] * shape[2];
        let (mut q, mut o): (&[f32], &mut [f32]) = (inputs[0].data, &mut *output.data);
        for span in self.places.spans() {
            let sizes = self.sizes(&shape, span);
            let context = self.places.context();
            let sequence = context * self.kv_heads * words(self.half, sizes.head_size);
            let [k, v] =
                [1, 2].map(|memory| &inputs[memory].data[span.sequence * sequence..][..sequence]);
            let (queries, rest) = q.split_at(span.tokens * row);
            q = rest;
            let output = cut(&mut o, span.tokens * row);
            cpu::attend(self.half, &sizes, context, [queries, k, v], output, scratch);
        }
        if let Some(coefficient) = self.coefficient {
            let c = coefficient.unwrap_or_else(|| inputs[5][0]);
            let sizes = [shape[1], self.kv_heads, shape[2]];
            fused::add_fidelity(sizes, c, inputs[3].data, inputs[4].data, output.data);
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        match self.places.spans() {
            [span] if span.tokens > FEW => self.record_many(span, inputs, &outputs[0], gpu),
            _ => self.record_few(inputs, &outputs[0], gpu),
        }
        if let Some(coefficient) = self.coefficient {
            let q = inputs[0].shape;
            let [heads, kv_heads, head_size] = [q[1], self.kv_heads, q[2]];
            let (elements, is_input) = (q.elements(), coefficient.is_none());
            let constant = coefficient.unwrap_or(0.0);
            let uniforms = uniforms! { elements, heads, kv_heads, head_size, constant, is_input };
            let operands = [&inputs[3], &inputs[4], inputs.get(5).unwrap_or(&inputs[3])];
            let entry_point = "cached_attention_fidelity";
            gpu.dispatch_elements(entry_point, &operands, &[&outputs[0]], uniforms, elements);
        }
    }
}

impl CachedAttention {
    /// A workgroup for each part of the keys of a row and head, and one that puts these together.
    fn record_few(&self, inputs: &[Binding], output: &Binding, gpu: &mut Recorder) {
        let q = inputs[0].shape;
        let [rows, heads, head_size] = [q[0], q[1], q[2]];
        let (kv_heads, parts, format) = (self.kv_heads, self.parts(), format_number(self.half));
        let (scale, context) = (1.0 / (head_size as f32).sqrt(), self.places.context());
        let sums = gpu.scratch([rows * heads, parts, head_size + 2]);
        let table = gpu.ids(self.places.table());
        let uniforms =
            uniforms! { rows, heads, kv_heads, head_size, context, parts, format, scale };
        let operands = [&inputs[0], &inputs[1], &inputs[2], &table];
        let entry_point = "cached_attention_parts";
        gpu.dispatch(entry_point, &operands, &[&sums], uniforms, rows * heads * parts, 0);
        let elements = q.elements();
        let uniforms = uniforms! { elements, head_size, parts };
        let entry_point = "cached_attention_combine";
        gpu.dispatch_elements(entry_point, &[&sums], &[output], uniforms, elements);
    }

    /// What the memory holds in f32, and attention over it as in training.
    fn record_many(&self, span: &Span, inputs: &[Binding], output: &Binding, gpu: &mut Recorder) {
        let sizes = self.sizes(&inputs[0].shape, span);
        let (context, heads, size) = (self.places.context(), self.kv_heads, sizes.head_size);
        let (first, positions) = (span.sequence * context * heads, sizes.keys);
        let read = CacheRead { half: self.half, context, heads, size, first, positions };
        let [k, v] = [1, 2].map(|memory| {
            let numbers = gpu.scratch([1, positions, heads, size]);
            read.gpu(&inputs[memory..=memory], std::slice::from_ref(&numbers), gpu);
            numbers
        });
        fused::record_plain(&sizes, [&inputs[0], &k, &v], output, gpu);
    }
}

impl Op for CachedAttention {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("what a cache holds was written in place, and is only read; training has `attention`")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {
        unreachable!("it has no derivative");
    }
}

impl Proven for CachedAttention {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![reference(self, inputs)]
    }

    fn cases() -> Vec<Case> {
        cases()
    }
}

/// Row by row, from the definition.
fn reference(op: &CachedAttention, inputs: &[Array64]) -> Array64 {
    let q = &inputs[0];
    let [heads, size] = [q.shape[1], q.shape[2]];
    let [keys, values] = [&inputs[1], &inputs[2]].map(|memory| match op.half {
        Some(half) => super::half_rows::reference_rows(half, memory, size),
        None => memory.clone(),
    });
    let spans = op.places.spans().iter();
    let tokens: Vec<(usize, usize)> = spans
        .flat_map(|span| (0..span.tokens).map(|token| (span.sequence, span.position + token)))
        .collect();
    let context = op.places.context();
    let output = Array64::from_fn(q.shape, |index| {
        let (row, head, channel) = (index / (heads * size), index / size % heads, index % size);
        let kv_head = head / (heads / op.kv_heads);
        let (sequence, position) = tokens[row];
        let seen = (position + 1).min(context);
        let at = |memory: &Array64, key: usize, channel: usize| {
            memory.row((sequence * op.kv_heads + kv_head) * context + key)[channel]
        };
        let query = q.row(row * heads + head);
        let score = |key: usize| {
            let dot: f64 = (0..size).map(|channel| query[channel] * at(&keys, key, channel)).sum();
            dot / (size as f64).sqrt()
        };
        let scores: Vec<f64> = (0..seen).map(score).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
        let weight = |score: &f64| (score - largest).exp() / total;
        let averaged: f64 =
            scores.iter().enumerate().map(|(key, s)| weight(s) * at(&values, key, channel)).sum();
        let Some(coefficient) = op.coefficient else { return averaged };
        let c = coefficient.map_or_else(|| inputs[5].data[0], f64::from);
        let own = (row * op.kv_heads + kv_head) * size + channel;
        averaged + c * (inputs[4].data[own] - inputs[3].data[own])
    });
    output.with_magnitude(1.0)
}

fn cases() -> Vec<Case> {
    let span = |(sequence, position, tokens)| Span { sequence, position, tokens };
    // Sequences, positions, heads, kv heads, head size.
    let one = ([1, 1, 1, 1, 2], vec![(0, 0, 1)]);
    let several = ([3, 40, 6, 2, 4], vec![(2, 7, 1), (0, 0, 5), (1, 30, 10)]);
    let long = ([1, 600, 4, 1, 6], vec![(0, 550, 1)]);
    let long_and_short = ([2, 300, 3, 3, 10], vec![(1, 256, 1), (0, 3, 1)]);
    let around = ([2, 20, 4, 2, 8], vec![(0, 33, 1), (1, 20, 1)]);
    let many = ([2, 90, 4, 2, 16], vec![(1, 25, 60)]);
    let full = ([1, 33, 2, 2, 2], vec![(0, 0, 33)]);
    let wide = ([1, 9, 3, 1, 64], vec![(0, 5, 3)]);
    let fidelities = [None, Some(Some(0.4)), Some(None)];
    let mut cases = Vec::new();
    let all = [one, several, long, long_and_short, around, many, full, wide];
    for (index, ([sequences, context, heads, kv_heads, size], spans)) in all.into_iter().enumerate()
    {
        let spans: Vec<Span> = spans.into_iter().map(span).collect();
        let places = Places::new(&spans, context);
        for half in [None, Some(Half::Bf16), Some(Half::F16)] {
            let coefficient = fidelities[(index + format_number(half)) % 3];
            let label = spans.iter().map(|span| format!("{}+{}", span.position, span.tokens));
            let label = label.collect::<Vec<_>>().join(", ");
            let label = format!("{label} of {sequences} × {context}, {half:?}, {coefficient:?}");
            let rows = places.rows();
            let places = places.clone();
            let op = CachedAttention { half, kv_heads, places, coefficient };
            let mut case = Case::new(label, op).between([rows, heads, size], -2.0, 2.0);
            let shape = [sequences * kv_heads * context, size];
            for seed in 0..2 {
                case = match half {
                    None => case.between(shape, -2.0, 2.0),
                    Some(half) => {
                        let words = super::half_rows::uniform_case_words(half, shape, seed);
                        case.values(&words, [shape[0], shape[1] / 2])
                    }
                };
            }
            if let Some(coefficient) = coefficient {
                let own = [rows, kv_heads, size];
                case = case.input(own).input(own);
                case = if coefficient.is_none() { case.values(&[-0.3], [1]) } else { case };
            }
            cases.push(case.tolerance(2e-5));
        }
    }
    cases
}
