//! How the training of a model ends: its weights are saved, it is scored, and shown at work.

use super::{Outcome, Training};
use crate::engine::checkpoint::{Metadata, chunks};
use crate::error::Error;
use crate::learner::{Learner, handles};
use crate::log::Log;
use crate::run::disk::replace_file;
use crate::run::{STOPPED_EARLY, Values, write_pictures};
use crate::scoring::Stop;
use crate::task::{Extent, Task};

impl<T: Task> Training<'_, T> {
    /// Saves the weights, however training ended, scores the model and draws its pictures.
    pub(super) fn finish(
        &self,
        learner: &Learner<T>,
        log: &mut Log,
        trained: Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let mut interrupted = matches!(trained, Err(Error::Interrupted));
        let saved = learner.with_best_weights(|_, parameters| {
            // What Hugging Face's tools look for in a file of weights.
            let metadata = Metadata::from([("format".into(), "pt".into())]);
            let chunks = chunks(handles(parameters), &metadata);
            replace_file(
                &self.folder.model_safetensors(),
                chunks.map(|chunk| Ok::<_, Error>(chunk?)),
            )
        });
        if !interrupted {
            trained?;
        }
        saved?;
        // After an interruption only as while training, so that the program ends soon.
        let mut extent = if interrupted { Extent::Part } else { Extent::All };
        let score = |extent| self.score(learner, log.state.steps, extent);
        let scores = match score(extent) {
            // A resumed run scores again: the checkpoint is older.
            Err(Error::Interrupted) => {
                (interrupted, extent) = (true, Extent::Part);
                score(extent)?
            }
            scores => scores?,
        };
        let scored = self.task.scored(self.settings, extent);
        if interrupted {
            log.remember(&scores, &scored);
        }
        let scores = scores.with_all(scored);
        log.observer.evaluated(log.state.steps, &scores);
        log.tell_best();
        let mut scores = scores.with_all(log.best());
        if let Some(patience) = log.out_of_patience(self.settings)
            && !interrupted
            && log.state.steps < self.settings.steps
        {
            scores.set(STOPPED_EARLY, patience);
        }
        Ok(self.outcome(learner, log, !interrupted, scores))
    }

    /// What came out so far.
    pub(super) fn outcome(
        &self,
        learner: &Learner<T>,
        log: &Log,
        finished: bool,
        scores: Values,
    ) -> Outcome {
        Outcome {
            finished,
            parameters: learner.parameters.count() as u64,
            steps: log.state.steps,
            train_loss: log.recent_loss(),
            scores,
            skipped: log.skipped(),
            training_seconds: log.state.training_seconds,
            seconds: log.seconds(),
            ranks: log.times(),
        }
    }

    /// Scores the model, and draws its pictures if that is on everything.
    pub(super) fn score(
        &self,
        learner: &Learner<T>,
        steps: u64,
        extent: Extent,
    ) -> Result<Values, Error> {
        // After the first interruption a short score is still made; after a second one the program
        // ends at once.
        let stop = match extent {
            Extent::Part => Stop::never(),
            Extent::All => Stop::when(self.interrupted),
        };
        let scores = learner.score(steps, extent, &stop)?;
        if extent == Extent::All {
            let pictures = learner.with_best_weights(|model, _| self.task.pictures(model))?;
            write_pictures(self.folder, &pictures)?;
        }
        Ok(scores)
    }
}
