//! Batches made ahead: while the device computes one step, a thread prepares the next.

use crate::error::Error;
use crate::task::Batches;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, Scope};

/// How many batches may wait.
const AHEAD: usize = 2;

/// Makes the batches with these numbers in a thread of its own, as long as someone takes them. They are
/// the same as without it, since each follows from its number.
///
/// # Errors
/// If the system does not start one more thread.
pub(crate) fn make_ahead<'scope, B: Send + 'scope, N: Iterator<Item = u64> + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut batches: Batches<'scope, B>,
    numbers: N,
) -> Result<impl FnMut(u64) -> Result<B, Error> + use<B, N>, Error> {
    let (sender, receiver) = sync_channel(AHEAD);
    let make = move || {
        for number in numbers {
            // Whoever took the batches has gone: the training is over.
            if sender.send((number, batches(number))).is_err() {
                break;
            }
        }
    };
    let started = Builder::new().name("batches".into()).spawn_scoped(scope, make);
    started.map_err(|error| {
        let what = "the system does not start a thread that makes batches";
        Error::Settings(format!("{what}: {error}. A smaller --threads leaves room for it"))
    })?;
    Ok(move |number| take(&receiver, number))
}

fn take<B>(receiver: &Receiver<(u64, Result<B, Error>)>, number: u64) -> Result<B, Error> {
    let (made, batch) = receiver.recv().expect("the thread makes batches until nobody takes them");
    assert!(made == number, "batch {number} was asked for, and {made} is next");
    batch
}
