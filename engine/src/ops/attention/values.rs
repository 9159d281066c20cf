//! What the variants add around plain attention: mixed values before it, and in the derivative the
//! row sums, the gradients of both values, and those of learnable factors.

use super::sizes::Sizes;
use crate::device::cpu::simd::{self, Body, dot, for_chunks, vectorized};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::{Shape, words};
use rayon::prelude::*;

/// One of a, b and c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Factor {
    Constant(f32),
    /// A kernel's input.
    Input,
}

/// a, b and c. Those that are inputs stand, in this order, at the end of a kernel's inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factors(pub [Factor; 3]);

impl Factors {
    /// (1, 0, 0).
    pub const PLAIN: Factors =
        Factors([Factor::Constant(1.0), Factor::Constant(0.0), Factor::Constant(0.0)]);

    pub fn is_plain(&self) -> bool {
        self.0 == Factors::PLAIN.0
    }

    /// Whether a·V + b·V₁ is anything but V.
    pub fn mixes(&self) -> bool {
        self.0[..2] != Factors::PLAIN.0[..2]
    }

    /// Whether there is a term c·(V₁ − V).
    pub fn fidelity_acts(&self) -> bool {
        self.0[2] != Factor::Constant(0.0)
    }

    /// Which of a, b and c (0, 1 and 2) are inputs.
    pub fn learnable(&self) -> impl Iterator<Item = usize> {
        let factors = self.0;
        (0..3).filter(move |index| factors[*index] == Factor::Input)
    }

    /// The numbers on the CPU, given the inputs from the first factor on.
    pub fn values(&self, inputs: &[View]) -> [f32; 3] {
        let mut inputs = inputs.iter();
        self.0.map(|factor| match factor {
            Factor::Constant(value) => value,
            Factor::Input => inputs.next().map_or(0.0, |view| view[0]),
        })
    }

    /// The three numbers in one buffer; any buffer if they are plain, for no shader reads it then.
    pub fn gather(&self, inputs: &[Binding], start: usize, gpu: &mut Recorder) -> Binding {
        if self.is_plain() {
            return inputs[0].clone();
        }
        let gathered = gpu.scratch([3]);
        let mut given = inputs[start..].iter();
        // A constant takes its place in the shader's uniforms; its binding is not read.
        let sources = self.0.map(|factor| match factor {
            Factor::Constant(value) => (Some(value), &inputs[0]),
            Factor::Input => (None, given.next().expect("an input for each factor")),
        });
        let [a, b, c] = sources;
        let constants = sources.map(|(value, _)| value.unwrap_or(0.0));
        let learnt = sources.map(|(value, _)| value.is_none());
        gpu.dispatch_rows(
            "attention_values_factors",
            &[a.1, b.1, c.1],
            &[&gathered],
            words![
                constants[0],
                constants[1],
                constants[2],
                learnt[0],
                learnt[1],
                learnt[2],
            ],
            1,
        );
        gathered
    }
}

/// V′ = a·V + b·V₁. Inputs: v, the first values, the learnable factors.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    pub factors: Factors,
}

impl Kernel for Mix {
    fn name(&self) -> &'static str {
        "attention_mix"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 3, 3 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [a, b, _] = self.factors.values(&inputs[2..]);
        let [v, first] = [inputs[0].data, inputs[1].data];
        for_chunks(&mut outputs[0], |start, piece| {
            let pairs = v[start..].iter().zip(&first[start..]);
            piece.iter_mut().zip(pairs).for_each(|(y, (v, v1))| *y = a * v + b * v1);
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let factors = self.factors.gather(inputs, 2, gpu);
        let elements = inputs[0].shape.elements();
        let operands = [&inputs[0], &inputs[1], &factors];
        let uniforms = words![elements];
        gpu.dispatch_elements(
            "attention_values_mix",
            &operands,
            &[&outputs[0]],
            uniforms,
            elements,
        );
    }
}

/// D = Σ_channels G ⊙ (O − c·(V₁ − V)) for each row. Inputs: the gradient of o, and o; if there is
/// a c-term, also v, the first values and the learnable factors.
#[derive(Clone, Debug)]
pub(super) struct RowSums {
    pub factors: Factors,
}

impl RowSums {
    fn sizes(&self, o: &Shape, values: Option<&Shape>) -> Sizes {
        Sizes::new(o, values.unwrap_or(o), false)
    }
}

impl Kernel for RowSums {
    fn name(&self) -> &'static str {
        "attention_row_sums"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![self.sizes(&inputs[0], None).rows()])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let per_element = if self.factors.fidelity_acts() { 5 } else { 2 };
        let moved = inputs.iter().map(Shape::elements).sum();
        Cost::elementwise(inputs[0].elements(), per_element, moved)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [gradient, output] = [inputs[0].data, inputs[1].data];
        let values = inputs.get(2).map(|values| &values.shape);
        let sizes = self.sizes(&inputs[0].shape, values);
        let pull = match inputs {
            [_, _, v, first, factors @ ..] => {
                Some((v.data, first.data, self.factors.values(factors)[2]))
            }
            _ => None,
        };
        let rows = simd::rows_per_task(sizes.head_size);
        let pieces = outputs[0].par_chunks_mut(rows).enumerate();
        pieces.for_each(|(index, sums)| {
            let start = index * rows;
            vectorized(SumRows { sizes, gradient, output, pull, start, sums });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let acts = self.factors.fidelity_acts();
        let sizes = self.sizes(&inputs[0].shape, inputs.get(2).map(|values| &values.shape));
        let rows = outputs[0].shape.elements();
        let mut uniforms = words![rows].to_vec();
        uniforms.extend(sizes.position_words());
        uniforms.extend_from_slice(words![acts]);
        let unused = &inputs[0];
        let factors = if acts { self.factors.gather(inputs, 4, gpu) } else { unused.clone() };
        let [v, first] = [2, 3].map(|index| inputs.get(index).unwrap_or(unused));
        let operands = [&inputs[0], &inputs[1], v, first, &factors];
        let entry_point = "attention_values_row_sums";
        gpu.dispatch_elements(entry_point, &operands, &[&outputs[0]], &uniforms, rows);
    }
}

/// The loop of [`RowSums`] over the rows from `start` on; `pull` has v, the first values and c.
struct SumRows<'a> {
    sizes: Sizes,
    gradient: &'a [f32],
    output: &'a [f32],
    pull: Option<(&'a [f32], &'a [f32], f32)>,
    start: usize,
    sums: &'a mut [f32],
}

impl Body for SumRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.sizes.head_size;
        for (row, sum) in (self.start..).zip(self.sums) {
            let gradient = &self.gradient[row * width..(row + 1) * width];
            *sum = dot(gradient, &self.output[row * width..]);
            if let Some((v, first, fidelity)) = self.pull {
                let own = self.sizes.own_value(row) * width;
                *sum -= fidelity * (dot(gradient, &first[own..]) - dot(gradient, &v[own..]));
            }
        }
    }
}

/// dV = a·dV′ − c·G, or dV₁ = b·dV′ + c·G, where G is summed over the query heads of a kv head.
/// Inputs: dV′, the gradient of o, the learnable factors.
#[derive(Clone, Debug)]
pub(super) struct ValueGradients {
    pub factors: Factors,
    pub of_first: bool,
}

impl Kernel for ValueGradients {
    fn name(&self) -> &'static str {
        "attention_value_gradients"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 3, 2 * elements + inputs[1].elements())
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let sizes = Sizes::new(&inputs[1].shape, &inputs[0].shape, false);
        let [own, first, fidelity] = self.factors.values(&inputs[2..]);
        let (weight, pull) = if self.of_first { (first, fidelity) } else { (own, -fidelity) };
        let [mixed, gradient] = [inputs[0].data, inputs[1].data];
        let add = outputs[0].add;
        let rows = simd::rows_per_task(sizes.head_size);
        let pieces = outputs[0].par_chunks_mut(rows * sizes.head_size).enumerate();
        pieces.for_each(|(index, output)| {
            let start = index * rows;
            vectorized(WeighRows { sizes, mixed, gradient, weight, pull, start, output, add });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let sizes = Sizes::new(&inputs[1].shape, &inputs[0].shape, false);
        let factors = self.factors.gather(inputs, 2, gpu);
        let elements = inputs[0].shape.elements();
        let mut uniforms = words![elements].to_vec();
        uniforms.extend(sizes.position_words());
        let flags = words![self.of_first, self.factors.fidelity_acts(), outputs[0].add];
        uniforms.extend_from_slice(flags);
        let operands = [&inputs[0], &inputs[1], &factors];
        let entry_point = "attention_values_gradients";
        gpu.dispatch_elements(entry_point, &operands, &[&outputs[0]], &uniforms, elements);
    }
}

/// The loop of [`ValueGradients`] over the rows from `start` on: weight · dV′ + pull · G.
struct WeighRows<'a> {
    sizes: Sizes,
    mixed: &'a [f32],
    gradient: &'a [f32],
    weight: f32,
    pull: f32,
    start: usize,
    output: &'a mut [f32],
    add: bool,
}

impl Body for WeighRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let WeighRows { sizes, mixed, gradient, weight, pull, .. } = self;
        let width = sizes.head_size;
        for (row, output) in (self.start..).zip(self.output.chunks_exact_mut(width)) {
            let mixed = &mixed[row * width..(row + 1) * width];
            if self.add {
                output.iter_mut().zip(mixed).for_each(|(y, x)| *y += weight * x);
            } else {
                output.iter_mut().zip(mixed).for_each(|(y, x)| *y = weight * x);
            }
            if pull != 0.0
                && let Some(query) = sizes.query_of(row)
            {
                let group = &gradient[query * width..(query + sizes.group()) * width];
                for gradient in group.chunks_exact(width) {
                    output.iter_mut().zip(gradient).for_each(|(y, g)| *y += pull * g);
                }
            }
        }
    }
}

/// da = ⟨dV′, V⟩, db = ⟨dV′, V₁⟩ or dc = ⟨G, V₁ − V⟩ (0, 1 or 2). Inputs: dV′, the gradient of o,
/// v and the first values.
#[derive(Clone, Debug)]
pub(super) struct ScalarGradients {
    pub which: usize,
}

/// The rows whose products one workgroup sums.
const ROWS_A_GROUP: usize = 256;

impl Kernel for ScalarGradients {
    fn name(&self) -> &'static str {
        "attention_scalar_gradients"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![Shape::from([1])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 2, 2 * inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [mixed, gradient, v, first] = [0, 1, 2, 3].map(|index| inputs[index].data);
        let sizes = Sizes::new(&inputs[1].shape, &inputs[0].shape, false);
        let width = sizes.head_size;
        let row = |index: usize| index * width..(index + 1) * width;
        let product = |index: usize| match self.which {
            0 => dot(&mixed[row(index)], &v[row(index)]),
            1 => dot(&mixed[row(index)], &first[row(index)]),
            _ => sizes.query_of(index).map_or(0.0, |query| {
                (query..query + sizes.group()).fold(0.0, |total, query| {
                    let gradient = &gradient[row(query)];
                    total + dot(gradient, &first[row(index)])
                        - dot(gradient, &v[row(index)])
                })
            }),
        };
        let rows = mixed.len() / width;
        let pieces: Vec<f32> = (0..rows.div_ceil(ROWS_A_GROUP))
            .into_par_iter()
            .map(|piece| {
                let start = piece * ROWS_A_GROUP;
                vectorized(|| (start..rows.min(start + ROWS_A_GROUP)).map(product).sum())
            })
            .collect();
        outputs[0][0] = vectorized(|| simd::sum(&pieces));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let sizes = Sizes::new(&inputs[1].shape, &inputs[0].shape, false);
        let rows = sizes.batch * sizes.keys * sizes.kv_heads;
        let pieces = rows.div_ceil(ROWS_A_GROUP);
        let partial = gpu.scratch([pieces]);
        let mut uniforms = words![rows].to_vec();
        uniforms.extend(sizes.position_words());
        uniforms.extend_from_slice(words![self.which, ROWS_A_GROUP]);
        let operands = [&inputs[0], &inputs[1], &inputs[2], &inputs[3]];
        let entry_point = "attention_values_scalar";
        gpu.dispatch_rows(entry_point, &operands, &[&partial], &uniforms, pieces);
        let uniforms = words![1u32, pieces, 1u32, pieces];
        gpu.dispatch_rows("sum_forward", &[&partial], &[&outputs[0]], uniforms, 1);
    }
}
