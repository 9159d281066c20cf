//! Whole numbers: tokens, labels, indices.

use crate::Shape;
use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

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
    copies: Arc<Mutex<Vec<DeviceCopy>>>,
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
        Ids { shape, data, largest, ignores, copies: Arc::default() }
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

    /// The copy on the device that `copies` belongs to, made by `upload` if there is none; one that it
    /// could not make is tried again the next time.
    pub(crate) fn on_device<T: Any + Send + Sync, E>(
        &self,
        copies: &Copies,
        upload: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let mut made = lock(&self.copies);
        let kept = made.iter().find(|copy| copy.device == copies.device);
        if let Some(memory) = kept.and_then(|copy| copy.memory.clone().downcast().ok()) {
            return Ok(memory);
        }
        let memory = Arc::new(upload()?);
        made.push(DeviceCopy { device: copies.device, memory: memory.clone() });
        drop(made);
        copies.note(&self.copies);
        Ok(memory)
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

/// The copies of ids that a device holds. Ids can live longer than a device: when it is dropped, it
/// takes the copies away from them, so that nothing holds its memory any more.
pub(crate) struct Copies {
    /// The device's number.
    device: u64,
    of: Mutex<Vec<Weak<Mutex<Vec<DeviceCopy>>>>>,
}

impl Copies {
    /// For a device that is new.
    pub fn new() -> Copies {
        static MADE: AtomicU64 = AtomicU64::new(0);
        Copies { device: MADE.fetch_add(1, Ordering::Relaxed), of: Mutex::default() }
    }

    fn note(&self, copies: &Arc<Mutex<Vec<DeviceCopy>>>) {
        let mut of = lock(&self.of);
        // Most ids live for a step. Looking for the dead when the list is full costs little in all.
        if of.len() == of.capacity() {
            of.retain(|copies| copies.strong_count() > 0);
        }
        of.push(Arc::downgrade(copies));
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for copies in lock(&self.of).iter().filter_map(Weak::upgrade) {
            lock(&copies).retain(|copy| copy.device != self.device);
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic elsewhere leaves behind is whole.
    shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(ids: &Ids, copies: &Copies, number: u32) -> Arc<u32> {
        ids.on_device(copies, || Ok::<u32, ()>(number)).unwrap()
    }

    #[test]
    fn each_device_has_a_copy_until_it_is_dropped() {
        let ids = Ids::new(vec![1], [1]);
        let [one, other] = [Copies::new(), Copies::new()];
        let first = copy(&ids, &one, 10);
        assert_eq!([*copy(&ids, &other, 20), *copy(&ids, &one, 11)], [20, 10]);
        drop(one);
        assert_eq!(Arc::strong_count(&first), 1);
        assert_eq!(*copy(&ids.clone(), &other, 21), 20);
    }

    #[test]
    fn a_copy_that_was_refused_is_tried_again() {
        let (ids, copies) = (Ids::new(vec![1], [1]), Copies::new());
        assert_eq!(ids.on_device(&copies, || Err::<u32, _>("full")), Err("full"));
        assert_eq!(*copy(&ids, &copies, 1), 1);
    }

    #[test]
    fn a_device_does_not_remember_ids_that_are_gone() {
        let copies = Copies::new();
        for number in 0..1000 {
            copy(&Ids::new(vec![1], [1]), &copies, number);
        }
        assert!(lock(&copies.of).len() < 10);
    }
}
