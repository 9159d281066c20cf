//! Argmax: where the largest element of each row of the last axis is; of equals, the first.
//!
//! A position does not change when x changes a little, so there is no derivative. Cost an element:
//! 1 flop, 4 bytes.

use super::rows;
use crate::autograd::{GradientContext, Op, Saved, Saves};
use crate::device::cpu::simd;
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::tensor::launch;
use crate::{Ids, Result, Shape, Tensor, uniforms};
use rayon::prelude::*;

/// Up to here every whole number is one of f32, in which a device hands over the positions.
const MOST: usize = 1 << 24;

impl Tensor {
    /// The position of the largest element in each row of the last axis, read back to the host; of
    /// equal elements, the first. The shape is that of the tensor without its last axis.
    ///
    /// # Errors
    /// If the device failed.
    ///
    /// # Panics
    /// If there is nothing along the last axis, or more than 2²⁴ elements.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let logits = Tensor::new(&[0.1, 0.7, 0.2, 0.5, 0.1, 0.4], [2, 3], &Device::cpu());
    /// assert_eq!(logits.argmax()?.as_slice(), [1, 0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn argmax(&self) -> Result<Ids> {
        let [positions] = launch(&Argmax, &[self], self.device());
        let ids: Vec<u32> = positions.to_vec()?.iter().map(|position| *position as u32).collect();
        Ok(Ids::new(ids, positions.shape()))
    }
}

/// The position of the largest element of each row, as a number.
#[derive(Clone, Debug)]
pub struct Argmax;

impl Kernel for Argmax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn shapes(&self, inputs: &[Shape]) -> std::result::Result<Vec<Shape>, String> {
        rows::check_rows(&inputs[0])?;
        if inputs[0].last() > MOST {
            return Err(format!("rows of more than {MOST} elements"));
        }
        Ok(vec![Shape::new(&inputs[0][..inputs[0].rank() - 1])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 1, inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let (x, width) = (inputs[0].data, inputs[0].shape.last());
        let rows = simd::rows_per_task(width);
        outputs[0].par_chunks_mut(rows).enumerate().each(|(task, y)| {
            let x = x[task * rows * width..].chunks_exact(width);
            simd::vectorized(|| {
                for (y, x) in y.iter_mut().zip(x) {
                    let largest = simd::maximum(x);
                    // A NaN counts as the largest, and equals nothing.
                    let is_largest = |x: &f32| *x == largest || x.is_nan();
                    *y = x.iter().position(is_largest).unwrap_or(0) as f32;
                }
            });
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let (rows, width) = (inputs[0].shape.rows(), inputs[0].shape.last());
        let (inputs, outputs) = ([&inputs[0]], [&outputs[0]]);
        gpu.dispatch_rows("argmax_forward", &inputs, &outputs, uniforms! { rows, width }, rows);
    }
}

impl Op for Argmax {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn no_derivative(&self) -> Option<&'static str> {
        Some("a position does not change when the numbers change a little")
    }

    fn backward(&self, _saved: &Saved, _context: &mut GradientContext) {}
}

impl Proven for Argmax {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let shape = Shape::new(&x.shape[..x.shape.rank() - 1]);
        let position = |row: usize| {
            let x = x.row(row);
            (0..x.len()).fold(0, |best, k| if x[k] > x[best] { k } else { best }) as f64
        };
        vec![Array64::from_fn(shape, position)]
    }

    fn cases() -> Vec<Case> {
        // The last has more rows than a grid on a GPU may be wide.
        let shapes: [&[usize]; 6] = [&[1], &[17], &[2, 3, 5], &[63, 65], &[3, 257], &[70_000, 3]];
        let case = |shape: &[usize]| {
            Case::new(format!("{shape:?}"), Argmax).distinct(shape, -1.0, 1.0).tolerance(0.0)
        };
        let mut cases: Vec<Case> = shapes.iter().map(|shape| case(shape)).collect();
        let equal = Case::new("the first of equals", Argmax).tolerance(0.0);
        cases.push(equal.values(&[1.0, 2.0, 2.0, 0.0, 0.0, 0.0], [2, 3]));
        cases
    }
}
