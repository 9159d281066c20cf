//! Which weights of a model of a run are meant: the last, the best, or those after so many steps.

use super::checkpoint::{Weights, best_step, kept_steps, weights_at};
use super::{Error, TrainedModel};
use std::fmt;
use std::str::FromStr;

/// Which weights of a model of a run are meant, as typed: `last`, `best` or a number of steps.
///
/// ```
/// use neutreno::run::Use;
/// assert_eq!("best".parse(), Ok(Use::Best));
/// assert_eq!("300".parse(), Ok(Use::Step(300)));
/// assert_eq!(Use::Step(300).to_string(), "300");
/// assert!("worst".parse::<Use>().unwrap_err().contains("last, best or a number of steps"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Use {
    /// The final ones, or where the model is not trained to the end, those of its latest checkpoint.
    #[default]
    Last,
    /// Those with the best score on the validation data while it was trained.
    Best,
    /// Those after so many steps.
    Step(u64),
}

impl FromStr for Use {
    type Err = String;

    fn from_str(text: &str) -> Result<Use, String> {
        match text {
            "last" => Ok(Use::Last),
            "best" => Ok(Use::Best),
            _ => text.parse().map(Use::Step).map_err(|_| {
                format!("\"{text}\" names no weights; it is last, best or a number of steps")
            }),
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Last => write!(f, "last"),
            Use::Best => write!(f, "best"),
            Use::Step(step) => write!(f, "{step}"),
        }
    }
}

impl TrainedModel {
    /// The model with the weights that are meant. It has none before its first checkpoint.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if it was never scored while it was trained, where the best are meant; if
    /// their checkpoint is not there, or not whole.
    pub fn with_weights(mut self, wanted: Use) -> Result<TrainedModel, Error> {
        let (Some(last), false) = (&self.weights, wanted == Use::Last) else { return Ok(self) };
        let missing = |reason: String| Error::NoCheckpoint {
            path: self.folder.path().to_owned(),
            wanted: wanted.to_string(),
            reason,
        };
        let step = match wanted {
            Use::Step(step) => step,
            _ => best_step(&self.folder)
                .ok_or_else(|| missing("it was not scored while it was trained".into()))?,
        };
        if step == last.step {
            return Ok(self);
        }
        let kept: Vec<u64> = kept_steps(&self.folder).collect();
        if !kept.contains(&step) {
            let steps: Vec<String> = kept.iter().map(u64::to_string).collect();
            let there = if steps.is_empty() { "no".into() } else { steps.join(", ") };
            return Err(missing(format!(
                "there is no checkpoint of step {step}; of those there are {there}, and the last weights \
                 are of step {}",
                last.step
            )));
        }
        let found = weights_at(&self.folder, step).map_err(|problem| missing(problem.to_string()));
        self.weights = Some(found?);
        Ok(self)
    }
}

impl Weights {
    /// Whether they are those of a checkpoint and not the final ones.
    pub fn of_checkpoint(&self) -> bool {
        self.path.ancestors().nth(2).is_some_and(|folder| folder.ends_with("checkpoints"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{AVERAGE, Chunks, MODEL, OPTIMIZER, save};
    use super::super::state::{LogState, State};
    use super::super::{ModelFolder, RunFolder, write_json};
    use super::*;
    use serde_json::{Value, json};
    use std::fs;

    fn checkpoint(folder: &ModelFolder, step: u64, best: Option<(u64, f64)>) {
        let state = State {
            step,
            micro_batch: step,
            seed: 1,
            learning_rate: 0.1,
            settings: Value::Null,
            config: Value::Null,
            version: String::new(),
            device: String::new(),
            adapter: String::new(),
            log: LogState { best, ..LogState::default() },
        };
        let files = [MODEL, OPTIMIZER].map(|name| -> (_, Chunks<'static, Error>) {
            (name, Box::new(std::iter::once(Ok(vec![step as u8]))))
        });
        save(folder, &state, Vec::new(), files).unwrap();
    }

    #[test]
    fn weights_are_found_by_what_is_said_of_them() {
        let parent = tempfile::tempdir().unwrap();
        let facts = json!({ "variants": [{ "variant": "svformer" }], "seeds": [1] });
        let fill = |folder: &RunFolder, _: &str| write_json(&folder.run_json(), &facts);
        let run = RunFolder::create(parent.path(), Some("a".as_ref()), "", "", fill).unwrap();
        let model = || run.models().unwrap().remove(0);
        // Before the first checkpoint there are none, whichever are meant.
        assert_eq!(model().with_weights(Use::Best).unwrap().weights, None);
        let folder = run.model("svformer", 1).unwrap();
        checkpoint(&folder, 10, None);
        let never = model().with_weights(Use::Best).unwrap_err().to_string();
        assert!(never.contains("was not scored while it was trained"), "{never}");
        checkpoint(&folder, 20, Some((10, 1.5)));
        checkpoint(&folder, 30, Some((10, 1.5)));
        let step = |wanted| model().with_weights(wanted).unwrap().weights.unwrap().step;
        assert_eq!([Use::Last, Use::Best, Use::Step(20)].map(step), [30, 10, 20]);
        assert!(model().weights.unwrap().of_checkpoint());
        let refused = |step| model().with_weights(Use::Step(step)).unwrap_err().to_string();
        let words = "no checkpoint of step 15; of those there are 10, 20, 30, and the last weights are of step 30";
        assert!(refused(15).contains(words), "{}", refused(15));
        // One that is damaged is not taken.
        fs::write(folder.checkpoint(20).join(MODEL), "x").unwrap();
        assert!(refused(20).contains("is not what was written"), "{}", refused(20));

        // Of a model that is trained to the end, its result says which was best.
        let result = json!({ "variant": "svformer", "seed": 1, "finished": true, "parameters": 1,
            "steps": 40, "train_loss": 1.0, "peak_memory_bytes": 1, "wall_seconds": 1.0,
            "device": "", "adapter": null, "best_step": 40 });
        write_json(&folder.result_json(), &result).unwrap();
        let weights = |wanted| model().with_weights(wanted).unwrap().weights.unwrap();
        for wanted in [Use::Last, Use::Best, Use::Step(40)] {
            assert_eq!(weights(wanted).path, folder.model_safetensors());
            assert!(!weights(wanted).of_checkpoint());
        }
        assert_eq!(weights(Use::Step(30)).path, folder.checkpoint(30).join(MODEL));
        assert!(!folder.checkpoint(30).join(AVERAGE).exists() && !weights(Use::Step(30)).average);
    }
}
