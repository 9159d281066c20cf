//! What an op's derivative works with.

use super::gradients::{Slot, Sums};
use super::record::Record;
use crate::device::{Copy, Origin};
use crate::tensor::{Variable, check, launch, launch_from};
use crate::{Kernel, Shape, Tensor};

/// Where an op's derivative finds the gradients of its results and leaves those of its inputs. What
/// it leaves is added to what other uses of the same input have left.
pub struct GradientContext<'a> {
    pub(super) of_outputs: Vec<Option<Tensor>>,
    pub(super) record: &'a Record,
    pub(super) sums: &'a mut Sums,
    /// Who the op is from.
    pub(super) origin: Origin,
}

impl GradientContext<'_> {
    /// Whether input number `input` needs a gradient; an optional input that was not given needs
    /// none.
    pub fn needs(&self, input: usize) -> bool {
        self.record.inputs.get(input).is_some_and(Option::is_some)
    }

    /// The gradient of result number `output`; zeros if nothing used it.
    pub fn of_output(&mut self, output: usize) -> Tensor {
        let shape = self.record.shapes[output];
        let device = &self.record.device;
        self.of_outputs[output].get_or_insert_with(|| Tensor::zeros(shape, device)).reshape(shape)
    }

    /// The same, and gives up the handle to it, so that whoever gets the gradient may change its
    /// memory.
    pub fn take_of_output(&mut self, output: usize) -> Tensor {
        let gradient = self.of_output(output);
        self.of_outputs[output] = None;
        gradient
    }

    /// Adds `tensor` to the gradient of input number `input`, without a copy if possible.
    pub fn accumulate(&mut self, input: usize, tensor: Tensor) {
        if let Some(variable) = &self.record.inputs[input] {
            let tensor = tensor.into_shape(self.record.saved.input_shape(input));
            self.sums.add(variable, tensor);
        }
    }

    /// Runs a kernel whose outputs are gradients of the inputs with these numbers. Each is written
    /// or added where it belongs. Call it only for inputs that need a gradient.
    ///
    /// # Panics
    /// If the kernel's inputs do not fit.
    pub fn accumulate_with(&mut self, kernel: &dyn Kernel, operands: &[&Tensor], inputs: &[usize]) {
        let destinations = self.destinations(kernel, &check(kernel, operands), 0, inputs);
        self.run(kernel, operands, &destinations);
        self.note(inputs, destinations);
    }

    /// Runs a kernel whose first output is added to the gradient of result number `output`, in its memory if
    /// possible: what flows back through a result that is also the input of the rest of the op. Returns the
    /// sum. The other outputs are gradients of inputs, as in
    /// [`accumulate_with`](GradientContext::accumulate_with).
    ///
    /// # Panics
    /// If the kernel's inputs do not fit.
    pub fn add_to_output(
        &mut self,
        output: usize,
        kernel: &dyn Kernel,
        operands: &[&Tensor],
        inputs: &[usize],
    ) -> Tensor {
        let shapes = check(kernel, operands);
        let (sum, is_used) = match self.of_outputs[output].take() {
            Some(gradient) if gradient.is_exclusive() => (gradient.into_shape(shapes[0]), true),
            Some(gradient) => {
                let [copy] = launch(&Copy, &[&gradient], &self.record.device);
                (copy.into_shape(shapes[0]), true)
            }
            None => (Tensor::uninitialized(shapes[0], &self.record.device), false),
        };
        let of_inputs = self.destinations(kernel, &shapes, 1, inputs);
        let first = (sum.clone(), is_used);
        let destinations: Vec<(Tensor, bool)> = [first].into_iter().chain(of_inputs).collect();
        self.run(kernel, operands, &destinations);
        self.note(inputs, destinations.into_iter().skip(1).collect());
        sum
    }

    /// Where the kernel's outputs from number `first` on go, the gradients of these inputs, and whether they
    /// are added there.
    fn destinations(
        &self,
        kernel: &dyn Kernel,
        shapes: &[Shape],
        first: usize,
        inputs: &[usize],
    ) -> Vec<(Tensor, bool)> {
        let mut destinations: Vec<(Tensor, bool)> = Vec::with_capacity(inputs.len());
        let mut used: Vec<Slot> = Vec::new();
        for ((output, shape), input) in shapes.iter().enumerate().skip(first).zip(inputs) {
            let variable = self.variable(*input);
            let slot = variable.slot;
            // Two outputs of a kernel can not share memory: x · x has one input twice.
            let free = !used.contains(&slot);
            let memory = free.then(|| self.sums.memory(variable, kernel.adds(output))).flatten();
            used.push(slot);
            destinations.push(match memory {
                Some((tensor, add)) => (tensor.into_shape(*shape), add),
                None => (Tensor::uninitialized(*shape, &self.record.device), false),
            });
        }
        destinations
    }

    fn run(&self, kernel: &dyn Kernel, operands: &[&Tensor], destinations: &[(Tensor, bool)]) {
        let outputs: Vec<(&Tensor, bool)> =
            destinations.iter().map(|(tensor, add)| (tensor, *add)).collect();
        launch_from(self.origin, kernel, operands, &outputs);
    }

    /// Takes note of what was made for these inputs.
    fn note(&mut self, inputs: &[usize], destinations: Vec<(Tensor, bool)>) {
        for (input, (tensor, _)) in inputs.iter().zip(destinations) {
            let variable = self.record.inputs[*input].as_ref();
            self.sums.made(variable.expect("looked at in `destinations`"), tensor);
        }
    }

    fn variable(&self, input: usize) -> &Variable {
        let variable = self.record.inputs[input].as_ref();
        variable.expect("accumulate_with is called for inputs that need a gradient")
    }
}
