//! Several processes that train one model together, each with data and a device of its own: ranks, as
//! MPI calls them.
//!
//! [`Ranks`] is all that training needs of them. [`Alone`] is the one rank of a program that was started by
//! itself, [`Threads`] are ranks within one process, for tests, and with the feature `mpi` `Mpi` are the
//! processes that `mpirun` has started.
//!
//! Sums over ranks are made in the order of micro-batches (`sum.rs`), so that their bits do not depend on
//! how many ranks there are, and on a thread of their own (`exchange.rs`), while others are still computed.

pub(crate) mod alike;
pub(crate) mod exchange;
pub(crate) mod foretold;
#[cfg(feature = "mpi")]
mod mpi;
pub(crate) mod spare;
mod sum;
mod threads;

#[cfg(feature = "mpi")]
pub use mpi::Mpi;
use serde::{Deserialize, Serialize};
pub use threads::Threads;

use crate::engine::Part;
use std::ops::Range;

/// What goes wrong between ranks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another rank has ended all of them.
    #[error("{0}")]
    Ended(String),
    /// The ranks do not train the same, by name.
    #[error("{0}")]
    Differ(String),
    /// What connects them does not work, or not so.
    #[error("{0}")]
    Connection(String),
}

/// One of the ranks that run on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Which of them it is, from 0.
    pub rank: usize,
    /// How many they are.
    pub size: usize,
}

impl Default for Local {
    /// The only one.
    fn default() -> Local {
        Local { rank: 0, size: 1 }
    }
}

/// Where a rank computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What messages call the rank.
    pub name: String,
    /// The machine that it runs on.
    pub host: String,
    /// What it computes on; where that differs, bits may.
    pub device: String,
}

/// The processes that train together, seen from one of them. All of them must call the same functions in
/// the same order, each with as many numbers as the others; each call waits for the others. It can come from any
/// thread, and comes from one at a time.
pub trait Ranks: Sync {
    /// Which of them this is, from 0. The first one leads: it alone writes the run and shows it.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// The machine that this one runs on.
    fn host(&self) -> String;

    /// Which of the ranks on its machine this is, and how many they are; without more, all are on one.
    fn local(&self) -> Local {
        Local { rank: self.rank(), size: self.size() }
    }

    /// Gives each other rank its part of `mine`, which is cut into as many equal parts as there are ranks, in their
    /// order; `theirs` becomes the parts that the others have for this one, in the order of ranks.
    ///
    /// # Errors
    /// If another rank has ended.
    fn all_to_all(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), Error>;

    /// Each rank has its part of `all`, which is cut like that; afterwards every one has the parts of the others
    /// too.
    ///
    /// # Errors
    /// If another rank has ended.
    fn all_gather(&self, all: &mut [f32]) -> Result<(), Error>;

    /// What the first rank has, on all of them; what others bring does not matter.
    ///
    /// # Errors
    /// If another rank has ended.
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Error>;

    /// What every rank has, in the order of ranks, on all of them. They may have more or less of it.
    ///
    /// # Errors
    /// If another rank has ended.
    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error>;

    /// Says whether this rank computes while one of its threads waits in a call. Waiting then leaves it the
    /// cores as far as it can.
    fn compute_meanwhile(&self, _computes: bool) {}

    /// Ends all ranks at once, wherever they are. Processes end with this status.
    fn abort(&self, status: u8);

    /// Waits until all are here.
    ///
    /// # Errors
    /// If another rank has ended.
    fn wait_for_all(&self) -> Result<(), Error> {
        self.gather(&[]).map(drop)
    }

    /// Whether this rank leads others.
    fn leads(&self) -> bool {
        self.rank() == 0 && self.size() > 1
    }

    /// What messages call this rank.
    fn name(&self) -> String {
        format!("rank {} on {}", self.rank(), self.host())
    }
}

/// Where a rank's part of so many numbers is, cut into as many equal parts as there are ranks.
pub(crate) fn own_part(ranks: &dyn Ranks, numbers: usize) -> Range<usize> {
    let part = numbers / ranks.size();
    part * ranks.rank()..part * (ranks.rank() + 1)
}

/// The part of the optimiser that a rank keeps.
pub(crate) fn part_of(ranks: &dyn Ranks, shared_out: bool) -> Part {
    match shared_out {
        true => Part { index: ranks.rank(), of: ranks.size() },
        false => Part::WHOLE,
    }
}

/// Numbers as they go from rank to rank where these are bytes.
pub(crate) fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The numbers that [`bytes_of`] has made bytes of.
pub(crate) fn numbers_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// The only rank.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn host(&self) -> String {
        "this machine".into()
    }

    fn all_to_all(&self, _mine: &[f32], _theirs: &mut [f32]) -> Result<(), Error> {
        Ok(())
    }

    fn all_gather(&self, _all: &mut [f32]) -> Result<(), Error> {
        Ok(())
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        Ok(bytes)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(vec![mine.to_vec()])
    }

    fn abort(&self, status: u8) {
        std::process::exit(status.into());
    }
}
