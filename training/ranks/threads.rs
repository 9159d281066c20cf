//! Ranks as threads of one process: what a test needs to train on many ranks without MPI.

use super::{Error, Ranks, bytes_of, numbers_of, own_part};
use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// One of several ranks that are threads of this process.
///
/// ```
/// use neutreno::ranks::{Error, Ranks, Threads};
/// let sums = Threads::run(3, |ranks| {
///     let mut all = [0.0; 3];
///     all[ranks.rank()] = ranks.rank() as f32;
///     ranks.all_gather(&mut all)?;
///     Ok::<_, Error>(all.iter().sum::<f32>())
/// });
/// assert_eq!(sums, [Ok(3.0), Ok(3.0), Ok(3.0)]);
/// ```
pub struct Threads {
    rank: usize,
    shared: Arc<Shared>,
}

struct Shared {
    size: usize,
    meeting: Mutex<Meeting>,
    changed: Condvar,
}

/// Where all ranks bring something and wait until everybody has.
struct Meeting {
    /// How many came to their end.
    number: u64,
    brought: Vec<Option<Vec<u8>>>,
    /// What was brought to the latest that came to its end.
    latest: Arc<Vec<Vec<u8>>>,
    /// Why there will be no more.
    ended: Option<String>,
}

impl Threads {
    /// Runs `work` on so many ranks, and returns what came out on each, in their order. If it fails or
    /// panics on one of them, those that wait for it fail too, with its reason.
    pub fn run<R: Send, E: Display>(
        size: usize,
        work: impl Fn(&Threads) -> Result<R, E> + Sync,
    ) -> Vec<Result<R, String>> {
        let meeting =
            Meeting { number: 0, brought: vec![None; size], latest: Arc::default(), ended: None };
        let (meeting, changed) = (Mutex::new(meeting), Condvar::new());
        let shared = Arc::new(Shared { size, meeting, changed });
        let run = |rank| {
            let ranks = Threads { rank, shared: shared.clone() };
            let result = match catch_unwind(AssertUnwindSafe(|| work(&ranks))) {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(panic) => Err(format!("{} panicked: {}", ranks.name(), text_of(&*panic))),
            };
            if let Err(why) = &result {
                ranks.end(format!("{} has failed: {why}", ranks.name()));
            }
            result
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..size).map(|rank| scope.spawn(move || run(rank))).collect();
            let join = |thread: thread::ScopedJoinHandle<_>| thread.join();
            threads.into_iter().map(|thread| join(thread).expect("panics are caught")).collect()
        })
    }

    /// Brings something, and returns what all have brought once they have.
    fn meet(&self, mine: Vec<u8>) -> Result<Arc<Vec<Vec<u8>>>, Error> {
        let mut meeting = self.meeting();
        if let Some(why) = &meeting.ended {
            return Err(Error::Ended(why.clone()));
        }
        let number = meeting.number;
        meeting.brought[self.rank] = Some(mine);
        if meeting.brought.iter().all(Option::is_some) {
            let brought = meeting.brought.iter_mut().map(Option::take);
            meeting.latest = Arc::new(brought.map(|one| one.expect("all have")).collect());
            meeting.number += 1;
            self.shared.changed.notify_all();
        }
        while meeting.number == number {
            if let Some(why) = &meeting.ended {
                return Err(Error::Ended(why.clone()));
            }
            meeting = self.shared.changed.wait(meeting).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(meeting.latest.clone())
    }

    fn end(&self, why: String) {
        self.meeting().ended.get_or_insert(why);
        self.shared.changed.notify_all();
    }

    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        self.shared.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    fn host(&self) -> String {
        format!("thread {}", self.rank)
    }

    fn all_to_all(&self, mine: &[f32], theirs: &mut [f32]) -> Result<(), Error> {
        let all = self.meet(bytes_of(mine))?;
        let part = mine.len() / self.size();
        let of_this_rank = own_part(self, 4 * mine.len());
        let others = all.iter().enumerate().filter(|(rank, _)| *rank != self.rank);
        for ((_, from), to) in others.zip(theirs.chunks_mut(part)) {
            to.copy_from_slice(&numbers_of(&from[of_this_rank.clone()]));
        }
        Ok(())
    }

    fn all_gather(&self, all: &mut [f32]) -> Result<(), Error> {
        let part = all.len() / self.size();
        let parts = self.meet(bytes_of(&all[own_part(self, all.len())]))?;
        for (from, to) in parts.iter().zip(all.chunks_mut(part)) {
            to.copy_from_slice(&numbers_of(from));
        }
        Ok(())
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        Ok(self.meet(bytes)?[0].clone())
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        Ok(self.meet(mine.to_vec())?.to_vec())
    }

    fn abort(&self, status: u8) {
        self.end(format!("{} has ended all ranks with status {status}", self.name()));
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_what_is_meant_for_them() {
        let results = Threads::run(3, |ranks| {
            let mine: Vec<f32> = (0..6).map(|place| (10 * ranks.rank() + place) as f32).collect();
            let mut theirs = [0.0; 4];
            ranks.all_to_all(&mine, &mut theirs)?;
            let told = ranks.broadcast(vec![ranks.rank() as u8 + 7])?;
            let texts = ranks.gather(&vec![1; ranks.rank()])?;
            Ok::<_, Error>((theirs, told, texts))
        });
        for (rank, result) in results.into_iter().enumerate() {
            let (theirs, told, texts) = result.unwrap();
            let others = (0..3).filter(|other| *other != rank);
            let expected =
                others.flat_map(|other| [0, 1].map(|place| 10 * other + 2 * rank + place));
            assert_eq!(theirs[..], expected.map(|x| x as f32).collect::<Vec<_>>());
            assert_eq!((told, texts), (vec![7], vec![vec![], vec![1], vec![1, 1]]));
        }
    }

    /// Whether it returns an error, panics or ends all.
    #[test]
    fn a_rank_that_fails_ends_those_that_wait_for_it() {
        let fail = |ranks: &Threads| match ranks.rank() {
            1 => Err(Error::Connection("no more".into())),
            _ => ranks.wait_for_all(),
        };
        assert_eq!(Threads::run(3, fail)[0], Err("rank 1 on thread 1 has failed: no more".into()));
        let panic = |ranks: &Threads| match ranks.rank() {
            2 => panic!("a mistake"),
            _ => ranks.wait_for_all(),
        };
        let said = Threads::run(3, panic)[1].clone().unwrap_err();
        assert!(said.contains("rank 2 on thread 2 panicked: a mistake"), "{said}");
        let abort = |ranks: &Threads| match ranks.rank() {
            0 => {
                ranks.abort(3);
                Ok(())
            }
            _ => ranks.wait_for_all(),
        };
        let said = Threads::run(2, abort)[1].clone().unwrap_err();
        assert_eq!(said, "rank 0 on thread 0 has ended all ranks with status 3");
    }
}
