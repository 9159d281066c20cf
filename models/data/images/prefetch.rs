//! Making the next batch while a step runs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Makes values on a thread of its own, one ahead of those asked for. What comes out is what
/// `make` returns for the number, so prefetching changes no result.
///
/// ```
/// use neutreno::data::images::Prefetch;
/// let mut squares = Prefetch::new(|step| step * step);
/// assert_eq!([squares.get(3), squares.get(4), squares.get(0)], [9, 16, 0]);
/// ```
#[derive(Debug)]
pub struct Prefetch<T> {
    /// `None` only while it is dropped.
    requests: Option<Sender<u64>>,
    values: Receiver<T>,
    /// The number that the thread works on.
    ahead: Option<u64>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts the thread. To keep to a device's threads, let `make` do its work in
    /// [`neutreno_engine::Device::install`].
    pub fn new(mut make: impl FnMut(u64) -> T + Send + 'static) -> Prefetch<T> {
        let (requests, steps) = channel::<u64>();
        let (results, values) = channel();
        let work = move || {
            // Ends when either side is gone.
            for step in steps {
                if results.send(make(step)).is_err() {
                    return;
                }
            }
        };
        let thread = Some(std::thread::spawn(work));
        Prefetch { requests: Some(requests), values, ahead: None, thread }
    }

    /// The value of a step; the next is begun.
    ///
    /// # Panics
    /// If `make` panicked.
    pub fn get(&mut self, step: u64) -> T {
        if self.ahead != Some(step) {
            if self.ahead.take().is_some() {
                self.receive();
            }
            self.request(step);
        }
        let value = self.receive();
        self.request(step + 1);
        value
    }

    fn request(&mut self, step: u64) {
        self.ahead = Some(step);
        // If the thread is gone, receiving tells why.
        let _ = self.requests.as_ref().expect("not dropped").send(step);
    }

    fn receive(&mut self) -> T {
        self.values.recv().unwrap_or_else(|_| {
            let panic = self.thread.take().and_then(|thread| thread.join().err());
            std::panic::resume_unwind(panic.unwrap_or_else(|| Box::new("the thread has ended")))
        })
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // What it was making is not wanted, and neither is its panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "step 2")]
    fn a_panic_is_handed_on() {
        let mut values = Prefetch::new(|step| assert!(step < 2, "step {step}"));
        for step in 0..4 {
            values.get(step);
        }
    }
}
