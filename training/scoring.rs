//! The batches of a scoring: who computes which of them, and when to stop.

use crate::error::Error;
use crate::ranks::{self, Alone, Ranks};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Deals out the batches of a scoring to those that train together: of R ranks, rank k computes those with
/// the numbers k, R + k, 2 R + k, ... What comes out of each is brought together in the order of their
/// numbers, so that sums over it have the same bits on any number of ranks.
///
/// ```
/// use neutreno::training::{Shares, Stop};
/// let stop = Stop::never();
/// let shares = Shares::alone(&stop);
/// let mut squares = Vec::new();
/// for number in shares.mine(4) {
///     squares.push(vec![number?.pow(2) as f64]);
/// }
/// assert_eq!(shares.gather(squares)?, [0.0, 1.0, 4.0, 9.0]);
/// # Ok::<(), neutreno::training::Error>(())
/// ```
pub struct Shares<'a> {
    ranks: &'a dyn Ranks,
    stop: &'a Stop<'a>,
}

impl<'a> Shares<'a> {
    /// All batches are this process's own.
    pub fn alone(stop: &'a Stop<'a>) -> Shares<'a> {
        Shares { ranks: &Alone, stop }
    }

    /// Those of one of these ranks. When to stop is for the first of them to say.
    pub(crate) fn among(ranks: &'a dyn Ranks, stop: &'a Stop<'a>) -> Shares<'a> {
        Shares { ranks, stop }
    }

    /// The numbers of the batches that are this rank's, of `count`, in order. All ranks must go through
    /// them together, to the end.
    ///
    /// # Errors
    /// [`Error::Interrupted`], on all ranks in the same round of batches, if it is time to stop; if another
    /// rank has ended.
    pub fn mine(&self, count: usize) -> impl Iterator<Item = Result<usize, Error>> {
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        // Who has no batch in the last round takes part in it too: the others ask whether to stop.
        (0..count).step_by(size).filter_map(move |first| match self.check() {
            Ok(()) => Some(first + rank).filter(|number| *number < count).map(Ok),
            Err(error) => Some(Err(error)),
        })
    }

    /// What all ranks have of their batches, in the order of the batches' numbers. Each rank brings a row
    /// for each batch that it computed, in order; rows may be of different lengths.
    ///
    /// # Errors
    /// If another rank has ended.
    pub fn gather(&self, mine: Vec<Vec<f64>>) -> Result<Vec<f64>, Error> {
        if self.ranks.size() == 1 {
            return Ok(mine.concat());
        }
        // As whole numbers, since JSON knows no NaN.
        let bits = |row: &Vec<f64>| row.iter().map(|value| value.to_bits()).collect();
        let bits: Vec<Vec<u64>> = mine.iter().map(bits).collect();
        let texts =
            self.ranks.gather(&serde_json::to_vec(&bits).expect("numbers are valid JSON"))?;
        let read = |text: &Vec<u8>| serde_json::from_slice::<Vec<Vec<u64>>>(text);
        let all = texts.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(|error| {
            ranks::Error::Connection(format!("the scores of a rank cannot be read: {error}"))
        })?;
        // The first rank has as many as any other.
        let round = |round| all.iter().filter_map(move |rows| rows.get(round));
        let values = (0..all[0].len()).flat_map(round).flatten();
        Ok(values.map(|bits| f64::from_bits(*bits)).collect())
    }

    /// Fails if the first rank says that it is time to stop. All ask together, so that none waits for one
    /// that has stopped.
    fn check(&self) -> Result<(), Error> {
        let stops = self.ranks.broadcast(vec![self.stop.now().into()])?;
        if stops == [1] { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Says when to stop: once the user wants to.
#[derive(Debug)]
pub struct Stop<'a>(When<'a>);

#[derive(Debug)]
enum When<'a> {
    Never,
    Told(&'a AtomicBool),
    /// The answer is no for so many times.
    After(AtomicU32),
}

impl<'a> Stop<'a> {
    /// Stops once the flag is true.
    pub fn when(flag: &'a AtomicBool) -> Stop<'a> {
        Stop(When::Told(flag))
    }

    /// Never stops.
    pub fn never() -> Stop<'a> {
        Stop(When::Never)
    }

    /// Stops after so many batches.
    pub(crate) fn after(batches: u32) -> Stop<'a> {
        Stop(When::After(batches.into()))
    }

    /// Whether to stop now.
    pub fn now(&self) -> bool {
        match &self.0 {
            When::Never => false,
            When::Told(flag) => flag.load(Ordering::Relaxed),
            When::After(left) => {
                let step = |left: u32| left.checked_sub(1);
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_err()
            }
        }
    }

    /// Fails if it is time to stop; to be called between batches.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check(&self) -> Result<(), Error> {
        if self.now() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Threads;

    /// Each batch is computed once, and what is gathered is as one process has it.
    #[test]
    fn batches_are_dealt_out_and_brought_together_in_order() {
        let values =
            |number: usize| vec![number as f64 + 0.1, f64::NAN, -0.0][..number % 4].to_vec();
        for (count, size) in [(0, 2), (1, 1), (1, 3), (5, 2), (6, 3), (7, 4), (9, 1)] {
            let results = Threads::run(size, |ranks| {
                let stop = Stop::never();
                let shares = Shares::among(ranks, &stop);
                let mine = shares.mine(count).collect::<Result<Vec<_>, _>>()?;
                let all = shares.gather(mine.iter().map(|number| values(*number)).collect())?;
                Ok::<_, Error>((mine, all))
            });
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let expected = (0..count).flat_map(values).collect::<Vec<_>>();
            for (rank, result) in results.into_iter().enumerate() {
                let (mine, all) = result.unwrap();
                assert!(mine.into_iter().eq((rank..count).step_by(size)), "{count} on {size}");
                assert_eq!(bits(&all), bits(&expected), "{count} on {size}");
            }
        }
    }

    /// The first rank's word counts, and all stop in the round in which it does.
    #[test]
    fn all_stop_when_the_first_rank_does() {
        let results = Threads::run(3, |ranks| {
            let stop = if ranks.rank() == 0 { Stop::after(2) } else { Stop::never() };
            let shares = Shares::among(ranks, &stop);
            let (made, stopped): (Vec<_>, Vec<_>) =
                shares.mine(10).take(3).partition(|number| number.is_ok());
            assert!(matches!(stopped[..], [Err(Error::Interrupted)]));
            Ok::<_, Error>(made.into_iter().flatten().collect::<Vec<_>>())
        });
        assert_eq!(results, [Ok(vec![0, 3]), Ok(vec![1, 4]), Ok(vec![2, 5])]);
        // Of another rank it does not.
        let results = Threads::run(2, |ranks| {
            let stop = if ranks.rank() == 1 { Stop::after(0) } else { Stop::never() };
            Shares::among(ranks, &stop).mine(3).collect::<Result<Vec<_>, _>>()
        });
        assert_eq!(results, [Ok(vec![0, 2]), Ok(vec![1])]);
    }
}
