//! What the variants add around plain attention: mixed values before it, and in the derivative the
//! row sums, the gradients of both values, and those of learnable coefficients.

use super::sizes::Sizes;
use crate::device::cpu::simd::{self, Body, dot, for_chunks, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::ops::rows;
use crate::{Ids, Shape, uniforms};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Where one of a, b and c comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Source {
    Constant(f32),
    /// A kernel's input.
    Input,
}

/// a, b and c. Those that are inputs stand, in this order, at the end of a kernel's inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coefficients(pub [Source; 3]);

impl Coefficients {
    /// (1, 0, 0).
    pub const PLAIN: Coefficients =
        Coefficients([Source::Constant(1.0), Source::Constant(0.0), Source::Constant(0.0)]);

    pub fn is_plain(&self) -> bool {
        self.0 == Coefficients::PLAIN.0
    }

    /// Whether a·V + b·V₁ is anything but V.
    pub fn mixes(&self) -> bool {
        self.0[..2] != Coefficients::PLAIN.0[..2]
    }

    /// Whether there is a term c·(V₁ − V).
    pub fn fidelity_acts(&self) -> bool {
        self.0[2] != Source::Constant(0.0)
    }

    /// Which of a, b and c (0, 1 and 2) are inputs.
    pub fn learnable(&self) -> impl Iterator<Item = usize> {
        let coefficients = self.0;
        (0..3).filter(move |index| coefficients[*index] == Source::Input)
    }

    /// The numbers on the CPU, given the inputs from the first coefficient on.
    pub fn values(&self, inputs: &[View]) -> [f32; 3] {
        let mut inputs = inputs.iter();
        self.0.map(|coefficient| match coefficient {
            Source::Constant(value) => value,
            Source::Input => inputs.next().map_or(0.0, |view| view[0]),
        })
    }

    /// The three numbers in one buffer; any buffer if they are plain, for no shader reads it then.
    pub fn gather(&self, inputs: &[Binding], start: usize, gpu: &mut Recorder) -> Binding {
        if self.is_plain() {
            return inputs[0].clone();
        }
        if self.learnable().next().is_none() {
            return gpu.ids(&bits_of(self.values(&[])));
        }
        let gathered = gpu.scratch([3]);
        let mut given = inputs[start..].iter();
        // A constant takes its place in the shader's uniforms; its binding is not read.
        let sources = self.0.map(|source| match source {
            Source::Constant(value) => (Some(value), &inputs[0]),
            Source::Input => (None, given.next().expect("an input for each coefficient")),
        });
        let [a, b, c] = sources.map(|(_, binding)| binding);
        let constants = sources.map(|(value, _)| value.unwrap_or(0.0));
        let is_learned = sources.map(|(value, _)| value.is_none());
        let uniforms = uniforms! {
            constant_a: constants[0],
            constant_b: constants[1],
            constant_c: constants[2],
            is_learned_a: is_learned[0],
            is_learned_b: is_learned[1],
            is_learned_c: is_learned[2],
        };
        let entry_point = "attention_values_coefficients";
        gpu.dispatch_rows(entry_point, &[a, b, c], &[&gathered], uniforms, 1);
        gathered
    }
}

/// Three constants, as bits that a device keeps a copy of. A model has few of them, and one that grows from step to
/// step pushes old ones out.
fn bits_of(constants: [f32; 3]) -> Ids {
    const MOST: usize = 64;
    static MADE: Mutex<VecDeque<Ids>> = Mutex::new(VecDeque::new());
    let mut made = MADE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let bits = constants.map(f32::to_bits);
    if let Some(known) = made.iter().find(|known| *known.as_slice() == bits) {
        return known.clone();
    }
    let new = Ids::new(bits.to_vec(), [3]);
    if made.len() == MOST {
        made.pop_front();
    }
    made.push_back(new.clone());
    new
}

/// V′ = a·V + b·V₁. Inputs: v, the first values, the learnable coefficients.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    pub coefficients: Coefficients,
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
        let [a, b, _] = self.coefficients.values(&inputs[2..]);
        mix(inputs[0].data, inputs[1].data, [a, b], &mut outputs[0]);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let coefficients = self.coefficients.gather(inputs, 2, gpu);
        let elements = inputs[0].shape.elements();
        let operands = [&inputs[0], &inputs[1], &coefficients];
        let uniforms = uniforms! { elements };
        gpu.dispatch_elements(
            "attention_values_mix",
            &operands,
            &[&outputs[0]],
            uniforms,
            elements,
        );
    }
}

/// a·V + b·V₁.
pub(super) fn mix(v: &[f32], first: &[f32], [a, b]: [f32; 2], mixed: &mut [f32]) {
    for_chunks(mixed, |start, mixed| {
        let pairs = v[start..].iter().zip(&first[start..]);
        mixed.iter_mut().zip(pairs).for_each(|(y, (v, v1))| *y = a * v + b * v1);
    });
}

/// D = Σ_channels G ⊙ (O − c·(V₁ − V)) for each row. Inputs: the gradient of o, and o; if there is
/// a c-term, also v, the first values and the learnable coefficients.
#[derive(Clone, Debug)]
pub(super) struct RowSums {
    pub coefficients: Coefficients,
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
        let per_element = if self.coefficients.fidelity_acts() { 5 } else { 2 };
        let moved = inputs.iter().map(Shape::elements).sum();
        Cost::elementwise(inputs[0].elements(), per_element, moved)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [gradient, output] = [inputs[0].data, inputs[1].data];
        let values = inputs.get(2).map(|values| &values.shape);
        let sizes = self.sizes(&inputs[0].shape, values);
        let fidelity = match inputs {
            [_, _, v, first, coefficients @ ..] => {
                Some((v.data, first.data, self.coefficients.values(coefficients)[2]))
            }
            _ => None,
        };
        let rows = simd::rows_per_task(sizes.head_size);
        let chunks = outputs[0].par_chunks_mut(rows).enumerate();
        chunks.each(|(index, sums)| {
            let start = index * rows;
            vectorized(SumRows { sizes, gradient, output, fidelity, start, sums });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let acts = self.coefficients.fidelity_acts();
        let sizes = self.sizes(&inputs[0].shape, inputs.get(2).map(|values| &values.shape));
        let rows = outputs[0].shape.elements();
        let mut uniforms = uniforms! { rows }.to_vec();
        uniforms.extend(sizes.position_uniforms());
        uniforms.extend(uniforms! { has_fidelity: acts });
        let unused = &inputs[0];
        let coefficients =
            if acts { self.coefficients.gather(inputs, 4, gpu) } else { unused.clone() };
        let [v, first] = [2, 3].map(|index| inputs.get(index).unwrap_or(unused));
        let operands = [&inputs[0], &inputs[1], v, first, &coefficients];
        let entry_point = "attention_values_row_sums";
        gpu.dispatch_elements(entry_point, &operands, &[&outputs[0]], &uniforms, rows);
    }
}

/// The loop of [`RowSums`] over the rows from `start` on; `fidelity` has v, the first values and c.
struct SumRows<'a> {
    sizes: Sizes,
    gradient: &'a [f32],
    output: &'a [f32],
    fidelity: Option<(&'a [f32], &'a [f32], f32)>,
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
            if let Some((v, first, fidelity)) = self.fidelity {
                let own = self.sizes.own_value(row) * width;
                *sum -= fidelity * (dot(gradient, &first[own..]) - dot(gradient, &v[own..]));
            }
        }
    }
}

/// dV = a·dV′ − c·G and dV₁ = b·dV′ + c·G, those that are needed, where G is summed over the query heads of
/// a kv head. Inputs: dV′, the gradient of o, the learnable coefficients.
#[derive(Clone, Debug)]
pub(super) struct ValueGradients {
    pub coefficients: Coefficients,
    pub needs: [bool; 2],
}

impl Kernel for ValueGradients {
    fn name(&self) -> &'static str {
        "attention_value_gradients"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(rows::targets(&self.needs).iter().map(|_| inputs[0]).collect())
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements() * rows::targets(&self.needs).len();
        let moved = elements + inputs[0].elements() + inputs[1].elements();
        Cost::elementwise(elements, 3, moved)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let sizes = Sizes::new(&inputs[1].shape, &inputs[0].shape, false);
        let [own, first, fidelity] = self.coefficients.values(&inputs[2..]);
        let [mixed, gradient] = [inputs[0].data, inputs[1].data];
        let rows = simd::rows_per_task(sizes.head_size);
        let weights = [(own, -fidelity), (first, fidelity)];
        let made = rows::needed(self.needs, outputs.iter_mut()).into_iter().zip(weights);
        for (output, (weight, fidelity)) in made {
            let Some(output) = output else { continue };
            let add = output.add;
            let chunks = output.par_chunks_mut(rows * sizes.head_size).enumerate();
            chunks.each(|(index, output)| {
                let start = index * rows;
                let rows =
                    WeighRows { sizes, mixed, gradient, weight, fidelity, start, output, add };
                vectorized(rows);
            });
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let sizes = Sizes::new(&inputs[1].shape, &inputs[0].shape, false);
        let coefficients = self.coefficients.gather(inputs, 2, gpu);
        let elements = inputs[0].shape.elements();
        let [own, first] = rows::needed(self.needs, outputs);
        let adds = [own, first].map(|output| output.is_some_and(|output| output.add));
        let mut uniforms = uniforms! { elements }.to_vec();
        uniforms.extend(sizes.position_uniforms());
        uniforms.extend(uniforms! {
            needs_own: self.needs[0],
            needs_first: self.needs[1],
            has_fidelity: self.coefficients.fidelity_acts(),
            add_own: adds[0],
            add_first: adds[1],
        });
        let unused = gpu.scratch([1]);
        let operands = [&inputs[0], &inputs[1], &coefficients];
        let outputs = [own.unwrap_or(&unused), first.unwrap_or(&unused)];
        let entry_point = "attention_values_gradients";
        gpu.dispatch_elements(entry_point, &operands, &outputs, &uniforms, elements);
    }
}

/// The loop of [`ValueGradients`] over the rows from `start` on: weight · dV′ + fidelity · G.
struct WeighRows<'a> {
    sizes: Sizes,
    mixed: &'a [f32],
    gradient: &'a [f32],
    weight: f32,
    fidelity: f32,
    start: usize,
    output: &'a mut [f32],
    add: bool,
}

impl Body for WeighRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let WeighRows { sizes, mixed, gradient, weight, fidelity, .. } = self;
        let width = sizes.head_size;
        for (row, output) in (self.start..).zip(self.output.chunks_exact_mut(width)) {
            let mixed = &mixed[row * width..(row + 1) * width];
            if self.add {
                output.iter_mut().zip(mixed).for_each(|(y, x)| *y += weight * x);
            } else {
                output.iter_mut().zip(mixed).for_each(|(y, x)| *y = weight * x);
            }
            if fidelity != 0.0
                && let Some(query) = sizes.query_of(row)
            {
                let group = &gradient[query * width..(query + sizes.group()) * width];
                for gradient in group.chunks_exact(width) {
                    output.iter_mut().zip(gradient).for_each(|(y, g)| *y += fidelity * g);
                }
            }
        }
    }
}

/// da = ⟨dV′, V⟩, db = ⟨dV′, V₁⟩ or dc = ⟨G, V₁ − V⟩ (0, 1 or 2). Inputs: dV′, the gradient of o,
/// v and the first values.
#[derive(Clone, Debug)]
pub(super) struct CoefficientGradients {
    /// 0, 1 or 2: a, b or c.
    pub coefficient: usize,
}

/// The rows whose products one workgroup sums.
const ROWS_A_GROUP: usize = 256;

impl Kernel for CoefficientGradients {
    fn name(&self) -> &'static str {
        "attention_coefficient_gradients"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![Shape::from([1])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 2, 2 * inputs[0].elements())
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        Some(inputs[0].rows().div_ceil(ROWS_A_GROUP))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [mixed, gradient, v, first] = [0, 1, 2, 3].map(|index| inputs[index].data);
        let sizes = Sizes::new(&inputs[1].shape, &inputs[0].shape, false);
        let width = sizes.head_size;
        let row = |index: usize| index * width..(index + 1) * width;
        let product = |index: usize| match self.coefficient {
            0 => dot(&mixed[row(index)], &v[row(index)]),
            1 => dot(&mixed[row(index)], &first[row(index)]),
            _ => sizes.query_of(index).map_or(0.0, |query| {
                (query..query + sizes.group()).fold(0.0, |total, query| {
                    let gradient = &gradient[row(query)];
                    total + dot(gradient, &first[row(index)]) - dot(gradient, &v[row(index)])
                })
            }),
        };
        let rows = mixed.len() / width;
        let [result, parts] = outputs else { unreachable!("the gradient and the working memory") };
        parts.par_iter_mut().enumerate().each(|(part, sum)| {
            let start = part * ROWS_A_GROUP;
            let rows = start..rows.min(start + ROWS_A_GROUP);
            *sum = vectorized(|| rows.map(product).sum());
        });
        result[0] = vectorized(|| simd::sum(parts));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let sizes = Sizes::new(&inputs[1].shape, &inputs[0].shape, false);
        let rows = sizes.batch * sizes.keys * sizes.kv_heads;
        let parts = rows.div_ceil(ROWS_A_GROUP);
        let partial = gpu.scratch([parts]);
        let mut uniforms = uniforms! { rows }.to_vec();
        uniforms.extend(sizes.position_uniforms());
        let coefficient = self.coefficient;
        uniforms.extend(uniforms! { coefficient, rows_a_group: ROWS_A_GROUP });
        let operands = [&inputs[0], &inputs[1], &inputs[2], &inputs[3]];
        let entry_point = "attention_values_coefficient";
        gpu.dispatch_rows(entry_point, &operands, &[&partial], &uniforms, parts);
        let uniforms = uniforms! { outputs: 1_usize, count: parts, after: 1_usize, length: parts };
        gpu.dispatch_rows("sum_forward", &[&partial], &[&outputs[0]], uniforms, 1);
    }
}
