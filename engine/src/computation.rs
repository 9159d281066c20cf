//! What belongs to a computation and not to a thread: whether a graph is recorded, what is used where none
//! is, and a search for numbers that are not finite. A device's threads take it over with the work, so that none computes by
//! the rules of whoever used the thread before.

use crate::Result;
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex};

/// An op whose result was not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// The op's name.
    pub op: &'static str,
    /// Which of the ops that ran it was, from 1.
    pub number: usize,
    /// The shape of the result.
    pub shape: String,
    /// How many of its numbers are not finite.
    pub count: usize,
    /// The inputs, from 1, that were not finite either.
    pub inputs: Vec<usize>,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let NotFinite { op, number, shape, count, .. } = self;
        write!(f, "op {number}, {op}: {count} numbers of its result {shape} are not finite, ")?;
        match &self.inputs[..] {
            [] => write!(f, "though all its inputs are"),
            inputs => write!(f, "and neither are its inputs {inputs:?}"),
        }
    }
}

/// A search for the first op whose result is not finite.
#[derive(Debug)]
pub(crate) struct Search {
    /// The ops that were looked at.
    pub ops: usize,
    pub found: Result<Option<NotFinite>>,
}

/// Nodes of the graph, which only [`crate::autograd`] knows more of.
pub(crate) type Nodes = Vec<Arc<dyn Any + Send + Sync>>;

/// The state of a computation.
#[derive(Clone, Debug)]
pub(crate) struct Computation {
    /// Whether ops on tracked tensors are recorded.
    pub records: bool,
    /// Where nothing is recorded: the nodes of the tracked tensors that ops use, if somebody collects them.
    pub uses: Option<Arc<Mutex<Nodes>>>,
    pub search: Option<Arc<Mutex<Search>>>,
}

thread_local! {
    static CURRENT: RefCell<Computation> =
        const { RefCell::new(Computation { records: true, uses: None, search: None }) };
}

impl Computation {
    /// That of this thread at the moment.
    pub fn current() -> Computation {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Whether ops on tracked tensors are recorded.
    pub fn records() -> bool {
        CURRENT.with_borrow(|current| current.records)
    }

    /// Where the nodes of the tensors go that are used without being recorded, if somebody collects them.
    pub fn uses() -> Option<Arc<Mutex<Nodes>>> {
        CURRENT.with_borrow(|current| current.uses.clone())
    }

    /// Runs `body` as a part of this computation; afterwards the thread goes on with its own.
    pub fn run<R>(self, body: impl FnOnce() -> R) -> R {
        struct Restore(Option<Computation>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take().expect("it is dropped once"));
            }
        }
        let _restore = Restore(Some(CURRENT.replace(self)));
        body()
    }
}
