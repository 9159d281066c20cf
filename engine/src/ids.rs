//! Whole numbers: tokens, labels, indices.

use crate::Shape;
use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex};

/// An array of ids with a shape. A type of its own, so that no op has to check at run time what
/// kind of numbers it was given. Ids come from the host; a device keeps its own copy once an op
/// has used them there.
///
/// ```
/// use neutreno_engine::Ids;
/// let tokens = Ids::new(vec![3, 1, 4, 1, 5, 9], [2, 3]);
/// assert_eq!(tokens.shape().elements(), 6);
/// ```
#[derive(Clone, Debug)]
pub struct Ids {
    shape: Shape,
    data: Arc<[u32]>,
    /// The largest of the ids but for those ignored.
    largest: Option<u32>,
    /// Whether one of them is [`Ids::IGNORED`].
    ignores: bool,
    copy: Arc<Mutex<Option<DeviceCopy>>>,
}

impl Ids {
    /// An id that stands for "nothing here": a target that the loss leaves out.
    pub const IGNORED: u32 = u32::MAX;

    /// Ids from the host, row-major.
    ///
    /// # Panics
    /// If the shape does not have as many elements as `data`.
    #[track_caller]
    pub fn new(data: impl Into<Arc<[u32]>>, shape: impl Into<Shape>) -> Ids {
        let (data, shape) = (data.into(), shape.into());
        assert!(data.len() == shape.elements(), "{} ids do not fill {shape}", data.len());
        let largest = data.iter().copied().filter(|id| *id != Ids::IGNORED).max();
        let ignores = data.contains(&Ids::IGNORED);
        Ids { shape, data, largest, ignores, copy: Arc::default() }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The ids, row-major.
    pub fn as_slice(&self) -> &[u32] {
        &self.data
    }

    /// The same ids in another shape.
    ///
    /// # Panics
    /// If the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Ids {
        let shape = shape.into();
        assert!(self.data.len() == shape.elements(), "{} ids do not fill {shape}", self.data.len());
        Ids { shape, ..self.clone() }
    }

    /// The first id that is not below `count`, and its place.
    pub(crate) fn first_outside(&self, count: usize) -> Option<(usize, u32)> {
        if self.ignores {
            self.find(|id| id as usize >= count)
        } else {
            self.first_target_outside(count)
        }
    }

    /// The same, but [`Ids::IGNORED`] is not looked at.
    pub(crate) fn first_target_outside(&self, count: usize) -> Option<(usize, u32)> {
        self.largest.filter(|largest| *largest as usize >= count)?;
        self.find(|id| id != Ids::IGNORED && id as usize >= count)
    }

    /// That these are targets for so many rows of so many classes.
    pub(crate) fn check_targets(&self, rows: usize, classes: usize) -> Result<(), String> {
        if self.data.len() != rows {
            return Err(format!("targets of shape {} for {rows} rows", self.shape));
        }
        match self.first_target_outside(classes) {
            Some((row, target)) => {
                Err(format!("target {target} in row {row} is not one of the {classes} classes"))
            }
            None => Ok(()),
        }
    }

    fn find(&self, is_meant: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let place = self.data.iter().position(|id| is_meant(*id))?;
        Some((place, self.data[place]))
    }

    /// The copy on the device with number `device`, made by `upload` if there is none.
    pub(crate) fn on_device<T: Any + Send + Sync>(
        &self,
        device: u64,
        upload: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut copy = self.copy.lock().expect("no code panics with it");
        let kept = copy.as_ref().filter(|copy| copy.device == device);
        match kept.and_then(|copy| copy.memory.clone().downcast().ok()) {
            Some(memory) => memory,
            None => {
                let memory = Arc::new(upload());
                *copy = Some(DeviceCopy { device, memory: memory.clone() });
                memory
            }
        }
    }
}

/// A copy in a device's memory. What that is, only the device knows.
struct DeviceCopy {
    device: u64,
    memory: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for DeviceCopy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "on device {}", self.device)
    }
}
