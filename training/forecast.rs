//! How long all models of a run will take, foretold after the first steps.

use crate::report::duration;
use crate::run::state::LogState;

/// The steps after which the speed counts as known.
const STEPS: u64 = 20;

/// Beyond so many seconds a run is told how it can be shorter.
const LONG: f64 = 600.0;

/// What is known of a run before the speed of its models is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The models that are trained, this one among them.
    pub models: usize,
    /// The steps of those that come after this one.
    pub steps_of_others: u64,
    /// Whether the number of steps can be set by time, which that of a run that goes on cannot.
    pub by_time: bool,
}

impl Forecast {
    /// How long it will take if a step takes so many seconds and this model has so many left.
    pub fn sentence(&self, seconds_per_step: f64, left: u64) -> String {
        let seconds = seconds_per_step * (left + self.steps_of_others) as f64;
        let what = match self.models {
            1 => "training".to_owned(),
            models => format!("training all {models} models"),
        };
        let time = duration(seconds);
        let mut text = format!("  {what} will take about {time} from here; scoring comes on top");
        if seconds > LONG && self.by_time {
            let minutes = (LONG / 60.0 / self.models as f64).max(0.5);
            let minutes = (2.0 * minutes).floor() / 2.0;
            text += &format!(". --minutes {minutes} would give each model that much time");
        }
        text
    }
}

/// Finds out how long steps take.
pub(crate) struct Speed {
    steps: u64,
    seconds: f64,
    known: bool,
}

impl Speed {
    /// From where the log stands.
    pub fn new(log: &LogState) -> Speed {
        Speed { steps: log.steps, seconds: log.training_seconds, known: false }
    }

    /// The seconds of a step, once, when they are known.
    pub fn known(&mut self, log: &LogState) -> Option<f64> {
        let steps = log.steps - self.steps;
        if self.known || steps < STEPS {
            return None;
        }
        self.known = true;
        Some((log.training_seconds - self.seconds) / steps as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_told_how_to_be_shorter() {
        let forecast = Forecast { models: 4, steps_of_others: 900, by_time: true };
        let short = forecast.sentence(0.1, 280);
        assert!(short.contains("all 4 models will take about 1 min 58 s"), "{short}");
        assert!(!short.contains("--minutes"), "{short}");
        let long = forecast.sentence(1.0, 280);
        assert!(long.contains("19 min 40 s") && long.contains("--minutes 2.5"), "{long}");
        let resumed = Forecast { by_time: false, ..forecast }.sentence(1.0, 280);
        assert!(!resumed.contains("--minutes"), "{resumed}");
    }

    #[test]
    fn the_speed_is_known_once_after_twenty_steps() {
        let at = |steps: u64| LogState {
            steps,
            training_seconds: 0.5 * steps as f64,
            ..LogState::default()
        };
        let mut speed = Speed::new(&at(10));
        assert_eq!(speed.known(&at(29)), None);
        assert_eq!(speed.known(&at(30)), Some(0.5));
        assert_eq!(speed.known(&at(31)), None);
    }
}
