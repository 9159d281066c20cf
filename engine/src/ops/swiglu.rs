//! SwiGLU: y = silu(gate) ⊙ up, with silu(x) = x · σ(x), σ(x) = 1 / (1 + e⁻ˣ) (Shazeer 2020).
//! The gated middle of a Llama block's feed-forward layer, in one pass over memory.
//!
//! Derivative, with s = σ(gate): d_gate = dy · up · s · (1 + gate · (1 − s)),
//! d_up = dy · gate · s. Saves gate and up. Both gradients come from one kernel.
//! Cost an element: 6 flops, 12 bytes; backward 11 flops, 20 bytes.

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::math;
use crate::device::cpu::simd::{Body, CHUNK, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::tensor::launch;
use crate::{Shape, Tensor, uniforms};
use rayon::prelude::*;

impl Tensor {
    /// silu(gate) ⊙ up, where `self` is the gate.
    ///
    /// # Panics
    /// If the shapes differ.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let gate = Tensor::new(&[0.0, 50.0], [2], &device);
    /// let up = Tensor::new(&[3.0, 4.0], [2], &device);
    /// assert_eq!(gate.swiglu(&up).to_vec()?, [0.0, 200.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn swiglu(&self, up: &Tensor) -> Tensor {
        let [y] = apply_built_in(Swiglu, &[self, up]);
        y
    }
}

/// y = silu(gate) ⊙ up.
#[derive(Clone, Debug)]
pub struct Swiglu;

impl Kernel for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if inputs[0] != inputs[1] {
            return Err("gate and up must have the same shape".into());
        }
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 6, 3 * elements)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [gate, up] = [inputs[0].par_chunks(CHUNK), inputs[1].par_chunks(CHUNK)];
        let chunks = outputs[0].par_chunks_mut(CHUNK).zip(gate).zip(up);
        chunks.each(|((y, gate), up)| vectorized(Forward { gate, up, y }));
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let [gate, up] = [&inputs[0], &inputs[1]];
        let elements = gate.shape.elements();
        let uniforms = uniforms! { elements };
        gpu.dispatch_elements("swiglu_forward", &[gate, up], &[&outputs[0]], uniforms, elements);
    }
}

/// silu(gate) · up.
#[inline(always)]
pub(super) fn swiglu(gate: f32, up: f32) -> f32 {
    gate * math::sigmoid(gate) * up
}

/// The loop of [`Swiglu`] over a chunk.
pub(super) struct Forward<'a> {
    pub gate: &'a [f32],
    pub up: &'a [f32],
    pub y: &'a mut [f32],
}

impl Body for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((y, gate), up) in self.y.iter_mut().zip(self.gate).zip(self.up) {
            *y = swiglu(*gate, *up);
        }
    }
}

impl Op for Swiglu {
    fn saves(&self) -> Saves {
        Saves { inputs: &[0, 1], outputs: &[] }
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let inputs = [&gradient, saved.get(0), saved.get(1)];
        if context.needs(0) && context.needs(1) {
            return context.accumulate_with(&Backward, &inputs, &[0, 1]);
        }
        // A rare case, not worth kernels of its own: one of the two is dropped.
        let [d_gate, d_up] = launch(&Backward, &inputs, gradient.device());
        context.accumulate(0, d_gate);
        context.accumulate(1, d_up);
    }
}

impl Proven for Swiglu {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        vec![inputs[0].zip(&inputs[1], |gate, up| gate / (1.0 + (-gate).exp()) * up)]
    }

    fn cases() -> Vec<Case> {
        let shapes = [[1, 1], [1, 3], [17, 1], [63, 2], [5, 65], [3, 257], [70, 352]];
        let random = shapes.map(|shape| {
            Case::new(format!("{shape:?}"), Swiglu).between(shape, -6.0, 6.0).input(shape)
        });
        let extremes = Case::new("extremes", Swiglu)
            .values(&[-1e4, -100.0, -1e-8, 0.0, 1e-8, 1.0, 20.0], [7])
            .values(&[1.0, -20.0, 3.0, 5.0, 1.0, 1e-8, 1.0], [7]);
        random.into_iter().chain([extremes.forward_only()]).collect()
    }
}

/// Both gradients, from dy, gate and up.
#[derive(Clone, Debug)]
struct Backward;

impl Kernel for Backward {
    fn name(&self) -> &'static str {
        "swiglu_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]; 2])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 11, 5 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let [d_gate, d_up] = outputs else { unreachable!("two outputs, as in `shapes`") };
        let add = [d_gate.add, d_up.add];
        let outputs = d_gate.par_chunks_mut(CHUNK).zip(d_up.par_chunks_mut(CHUNK));
        outputs.enumerate().each(|(index, (d_gate, d_up))| {
            let chunk = index * CHUNK..index * CHUNK + d_gate.len();
            let [dy, gate, up] = [0, 1, 2].map(|input| &inputs[input][chunk.clone()]);
            vectorized(Slopes { dy, gate, up, d_gate, d_up, add });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let inputs: Vec<&Binding> = inputs.iter().collect();
        let elements = inputs[0].shape.elements();
        let [d_gate, d_up] = [&outputs[0], &outputs[1]];
        let uniforms = uniforms! { elements, add_gate: d_gate.add, add_up: d_up.add };
        gpu.dispatch_elements("swiglu_backward", &inputs, &[d_gate, d_up], uniforms, elements);
    }
}

/// The loop of [`Backward`] over a chunk.
pub(super) struct Slopes<'a> {
    pub dy: &'a [f32],
    pub gate: &'a [f32],
    pub up: &'a [f32],
    pub d_gate: &'a mut [f32],
    pub d_up: &'a mut [f32],
    /// Whether each is added to what is there.
    pub add: [bool; 2],
}

impl Body for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inputs = self.dy.iter().zip(self.gate).zip(self.up);
        let outputs = self.d_gate.iter_mut().zip(self.d_up);
        for (((dy, gate), up), (d_gate, d_up)) in inputs.zip(outputs) {
            let s = math::sigmoid(*gate);
            let before_gate = if self.add[0] { *d_gate } else { 0.0 };
            let before_up = if self.add[1] { *d_up } else { 0.0 };
            *d_gate = before_gate + dy * up * s * (1.0 + gate * (1.0 - s));
            *d_up = before_up + dy * gate * s;
        }
    }
}
