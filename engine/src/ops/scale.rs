//! Multiplication by a constant and addition of one: y = factor · x + offset.
//!
//! Derivative: dx = factor · dy. Saves nothing. Cost an element: 2 flops, 8 bytes, in both
//! directions.

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::simd::for_chunks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};

impl Tensor {
    /// factor · x, element by element.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, -2.0], [2], &Device::cpu());
    /// assert_eq!(x.scale(0.5).to_vec()?, [0.5, -1.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn scale(&self, factor: f32) -> Tensor {
        let [y] = apply_built_in(Scale { factor, offset: 0.0 }, &[self]);
        y
    }

    /// x + offset, element by element.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, -2.0], [2], &Device::cpu());
    /// assert_eq!(x.shift(0.5).to_vec()?, [1.5, -1.5]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn shift(&self, offset: f32) -> Tensor {
        let [y] = apply_built_in(Scale { factor: 1.0, offset }, &[self]);
        y
    }

    /// −x, element by element (also written `-&x`).
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, -2.0], [2], &Device::cpu());
    /// assert_eq!((-&x).to_vec()?, [-1.0, 2.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn negate(&self) -> Tensor {
        self.scale(-1.0)
    }
}

/// y = factor · x + offset.
#[derive(Clone, Debug)]
pub struct Scale {
    /// What x is multiplied by.
    pub factor: f32,
    /// What is added then.
    pub offset: f32,
}

impl Kernel for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let elements = inputs[0].elements();
        Cost::elementwise(elements, 2, 2 * elements)
    }

    fn adds(&self, _output: usize) -> bool {
        true
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let x = inputs[0].data;
        let Scale { factor, offset } = *self;
        let add = outputs[0].add;
        for_chunks(&mut outputs[0], |start, y| {
            let pairs = y.iter_mut().zip(&x[start..]);
            if add {
                pairs.for_each(|(y, x)| *y += factor * x + offset);
            } else {
                pairs.for_each(|(y, x)| *y = factor * x + offset);
            }
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let elements = inputs[0].shape.elements();
        let uniforms = uniforms! {
            elements,
            add: outputs[0].add,
            factor: self.factor,
            offset: self.offset,
        };
        gpu.dispatch_elements("scale_forward", &[&inputs[0]], &[&outputs[0]], uniforms, elements);
    }
}

impl Op for Scale {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, _saved: &Saved, context: &mut GradientContext) {
        let gradient = context.take_of_output(0);
        if self.factor == 1.0 {
            return context.accumulate(0, gradient);
        }
        context.accumulate_with(&Scale { factor: self.factor, offset: 0.0 }, &[&gradient], &[0]);
    }
}

impl Proven for Scale {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let [factor, offset] = [f64::from(self.factor), f64::from(self.offset)];
        vec![inputs[0].map(|x| factor * x + offset)]
    }

    fn cases() -> Vec<Case> {
        let case = |(count, factor, offset)| {
            let label = format!("{count}, times {factor} plus {offset}");
            Case::new(label, Scale { factor, offset }).input([count])
        };
        [(1, 0.5, 0.0), (3, -1.0, 0.0), (65, 1.0, 2.5), (257, 0.0, -1.0), (20_000, 3.0, 0.25)]
            .map(case)
            .into()
    }
}
