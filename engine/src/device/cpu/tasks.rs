//! The tasks of a kernel: on the threads of its device, or one after another on the thread that asks,
//! where there is too little work to hand it over.

use rayon::iter::plumbing::{Producer, ProducerCallback};
use rayon::prelude::*;
use std::cell::Cell;

thread_local! {
    /// Whether what this thread runs now is not to be spread over others.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose tasks then all run on this thread.
pub(super) fn alone<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    work()
}

/// Tasks of a kernel, which write to different memory and do not depend on each other: what rayon makes
/// of slices and of ranges.
pub trait Tasks: IndexedParallelIterator {
    /// Runs `body` once for each task: on the threads of the device, in any order, or, if the kernel is
    /// small, in their order on the thread that runs it. `for_each` would spread small kernels over threads
    /// too, which takes longer than their work.
    fn each(self, body: impl Fn(Self::Item) + Send + Sync) {
        if ALONE.get() {
            self.with_producer(InOrder(body));
        } else {
            self.for_each(body);
        }
    }
}

impl<I: IndexedParallelIterator> Tasks for I {}

struct InOrder<F>(F);

impl<T, F: Fn(T)> ProducerCallback<T> for InOrder<F> {
    type Output = ();

    fn callback<P: Producer<Item = T>>(self, producer: P) {
        producer.into_iter().for_each(self.0);
    }
}

/// Both of two parts of a task, as [`Tasks::each`] runs tasks.
pub fn both(one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
    if ALONE.get() {
        one();
        other();
    } else {
        rayon::join(one, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::thread::current;

    #[test]
    fn tasks_that_are_alone_run_here_and_in_order() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let seen = Mutex::new(Vec::new());
        let note = |task: usize| seen.lock().unwrap().push((task, current().id()));
        alone(|| {
            (0..20).into_par_iter().each(note);
            both(|| note(20), || note(21));
        });
        let here = current().id();
        let seen: Vec<_> = seen.lock().unwrap().drain(..).collect();
        assert_eq!(seen, (0..22).map(|task| (task, here)).collect::<Vec<_>>());
        let elsewhere = |_| assert_ne!(current().id(), here);
        pool.install(|| (0..20).into_par_iter().each(elsewhere));
    }
}
