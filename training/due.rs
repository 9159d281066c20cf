//! What is due between two steps of training.

use crate::safety::Safety;
use crate::settings::Settings;
use std::time::Instant;

/// What is done once so many steps are made, in the order of these fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The results of all steps are waited for and logged, as what follows is noted with the
    /// latest of them.
    pub results: bool,
    /// A checkpoint is written. All that follows comes after it, so that a run that is resumed does
    /// it again and its metrics end the same.
    pub checkpoint: bool,
    /// Training ends here, because the user wants it to.
    pub stop: bool,
    /// A hash of all parameters is noted.
    pub hash: bool,
    /// The model is scored on a part of the validation data, after the last step too, so that its
    /// curve ends there, and where it is asked for before the first. After the loop it is scored on
    /// all.
    pub evaluation: bool,
    /// What the layers compute is measured.
    pub measurement: bool,
    /// The model shows something.
    pub sample: bool,
    /// The next step is made: there is one left.
    pub step: bool,
}

/// What the user asks for while a model is trained.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// A checkpoint now.
    pub checkpoint: bool,
    /// The end, with a checkpoint.
    pub stop: bool,
}

/// The latest checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Latest {
    /// The steps that were made then. A run begins at one, or at step 0, which needs none.
    pub step: u64,
    /// When it was written, or this process began.
    pub at: Instant,
}

impl Latest {
    /// A checkpoint of this moment.
    pub fn now(step: u64) -> Latest {
        Latest { step, at: Instant::now() }
    }
}

impl Due {
    /// What is due after so many steps.
    pub fn after(
        steps: u64,
        settings: &Settings,
        safety: &Safety,
        latest: Latest,
        asked: Asked,
    ) -> Due {
        let every = |count: u64| count > 0 && steps > 0 && steps.is_multiple_of(count);
        let last = steps == settings.steps;
        let start = steps == 0 && settings.evaluate_start;
        let evaluation = every(settings.evaluate_every) || last || start;
        let measurement = every(settings.measure_every) || last;
        let sample = every(settings.sample_every) || last;
        let hash = every(safety.hash_steps);
        let minutes = latest.at.elapsed().as_secs_f64() / 60.0;
        let in_time = every(safety.checkpoint_steps) || minutes >= safety.checkpoint_minutes;
        let wanted = asked.checkpoint || asked.stop;
        let checkpoint = (in_time || wanted || evaluation) && steps != latest.step;
        let results = checkpoint || hash || measurement || sample;
        let stop = asked.stop;
        Due { results, checkpoint, stop, hash, evaluation, measurement, sample, step: !last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::optim::Curve;

    const SETTINGS: Settings = Settings {
        batch: 1,
        accumulate: 1,
        steps: 12,
        learning_rate: 1e-3,
        warmup: 0,
        decay: Curve::Constant,
        final_fraction: 1.0,
        weight_decay: 0.0,
        betas: [0.9, 0.95],
        clip: 1.0,
        average: None,
        evaluate_every: 6,
        patience: None,
        evaluate_start: false,
        measure_every: 0,
        sample_every: 4,
        schedules: Vec::new(),
    };

    const STEP: Due = Due {
        results: false,
        checkpoint: false,
        stop: false,
        hash: false,
        evaluation: false,
        measurement: false,
        sample: false,
        step: true,
    };

    fn due(steps: u64, latest: u64, stop: bool) -> Due {
        let safety = Safety { checkpoint_steps: 5, hash_steps: 3, ..Safety::default() };
        let asked = Asked { stop, ..Asked::default() };
        Due::after(steps, &SETTINGS, &safety, Latest::now(latest), asked)
    }

    #[test]
    fn each_thing_is_due_at_its_steps() {
        assert_eq!(due(0, 0, false), STEP);
        assert_eq!(due(1, 0, false), STEP);
        assert_eq!(due(3, 0, false), Due { results: true, hash: true, ..STEP });
        assert_eq!(due(4, 0, false), Due { results: true, sample: true, ..STEP });
        assert_eq!(due(5, 0, false), Due { results: true, checkpoint: true, ..STEP });
        let all = Due { results: true, checkpoint: true, hash: true, ..STEP };
        assert_eq!(due(6, 5, false), Due { evaluation: true, ..all });
        let end = Due { evaluation: true, measurement: true, sample: true, step: false, ..all };
        assert_eq!(due(12, 10, false), end);
    }

    #[test]
    fn a_score_before_the_first_step_needs_no_checkpoint() {
        let settings = Settings { evaluate_start: true, ..SETTINGS };
        let due = |steps, latest| {
            let latest = Latest::now(latest);
            Due::after(steps, &settings, &Safety::default(), latest, Asked::default())
        };
        assert_eq!(due(0, 0), Due { evaluation: true, ..STEP });
        assert_eq!(due(1, 0), STEP);
    }

    #[test]
    fn a_stop_leaves_a_checkpoint_unless_there_is_one() {
        let stopped = Due { results: true, checkpoint: true, stop: true, ..STEP };
        assert_eq!(due(1, 0, true), stopped);
        assert_eq!(due(0, 0, true), Due { stop: true, ..STEP });
        assert_eq!(due(5, 5, true), Due { stop: true, ..STEP });
    }

    #[test]
    fn a_checkpoint_that_is_asked_for_is_written_unless_there_is_one() {
        let due = |steps, latest| {
            let asked = Asked { checkpoint: true, stop: false };
            Due::after(steps, &SETTINGS, &Safety::default(), Latest::now(latest), asked)
        };
        assert_eq!(due(1, 0), Due { results: true, checkpoint: true, ..STEP });
        assert_eq!(due(5, 5), STEP);
    }
}
