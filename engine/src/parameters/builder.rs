//! How a model's constructor asks for its parameters.

use crate::random::Key;
use crate::{Device, Shape, Tensor};
use std::cell::RefCell;
use std::collections::HashSet;
use std::iter::repeat;
use std::rc::Rc;

/// What a parameter holds before training. Random numbers come from the seed and the parameter's
/// name alone, so models that share a name start alike there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// The same number everywhere.
    Full(f32),
    /// Normal, with mean 0.
    Normal {
        /// The standard deviation.
        deviation: f32,
    },
    /// Uniform in [−bound, bound).
    Uniform {
        /// The largest magnitude.
        bound: f32,
    },
}

impl Initial {
    pub(super) fn write(self, key: Key, numbers: &mut [f32]) {
        // In place: there may be no room for as many numbers once more.
        let mut write = |random: &mut dyn Iterator<Item = f32>| {
            numbers.iter_mut().zip(random).for_each(|(number, value)| *number = value);
        };
        match self {
            Initial::Zeros => write(&mut repeat(0.0)),
            Initial::Ones => write(&mut repeat(1.0)),
            Initial::Full(value) => write(&mut repeat(value)),
            Initial::Normal { deviation } => {
                write(&mut key.endless_normals(0.0, deviation));
            }
            Initial::Uniform { bound } => {
                write(&mut key.endless_uniforms(-bound, bound));
            }
        }
    }
}

/// What a model's constructor asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub name: String,
    pub shape: Shape,
    pub initial: Initial,
    pub decay: bool,
}

/// Hands out parameters to a model's constructor; see [`Parameters::build`](crate::Parameters::build).
pub struct Builder {
    /// Ends in a dot, unless empty.
    prefix: String,
    device: Device,
    pub(super) state: Rc<RefCell<State>>,
}

/// What all scopes of a builder share.
#[derive(Default)]
pub(super) struct State {
    pub requests: Vec<Request>,
    names: HashSet<String>,
    /// In the second run, the answers to the requests of the first.
    found: Option<Vec<(Request, Tensor)>>,
}

impl Builder {
    pub(super) fn new(device: &Device, found: Option<Vec<(Request, Tensor)>>) -> Builder {
        let state = Rc::new(RefCell::new(State { found, ..State::default() }));
        Builder { prefix: String::new(), device: device.clone(), state }
    }

    /// A builder whose parameters' names start with `name` and a dot, below this one's prefix.
    pub fn scope(&self, name: &str) -> Builder {
        let prefix = format!("{}{name}.", self.prefix);
        Builder { prefix, device: self.device.clone(), state: self.state.clone() }
    }

    /// The device that the model is being made on, for its constants. In the constructor's first
    /// run it is [`Device::plan`].
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A parameter, tracked unless it is frozen ([`Group`](crate::Group)). `decay` says whether it has
    /// weight decay: matrices usually do; biases, weights of norms and scalars do not.
    ///
    /// # Panics
    /// If the name is taken or the shape has no elements.
    #[track_caller]
    pub fn parameter(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        initial: Initial,
        decay: bool,
    ) -> Tensor {
        let name = format!("{}{name}", self.prefix);
        let request = Request { name, shape: shape.into(), initial, decay };
        let Request { name, shape, .. } = &request;
        assert!(shape.elements() > 0, "{name}: a parameter of shape {shape} has no elements");
        let mut state = self.state.borrow_mut();
        assert!(state.names.insert(name.clone()), "two parameters are named {name}");
        let tensor = match &state.found {
            None => Tensor::uninitialized(*shape, &self.device).tracked(),
            Some(found) => {
                let parameter = found.get(state.requests.len());
                match parameter.filter(|(asked, _)| *asked == request) {
                    Some((_, tensor)) => tensor.clone(),
                    None => panic!(
                        "{name}: the constructor's first run did not ask for it, or otherwise"
                    ),
                }
            }
        };
        state.requests.push(request);
        tensor
    }
}
