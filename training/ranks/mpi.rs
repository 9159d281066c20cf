//! Ranks as the processes that `mpirun` has started. The only file that names the crate `mpi`.
//!
//! MPI itself ends all processes where one of them dies or the network fails, so no function here fails
//! for that.

use super::{Error, Local, Ranks};
use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::{Universe, processor_name};
use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The bytes that are sent at once: MPI counts in 31 bits.
const MOST: usize = 1 << 30;

/// This process among those of `mpirun`; one that was started by itself is the only one. While it is
/// there, others can be talked to; all of them must let go of it together.
pub struct Mpi {
    universe: Universe,
    rank: usize,
    size: usize,
    local: Local,
    /// Held by the thread that calls MPI, which allows one at a time.
    turn: Mutex<()>,
    /// Whether other threads of this process compute while one waits.
    computes: AtomicBool,
}

/// All processes, as long as this thread has its turn.
struct World<'a> {
    all: SimpleCommunicator,
    _turn: MutexGuard<'a, ()>,
}

impl Deref for World<'_> {
    type Target = SimpleCommunicator;

    fn deref(&self) -> &SimpleCommunicator {
        &self.all
    }
}

impl Mpi {
    /// Finds the other processes. To be called once, by the thread that lets go of it.
    ///
    /// # Errors
    /// If MPI was begun before, or does not let any thread call it, one at a time, as a device with
    /// threads of its own needs.
    pub fn begin() -> Result<Mpi, Error> {
        let (universe, provided) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| Error::Connection("MPI was begun already".into()))?;
        if provided < Threading::Serialized {
            return Err(Error::Connection(format!(
                "this MPI allows {provided:?} threads, and MPI_THREAD_SERIALIZED is needed: one that was \
                 built with threads"
            )));
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let here = world.split_shared(world.rank());
        let local = Local { rank: here.rank() as usize, size: here.size() as usize };
        let (turn, computes) = (Mutex::new(()), AtomicBool::new(false));
        Ok(Mpi { universe, rank, size, local, turn, computes })
    }

    fn world(&self) -> World<'_> {
        // Nothing is left half done where a thread panics.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        World { all: self.universe.world(), _turn: turn }
    }

    /// Sends or receives what the first rank has. Those that wait sleep between two looks, so that what
    /// the first one does alone has the cores: sampling, writing files.
    fn wait_for(&self, number: &mut u64) {
        const SPINS: u32 = 1_000;
        let world = self.world();
        scope(|scope| {
            let request = world.process_at_rank(0).immediate_broadcast_into(scope, number);
            wait(request, |looks| (looks > SPINS).then_some(Duration::from_micros(200)));
        });
    }

    /// Waits until all ranks have come here. While others compute, those that are early sleep between two looks.
    fn meet(&self, world: &World) {
        wait(world.immediate_barrier(), |_| self.rest(Duration::from_micros(500)));
    }

    /// Sends each other rank what `sent` has for it, and receives what those have for this one, in the order of ranks.
    ///
    /// One by one: what MPI does for all at once copies what a rank has for itself too, and gathers from
    /// elsewhere than where it will be.
    fn exchange<'a>(
        &self,
        sent: impl Fn(usize) -> &'a [f32],
        received: impl Iterator<Item = &'a mut [f32]>,
    ) {
        let world = self.world();
        self.meet(&world);
        scope(|scope| {
            let others = (0..self.size).filter(|rank| *rank != self.rank);
            let receive = |(rank, into): (usize, &'a mut [f32])| {
                world.process_at_rank(rank as i32).immediate_receive_into(scope, into)
            };
            let receiving: Vec<_> = others.zip(received).map(receive).collect();
            // Each begins with the one after it, so that not all send to the same one.
            let others = (1..self.size).map(|distance| (self.rank + distance) % self.size);
            let send = |rank| world.process_at_rank(rank as i32).immediate_send(scope, sent(rank));
            let sending: Vec<_> = others.map(send).collect();
            receiving.into_iter().for_each(|one| wait(one, |looks| self.pause(looks)));
            sending.into_iter().for_each(|one| wait(one, |looks| self.pause(looks)));
        });
    }

    /// How long to sleep before the next look for what all ranks exchange, where all have come to it. Each look
    /// moves a piece of it, of 32 KiB in Open MPI's shared memory, so only what takes long is left to itself.
    fn pause(&self, looks: u32) -> Option<Duration> {
        const BUSY: u32 = 2_000;
        (looks > BUSY).then(|| self.rest(Duration::from_micros(50))).flatten()
    }

    /// So long, or no time where there is nothing else to do.
    fn rest(&self, time: Duration) -> Option<Duration> {
        self.computes.load(Ordering::Relaxed).then_some(time)
    }
}

/// Waits for what was begun. Between two looks at it, of which it is told the number, `pause` may have it sleep.
fn wait<'a, D: ?Sized, S: Scope<'a>>(
    mut request: Request<'a, D, S>,
    pause: impl Fn(u32) -> Option<Duration>,
) {
    let mut looks = 0_u32;
    while let Err(not_yet) = request.test() {
        request = not_yet;
        looks = looks.saturating_add(1);
        if let Some(time) = pause(looks) {
            std::thread::sleep(time);
        }
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn host(&self) -> String {
        let _world = self.world();
        processor_name().unwrap_or_else(|_| "a machine without a name".into())
    }

    fn local(&self) -> Local {
        self.local
    }

    fn all_to_all(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), Error> {
        let part = mine.len() / self.size;
        let sent = |rank: usize| &mine[rank * part..][..part];
        self.exchange(sent, theirs.chunks_mut(part));
        Ok(())
    }

    fn all_gather(&self, all: &mut [f32]) -> Result<(), Error> {
        let part = all.len() / self.size;
        let (before, rest) = all.split_at_mut(self.rank * part);
        let (own, after) = rest.split_at_mut(part);
        self.exchange(|_| own, before.chunks_mut(part).chain(after.chunks_mut(part)));
        Ok(())
    }

    fn broadcast(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut length = bytes.len() as u64;
        self.wait_for(&mut length);
        bytes.resize(length as usize, 0);
        let world = self.world();
        bytes.chunks_mut(MOST).for_each(|piece| world.process_at_rank(0).broadcast_into(piece));
        Ok(bytes)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        // The address of an empty row may be one that means something else to MPI, so each is longer by a
        // byte.
        let mine = &[mine, &[0]].concat()[..];
        let mut lengths = vec![0; self.size()];
        let world = self.world();
        world.all_gather_into(&(mine.len() as u64), &mut lengths[..]);
        let whole: u64 = lengths.iter().sum();
        if whole > MOST as u64 {
            return Err(Error::Connection(format!("{whole} bytes are too many to gather")));
        }
        let starts =
            lengths.iter().scan(0, |next, length| Some(std::mem::replace(next, *next + length)));
        let starts: Vec<i32> = starts.map(|start| start as i32).collect();
        let counts: Vec<i32> = lengths.iter().map(|length| *length as i32).collect();
        let mut all = vec![0; whole as usize];
        let mut parts = PartitionMut::new(&mut all[..], &counts[..], &starts[..]);
        world.all_gather_varcount_into(mine, &mut parts);
        let part =
            |(start, count): (&i32, &i32)| all[*start as usize..][..*count as usize - 1].to_vec();
        Ok(starts.iter().zip(&counts).map(part).collect())
    }

    fn compute_meanwhile(&self, computes: bool) {
        self.computes.store(computes, Ordering::Relaxed);
    }

    /// Waits for no other thread: that one may wait for a rank that will not come.
    fn abort(&self, status: u8) {
        self.universe.world().abort(status.into());
    }
}
