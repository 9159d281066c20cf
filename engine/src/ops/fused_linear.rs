//! Linear layers of few rows and what stands around them, at once: y = norm(x) Wᵀ for up to three
//! matrices, y = silu(norm(x) W_gateᵀ) ⊙ (norm(x) W_upᵀ), or y = r + x Wᵀ.
//!
//! When text is written token by token, reading the matrices takes the time, and next to that what each
//! step takes however small it is: handing work over to threads, or a dispatch. So the steps of a block
//! between two that wait for each other are one here. What is computed is the same as with
//! [`rms_norm`], [`linear`](super::linear), [`swiglu`](super::swiglu) and
//! [`add`](super::add) one after another: on the CPU bit for bit; a GPU divides by the root mean square
//! after the products.
//!
//! There is no derivative. Cost: 2 flops for each row, input and output; each matrix is read once.

use super::half_matrix::HalfMatrix;
use super::half_rows::case_words;
use super::linear::Linear;
use super::linear_half::LinearHalf;
use super::rms_norm;
use super::swiglu::{Swiglu, swiglu};
use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in, apply_from};
use crate::device::cpu::few_rows::{self, Add, MOST_ROWS};
use crate::device::cpu::half::{few_rows_scratch, multiply_few_rows};
use crate::device::cpu::scratch::cut;
use crate::device::cpu::simd::{Body, vectorized};
use crate::device::gpu::few_rows::{Extra, FewRows, MOST_MATRICES};
use crate::device::{Cost, Kernel, Origin, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::half::Half;
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor};

/// A linear layer: a matrix (outputs, inputs), and perhaps a bias (outputs).
#[derive(Clone, Copy, Debug)]
pub struct LinearLayer<'a> {
    /// W.
    pub weight: Weight<'a>,
    /// b.
    pub bias: Option<&'a Tensor>,
}

/// A matrix of weights, in full or in half precision.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// Numbers of 32 bits.
    Full(&'a Tensor),
    /// Numbers of 16 bits.
    Half(&'a HalfMatrix),
}

impl<'a> Weight<'a> {
    /// The memory, its format, and the numbers of a row.
    fn parts(self) -> (&'a Tensor, Option<Half>, usize) {
        match self {
            Weight::Full(weight) => (weight, None, weight.shape().last()),
            Weight::Half(weight) => (weight.words(), Some(weight.half()), weight.shape().last()),
        }
    }
}

impl LinearLayer<'_> {
    /// How many outputs it has.
    pub fn outputs(&self) -> usize {
        match self.weight {
            Weight::Full(weight) => weight.shape()[0],
            Weight::Half(weight) => weight.shape()[0],
        }
    }

    /// x Wᵀ + b.
    ///
    /// # Panics
    /// As [`Tensor::linear`] and [`Tensor::linear_half`].
    #[track_caller]
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match self.weight {
            Weight::Full(weight) => x.linear(weight, self.bias),
            Weight::Half(weight) => x.linear_half(weight, self.bias),
        }
    }
}

/// An RMS norm: its weight and epsilon, as [`Tensor::rms_norm`] takes them.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm<'a> {
    /// One number a column.
    pub weight: &'a Tensor,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// Whether these layers can be computed at once.
fn can_fuse(x: &Tensor, layers: &[LinearLayer]) -> bool {
    let half = |layer: &LinearLayer| layer.weight.parts().1;
    x.shape().rows() <= MOST_ROWS
        && (1..=MOST_MATRICES).contains(&layers.len())
        && layers.iter().all(|layer| layer.bias.is_none() && half(layer) == half(&layers[0]))
}

impl Tensor {
    /// What some layers make of norm(x): x of shape (…, inputs) gives (…, outputs) for each. Few rows are
    /// computed at once, unless there is a bias or more than three layers.
    ///
    /// # Panics
    /// If the shapes do not fit, or a tensor is tracked: there is no derivative.
    ///
    /// ```
    /// use neutreno_engine::ops::fused_linear::{LinearLayer, RmsNorm, Weight};
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::new(&[3.0, 4.0, 0.0, 0.0], [1, 4], &device);
    /// let ones = Tensor::full(1.0, [4], &device);
    /// let norm = RmsNorm { weight: &ones, epsilon: 0.0 };
    /// let weights = [1.0, 10.0].map(|number| Tensor::full(number, [1, 4], &device));
    /// let layers = weights.each_ref().map(|w| LinearLayer { weight: Weight::Full(w), bias: None });
    /// let y = x.norm_linear(norm, &layers);
    /// assert!((y[0].to_scalar()? - 2.8).abs() < 1e-6 && (y[1].to_scalar()? - 28.0).abs() < 1e-5);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn norm_linear(&self, norm: RmsNorm, layers: &[LinearLayer]) -> Vec<Tensor> {
        if !can_fuse(self, layers) {
            let x = self.rms_norm(norm.weight, norm.epsilon);
            return layers.iter().map(|layer| layer.forward(&x)).collect();
        }
        let fused = FusedLinear::new(Some(norm.epsilon), After::Nothing, layers);
        let weights = layers.iter().map(|layer| layer.weight.parts().0);
        let inputs: Vec<&Tensor> = [self, norm.weight].into_iter().chain(weights).collect();
        apply_from(Origin::Engine, Box::new(fused), &inputs)
    }

    /// silu(norm(x) W_gateᵀ) ⊙ (norm(x) W_upᵀ): the inner activations of a SwiGLU layer after a norm. Few
    /// rows are computed at once, unless there is a bias.
    ///
    /// # Panics
    /// If the shapes do not fit, or a tensor is tracked: there is no derivative.
    ///
    /// ```
    /// use neutreno_engine::ops::fused_linear::{LinearLayer, RmsNorm, Weight};
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let [one, fifty] = [1.0, 50.0].map(|number| Tensor::full(number, [1, 1], &device));
    /// let layer = |weight| LinearLayer { weight: Weight::Full(weight), bias: None };
    /// let norm = RmsNorm { weight: &Tensor::full(1.0, [1], &device), epsilon: 0.0 };
    /// let y = one.norm_linear_swiglu(norm, layer(&fifty), layer(&one));
    /// assert_eq!(y.to_vec()?, [50.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn norm_linear_swiglu(&self, norm: RmsNorm, gate: LinearLayer, up: LinearLayer) -> Tensor {
        if !can_fuse(self, &[gate, up]) {
            let x = self.rms_norm(norm.weight, norm.epsilon);
            return gate.forward(&x).swiglu(&up.forward(&x));
        }
        let fused = FusedLinear::new(Some(norm.epsilon), After::Swiglu, &[gate, up]);
        let [gate, up] = [gate, up].map(|layer| layer.weight.parts().0);
        let [y] = apply_built_in(fused, &[self, norm.weight, gate, up]);
        y
    }

    /// rows + x Wᵀ + b: what a layer adds to a residual stream. Few rows are computed at once, unless there
    /// is a bias.
    ///
    /// # Panics
    /// If the shapes do not fit, or a tensor is tracked: there is no derivative.
    ///
    /// ```
    /// use neutreno_engine::ops::fused_linear::{LinearLayer, Weight};
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let [x, rows, weight] = [2.0, 100.0, 3.0].map(|number| Tensor::full(number, [1, 1], &device));
    /// let layer = LinearLayer { weight: Weight::Full(&weight), bias: None };
    /// assert_eq!(x.linear_add(layer, &rows).to_vec()?, [106.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn linear_add(&self, layer: LinearLayer, rows: &Tensor) -> Tensor {
        if !can_fuse(self, &[layer]) {
            return rows.add(&layer.forward(self));
        }
        let fused = FusedLinear::new(None, After::Add, &[layer]);
        let [y] = apply_built_in(fused, &[self, layer.weight.parts().0, rows]);
        y
    }
}

/// Inputs: x; with a norm its weight; the matrices; the rows to which products are added, if they are.
#[derive(Clone, Debug)]
pub struct FusedLinear {
    /// The epsilon of the norm before.
    norm: Option<f32>,
    after: After,
    /// How many matrices there are.
    matrices: usize,
    /// The format of the matrices.
    half: Option<Half>,
    /// The numbers of a row of them.
    inputs: usize,
}

/// What is done with the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Nothing,
    /// silu of what the first matrix makes ⊙ what the second one makes.
    Swiglu,
    Add,
}

impl FusedLinear {
    fn new(norm: Option<f32>, after: After, layers: &[LinearLayer]) -> FusedLinear {
        let (_, half, inputs) = layers[0].weight.parts();
        FusedLinear { norm, after, matrices: layers.len(), half, inputs }
    }

    /// The matrices among the inputs.
    fn matrices<'a, T>(&self, inputs: &'a [T]) -> &'a [T] {
        let first = 1 + usize::from(self.norm.is_some());
        &inputs[first..first + self.matrices]
    }

    /// The numbers of working memory that the rows take in the order of the matrices' words.
    fn prepared(&self, rows: usize) -> usize {
        few_rows_scratch(self.half, rows, self.inputs)
    }
}

impl Kernel for FusedLinear {
    fn name(&self) -> &'static str {
        "fused_linear"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let (x, matrices) = (inputs[0], self.matrices(inputs));
        if x.rank() == 0 || x.last() != self.inputs || x.rows() > MOST_ROWS {
            return Err(format!("it takes up to {MOST_ROWS} rows of {}, not {x}", self.inputs));
        }
        if self.norm.is_some() && *inputs[1] != [self.inputs] {
            return Err(format!("a norm's weight of {} for rows of {}", inputs[1], self.inputs));
        }
        let words = self.half.map_or(self.inputs, |_| self.inputs.div_ceil(2));
        if let Some(matrix) = matrices.iter().find(|w| w.rank() != 2 || w[1] != words) {
            return Err(format!("a matrix of {matrix} for rows of {}", self.inputs));
        }
        let output = |w: &Shape| x.with(x.rank() - 1, w[0]);
        let outputs: Vec<Shape> = matrices.iter().map(output).collect();
        match self.after {
            After::Swiglu if outputs[0] != outputs[1] => {
                Err("gate and up must have the same shape".into())
            }
            After::Swiglu => Ok(vec![outputs[0]]),
            After::Add if inputs[2] != outputs[0] => {
                Err(format!("rows of {} for products of {}", inputs[2], outputs[0]))
            }
            After::Nothing | After::Add => Ok(outputs),
        }
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let outputs: usize = self.matrices(inputs).iter().map(|w| inputs[0].rows() * w[0]).sum();
        let moved = inputs.iter().map(Shape::elements).sum::<usize>() + outputs;
        Cost::elementwise(outputs, 2 * self.inputs as u64, moved)
    }

    fn scratch(&self, inputs: &[Shape], _threads: usize) -> Option<usize> {
        let rows = inputs[0].rows();
        let normed = self.norm.map_or(0, |_| rows * self.inputs);
        let up = self.matrices(inputs).get(1).filter(|_| self.after == After::Swiglu);
        Some(normed + self.prepared(rows) + up.map_or(0, |up| rows * up[0]))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let rows = inputs[0].shape.rows();
        let (scratch, outputs) = outputs.split_last_mut().expect("working memory");
        let mut scratch: &mut [f32] = scratch;
        let mut x = inputs[0].data;
        if let Some(epsilon) = self.norm.filter(|_| !x.is_empty()) {
            let normed = cut(&mut scratch, rows * self.inputs);
            rms_norm::normalize(x, inputs[1].data, epsilon, normed, &mut [0.0; MOST_ROWS][..rows]);
            x = normed;
        }
        let prepared = cut(&mut scratch, self.prepared(rows));
        let add = match self.after {
            After::Add => Add::Rows(inputs[2].data),
            _ => Add::Nothing,
        };
        // SwiGLU's second matrix makes no output of its own.
        let up = scratch;
        let destinations = outputs.iter_mut().map(|y| &mut *y.data).chain([&mut *up]);
        let products = self.matrices(inputs).iter().zip(destinations).map(|(matrix, y)| {
            let (words, outputs) = (bytemuck::cast_slice(matrix.data), matrix.shape[0]);
            let weight = few_rows::Weight { words, outputs, inputs: self.inputs };
            few_rows::Product { y, weight, add }
        });
        multiply_few_rows(self.half, products.collect(), x, [rows, self.inputs], prepared);
        if self.after == After::Swiglu {
            vectorized(Gate { y: &mut *outputs[0].data, up });
        }
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let extra = match (self.norm, self.after) {
            (Some(epsilon), _) => Extra::Norm(&inputs[1], epsilon),
            (None, After::Add) => Extra::Added(&inputs[2]),
            (None, _) => Extra::Nothing,
        };
        let matrices: Vec<&Binding> = self.matrices(inputs).iter().collect();
        let products = FewRows {
            x: &inputs[0],
            sizes: [inputs[0].shape.rows(), self.inputs],
            matrices: &matrices,
            half: self.half,
            extra,
            swiglu: self.after == After::Swiglu,
            y: &outputs.iter().collect::<Vec<_>>(),
        };
        products.record(gpu);
    }
}

/// y = silu(y) ⊙ up, as [`swiglu`](super::swiglu) computes it.
struct Gate<'a> {
    y: &'a mut [f32],
    up: &'a [f32],
}

impl Body for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (y, up) in self.y.iter_mut().zip(self.up) {
            *y = swiglu(*y, *up);
        }
    }
}

impl Op for FusedLinear {
    fn results(&self) -> usize {
        if self.after == After::Nothing { self.matrices } else { 1 }
    }

    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("it is for writing text; training has `rms_norm`, `linear`, `swiglu` and `add`")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {
        unreachable!("it has no derivative");
    }
}

impl Proven for FusedLinear {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = match self.norm {
            Some(epsilon) => rms_norm::RmsNorm { epsilon }.reference(&inputs[..2]).remove(0),
            None => inputs[0].clone(),
        };
        let product = |matrix: &Array64| {
            let operands = [x.clone(), matrix.clone()];
            match self.half {
                Some(half) => LinearHalf { half, inputs: self.inputs }.reference(&operands),
                None => Linear::default().reference(&operands),
            }
            .remove(0)
        };
        let y: Vec<Array64> = self.matrices(inputs).iter().map(product).collect();
        let y = match self.after {
            After::Nothing => y,
            After::Swiglu => Swiglu.reference(&y),
            After::Add => vec![y[0].zip(&inputs[2], |y, row| y + row)],
        };
        y.into_iter().map(|y| y.with_magnitude(0.25 * self.inputs as f64)).collect()
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        let sizes = [(1, 1), (5, 31), (21, 64), (3, 259), (130, 1028)];
        for half in [None, Some(Half::Bf16), Some(Half::F16)] {
            for (rows, (outputs, inputs)) in [1, 2, 3, 5, 8].into_iter().zip(sizes) {
                for (norm, after, matrices) in [
                    (Some(1e-2), After::Nothing, vec![outputs, 3, outputs + 2]),
                    (Some(1e-2), After::Nothing, vec![2, outputs]),
                    (None, After::Nothing, vec![outputs]),
                    (Some(1e-2), After::Swiglu, vec![outputs, outputs]),
                    (None, After::Add, vec![outputs]),
                ] {
                    let op = FusedLinear { norm, after, matrices: matrices.len(), half, inputs };
                    cases.push(case(op, rows, &matrices));
                }
            }
        }
        cases
    }
}

/// Of so many rows and matrices of so many outputs.
fn case(op: FusedLinear, rows: usize, matrices: &[usize]) -> Case {
    let FusedLinear { norm, after, half, inputs, .. } = op;
    let label = format!("{rows} of {inputs} to {matrices:?}, {norm:?}, {after:?}, {half:?}");
    let mut case = Case::new(label, op).input([rows, inputs]);
    if norm.is_some() {
        case = case.input([inputs]);
    }
    for &outputs in matrices {
        case = match half {
            None => case.input([outputs, inputs]),
            Some(half) => {
                let words = case_words(half, [outputs, inputs]);
                case.values(&words, [outputs, inputs.div_ceil(2)])
            }
        };
    }
    if after == After::Add { case.input([rows, matrices[0]]) } else { case }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::random::Key;

    /// On the CPU it is what the ops make one after another, bit for bit, as all of a model's rows need to
    /// be that are computed in other pieces.
    #[test]
    fn it_computes_what_the_ops_do_one_after_another() {
        let device = Device::cpu_with_threads(2);
        let tensor = |seed, shape: [usize; 2]| {
            let numbers = Key::new(seed).uniforms(shape[0] * shape[1], -1.0, 1.0);
            Tensor::new(&numbers, shape, &device)
        };
        let [w, other] = [tensor(1, [130, 83]), tensor(2, [130, 83])];
        let weight = tensor(4, [1, 83]).reshape([83]);
        let norm = RmsNorm { weight: &weight, epsilon: 1e-5 };
        let halves =
            [&w, &other].map(|w| HalfMatrix::from_tensor(w, Half::Bf16).expect("small numbers"));
        let full = [Weight::Full(&w), Weight::Full(&other)];
        let half = [Weight::Half(&halves[0]), Weight::Half(&halves[1])];
        for weights in [full, half] {
            let [gate, up] = weights.map(|weight| LinearLayer { weight, bias: None });
            for count in 1..=9 {
                let x = tensor(5, [9, 83]).slice(0, 0..count);
                let rows = tensor(3, [9, 130]).slice(0, 0..count);
                let normed = x.rms_norm(&weight, 1e-5);
                let [one, two] = [gate, up].map(|layer| layer.forward(&normed));
                let expected = [one.swiglu(&two), rows.add(&gate.forward(&x)), one, two];
                let mut found =
                    vec![x.norm_linear_swiglu(norm, gate, up), x.linear_add(gate, &rows)];
                found.extend(x.norm_linear(norm, &[gate, up]));
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!(found.to_vec().unwrap(), expected.to_vec().unwrap(), "{count}");
                }
            }
        }
    }
}
