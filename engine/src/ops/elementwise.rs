//! What functions of one number, applied to every element, share. Such an op is the function with
//! its derivative ([`Function`], in a file of its own) and a shader; all else is here.

use crate::autograd::{GradientContext, Op, Saved, Saves};
use crate::device::cpu::simd::{Body, CHUNK, vectorized};
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder, Uniform};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, uniforms};
use rayon::prelude::*;
use std::fmt::Debug;

/// A function y = f(x) of one number. The shader has two entry points: `NAME_forward` with x and
/// y, and `NAME_backward` with dy, what is saved, and dx.
pub trait Function: Clone + Debug + Send + Sync + 'static {
    /// The op's name.
    const NAME: &'static str;
    /// The shader's entry point that makes y.
    const FORWARD: &'static str;
    /// The shader's entry point that makes dx.
    const BACKWARD: &'static str;
    /// What the derivative is computed from: [`INPUT`] or [`OUTPUT`].
    const SAVES: Saves;
    /// Floating-point operations an element, forward and backward; an elementary function is one.
    const FLOPS: [u64; 2];

    /// Constants of the function, by the names that they have in the shader's uniforms, where they
    /// stand after `elements` and `add`.
    fn constants(&self) -> Vec<Uniform> {
        Vec::new()
    }

    /// f(x).
    fn value(&self, x: f32) -> f32;

    /// f′, from x or from y, whichever is saved.
    fn slope(&self, saved: f32) -> f32;

    /// f(x) once more, from the formula alone.
    fn reference(&self, x: f64) -> f64;

    /// Where to check it; see [`cases`].
    fn cases() -> Vec<Case>;
}

/// Saves x.
pub const INPUT: Saves = Saves { inputs: &[0], outputs: &[] };
/// Saves y.
pub const OUTPUT: Saves = Saves { inputs: &[], outputs: &[0] };

/// Several sizes with uniform inputs in [low, high), and results alone at extreme inputs.
pub fn cases<F: Function>(function: F, [low, high]: [f32; 2], extremes: &[f32]) -> Vec<Case> {
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
        chunks.for_each(|(y, x)| vectorized(Values { function: &self.0, x, y }));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        dispatch(F::FORWARD, self.0.constants(), inputs, &outputs[0], gpu);
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

impl<F: Function> Proven for Elementwise<F> {
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
        F::BACKWARD
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
        chunks.for_each(|((dx, dy), saved)| {
            vectorized(Slopes { function, dy, saved, dx, add });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        dispatch(F::BACKWARD, self.0.constants(), inputs, &outputs[0], gpu);
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
fn dispatch(
    entry_point: &str,
    constants: Vec<Uniform>,
    inputs: &[Binding],
    output: &Binding,
    gpu: &mut Recorder,
) {
    let elements = output.shape.elements();
    let mut uniforms = uniforms! { elements, add: output.add }.to_vec();
    uniforms.extend(constants);
    let inputs: Vec<&Binding> = inputs.iter().collect();
    gpu.dispatch_elements(entry_point, &inputs, &[output], &uniforms, elements);
}
