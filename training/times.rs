//! Where the time of several ranks goes while they train a model, and which of them keeps the others
//! waiting.

use crate::learner::StepTimes;
use crate::ranks::Place;
use crate::run::RankTimes;

/// The first steps, in which some also compile shaders and take memory from the system.
const FIRST: u64 = 3;

/// The steps after which a slow rank is looked for, again and again.
const LOOK: usize = 20;

/// A rank is slow if a batch takes it so many times as long as half of the ranks, and this makes up so much of the
/// time, in two looks one after the other.
const SLOW: f64 = 1.25;
const MATTERS: f64 = 0.05;

/// The times of all ranks, as the first one keeps them.
pub(crate) struct Times<'a> {
    ranks: &'a [Place],
    /// How many micro-batches each computes in a step.
    micro_batches: Vec<f64>,
    /// The tokens or images of a micro-batch.
    units: f64,
    steps: u64,
    /// Of all steps: what they took, what their gradients took until all had the sum, what the slowest rank
    /// of each computed, and what each rank did.
    seconds: f64,
    together: f64,
    slowest: f64,
    computing: Vec<f64>,
    /// What each rank computed in each of the latest steps, and what these took.
    latest: Vec<Vec<f64>>,
    latest_seconds: f64,
    /// The rank that was slow at the latest look.
    suspect: Option<usize>,
    /// The latest rank that was found to be slow.
    slow: Option<usize>,
}

impl<'a> Times<'a> {
    /// Of no steps as yet, each of `accumulate` micro-batches of so many units.
    pub fn new(ranks: &'a [Place], accumulate: usize, units: u64) -> Times<'a> {
        let size = ranks.len();
        let micro_batches = |rank: usize| (accumulate + size - 1 - rank) / size;
        Times {
            ranks,
            micro_batches: (0..size).map(|rank| micro_batches(rank) as f64).collect(),
            units: units as f64,
            steps: 0,
            seconds: 0.0,
            together: 0.0,
            slowest: 0.0,
            computing: vec![0.0; size],
            latest: Vec::new(),
            latest_seconds: 0.0,
            suspect: None,
            slow: None,
        }
    }

    /// Adds a step that took so many seconds. Returns whether it is time to look for a rank that is slow.
    pub fn add(&mut self, step: StepTimes, seconds: f64) -> bool {
        let StepTimes { computing, together } = step;
        self.steps += 1;
        self.seconds += seconds;
        self.together += together;
        self.slowest += computing.iter().copied().fold(0.0, f64::max);
        self.computing.iter_mut().zip(&computing).for_each(|(all, one)| *all += one);
        if self.steps > FIRST {
            self.latest.push(computing);
            self.latest_seconds += seconds;
        }
        self.latest.len() == LOOK
    }

    /// Says which rank is slow, if one is that was not the latest to be called so; the steps that are looked
    /// at are then forgotten. What counts is how long a micro-batch takes, as some ranks may have one more.
    pub fn slow(&mut self) -> Option<String> {
        let latest = std::mem::take(&mut self.latest);
        let each_step = std::mem::take(&mut self.latest_seconds) / latest.len() as f64;
        let of_rank = |rank: usize| {
            let mut seconds: Vec<f64> = latest.iter().map(|step| step[rank]).collect();
            median(&mut seconds) / self.micro_batches[rank]
        };
        let each: Vec<f64> = (0..self.ranks.len()).map(of_rank).collect();
        let usual = median(&mut each.clone());
        let (slowest, seconds) =
            each.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let more = (seconds - usual) * self.micro_batches[slowest];
        let is_slow = seconds > SLOW * usual && more > MATTERS * each_step;
        let found = Some(slowest).filter(|_| is_slow);
        let before = std::mem::replace(&mut self.suspect, found);
        if found.is_none() || before != found || self.slow == found {
            return None;
        }
        self.slow = Some(slowest);
        Some(format!(
            "{} is slow: a batch takes it {:.1} ms, and half of the ranks at most {:.1} ms. All others wait \
             for it in each step",
            self.ranks[slowest].name,
            1e3 * seconds,
            1e3 * usual
        ))
    }

    /// The times of each rank so far; none before the first step.
    pub fn all(&self) -> Vec<RankTimes> {
        let share = |seconds: f64| (seconds / self.seconds).max(0.0);
        let of_rank = |(rank, place): (usize, &Place)| {
            let units = self.units * self.micro_batches[rank] * self.steps as f64;
            let computing = self.computing[rank];
            RankTimes {
                host: place.host.clone(),
                device: place.device.clone(),
                units_per_second: units / computing,
                computing: share(computing),
                waiting: share(self.slowest - computing),
                communicating: share(self.together - self.slowest),
            }
        };
        let ranks = self.ranks.iter().filter(|_| self.steps > 0);
        ranks.enumerate().map(of_rank).collect()
    }
}

/// The one in the middle, of two the smaller one.
fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[(numbers.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(size: usize) -> Vec<Place> {
        let place = |rank| Place {
            name: format!("rank {rank}"),
            host: format!("node{rank}"),
            device: "x".into(),
        };
        (0..size).map(place).collect()
    }

    /// What is said when a rank computes for so many seconds in each step.
    fn said(times: &mut Times, steps: usize, computing: impl Fn(usize) -> Vec<f64>) -> Vec<String> {
        let mut said = Vec::new();
        for step in 0..steps {
            let step = StepTimes { computing: computing(step), together: 2.5 };
            if times.add(step, 3.0) {
                said.extend(times.slow());
            }
        }
        said
    }

    #[test]
    fn a_slow_rank_is_named_once_and_another_one_then() {
        let ranks = ranks(3);
        let times = &mut Times::new(&ranks, 3, 1);
        assert_eq!(said(times, 22, |_| vec![1.0, 1.0, 2.0]), [""; 0]);
        let [slow] = &said(times, 100, |_| vec![1.0, 1.0, 2.0])[..] else { panic!("one is slow") };
        assert!(slow.starts_with("rank 2 is slow: a batch takes it 2000.0 ms"), "{slow}");
        assert!(slow.contains("half of the ranks at most 1000.0 ms"), "{slow}");
        let [slow] = &said(times, 41, |_| vec![1.3, 1.0, 1.0])[..] else { panic!("another is") };
        assert!(slow.starts_with("rank 0 is slow"), "{slow}");
    }

    #[test]
    fn nobody_is_called_slow_without_a_reason() {
        // The first steps; now and then a long one; one more micro-batch than others; of one rank's share.
        let (three, two) = (ranks(3), ranks(2));
        let first = |step: usize| vec![1.0, if step < 3 { 50.0 } else { 1.0 }, 1.0];
        assert_eq!(said(&mut Times::new(&three, 3, 1), 43, first), [""; 0]);
        let jolts = |step: usize| vec![1.0, if step.is_multiple_of(3) { 9.0 } else { 1.0 }, 1.0];
        assert_eq!(said(&mut Times::new(&three, 3, 1), 63, jolts), [""; 0]);
        let uneven = |_| vec![2.0, 2.1, 1.0];
        assert_eq!(said(&mut Times::new(&three, 5, 1), 63, uneven), [""; 0]);
        assert_eq!(said(&mut Times::new(&two, 2, 1), 63, |_| vec![1.2, 1.0]), [""; 0]);
        assert_eq!(said(&mut Times::new(&two, 2, 1), 43, |_| vec![1.3, 1.0]).len(), 1);
        // For a while only; and where it hardly matters.
        let a_while = |step: usize| vec![if step < 30 { 2.0 } else { 1.0 }, 1.0];
        assert_eq!(said(&mut Times::new(&two, 2, 1), 83, a_while), [""; 0]);
        assert_eq!(said(&mut Times::new(&two, 2, 1), 83, |_| vec![0.2, 0.1]), [""; 0]);
    }

    #[test]
    fn times_add_up() {
        let ranks = ranks(2);
        let mut times = Times::new(&ranks, 3, 8);
        assert_eq!(times.all(), []);
        times.add(StepTimes { computing: vec![3.0, 1.0], together: 3.5 }, 5.0);
        times.add(StepTimes { computing: vec![1.0, 2.0], together: 2.5 }, 3.0);
        let expected = |host: &str, units_per_second, computing, waiting| RankTimes {
            host: host.into(),
            device: "x".into(),
            units_per_second,
            computing,
            waiting,
            communicating: 0.125,
        };
        let first = expected("node0", 8.0, 0.5, 0.125);
        assert_eq!(times.all(), [first, expected("node1", 16.0 / 3.0, 0.375, 0.25)]);
    }
}
