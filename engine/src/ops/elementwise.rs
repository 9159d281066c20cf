//! What functions of one number, applied to every element, share. Such an op is the function with
//! its derivative ([`Function`], in a file of its own) and a shader; all else is here.
//!
//! One of a program's own is made the same way, and used by [`apply`](crate::autograd::apply);
//! `examples/own_op.rs` is one.
//!
//! ```
//! use neutreno_engine::autograd::{Saves, apply};
//! use neutreno_engine::ops::elementwise::{Elementwise, Function, INPUT};
//! use neutreno_engine::{Device, Tensor};
//!
//! /// ln(1 + e^x).
//! #[derive(Clone, Debug)]
//! struct Softplus;
//!
//! impl Function for Softplus {
//!     const NAME: &'static str = "softplus";
//!     const SAVES: Saves = INPUT;
//!
//!     fn value(&self, x: f32) -> f32 {
//!         x.max(0.0) + (-x.abs()).exp().ln_1p()
//!     }
//!
//!     fn slope(&self, x: f32) -> f32 {
//!         1.0 / (1.0 + (-x).exp())
//!     }
//! }
//!
//! let x = Tensor::new(&[0.0], [1], &Device::cpu()).tracked();
//! let [y] = apply(Elementwise(Softplus), &[&x]);
//! assert_eq!(y.to_scalar()?, 2_f32.ln());
//! assert_eq!(y.backward()?.get(&x).unwrap().to_scalar()?, 0.5);
//! # Ok::<(), neutreno_engine::Error>(())
//! ```

use crate::autograd::{GradientContext, Op, Saved, Saves};
use crate::device::cpu::simd::{Body, CHUNK, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder, Shader, Uniform};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, uniforms};
use rayon::prelude::*;
use std::fmt::Debug;

/// A function y = f(x) of one number. Its shader has two entry points: `NAME_forward` with x and
/// y, and `NAME_backward` with dy, what is saved, and dx. Their uniforms are `elements`, `add` (whether
/// the result is added to what is there; of the first it never is) and the constants.
pub trait Function: Clone + Debug + Send + Sync + 'static {
    /// The op's name.
    const NAME: &'static str;
    /// The shader, if it is none of the engine's own.
    const SHADER: Option<Shader> = None;
    /// The shader's entry point that makes y. Without one the function runs on the CPU alone.
    const FORWARD: &'static str = "";
    /// The shader's entry point that makes dx.
    const BACKWARD: &'static str = "";
    /// What the derivative is computed from: [`INPUT`] or [`OUTPUT`].
    const SAVES: Saves;
    /// Floating-point operations an element, forward and backward; an elementary function is one.
    const FLOPS: [u64; 2] = [1, 2];

    /// Constants of the function, by the names that they have in the shader's uniforms, where they
    /// stand after `elements` and `add`.
    fn constants(&self) -> Vec<Uniform> {
        Vec::new()
    }

    /// f(x).
    fn value(&self, x: f32) -> f32;

    /// f′, from x or from y, whichever is saved.
    fn slope(&self, saved: f32) -> f32;
}

/// A function with a proof: see [`Proven`].
pub trait ProvenFunction: Function {
    /// f(x) once more, from the formula alone, in f64.
    fn reference(&self, x: f64) -> f64;

    /// Where to check it; see [`cases`].
    fn cases() -> Vec<Case>;
}

/// Saves x.
pub const INPUT: Saves = Saves { inputs: &[0], outputs: &[] };
/// Saves y.
pub const OUTPUT: Saves = Saves { inputs: &[], outputs: &[0] };

/// Several sizes with uniform inputs in [low, high), and results alone at extreme inputs.
pub fn cases<F: ProvenFunction>(function: F, [low, high]: [f32; 2], extremes: &[f32]) -> Vec<Case> {
    let case = |label: String| Case::new(label, Elementwise(function.clone()));
    [1, 3, 17, 63, 65, 257, 20_000]
        .map(|count| case(format!("{count}")).between([count], low, high))
        .into_iter()
        .chain([case("extremes".into()).values(extremes, [extremes.len()]).forward_only()])
        .collect()
}

/// y = f(x), element by element.
#[derive(Clone, Debug)]
pub struct Elementwise<F>(pub F);

impl<F: Function> Kernel for Elementwise<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, F::FLOPS[0], 2 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let x = inputs[0].par_chunks(CHUNK);
        let chunks = outputs[0].par_chunks_mut(CHUNK).zip(x);
        chunks.each(|(y, x)| vectorized(Values { function: &self.0, x, y }));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        dispatch(&self.0, F::FORWARD, inputs, &outputs[0], gpu);
    }
}

impl<F: Function> Op for Elementwise<F> {
    fn saves(&self) -> Saves {
        F::SAVES
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        context.accumulate_with(&Backward(self.0.clone()), &[&gradient, saved.get(0)], &[0]);
    }
}

impl<F: ProvenFunction> Proven for Elementwise<F> {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![inputs[0].map(|x| self.0.reference(x))]
    }

    fn cases() -> Vec<Case> {
        F::cases()
    }
}

/// dx = dy · f′, from dy and what is saved.
#[derive(Clone, Debug)]
struct Backward<F>(F);

impl<F: Function> Kernel for Backward<F> {
    fn name(&self) -> &'static str {
        if F::BACKWARD.is_empty() { F::NAME } else { F::BACKWARD }
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, F::FLOPS[1], 3 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let add = outputs[0].add;
        let function = &self.0;
        let [dy, saved] = [inputs[0].par_chunks(CHUNK), inputs[1].par_chunks(CHUNK)];
        let chunks = outputs[0].par_chunks_mut(CHUNK).zip(dy).zip(saved);
        chunks.each(|((dx, dy), saved)| {
            vectorized(Slopes { function, dy, saved, dx, add });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        dispatch(&self.0, F::BACKWARD, inputs, &outputs[0], gpu);
    }
}

/// The loop of [`Elementwise`] over a chunk.
struct Values<'a, F> {
    function: &'a F,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<F: Function> Body for Values<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = self.function.value(*x);
        }
    }
}

/// The loop of [`Backward`] over a chunk.
struct Slopes<'a, F> {
    function: &'a F,
    dy: &'a [f32],
    saved: &'a [f32],
    dx: &'a mut [f32],
    add: bool,
}

impl<F: Function> Body for Slopes<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((dx, dy), saved) in self.dx.iter_mut().zip(self.dy).zip(self.saved) {
            let before = if self.add { *dx } else { 0.0 };
            *dx = before + dy * self.function.slope(*saved);
        }
    }
}

/// Records a shader whose uniforms are `elements`, `add` and the constants.
fn dispatch<F: Function>(
    function: &F,
    entry_point: &str,
    inputs: &[Binding],
    output: &Binding,
    gpu: &mut Recorder,
) {
    if entry_point.is_empty() {
        return gpu.has_no_shader();
    }
    let elements = output.shape.elements();
    let mut uniforms = uniforms! { elements, add: output.add }.to_vec();
    uniforms.extend(function.constants());
    let inputs: Vec<&Binding> = inputs.iter().collect();
    let (inputs, outputs) = (&inputs[..], &[output]);
    match &F::SHADER {
        Some(shader) => {
            let mut gpu = gpu.with_shader(shader);
            gpu.dispatch_elements(entry_point, inputs, outputs, &uniforms, elements);
        }
        None => gpu.dispatch_elements(entry_point, inputs, outputs, &uniforms, elements),
    }
}
