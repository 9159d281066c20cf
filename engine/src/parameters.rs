//! A model's parameters: named tensors that lie one after another in a few flat pieces of memory.
//!
//! An optimiser updates a piece in one launch however many parameters it holds, and whoever sums
//! gradients over several machines sends a few long arrays. Parameters that it treats alike
//! ([`Group`]) lie together. Each starts at a multiple of 64 elements, 256 bytes, where any
//! GPU can bind it; the numbers between are zero and stay so.

mod blocks;
mod builder;
mod group;
mod layout;
mod part;
mod shares;
mod sums;

pub use blocks::Blocks;
pub use builder::{Builder, Initial};
pub use group::Group;
pub use part::Part;

use crate::autograd::Identity;
pub(crate) use crate::device::ALIGNMENT;
use crate::random::Key;
use crate::{Device, Gradients, Shape, Tensor};
use builder::Request;
use layout::{Location, lay_out};
use rayon::prelude::*;
use std::collections::HashMap;

/// A parameter and its location.
#[derive(Clone)]
struct Parameter {
    request: Request,
    /// A window of its piece; tracked, a leaf of the graph, if it is learnt.
    tensor: Tensor,
    location: Location,
}

impl Parameter {
    /// This parameter's part of `flat`, which are pieces like those of the parameters.
    fn window(&self, flat: &[Tensor]) -> Tensor {
        flat[self.location.piece].window(self.location.offset, self.tensor.shape())
    }
}

/// The parameters of a model. A handle: a clone means the same memory.
///
/// ```
/// use neutreno_engine::{Builder, Device, Initial, Parameters, Tensor};
///
/// struct Linear { weight: Tensor, bias: Tensor }
/// impl Linear {
///     fn new(p: &mut Builder) -> Linear {
///         let weight = p.parameter("weight", [3, 2], Initial::Normal { deviation: 0.1 }, true);
///         let bias = p.parameter("bias", [3], Initial::Zeros, false);
///         Linear { weight, bias }
///     }
/// }
/// let make = |p: &mut Builder| Linear::new(&mut p.scope("layers.0"));
/// let (model, parameters) = Parameters::build(&Device::cpu(), 1, make);
/// assert_eq!(parameters.count(), 9);
/// assert_eq!(parameters.names().collect::<Vec<_>>(), ["layers.0.weight", "layers.0.bias"]);
/// assert_eq!(model.bias.to_vec()?, [0.0, 0.0, 0.0]);
/// assert_eq!(model.weight.shape(), parameters.get("layers.0.weight").unwrap().shape());
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Parameters {
    /// In the order in which they were made.
    parameters: Vec<Parameter>,
    by_name: HashMap<String, usize>,
    /// Those that are learnt come first.
    pieces: Vec<Flat>,
    device: Device,
    identity: Identity,
}

/// One flat piece of parameters.
#[derive(Clone)]
struct Flat {
    tensor: Tensor,
    group: Group,
}

/// A flat piece of parameters with their gradients; see [`Parameters::pieces`].
#[derive(Clone, Debug)]
pub struct Piece {
    /// The parameters, one axis; zeros between them.
    pub parameters: Tensor,
    /// The gradients at the same positions; zeros between them and where none arrived.
    pub gradients: Tensor,
    /// How these parameters are treated.
    pub group: Group,
}

impl Parameters {
    /// Makes a model and its parameters on `device`. The constructor runs twice: first on
    /// [`Device::plan`], to learn what parameters there are, then on `device`, with the memory
    /// there and the initial values in it. It must ask for the same parameters both times.
    ///
    /// # Panics
    /// If a name is used twice, the two runs differ, or a parameter is larger than the device's
    /// largest tensor.
    #[track_caller]
    pub fn build<M>(
        device: &Device,
        seed: u64,
        make: impl Fn(&mut Builder) -> M,
    ) -> (M, Parameters) {
        Parameters::build_with_groups(device, seed, |_, _, decay| Group::with_decay(decay), make)
    }

    /// The same as [`Parameters::build`], with a rule for how each parameter is treated: `group` is
    /// given its name, its shape, and whether the model wanted weight decay for it. So what is to stay
    /// as it was in a checkpoint is frozen here, before the checkpoint is loaded.
    ///
    /// ```
    /// use neutreno_engine::{Builder, Device, Group, Initial, Parameters};
    /// let make = |p: &mut Builder| p.parameter("embedding", [5, 2], Initial::Ones, true);
    /// let group = |name: &str, _, wanted| Group::with_decay(wanted && name != "embedding");
    /// let (_, parameters) = Parameters::build_with_groups(&Device::cpu(), 1, group, make);
    /// assert_eq!(parameters.group("embedding").unwrap().decay, 0.0);
    /// ```
    ///
    /// # Panics
    /// As [`Parameters::build`], or if a group's factor is negative or not finite.
    #[track_caller]
    pub fn build_with_groups<M>(
        device: &Device,
        seed: u64,
        group: impl Fn(&str, Shape, bool) -> Group,
        make: impl Fn(&mut Builder) -> M,
    ) -> (M, Parameters) {
        Parameters::build_and_write(device, group, make, |parameters| {
            parameters.initialize(Key::new(seed));
        })
    }

    /// The same as [`Parameters::build_with_groups`] for parameters that will be read from somewhere:
    /// only those for whose name `initial` is true get their initial values, from `seed`. The others
    /// are 0 until then, which costs neither the time to draw numbers nor memory to hold them twice.
    ///
    /// ```
    /// use neutreno_engine::{Builder, Device, Group, Initial, Parameters};
    /// let make = |p: &mut Builder| ["old", "new"].map(|name| p.parameter(name, [2], Initial::Ones, true));
    /// let group = |_: &str, _, wanted| Group::with_decay(wanted);
    /// let is_new = |name: &str| name == "new";
    /// let ([old, new], _) = Parameters::build_to_read(&Device::cpu(), 1, group, is_new, make);
    /// assert_eq!((old.to_vec()?, new.to_vec()?), (vec![0.0, 0.0], vec![1.0, 1.0]));
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Panics
    /// As [`Parameters::build_with_groups`].
    #[track_caller]
    pub fn build_to_read<M>(
        device: &Device,
        seed: u64,
        group: impl Fn(&str, Shape, bool) -> Group,
        initial: impl Fn(&str) -> bool,
        make: impl Fn(&mut Builder) -> M,
    ) -> (M, Parameters) {
        Parameters::build_and_write(device, group, make, |parameters| {
            for Flat { tensor, .. } in &parameters.pieces {
                fill(tensor, 0.0);
            }
            for Parameter { request, tensor, .. } in &parameters.parameters {
                if initial(&request.name) && device.kind() != "plan" {
                    let mut numbers = vec![0.0; tensor.elements()];
                    request.initial.write(Key::new(seed).named(&request.name), &mut numbers);
                    tensor.overwrite(&numbers);
                }
            }
        })
    }

    /// What both do; `write` gives the parameters their first values.
    #[track_caller]
    fn build_and_write<M>(
        device: &Device,
        group: impl Fn(&str, Shape, bool) -> Group,
        make: impl Fn(&mut Builder) -> M,
        write: impl FnOnce(&Parameters),
    ) -> (M, Parameters) {
        let mut counting = Builder::new(&Device::plan(), None);
        make(&mut counting);
        let requests = counting.state.take().requests;
        let parameters = Parameters::new(requests, group, device);
        write(&parameters);
        let found = |p: &Parameter| (p.request.clone(), p.tensor.clone());
        let found = parameters.parameters.iter().map(found).collect();
        let mut builder = Builder::new(device, Some(found));
        let model = make(&mut builder);
        let made = builder.state.borrow().requests.len();
        if let Some(Parameter { request, .. }) = parameters.parameters.get(made) {
            panic!("{}: made in the constructor's first run, but not in its second", request.name);
        }
        (model, parameters)
    }

    /// Takes the memory and gives each parameter its location.
    #[track_caller]
    fn new(
        requests: Vec<Request>,
        group: impl Fn(&str, Shape, bool) -> Group,
        device: &Device,
    ) -> Parameters {
        let largest = device.largest_tensor();
        let size = |Request { name, shape, decay, .. }: &Request| {
            let elements = shape.elements();
            // The planning device refuses it as memory, for whoever wants to say more than this.
            assert!(
                elements <= largest || device.kind() == "plan",
                "{name}: {shape} has {elements} elements; a tensor on {device} can have {largest}"
            );
            let group = group(name, *shape, *decay);
            assert!(group.is_valid(), "{name}: {group:?} has a factor that no update can have");
            (elements, group)
        };
        let sizes: Vec<(usize, Group)> = requests.iter().map(size).collect();
        let (locations, pieces) = lay_out(&sizes, largest);
        let flat = |(size, group)| {
            let tensor = Tensor::uninitialized(Shape::from([size]), device);
            Flat { tensor, group }
        };
        let pieces: Vec<Flat> = pieces.into_iter().map(flat).collect();
        let parameter = |(request, location): (Request, Location)| {
            let Flat { tensor, group } = &pieces[location.piece];
            let window = tensor.window(location.offset, request.shape);
            let tensor = if group.learnt { window.tracked() } else { window };
            Parameter { request, tensor, location }
        };
        let parameters: Vec<Parameter> =
            requests.into_iter().zip(locations).map(parameter).collect();
        let names = parameters.iter().map(|parameter| parameter.request.name.clone());
        let by_name = names.zip(0..).collect();
        let (device, identity) = (device.clone(), Identity::new());
        Parameters { parameters, by_name, pieces, device, identity }
    }

    /// Writes the initial values: a piece is made on the host, in parallel, and sent whole. Where the
    /// host has no room for it, its numbers are missing like those of any tensor that there was no room
    /// for.
    fn initialize(&self, key: Key) {
        if self.device.kind() == "plan" {
            return;
        }
        for (index, piece) in self.pieces.iter().enumerate() {
            let mut numbers = Vec::new();
            let elements = piece.tensor.elements();
            if numbers.try_reserve_exact(elements).is_err() {
                // There may be room once the device has given back what it does not use.
                self.device.trim();
            }
            if numbers.try_reserve_exact(elements).is_err() {
                piece
                    .tensor
                    .lacks("the system did not give them to make the initial parameters in");
                continue;
            }
            numbers.resize(elements, 0.0);
            let mut rest: &mut [f32] = &mut numbers;
            let mut targets = Vec::new();
            for parameter in
                self.parameters.iter().filter(|parameter| parameter.location.piece == index)
            {
                let elements = parameter.tensor.elements();
                let (own, after) = rest.split_at_mut(elements.next_multiple_of(ALIGNMENT));
                rest = after;
                targets.push((&parameter.request, &mut own[..elements]));
            }
            let write = |(request, numbers): (&Request, &mut [f32])| {
                request.initial.write(key.named(&request.name), numbers);
            };
            self.device.install(|| targets.into_par_iter().for_each(write));
            piece.tensor.overwrite(&numbers);
        }
    }

    /// The device that holds them.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The names, in the order in which the model made them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|parameter| parameter.request.name.as_str())
    }

    /// The parameter of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name).map(|index| &self.parameters[*index].tensor)
    }

    /// The names and the parameters, in the order in which the model made them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.names().zip(self.parameters.iter().map(|parameter| &parameter.tensor))
    }

    /// How the parameter of that name is treated.
    pub fn group(&self, name: &str) -> Option<Group> {
        let index = self.by_name.get(name)?;
        Some(self.pieces[self.parameters[*index].location.piece].group)
    }

    /// How many numbers all parameters have together.
    pub fn count(&self) -> usize {
        self.parameters.iter().map(|parameter| parameter.tensor.elements()).sum()
    }

    /// How many numbers those that are learnt have together.
    pub fn learnt_count(&self) -> usize {
        self.learnt().map(|parameter| parameter.tensor.elements()).sum()
    }

    fn learnt(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| parameter.tensor.is_tracked())
    }

    fn learnt_pieces(&self) -> impl Iterator<Item = &Flat> {
        self.pieces.iter().take_while(|piece| piece.group.learnt)
    }

    /// Memory for the gradients of all parameters that are learnt, in flat pieces like theirs: to be filled by
    /// [`Tensor::backward_into`] and read by an optimiser, step after step.
    ///
    /// ```
    /// use neutreno_engine::{Builder, Device, Initial, Parameters};
    /// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Full(3.0), true);
    /// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let mut gradients = parameters.gradients();
    /// for _step in 0..2 {
    ///     gradients.clear();
    ///     (&x * &x).sum_all().backward_into(&mut gradients)?;
    ///     assert_eq!(gradients.get(&x).unwrap().to_vec()?, [6.0, 6.0]);
    /// }
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn gradients(&self) -> Gradients {
        let flat = self.zeros();
        let mut gradients = Gradients::default();
        for parameter in self.learnt() {
            gradients.provide(&parameter.tensor, parameter.window(&flat));
        }
        gradients.provide_flat(flat, self.identity);
        gradients
    }

    /// The names of the parameters to be learnt that no gradient has reached since the last
    /// [`Gradients::clear`]. After the first step of a training run there should be none.
    pub fn missing_gradients(&self, gradients: &Gradients) -> Vec<String> {
        self.without_gradient(gradients).map(|parameter| parameter.request.name.clone()).collect()
    }

    fn without_gradient(&self, gradients: &Gradients) -> impl Iterator<Item = &Parameter> {
        self.learnt().filter(|parameter| gradients.constant(&parameter.tensor).is_none())
    }

    /// The flat pieces that are learnt, each with its gradients: what an optimiser works on, or what is summed over
    /// several machines. Gradients that did not arrive are set to zero first, since their memory
    /// still holds those of an earlier step.
    ///
    /// # Panics
    /// If `gradients` does not come from [`Parameters::gradients`] of these parameters.
    #[track_caller]
    pub fn pieces(&self, gradients: &Gradients) -> Vec<Piece> {
        let Some(flat) = gradients.flat(self.identity) else {
            panic!("these gradients are not made by `gradients` of these parameters");
        };
        for parameter in self.without_gradient(gradients) {
            fill(&parameter.window(flat), 0.0);
        }
        let pair = |(piece, gradients): (&Flat, &Tensor)| Piece {
            parameters: piece.tensor.clone(),
            gradients: gradients.clone(),
            group: piece.group,
        };
        self.learnt_pieces().zip(flat).map(pair).collect()
    }

    /// What tells these parameters from others.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Checks that `what`, which was made for the parameters that `identity` tells, is used with them.
    #[track_caller]
    pub(crate) fn check(&self, identity: Identity, what: &str) {
        assert!(self.identity == identity, "{what}: it was made for other parameters than these");
    }

    /// The flat pieces that are learnt.
    pub(crate) fn flat(&self) -> impl Iterator<Item = &Tensor> {
        self.learnt_pieces().map(|piece| &piece.tensor)
    }

    /// Zeros in flat pieces like those of the parameters that are learnt.
    pub(crate) fn zeros(&self) -> Vec<Tensor> {
        let zeros = |piece: &Flat| Tensor::zeros(piece.tensor.shape(), &self.device);
        self.learnt_pieces().map(zeros).collect()
    }

    /// The names of the parameters that are learnt, each with its part of `flat`, which are pieces like
    /// theirs.
    pub(crate) fn windows(&self, flat: &[Tensor]) -> Vec<(String, Tensor)> {
        let window =
            |parameter: &Parameter| (parameter.request.name.clone(), parameter.window(flat));
        self.learnt().map(window).collect()
    }
}

/// Sets a tensor that exists to the same number everywhere.
fn fill(tensor: &Tensor, value: f32) {
    let kernel = crate::device::Fill { value, shape: tensor.shape() };
    crate::tensor::launch_into(&kernel, &[], &[(tensor, false)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuLimits;
    use std::cell::Cell;

    fn make(p: &mut Builder) -> [Tensor; 3] {
        let bias = p.parameter("bias", [3], Initial::Uniform { bound: 2.0 }, false);
        let layer = &mut p.scope("layers").scope("0");
        let weight = layer.parameter("weight", [5, 13], Initial::Normal { deviation: 1.0 }, true);
        [bias, weight, layer.parameter("scale", [], Initial::Ones, false)]
    }

    #[test]
    fn parameters_lie_aligned_in_pieces_by_decay() {
        let device = Device::cpu();
        let ([bias, weight, scale], parameters) = Parameters::build(&device, 7, make);
        let names: Vec<&str> = parameters.names().collect();
        assert_eq!(names, ["bias", "layers.0.weight", "layers.0.scale"]);
        assert_eq!(parameters.count(), 3 + 65 + 1);
        let gradients = parameters.gradients();
        let pieces = parameters.pieces(&gradients);
        let kinds: Vec<(f64, usize)> =
            pieces.iter().map(|piece| (piece.group.decay, piece.parameters.elements())).collect();
        assert_eq!(kinds, [(0.0, 128), (1.0, 128)]);
        let mut expected = vec![0.0; 128];
        expected[..3].copy_from_slice(&bias.to_vec().unwrap());
        expected[64] = scale.to_scalar().unwrap();
        assert_eq!(pieces[0].parameters.to_vec().unwrap(), expected);
        let normals = Key::new(7).named("layers.0.weight").normals(65, 0.0, 1.0);
        assert_eq!(weight.to_vec().unwrap(), normals);
        assert_eq!(expected[64], 1.0);
    }

    /// On the GPUs that there are, and one with limits that are no round numbers: pieces are as large as
    /// a tensor can be, and their memory is not larger.
    #[test]
    fn pieces_fit_in_what_a_gpu_has() {
        for largest in [1 << 27, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1_000_003] {
            for (largest_binding, largest_buffer) in [(largest, u64::MAX), (u64::MAX, largest)] {
                let limits = GpuLimits { largest_binding, largest_buffer };
                let device = Device::plan_for_limited_gpu(crate::gpu::Class::HARDWARE, limits);
                let most = device.largest_tensor();
                assert!(4 * most as u64 <= largest && most.is_multiple_of(ALIGNMENT), "{most}");
                let sizes = [most / 2, most / 2, 1, most / 16 * 15, most, most - 63, 5];
                let make = |p: &mut Builder| {
                    for (number, size) in sizes.iter().enumerate() {
                        p.parameter(&number.to_string(), [*size], Initial::Zeros, true);
                    }
                };
                let (_, parameters) = Parameters::build(&device, 1, make);
                let gradients = parameters.gradients();
                let pieces = parameters.pieces(&gradients);
                assert!(pieces.iter().all(|piece| piece.parameters.elements() <= most));
                device.synchronize().unwrap();
                let rounded = device.memory().in_use / 2 / pieces.len() as u64;
                assert!(rounded <= largest, "{rounded} of {largest}");
                let too_large = |p: &mut Builder| p.parameter("x", [most + 1], Initial::Ones, true);
                Parameters::build(&device, 1, too_large);
                let said = device.synchronize().unwrap_err().to_string();
                assert!(said.contains("of one tensor on this device"), "{said}");
            }
        }
    }

    #[test]
    fn gradients_that_did_not_arrive_are_named_and_count_as_zero() {
        let ([bias, weight, scale], parameters) = Parameters::build(&Device::cpu(), 7, make);
        let mut gradients = parameters.gradients();
        let all = bias.sum_all().add(&weight.sum_all()).add(&scale);
        all.backward_into(&mut gradients).unwrap();
        assert!(parameters.missing_gradients(&gradients).is_empty());
        gradients.clear();
        scale.multiply(&weight.sum_all()).backward_into(&mut gradients).unwrap();
        assert_eq!(parameters.missing_gradients(&gradients), ["bias"]);
        let pieces = parameters.pieces(&gradients);
        let numbers = pieces[0].gradients.to_vec().unwrap();
        assert_eq!(numbers[..64], [0.0; 64]);
        assert_ne!(numbers[64], 0.0);
    }

    /// Those of a twin have the same names, shapes and memory layout.
    #[test]
    #[should_panic(expected = "not made by `gradients` of these parameters")]
    fn gradients_of_a_twin_are_refused() {
        let [ours, twins] = [(); 2].map(|()| Parameters::build(&Device::cpu(), 7, make).1);
        ours.pieces(&twins.gradients());
    }

    #[test]
    #[should_panic(expected = "two parameters are named layers.x")]
    fn a_name_used_twice_is_named() {
        Parameters::build(&Device::cpu(), 1, |p| {
            p.parameter("layers.x", [1], Initial::Ones, true);
            p.scope("layers").parameter("x", [1], Initial::Ones, true)
        });
    }

    #[test]
    #[should_panic(expected = "x: the constructor's first run")]
    fn a_constructor_that_changes_its_mind_is_caught() {
        let size = Cell::new(1);
        Parameters::build(&Device::cpu(), 1, |p| {
            p.parameter("x", [size.replace(2)], Initial::Ones, true)
        });
    }
}
