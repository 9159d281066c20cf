//! Long dispatches go in pieces. Some systems take a GPU for hung when it is at work on one thing
//! for too long (Windows after two seconds) and take it away from the program; on others the screen
//! stands still meanwhile. How long a dispatch takes is not known beforehand, so it is estimated for
//! hardware that is slow.

use super::class::Speed;
use crate::device::cost::Cost;
use std::collections::VecDeque;
use std::time::Duration;

/// The longest that a dispatch may be estimated to take, unless told otherwise. A batch of them
/// takes less than twice that: a fifth of the two seconds.
const LONGEST: Duration = Duration::from_millis(200);

/// The widest that a grid may be.
const MOST_GROUPS: usize = 65_535;

/// How a device's dispatches are cut.
#[derive(Clone, Copy, Debug)]
pub(in crate::device) struct Pieces {
    speed: Speed,
    /// The longest that one may be estimated to take.
    pub longest: Duration,
}

impl Pieces {
    /// For a device of this speed.
    pub fn new(speed: Speed) -> Pieces {
        Pieces { speed, longest: LONGEST }
    }

    /// The pieces of a dispatch of so many workgroups, which does so many operations and moves so many
    /// bytes: the first workgroup of each, its grid in x and y, and the estimate of its time.
    pub fn cut(
        self,
        groups: usize,
        flops: u64,
        bytes: u64,
    ) -> impl Iterator<Item = (usize, [u32; 2], Duration)> {
        let time = self.speed.time(Cost { flops, bytes });
        pieces(groups, time, self.longest).map(|(first, count, time)| {
            let x = count.min(MOST_GROUPS);
            (first, [x, count.div_ceil(x)].map(|size| size as u32), time)
        })
    }
}

/// How much more than estimated for slow hardware a device does in a time, by the batches that finished.
#[derive(Clone, Debug, Default)]
pub(super) struct Calibration {
    /// Of the last batches: the estimate over the time that it took.
    ratios: VecDeque<f64>,
}

impl Calibration {
    /// So many batches must have finished.
    const BATCHES: usize = 8;
    /// A batch may be estimated at up to eight times the longest dispatch, and one more dispatch: 1.8 seconds,
    /// still less than the two on the slowest hardware, whatever was measured before.
    const MOST: f64 = 8.0;
    /// What is left for kernels that suit the device less than those of the batches that finished.
    const SAFETY: f64 = 4.0;

    /// Notes a batch.
    pub fn finished(&mut self, estimate: Duration, took: Duration) {
        if self.ratios.len() == Self::BATCHES {
            self.ratios.pop_front();
        }
        self.ratios.push_back(estimate.as_secs_f64() / took.as_secs_f64().max(1e-9));
    }

    /// How many times the longest dispatch a batch may be estimated to take.
    pub fn allowance(&self) -> f64 {
        if self.ratios.len() < Self::BATCHES {
            return 1.0;
        }
        let least = self.ratios.iter().copied().fold(f64::INFINITY, f64::min);
        (least / Self::SAFETY).clamp(1.0, Self::MOST)
    }
}

/// Cuts `groups` workgroups, which take `time` together, into pieces that take at most `longest`:
/// the first of each, how many, and the time. A workgroup is not cut. Grids wider than
/// [`MOST_GROUPS`] continue in y, so a piece is narrower than that or whole rows of it.
fn pieces(
    groups: usize,
    time: Duration,
    longest: Duration,
) -> impl Iterator<Item = (usize, usize, Duration)> {
    let each = time.as_secs_f64() / groups as f64;
    let fitting = (longest.as_secs_f64() / each) as usize;
    let length = match fitting {
        0..=MOST_GROUPS => fitting.max(1),
        _ => fitting / MOST_GROUPS * MOST_GROUPS,
    };
    (0..groups).step_by(length).map(move |first| {
        let count = length.min(groups - first);
        (first, count, time.mul_f64(count as f64 / groups as f64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(groups: usize, seconds: u64) -> Vec<(usize, usize)> {
        let pieces = pieces(groups, Duration::from_secs(seconds), Duration::from_secs(1));
        pieces.map(|(first, count, _)| (first, count)).collect()
    }

    #[test]
    fn batches_grow_only_on_a_device_that_has_shown_to_be_fast() {
        let mut calibration = Calibration::default();
        let second = Duration::from_secs(1);
        for _ in 0..Calibration::BATCHES - 1 {
            calibration.finished(second, second / 1000);
            assert_eq!(calibration.allowance(), 1.0);
        }
        calibration.finished(second, second / 20);
        assert_eq!(calibration.allowance().round(), 5.0);
        // One that took as long as on slow hardware.
        calibration.finished(second, second);
        assert_eq!(calibration.allowance(), 1.0);
        for _ in 0..Calibration::BATCHES {
            calibration.finished(second, second / 1000);
        }
        assert_eq!(calibration.allowance(), 8.0);
    }

    #[test]
    fn pieces_cover_all_groups_once_and_take_no_longer_than_allowed() {
        assert_eq!(cut(100, 1), [(0, 100)]);
        assert_eq!(cut(100, 0), [(0, 100)]);
        assert_eq!(cut(0, 0), []);
        assert_eq!(cut(10, 3), [(0, 3), (3, 3), (6, 3), (9, 1)]);
        // A workgroup is not cut.
        assert_eq!(cut(2, 5), [(0, 1), (1, 1)]);
        // Whole rows of the grid: 80,000 groups would fit.
        assert_eq!(cut(160_000, 2), [(0, 65_535), (65_535, 65_535), (131_070, 28_930)]);
        let limit = Duration::from_secs(1);
        for (_, _, time) in pieces(1_000, Duration::from_secs(7), limit) {
            assert!(time <= limit);
        }
    }
}
