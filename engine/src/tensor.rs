//! The tensor: a shape, a place in a device's memory, and perhaps a place in a graph.

use crate::device::Fill;
use crate::device::{Destination, Device, Kernel, Operand, Origin, Reading, Storage};
use crate::{Result, Shape};
use std::any::Any;
use std::sync::Arc;

/// Numbers (f32, row-major) on a device. A handle: cloning it is cheap and shares the memory, and
/// ops make new tensors and change none.
///
/// `+`, `-`, `*` and `/` work between tensors, borrowed or not, and with numbers on either side:
/// `1.0 - &x * &y`.
///
/// A tensor that takes part in a gradient ([`Tensor::tracked`], or anything computed from such a
/// tensor) also holds its place in the graph of ops that made it.
///
/// ```
/// use neutreno_engine::{Device, Tensor};
/// let device = Device::cpu();
/// let x = Tensor::new(&[1.0, 2.0, 3.0], [3], &device).tracked();
/// let loss = (&x * &x).sum_all();
/// let gradients = loss.backward()?;
/// assert_eq!(gradients.get(&x).unwrap().to_vec()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    storage: Storage,
    pub(crate) variable: Option<Variable>,
}

impl Tensor {
    /// A tensor with the numbers given, row-major.
    ///
    /// # Panics
    /// If the shape does not have as many elements as `data`.
    #[track_caller]
    pub fn new(data: &[f32], shape: impl Into<Shape>, device: &Device) -> Tensor {
        let shape = shape.into();
        assert!(data.len() == shape.elements(), "{} numbers do not fill {shape}", data.len());
        let tensor = Tensor::uninitialized(shape, device);
        tensor.overwrite(data);
        tensor
    }

    /// A tensor with the same number everywhere.
    pub fn full(value: f32, shape: impl Into<Shape>, device: &Device) -> Tensor {
        let [tensor] = launch(&Fill { value, shape: shape.into() }, &[], device);
        tensor
    }

    /// Zeros.
    pub fn zeros(shape: impl Into<Shape>, device: &Device) -> Tensor {
        Tensor::full(0.0, shape, device)
    }

    /// Memory with arbitrary contents, to be written before it is read.
    pub(crate) fn uninitialized(shape: Shape, device: &Device) -> Tensor {
        Tensor { shape, storage: device.allocate(shape.elements()), variable: None }
    }

    /// The part of this tensor's memory that starts `offset` elements in, in a shape of its own.
    pub(crate) fn window(&self, offset: usize, shape: Shape) -> Tensor {
        assert!(offset + shape.elements() <= self.elements(), "a window outside its tensor");
        Tensor { shape, storage: self.storage.at(offset), variable: None }
    }

    /// These tensors as one along their first axis, if they follow each other in one memory.
    pub(crate) fn adjacent(parts: &[&Tensor]) -> Option<Tensor> {
        let shape = parts.first()?.shape();
        let same_rest = |part: &&Tensor| {
            part.shape().rank() == shape.rank() && part.shape().with(0, shape[0]) == shape
        };
        let follows =
            |pair: &[&Tensor]| pair[1].storage.follows(&pair[0].storage, pair[0].elements());
        let fits = shape.rank() > 0 && parts.iter().all(same_rest);
        (fits && parts.windows(2).all(follows)).then(|| {
            let size = parts.iter().map(|part| part.shape()[0]).sum();
            Tensor { shape: shape.with(0, size), ..parts[0].detach() }
        })
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// The device whose memory holds the numbers.
    pub fn device(&self) -> &Device {
        self.storage.device()
    }

    /// Whether gradients flow through this tensor.
    pub fn is_tracked(&self) -> bool {
        self.variable.is_some()
    }

    /// The same numbers cut off from the graph: a constant. It shares the memory; [`Tensor::copy`] does
    /// not.
    pub fn detach(&self) -> Tensor {
        Tensor { variable: None, ..self.clone() }
    }

    /// The same numbers in another shape, without a copy. One size may be given as
    /// [`usize::MAX`], to be found from the others.
    ///
    /// # Panics
    /// If the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        let mut shape = shape.into();
        if let Some(axis) = shape.iter().position(|size| *size == usize::MAX) {
            let others = shape.with(axis, 1).elements();
            shape = shape.with(axis, self.elements() / others.max(1));
        }
        assert!(
            self.elements() == shape.elements(),
            "reshape: {} has {} elements, {shape} has {}",
            self.shape,
            self.elements(),
            shape.elements()
        );
        Tensor { shape, ..self.clone() }
    }

    /// Copies the numbers to the host, row-major, when all work before is done.
    ///
    /// # Errors
    /// If the device failed, or had no room for what they are computed from ([`Device`]).
    ///
    /// # Panics
    /// If another thread is writing to this tensor, on the CPU.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        self.read().wait()
    }

    /// The number of a tensor that has only one.
    ///
    /// # Errors
    /// If the device failed.
    ///
    /// # Panics
    /// If there are several.
    #[track_caller]
    pub fn to_scalar(&self) -> Result<f32> {
        assert!(self.elements() == 1, "to_scalar: a tensor of shape {}", self.shape);
        Ok(self.to_vec()?[0])
    }

    /// Starts copying the numbers to the host. Training reads each loss this way and waits for it
    /// some steps later, so that the device never runs dry.
    pub fn read(&self) -> Reading {
        self.read_into(Vec::new())
    }

    /// The same into memory that is there already: what it holds is lost, and where it is too small there is
    /// more. Fresh memory costs the system time, so where much is read again and again this is faster.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0], [2], &Device::cpu());
    /// let memory = x.to_vec()?;
    /// assert_eq!(x.scale(3.0).read_into(memory).wait()?, [3.0, 6.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn read_into(&self, memory: Vec<f32>) -> Reading {
        self.device().read(&self.storage, self.elements(), memory)
    }

    /// Lets `look` see the numbers: on the CPU where they lie, on other devices as a copy.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[1.0, 2.0], [2], &Device::cpu());
    /// assert_eq!(x.with_numbers(|numbers| numbers[1])?, 2.0);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the device failed.
    ///
    /// # Panics
    /// If another thread is changing this tensor ([`Device`]); one that would change it while `look` runs does.
    #[track_caller]
    pub fn with_numbers<R>(&self, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
        self.device().with_numbers(&self.storage, self.elements(), look)
    }

    /// Lets `change` put numbers in this tensor's memory, as [`Tensor::overwrite`] does: on the CPU where they
    /// will lie, on other devices in memory that is copied there. What is there before means nothing.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::zeros([2], &Device::cpu());
    /// x.with_numbers_mut(|numbers| numbers.copy_from_slice(&[1.0, 2.0]))?;
    /// assert_eq!(x.to_vec()?, [1.0, 2.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the device failed.
    ///
    /// # Panics
    /// If another thread is using this tensor ([`Device`]); one that would use it while `change` runs does.
    #[track_caller]
    pub fn with_numbers_mut<R>(&self, change: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
        self.device().with_numbers_mut(&self.storage, self.elements(), change)
    }

    /// Puts other numbers in this tensor's memory; every handle to it sees them. For parameters:
    /// results of ops should be left as they are.
    ///
    /// # Panics
    /// If the number of elements differs, or another thread is using this tensor ([`Device`]).
    #[track_caller]
    pub fn overwrite(&self, data: &[f32]) {
        assert!(data.len() == self.elements(), "{} numbers for {}", data.len(), self.shape);
        self.device().upload(data, &self.storage);
    }

    /// Notes that the host had no room for its numbers, and why: they are missing.
    pub(crate) fn lacks(&self, why: &str) {
        let bytes = (self.elements() * size_of::<f32>()) as u64;
        let refusal = self.device().failure().refuse(bytes, why);
        self.storage.lacks(self.elements(), &refusal);
    }

    /// The same as [`Tensor::reshape`] without a second handle, for shapes known to fit.
    pub(crate) fn into_shape(self, shape: Shape) -> Tensor {
        debug_assert_eq!(self.elements(), shape.elements());
        Tensor { shape, ..self }
    }

    pub(crate) fn operand(&self) -> Operand<'_> {
        Operand { storage: &self.storage, shape: self.shape }
    }

    /// How often this tensor's memory was written.
    pub(crate) fn version(&self) -> u64 {
        self.storage.version()
    }

    /// Whether both are the same place in memory.
    pub(crate) fn shares_memory(&self, other: &Tensor) -> bool {
        self.storage.is_same(&other.storage)
    }

    /// Whether this handle is the only user of its memory.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.storage.is_exclusive()
    }
}

/// A tensor's place in the graph of ops that made it: one output of a node. What a node is, only
/// [`crate::autograd`] knows.
#[derive(Clone)]
pub(crate) struct Variable {
    pub node: Arc<dyn Any + Send + Sync>,
    /// The node's number, and that of its output: what names a gradient.
    pub slot: (u64, usize),
    /// If the tensor is several others that follow each other in memory, what names their gradients.
    pub parts: Option<Arc<[(u64, usize)]>>,
    /// Whether its memory is there with or without the graph: a leaf's, or that of several leaves.
    pub is_leaf: bool,
}

/// Runs a kernel, without derivatives, into new tensors.
///
/// # Panics
/// If the inputs do not fit, or the kernel does not have `N` outputs.
#[track_caller]
pub(crate) fn launch<const N: usize>(
    kernel: &dyn Kernel,
    inputs: &[&Tensor],
    device: &Device,
) -> [Tensor; N] {
    let shapes = check(kernel, inputs);
    let outputs = shapes.into_iter().map(|shape| Tensor::uninitialized(shape, device)).collect();
    let outputs: Vec<Tensor> = outputs;
    let destinations: Vec<(&Tensor, bool)> = outputs.iter().map(|tensor| (tensor, false)).collect();
    launch_into(kernel, inputs, &destinations);
    outputs.try_into().expect("as many outputs as the caller takes")
}

/// Runs a kernel of the engine's into tensors that exist, each overwritten or (`true`) added to.
#[track_caller]
pub(crate) fn launch_into(kernel: &dyn Kernel, inputs: &[&Tensor], outputs: &[(&Tensor, bool)]) {
    launch_from(Origin::Engine, kernel, inputs, outputs);
}

/// The same for a kernel from wherever it may be.
///
/// # Panics
/// If the tensors are on a GPU and the kernel has no shader.
#[track_caller]
pub(crate) fn launch_from(
    origin: Origin,
    kernel: &dyn Kernel,
    inputs: &[&Tensor],
    outputs: &[(&Tensor, bool)],
) {
    let Some(device) = outputs.first().map(|(tensor, _)| tensor.device()) else { return };
    // So no kernel has to do with outputs without elements, unless another one has some.
    if outputs.iter().all(|(tensor, _)| tensor.elements() == 0) {
        return;
    }
    let inputs: Vec<Operand> = inputs.iter().map(|input| input.operand()).collect();
    let outputs: Vec<Destination> = outputs
        .iter()
        .map(|(tensor, add)| Destination { operand: tensor.operand(), add: *add })
        .collect();
    let ran = device.run(origin, kernel, &inputs, &outputs);
    assert!(
        ran,
        "{}: it has no shader, so it runs on the CPU alone, not on {device}",
        kernel.name()
    );
}

/// Checks that two tensors are on the same device.
#[track_caller]
pub(crate) fn check_devices(name: &str, one: &Device, other: &Device) {
    if one == other {
        return;
    }
    if one.to_string() == other.to_string() {
        panic!(
            "{name}: tensors on two devices that were opened one by one, both {one}; open it once and clone the handle"
        );
    }
    panic!("{name}: tensors on {one} and on {other}");
}

/// The shapes of a kernel's outputs.
///
/// # Panics
/// At the caller's line, if the inputs do not fit or are on different devices.
#[track_caller]
pub(crate) fn check(kernel: &dyn Kernel, inputs: &[&Tensor]) -> Vec<Shape> {
    let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape()).collect();
    for pair in inputs.windows(2) {
        check_devices(kernel.name(), pair[0].device(), pair[1].device());
    }
    match kernel.shapes(&shapes) {
        Ok(outputs) => outputs,
        Err(problem) => panic!("{}: {problem}; the shapes are {shapes:?}", kernel.name()),
    }
}
