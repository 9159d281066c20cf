//! The exchange of rows between ranks, on a thread of its own: while it sends the blocks that are there and
//! adds up what has come (`sum.rs`), others are still computed.
//!
//! All ranks bring the same blocks in the same order, those of one round after those of another, so their
//! threads call each other in one order, whoever computes faster. The blocks of one row can wait here; who
//! would bring more waits, so memory is bounded. Meanwhile nobody else may call [`Ranks`].
//!
//! A block is copied where its memory is needed for the next row. In the last round it is not: from the host's
//! memory it is sent as it lies there, and the sum comes into its place.

use super::spare::Memory;
use super::sum::Sum;
use super::{Error, Ranks};
use crate::engine::device::room_for_threads;
use crate::engine::{self, Device, Reading, Tensor};
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// So many blocks of the last round are added up before the first of them is asked for again: a device may
/// still have other work to do before it has added up the latest.
const BEHIND: usize = 2;

/// Rows to be summed over all ranks.
pub(crate) struct Rows<'a> {
    pub ranks: &'a dyn Ranks,
    /// Where each block of a row is made. They are added as its device would add them.
    pub blocks: &'a [Tensor],
    /// How many rows all ranks make together.
    pub count: usize,
    pub memory: &'a Memory,
}

/// Where one rank brings its rows, block by block.
pub(crate) struct Exchange<'a> {
    rows: &'a Rows<'a>,
    /// How many blocks were brought.
    brought: Cell<usize>,
    /// Copies of blocks; none of those that lie where they were made, or that are none.
    copies: SyncSender<Option<Reading>>,
}

impl Exchange<'_> {
    /// Brings the next block, which is there. Waits where as many as a row has are waiting. In the last round
    /// its memory then belongs to the sum.
    pub fn bring(&self) {
        let (blocks, number) = (self.rows.blocks, self.brought.get());
        let copy = || blocks[number % blocks.len()].read_into(self.rows.memory.blocks.take());
        let stays = self.rows.on_host() && number / blocks.len() + 1 == self.rows.rounds();
        self.send((!stays).then(copy));
    }

    /// Brings nothing in the last round, where that has less rows than there are ranks.
    pub fn bring_none(&self) {
        self.rows.blocks.iter().for_each(|_| self.send(None));
    }

    fn send(&self, copy: Option<Reading>) {
        self.brought.set(self.brought.get() + 1);
        // Where the exchange has ended, it says why at the end of all.
        let _ = self.copies.send(copy);
    }
}

impl Rows<'_> {
    /// Has `work` make rows, and bring those of this rank, one in each round. Then the sum is in the memory of
    /// the blocks.
    ///
    /// # Errors
    /// What `work` fails with; else if the device has failed or another rank has ended.
    pub fn sum<R, E>(&self, work: impl FnOnce(Exchange) -> Result<R, E>) -> Result<R, E>
    where
        E: From<Error> + From<engine::Error> + Send,
    {
        let not_started =
            |why: String| Error::Connection(format!("a thread for communication: {why}"));
        room_for_threads(1).map_err(|error| not_started(error.to_string()))?;
        let (copies, incoming) = sync_channel(self.blocks.len());
        thread::scope(|scope| {
            let communicate = move || self.communicate::<E>(&incoming);
            let thread = thread::Builder::new().name("communication".into());
            let thread = thread.spawn_scoped(scope, communicate);
            let thread = thread.map_err(|error| not_started(error.to_string()))?;
            self.ranks.compute_meanwhile(true);
            let worked = work(Exchange { rows: self, brought: Cell::new(0), copies });
            self.ranks.compute_meanwhile(false);
            match (thread.join(), &worked) {
                (Err(panic), _) => resume_unwind(panic),
                (Ok(Err(error)), Ok(_)) => Err(error),
                (Ok(Ok(whole)), Ok(_)) => {
                    assert!(whole, "less blocks were brought than rows have");
                    worked
                }
                (Ok(_), Err(_)) => worked,
            }
        })
    }

    /// What the thread does. Returns whether it came to the end: it does not where `work` has failed.
    fn communicate<E>(&self, incoming: &Receiver<Option<Reading>>) -> Result<bool, E>
    where
        E: From<Error> + From<engine::Error>,
    {
        let mut sum = Sum::new(self.ranks, self.device(), self.memory, self.blocks.len());
        let mut summed = VecDeque::new();
        for round in 0..self.rounds() {
            for (number, block) in self.blocks.iter().enumerate() {
                let Ok(copy) = incoming.recv() else { return Ok(false) };
                let members = self.ranks.size().min(self.count - round * self.ranks.size());
                self.with_numbers(block, copy, |numbers| sum.add(number, numbers, members))??;
                if round + 1 < self.rounds() {
                    continue;
                }
                summed.push_back(number);
                if summed.len() > BEHIND {
                    let next = summed.pop_front().expect("it has several");
                    sum.gather::<E>(next, &self.blocks[next])?;
                }
            }
        }
        for number in summed {
            sum.gather::<E>(number, &self.blocks[number])?;
        }
        Ok(true)
    }

    /// Lets `look` see what was brought of a block.
    fn with_numbers<R>(
        &self,
        block: &Tensor,
        copy: Option<Reading>,
        look: impl FnOnce(&[f32]) -> R,
    ) -> engine::Result<R> {
        let copy = match copy {
            // What a rank sends that has no row does not matter.
            None if self.on_host() => return block.with_numbers(look),
            None => self.memory.blocks.take_for(block.elements()),
            Some(reading) => reading.wait()?,
        };
        let result = look(&copy);
        self.memory.blocks.give(copy);
        Ok(result)
    }

    fn rounds(&self) -> usize {
        self.count.div_ceil(self.ranks.size())
    }

    fn device(&self) -> &Device {
        self.blocks[0].device()
    }

    fn on_host(&self) -> bool {
        self.device().computes_as_host()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Threads;
    use super::*;
    use crate::engine::random::Key;
    use crate::engine::{Builder, Initial, Parameters};

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Failed(String);

    impl From<Error> for Failed {
        fn from(error: Error) -> Failed {
            Failed(error.to_string())
        }
    }

    impl From<engine::Error> for Failed {
        fn from(error: engine::Error) -> Failed {
            Failed(error.to_string())
        }
    }

    /// Numbers of all sizes, so that another order would give other bits.
    fn row(number: usize, length: usize) -> Vec<f32> {
        let size = |x: f32| x * 10.0_f32.powi((x.abs() * 1e4) as i32 % 7);
        Key::new(number as u64).normals(length, 0.0, 1.0).into_iter().map(size).collect()
    }

    /// What one rank comes to that brings rows of this rank in blocks of these lengths.
    fn sum(
        ranks: &dyn Ranks,
        device: &Device,
        lengths: &[usize],
        rows: &[Vec<f32>],
    ) -> Result<Vec<f32>, Failed> {
        let (rank, size) = (ranks.rank(), ranks.size());
        let (blocks, memory) = (zeros(lengths, device), &Memory::default());
        let all = Rows { ranks, blocks: &blocks, count: rows.len(), memory };
        all.sum(|exchange| {
            for first in (0..rows.len()).step_by(size) {
                match rows.get(first + rank) {
                    Some(row) => bring(&exchange, row),
                    None => exchange.bring_none(),
                }
            }
            Ok::<_, Failed>(())
        })?;
        let sum: Result<Vec<_>, _> = blocks.iter().map(Tensor::to_vec).collect();
        Ok(sum?.concat())
    }

    fn zeros(lengths: &[usize], device: &Device) -> Vec<Tensor> {
        lengths.iter().map(|length| Tensor::zeros([*length], device)).collect()
    }

    fn bring(exchange: &Exchange, row: &[f32]) {
        let mut rest = row;
        for block in exchange.rows.blocks {
            let (numbers, after) = rest.split_at(block.elements());
            block.overwrite(numbers);
            exchange.bring();
            rest = after;
        }
    }

    #[test]
    fn any_number_of_ranks_comes_to_the_same_bits() {
        // Of one block and of several, and lengths that ranks do not divide.
        let jobs: [(usize, &[usize]); 5] = [
            (1, &[5]),
            (4, &[1]),
            (6, &[1001, 3, 64, 70]),
            (8, &[64, 64, 64]),
            (2, &[1 << 20, 1 << 20, 3]),
        ];
        for (count, lengths) in jobs {
            let length = lengths.iter().sum();
            let rows: Vec<Vec<f32>> = (0..count).map(|number| row(number, length)).collect();
            let mut expected = rows[0].clone();
            for row in &rows[1..] {
                expected.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            for size in (1..=8.min(count)).chain([count + 1]) {
                let device = Device::cpu_with_threads(1);
                for sum in Threads::run(size, |ranks| sum(ranks, &device, lengths, &rows)) {
                    assert!(sum.unwrap() == expected, "{count} rows, {lengths:?}, {size} ranks");
                }
            }
        }
        // What the order does: backwards it would be other bits.
        let backwards = (0..6).rev().map(|number| row(number, 1001));
        let backwards = backwards.reduce(|sum, x| sum.iter().zip(x).map(|(a, b)| a + b).collect());
        let forwards = (0..6).map(|number| row(number, 1001));
        let forwards = forwards.reduce(|sum, x| sum.iter().zip(x).map(|(a, b)| a + b).collect());
        assert_ne!(backwards, forwards);
    }

    /// The CPU and all GPUs.
    ///
    /// # Panics
    /// Where `NEUTRENO_EXPECT_GPU` is set and there is none.
    fn devices() -> Vec<Device> {
        let adapters = 0..engine::device::list().len();
        assert!(!adapters.is_empty() || std::env::var_os("NEUTRENO_EXPECT_GPU").is_none());
        let open = |index| Device::open(&format!("gpu:{index}"), 0).unwrap();
        [Device::cpu_with_threads(1)].into_iter().chain(adapters.map(open)).collect()
    }

    /// Very small numbers, which some devices take for zero, signed zeros and what is not finite among others:
    /// whatever a device makes of them, on several ranks it is the same.
    #[test]
    fn a_device_adds_up_what_comes_as_it_adds_gradients() {
        let special = [0.0, f32::MIN_POSITIVE, 1e-39, 1e-45, 3e38, f32::INFINITY, 1.0];
        let special: Vec<f32> = special.iter().flat_map(|x| [*x, -x]).collect();
        let length = special.len() * special.len();
        let one = (0..length).map(|place| special[place % special.len()]).collect();
        let other = (0..length).map(|place| special[place / special.len()]).collect();
        let rows: [Vec<f32>; 2] = [one, other];
        for device in devices() {
            let make = |p: &mut Builder| p.parameter("x", [length], Initial::Zeros, true);
            let (_, parameters) = Parameters::build(&device, 1, make);
            let blocks = parameters.blocks(usize::MAX);
            let mut padded = rows.clone();
            padded.iter_mut().for_each(|row| row.resize(blocks.lengths()[0], 0.0));
            let [mut expected, more] = padded.each_ref().map(|row| {
                let mut gradients = parameters.gradients();
                parameters.overwrite_gradients(&mut gradients, row);
                gradients
            });
            parameters.add_gradients(&mut expected, &more);
            let expected = parameters.read_gradients(&expected).unwrap();
            let bits = |numbers: &[f32]| {
                // Not a number is so in one way here and in another one there.
                let bits = |x: &f32| if x.is_nan() { u32::MAX } else { x.to_bits() };
                numbers.iter().map(bits).collect::<Vec<u32>>()
            };
            for sum in Threads::run(2, |ranks| sum(ranks, &device, &blocks.lengths(), &padded)) {
                assert!(bits(&sum.unwrap()) == bits(&expected), "{device}");
            }
        }
    }

    /// Before it has brought anything, between two blocks and between two rounds; by an error and by a panic.
    #[test]
    fn work_that_fails_ends_all() {
        let (device, lengths) = (Device::cpu_with_threads(1), [100, 100, 100]);
        for panics in [false, true] {
            for brought in 0..9 {
                let results = Threads::run(3, |ranks| {
                    let (blocks, memory) = (zeros(&lengths, &device), &Memory::default());
                    let all = Rows { ranks, blocks: &blocks, count: 9, memory };
                    all.sum(|exchange| {
                        for number in 0..9 {
                            if ranks.rank() == 1 && number == brought {
                                assert!(!panics, "a mistake");
                                return Err(Failed("no more".into()));
                            }
                            exchange.bring();
                        }
                        Ok(())
                    })
                });
                let why = if panics { "a mistake" } else { "no more" };
                for result in results {
                    assert!(result.unwrap_err().contains(why), "after {brought} blocks");
                }
            }
        }
    }

    /// A rank whose connection breaks in some call.
    struct Breaking<'a> {
        ranks: &'a Threads,
        calls_left: std::sync::atomic::AtomicI64,
    }

    impl Breaking<'_> {
        fn call(&self) -> Result<(), Error> {
            match self.calls_left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
                ..1 => Err(Error::Connection("the cable is cut".into())),
                _ => Ok(()),
            }
        }
    }

    impl Ranks for Breaking<'_> {
        fn rank(&self) -> usize {
            self.ranks.rank()
        }

        fn size(&self) -> usize {
            self.ranks.size()
        }

        fn host(&self) -> String {
            self.ranks.host()
        }

        fn all_to_all(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), Error> {
            self.call()?;
            self.ranks.all_to_all(mine, theirs)
        }

        fn all_gather(&self, all: &mut [f32]) -> Result<(), Error> {
            self.call()?;
            self.ranks.all_gather(all)
        }

        fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
            self.ranks.broadcast(bytes)
        }

        fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
            self.ranks.gather(mine)
        }

        fn abort(&self, status: u8) {
            self.ranks.abort(status);
        }
    }

    /// One sum leaves its memory to the next, which needs no other.
    #[test]
    fn sums_that_follow_each_other_take_the_same_memory() {
        let (device, lengths, count) = (Device::cpu_with_threads(1), [100; 5], 6);
        let left = Threads::run(2, |ranks| {
            let (blocks, memory) = (zeros(&lengths, &device), &Memory::default());
            for _ in 0..10 {
                let all = Rows { ranks, blocks: &blocks, count, memory };
                let mine = |exchange: Exchange| {
                    (0..count / 2 * lengths.len()).for_each(|_| exchange.bring());
                    Ok::<_, Failed>(())
                };
                all.sum(mine)?;
            }
            Ok::<_, Failed>((memory.blocks.left(), memory.parts.left()))
        });
        for left in left {
            let (blocks, parts) = left.unwrap();
            // A row that waits, and what is on its way.
            assert!((1..=lengths.len() + 3).contains(&blocks), "{blocks}");
            assert!((1..=lengths.len()).contains(&parts), "{parts}");
        }
    }

    /// In each of the calls that a sum of two rounds takes.
    #[test]
    fn a_connection_that_breaks_ends_all() {
        let (device, lengths) = (Device::cpu_with_threads(1), [100, 100, 100]);
        let rows = vec![vec![1.0; 300]; 6];
        for calls in 0..10 {
            let results = Threads::run(3, |ranks| {
                let breaking = Breaking { ranks, calls_left: calls.into() };
                match ranks.rank() {
                    1 => sum(&breaking, &device, &lengths, &rows),
                    _ => sum(ranks, &device, &lengths, &rows),
                }
            });
            for result in results {
                // Three blocks in two rounds, and three gathered.
                match calls {
                    9 => assert_eq!(result.unwrap(), [6.0; 300]),
                    _ => assert!(result.unwrap_err().contains("the cable is cut"), "{calls}"),
                }
            }
        }
    }

    /// At any time there are no more blocks than three rows have: those that wait, and those that are sent.
    #[test]
    fn who_brings_blocks_waits_for_those_who_do_not() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (device, lengths) = (Device::cpu_with_threads(1), [10; 4]);
        let (slow, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Threads::run(2, |ranks| {
            let (blocks, memory) = (zeros(&lengths, &device), &Memory::default());
            let all = Rows { ranks, blocks: &blocks, count: 20, memory };
            all.sum(|exchange| {
                for number in 1..=40 {
                    if ranks.rank() == 0 {
                        thread::sleep(std::time::Duration::from_millis(2));
                        slow.store(number, Ordering::SeqCst);
                    }
                    exchange.bring();
                    if ranks.rank() == 1 {
                        let ahead = number.saturating_sub(slow.load(Ordering::SeqCst));
                        most.fetch_max(ahead, Ordering::SeqCst);
                    }
                }
                Ok::<_, Failed>(())
            })
        });
        // Those that wait, one that is on its way, and one whose bringing is not yet counted.
        let most = most.into_inner();
        assert!((4..=6).contains(&most), "{most}");
    }
}
