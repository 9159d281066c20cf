//! Clipping of gradients: by value, and by the global norm (Pascanu et al. 2013): with n = √(Σ g²) over the gradients of all
//! parameters, every gradient is to be multiplied by min(1, max / n).
//!
//! The sum is made in a fixed order: each part of a piece by itself, then the parts of all pieces.
//! Nothing waits for it: the factor stays on the device, where the optimiser's kernel takes it.
//! Cost an element: 2 flops, 4 bytes.

use crate::device::cpu::simd::{CHUNK, sum_of_squares, vectorized};
use crate::device::cpu::tasks::Tasks;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::parameters::ALIGNMENT;
use crate::tensor::{launch, launch_into};
use crate::{Gradients, Parameters, Piece, Shape, Tensor, uniforms};
use rayon::prelude::*;

/// The elements whose squares are summed as one part.
const PART: usize = CHUNK;

/// What [`clip`] found. Both are tensors of one number on the device.
///
/// If some gradient is NaN or infinite, or so large that its square is (above 1.8e19), the norm is
/// NaN or infinite and the factor is 0. Given that factor, an optimiser changes neither parameters
/// nor state, so that one bad batch does no harm. The norm is how the program learns of it: read it
/// ([`Tensor::read`]) together with the loss, and stop or count when it is not finite.
#[derive(Clone, Debug)]
pub struct Clip {
    /// The norm of all gradients together, before clipping.
    pub norm: Tensor,
    /// min(1, max / norm), or 0 if the norm is not finite.
    pub factor: Tensor,
}

impl Clip {
    /// The same, with a factor of 0 also where `loss`, one number, is not finite. A loss can overflow
    /// though its gradients do not: what is then learnt is not what was meant.
    ///
    /// ```
    /// # use neutreno_engine::optim::clip;
    /// # use neutreno_engine::{Builder, Device, Initial, Parameters, Tensor};
    /// # let make = |p: &mut Builder| p.parameter("x", [2, 2], Initial::Ones, false);
    /// # let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// # let mut gradients = parameters.gradients();
    /// # (&x * &x).sum_all().backward_into(&mut gradients)?;
    /// let clip = clip(&parameters, &gradients, 1.0);
    /// let infinite = Tensor::full(f32::INFINITY, [1], x.device());
    /// assert_eq!(clip.with_loss(&infinite).factor.to_vec()?, [0.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `loss` is not one number, or is on another device.
    #[must_use]
    #[track_caller]
    pub fn with_loss(self, loss: &Tensor) -> Clip {
        let (here, there) = (self.factor.device(), loss.device());
        assert!(
            loss.elements() == 1 && here == there,
            "clip: a loss of {} on {there}, where one number on {here} is needed",
            loss.shape()
        );
        let [factor] = launch(&OfLoss, &[&self.factor, loss], here);
        Clip { factor, ..self }
    }
}

/// Measures the gradients of all parameters and finds the factor that brings their norm to at most
/// `max_norm`. The gradients themselves are not changed: pass the result to
/// [`Optimizer::step`](super::Optimizer::step).
///
/// ```
/// use neutreno_engine::optim::clip;
/// use neutreno_engine::{Builder, Device, Initial, Parameters};
/// let make = |p: &mut Builder| p.parameter("x", [2, 2], Initial::Ones, false);
/// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
/// let mut gradients = parameters.gradients();
/// (&x * &x).sum_all().backward_into(&mut gradients)?;
/// let clip = clip(&parameters, &gradients, 1.0);
/// assert_eq!(clip.norm.to_vec()?, [4.0]);
/// assert_eq!(clip.factor.to_vec()?, [0.25]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
///
/// With an infinite `max_norm` no norm is too large, and the factor is 1 wherever the norm is finite.
/// One below the least normal number of f32, 1.2e-38, counts as that.
///
/// # Panics
/// If `max_norm` is not a positive number, or `gradients` does not come from
/// [`Parameters::gradients`] of `parameters`.
#[track_caller]
pub fn clip(parameters: &Parameters, gradients: &Gradients, max_norm: f64) -> Clip {
    assert!(max_norm > 0.0, "clip: a largest norm of {max_norm}");
    // A GPU need not know infinity, nor numbers that are not normal.
    let max_norm = (max_norm as f32).clamp(f32::MIN_POSITIVE, f32::MAX);
    let pieces = parameters.pieces(gradients);
    // As many parts for each piece as let the next one start where a GPU can bind it.
    let parts = |piece: &Tensor| piece.elements().div_ceil(PART).next_multiple_of(ALIGNMENT);
    let total = pieces.iter().map(|piece| parts(&piece.gradients)).sum::<usize>();
    let sums = Tensor::uninitialized(Shape::from([total]), parameters.device());
    let mut start = 0;
    for piece in &pieces {
        let parts = parts(&piece.gradients);
        let window = sums.window(start, Shape::from([parts]));
        launch_into(&Squares { parts }, &[&piece.gradients], &[(&window, false)]);
        start += parts;
    }
    let [norm, factor] = launch(&Factor { max_norm }, &[&sums], parameters.device());
    Clip { norm, factor }
}

/// Brings each gradient into [−limit, limit]: g ← min(max(g, −limit), limit). What is NaN stays NaN. The
/// gradients themselves are changed, so whatever measures them afterwards, [`clip`] too, sees them so.
///
/// ```
/// use neutreno_engine::optim::clip_values;
/// use neutreno_engine::{Builder, Device, Initial, Parameters};
/// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Full(3.0), false);
/// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
/// let mut gradients = parameters.gradients();
/// (&x * &x).sum_all().backward_into(&mut gradients)?;
/// clip_values(&parameters, &mut gradients, 0.5);
/// assert_eq!(gradients.get(&x).unwrap().to_vec()?, [0.5, 0.5]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
///
/// # Panics
/// If `limit` is not a positive number, or `gradients` does not come from
/// [`Parameters::gradients`] of `parameters`.
#[track_caller]
pub fn clip_values(parameters: &Parameters, gradients: &mut Gradients, limit: f64) {
    assert!(limit > 0.0, "clip_values: a limit of {limit}");
    let limit = (limit as f32).clamp(f32::MIN_POSITIVE, f32::MAX);
    for Piece { gradients, .. } in parameters.pieces(gradients) {
        launch_into(&Values { limit, shape: gradients.shape() }, &[], &[(&gradients, true)]);
    }
}

/// y ← min(max(y, −limit), limit), in place.
#[derive(Clone, Debug)]
struct Values {
    limit: f32,
    shape: Shape,
}

impl Kernel for Values {
    fn name(&self) -> &'static str {
        "clip: values"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![self.shape])
    }

    fn cost(&self, _inputs: &[Shape]) -> Cost {
        Cost::elementwise(self.shape.elements(), 2, 2 * self.shape.elements())
    }

    fn cpu(&self, _inputs: &[View], outputs: &mut [ViewMut]) {
        let limit = self.limit;
        let clip = |chunk: &mut [f32]| {
            vectorized(|| chunk.iter_mut().for_each(|g| *g = g.clamp(-limit, limit)));
        };
        outputs[0].data.par_chunks_mut(CHUNK).each(clip);
    }

    fn gpu(&self, _inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let elements = self.shape.elements();
        let uniforms = uniforms! { elements, limit: self.limit };
        gpu.dispatch_elements("clip_values", &[], &[&outputs[0]], uniforms, elements);
    }
}

/// y\[i\] = Σ x² over part number i.
#[derive(Clone, Debug)]
struct Squares {
    parts: usize,
}

impl Kernel for Squares {
    fn name(&self) -> &'static str {
        "clip: squares"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![Shape::from([self.parts])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 2, inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let x = inputs[0].data;
        outputs[0].data.par_iter_mut().enumerate().each(|(part, sum)| {
            let start = (part * PART).min(x.len());
            let numbers = &x[start..(start + PART).min(x.len())];
            *sum = vectorized(|| sum_of_squares(numbers));
        });
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let uniforms = uniforms! {
            parts: self.parts,
            elements: inputs[0].shape.elements(),
            length: PART,
        };
        let [x, y] = [&inputs[0], &outputs[0]];
        gpu.dispatch_rows("clip_squares", &[x], &[y], uniforms, self.parts);
    }
}

/// The norm and the factor from the sums of squares of all parts.
#[derive(Clone, Debug)]
struct Factor {
    max_norm: f32,
}

impl Kernel for Factor {
    fn name(&self) -> &'static str {
        "clip: factor"
    }

    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![Shape::from([1]); 2])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        Cost::elementwise(inputs[0].elements(), 1, inputs[0].elements())
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let total: f64 = inputs[0].iter().map(|sum| f64::from(*sum)).sum();
        let norm = total.sqrt() as f32;
        outputs[0][0] = norm;
        outputs[1][0] = match norm {
            norm if !total.is_finite() || !norm.is_finite() => 0.0,
            norm if norm <= self.max_norm => 1.0,
            norm => self.max_norm / norm,
        };
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let parts = inputs[0].shape.elements();
        let uniforms = uniforms! { parts, max_norm: self.max_norm };
        let outputs = [&outputs[0], &outputs[1]];
        gpu.dispatch_rows("clip_factor", &[&inputs[0]], &outputs, uniforms, 1);
    }
}

/// The factor, or 0 where the loss is not finite.
#[derive(Clone, Debug)]
struct OfLoss;

impl Kernel for OfLoss {
    fn name(&self) -> &'static str {
        "clip: loss"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0]])
    }

    fn cost(&self, _inputs: &[Shape]) -> Cost {
        Cost::elementwise(1, 1, 3)
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        outputs[0][0] = if inputs[1][0].is_finite() { inputs[0][0] } else { 0.0 };
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        let inputs = [&inputs[0], &inputs[1]];
        gpu.dispatch_rows("clip_loss", &inputs, &[&outputs[0]], uniforms! {}, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Device, Initial};

    #[test]
    fn the_extremes_of_a_largest_norm() {
        let make = |p: &mut Builder| p.parameter("x", [2, 2], Initial::Ones, false);
        let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
        let mut gradients = parameters.gradients();
        (&x * &x).sum_all().backward_into(&mut gradients).unwrap();
        let factor = |most| clip(&parameters, &gradients, most).factor.to_vec().unwrap()[0];
        assert_eq!([factor(f64::INFINITY), factor(1e300), factor(4.0)], [1.0; 3]);
        // Whatever is below f32's normal numbers counts as the least of them; the norm is 4.
        assert_eq!([factor(1e-320), factor(1e-45)], [f32::MIN_POSITIVE / 4.0; 2]);
    }
}
