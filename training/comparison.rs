//! A run: several variants and seeds on the same data, in the same order, and what came out.

mod check;
mod earlier;
mod folder;

use crate::engine::{self, Device};
use crate::error::Error;
use crate::extension::Extension;
use crate::forecast::Forecast;
use crate::models::{Model, Planned, Results, write_page, write_results};
use crate::needs::seconds_per_step_on;
use crate::observer::{Observer, Started};
use crate::order::{Order, give};
use crate::ranks::{Place, Ranks};
use crate::recovery::Recovery;
use crate::resumption::stretched_after;
use crate::run::{
    FILES, ModelFolder, RunFolder, STOPPED_EARLY, STRETCHED, Status, Summary, VariantSummary,
    checkpoint, read_metrics, write_json,
};
use crate::safety::Safety;
use crate::settings::{Longer, Settings};
use crate::status::Reporter;
use crate::task::{Extent, Task};
use crate::trainer::{Outcome, Training};
use crate::variant::VariantConfig;
use earlier::{Earlier, refused};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What to compare.
pub struct Comparison<'a, T: Task> {
    /// What is learnt.
    pub task: &'a T,
    /// The variants, each trained with every seed; each must have a [name](VariantConfig::name) of its
    /// own.
    pub variants: &'a [VariantConfig],
    /// The seeds.
    pub seeds: &'a [u64],
    /// The settings, the same for all.
    pub settings: Settings,
    /// Minutes of training for each model. The number of steps then follows from the speed of
    /// the first variant, and is the same for all.
    pub minutes: Option<f64>,
    /// Where the models are trained.
    pub device: Device,
    /// Those that train each model together, by themselves [`Alone`](crate::ranks::Alone). This is the
    /// first of them; the others [`follow`](crate::training::follow).
    pub ranks: &'a dyn Ranks,
    /// Whether each of several ranks keeps only its part of the optimiser's moments, and has the others' updates
    /// from them. No bit of what comes out depends on it.
    pub shard_optimizer: bool,
    /// Opens the same device again after it has failed; see [`Safety::on_device_loss`].
    pub open: &'a dyn Fn() -> engine::Result<Device>,
    /// The folder in which the run's own folder is made.
    pub parent: PathBuf,
    /// The name of the run's folder; `None` to make one from the time.
    pub name: Option<OsString>,
    /// A run to go on with; then `parent` and `name` mean nothing, and `minutes` must be `None`. It keeps
    /// the variants and seeds that it has, and gets those that are new.
    pub resume: Option<PathBuf>,
    /// How the learning rate goes on where a run that is gone on with becomes longer; `None` to
    /// stretch its schedule and say what else there is.
    pub longer: Option<Longer>,
    /// The variant that the others are compared with in the report; `None` for the Transformer,
    /// else the first.
    pub baseline: Option<String>,
    /// How nothing is lost.
    pub safety: Safety,
    /// How often `report.html` is written anew while a model is trained.
    pub show_every: Duration,
    /// What was typed, kept in `run.json` so that the run can be gone on with. Paths in it are to be
    /// absolute.
    pub arguments: Vec<OsString>,
    /// When the run began, in RFC 3339.
    pub started: String,
    /// Whether event files for TensorBoard are written too.
    pub tensorboard: bool,
    /// Becomes true when the user wants to stop.
    pub interrupted: &'a AtomicBool,
    /// Becomes true when the user wants a checkpoint now, and false again once it is written.
    pub checkpoint: &'a AtomicBool,
}

impl<'a, T: Task> Comparison<'a, T> {
    /// Trains all models and writes the run's folder: `run.json`, the task's own files, a folder
    /// for each model, and after each model `summary.json` and `report.html` anew; `status.json` says every
    /// few seconds where it is. An earlier run
    /// is gone on with: models that are done stay, the others start at their latest checkpoint. Variants
    /// and seeds that are new in it come to the same bits as if they had been asked for at once.
    ///
    /// # Errors
    /// Anything that stops the run; what was finished until then is in its folder. Other ranks, if there
    /// are any, then wait for what will not come: they are to be told by [`Ranks::abort`].
    pub fn run(self, observer: &mut dyn Observer) -> Result<(Summary, RunFolder), Error> {
        let ranks = self.ranks;
        let done = self.run_or_resume(observer)?;
        give(ranks, &Order::End)?;
        Ok(done)
    }

    fn run_or_resume(self, observer: &mut dyn Observer) -> Result<(Summary, RunFolder), Error> {
        let Some(path) = &self.resume else { return self.run_all(None, observer) };
        let folder = RunFolder::open(path)?;
        let lock = folder.lock()?;
        let extension = Extension::of(&folder.facts()?, self.variants, self.seeds);
        let extension = extension.map_err(|why| refused(&folder, why))?;
        let (variants, seeds) = (&extension.variants[..], &extension.seeds[..]);
        let earlier = Earlier { folder, lock, news: extension.news() };
        Comparison { variants, seeds, ..self }.run_all(Some(earlier), observer)
    }

    /// The same for all variants and seeds of a run.
    fn run_all(
        mut self,
        earlier: Option<Earlier>,
        observer: &mut dyn Observer,
    ) -> Result<(Summary, RunFolder), Error> {
        // Finds what cannot work before anything is allocated or written.
        self.check_names()?;
        let places = self.check_ranks(observer)?;
        let planned = self.plan()?;
        self.settle_steps(&planned, observer)?;
        let (folder, lock) = match earlier {
            Some(earlier) => self.reopen(earlier, &planned, observer)?,
            None => self.create()?,
        };
        if let Some(problem) = lock.problem() {
            observer.notice(&format!(
                "{} cannot be locked ({problem}): no other process is kept from training in it",
                folder.path().display()
            ));
        }
        let mut summary = self.summary(&folder.name());
        let models = self.models(&planned);
        let before = Status::read(&folder.status_json());
        let mut reporter = Reporter::new(observer, &folder, models.len());
        let observer: &mut dyn Observer = &mut reporter;
        let mut trained = 0;
        for model in &models {
            let model_folder = folder.model(&model.planned.variant.name(), model.seed)?;
            if let Some(result) = self.done(&model_folder, observer) {
                summary.variants.push(result);
                continue;
            }
            let forecast = (trained == 0).then(|| self.forecast(model, &models, &folder));
            let so_far = (&folder, &summary);
            let known = (&places[..], forecast);
            let result = self.train(model, &model_folder, known, so_far, observer);
            let result = result.map_err(|error| resumable(error, &folder, &model_folder))?;
            trained += 1;
            observer.finished(&result);
            summary.variants.push(result);
            write_results(&folder, &summary)?;
            if self.interrupted.load(Ordering::Relaxed) {
                let path = folder.path().display();
                observer.notice(&format!("interrupted; go on with --resume {path}"));
                break;
            }
        }
        if trained == 0 {
            observer.notice("this run is finished already: all its models are trained");
            write_results(&folder, &summary)?;
            reporter.had_nothing_to_do(before);
            return Ok((summary, folder));
        }
        let finished = summary.variants.iter().filter(|model| model.finished).count();
        reporter.ended(finished == models.len());
        Ok((summary, folder))
    }

    /// Turns minutes into steps, and shortens the warm-up where there are few.
    fn settle_steps(
        &mut self,
        planned: &[Planned<T>],
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        if let (Some(minutes), Some(first)) = (self.minutes, planned.first()) {
            let Comparison { ranks, task, settings, device, .. } = &*self;
            let ranks = (*ranks, self.shard_optimizer);
            let seconds = seconds_per_step_on(ranks, *task, &first.config, settings, device)?;
            self.settings.steps = ((60.0 * minutes / seconds) as u64).max(1);
            observer.notice(&format!(
                "{minutes} minutes are {} steps of {:.0} ms each; every model takes as many",
                self.settings.steps,
                1e3 * seconds
            ));
        }
        let half = self.settings.steps / 2;
        if self.settings.warmup > half {
            observer.notice(&format!(
                "the warm-up is {half} steps, half of all, not {}",
                self.settings.warmup
            ));
            self.settings.warmup = half;
        }
        Ok(())
    }

    /// All models in the order of training: every variant with the first seed, and so on.
    fn models<'b>(&self, planned: &'b [Planned<'b, T>]) -> Vec<Model<'b, T>> {
        let count = self.seeds.len() * planned.len();
        let seeds =
            self.seeds.iter().flat_map(|seed| planned.iter().map(|planned| (*seed, planned)));
        let model = |(number, (seed, planned))| Model { planned, seed, number, count };
        (1..).zip(seeds).map(model).collect()
    }

    /// Trains a model, or goes on with it, on another device if the first one fails.
    fn train(
        &mut self,
        model: &Model<T>,
        folder: &ModelFolder,
        (places, forecast): (&[Place], Option<Forecast>),
        (run, summary): (&RunFolder, &Summary),
        observer: &mut dyn Observer,
    ) -> Result<VariantSummary, Error> {
        let Model { planned: Planned { config, .. }, seed, .. } = *model;
        write_json(&folder.config_json(), config)?;
        observer.started(&self.started(model));
        let (safety, flags) = (self.safety.clone(), self.task.memory_flags());
        let alone = self.ranks.size() == 1;
        let mut recovery = Recovery::new(self.open, &safety, self.interrupted, flags, alone);
        let outcome = loop {
            let Comparison { task, settings, safety, device, interrupted, checkpoint, .. } = &*self;
            let Comparison { tensorboard, ranks, shard_optimizer, .. } = *self;
            let task = *task;
            let results = Results { task, settings, device, model };
            let show = |outcome: Outcome| {
                let mut summary = Summary { growing: true, ..summary.clone() };
                summary.variants.push(results.of(outcome));
                write_page(run, &summary)
            };
            let training = Training {
                task,
                settings,
                safety,
                seed,
                device,
                ranks,
                shard_optimizer,
                places,
                folder,
                interrupted,
                checkpoint,
                tensorboard,
                forecast,
                growing: Some((self.show_every, &show)),
            };
            // The pieces of another variant's model have other sizes: what it leaves idle would stay
            // beside this one's.
            device.trim();
            device.reset_peak();
            match device.install(|| training.run(config, observer)) {
                Err(Error::Engine(error)) if error.is_of_device() => {
                    let step = checkpoint::latest_step(folder);
                    recovery.recover(&mut self.device, error, step, observer)?;
                }
                outcome => break outcome?,
            }
        };
        let Comparison { task, settings, device, .. } = &*self;
        let mut result = Results { task: *task, settings, device, model }.of(outcome);
        if result.finished {
            let lines = read_metrics(&folder.metrics_jsonl())?;
            if let Some(step) = stretched_after(&lines, settings) {
                result.results.set(STRETCHED, step);
            }
            result.results.set(FILES, json!(folder.hashes()?));
            write_json(&folder.result_json(), &result)?;
        }
        Ok(result)
    }

    /// What can be foretold of the models from this one on.
    fn forecast(&self, model: &Model<T>, models: &[Model<T>], folder: &RunFolder) -> Forecast {
        let steps = self.settings.steps;
        let left = |other: &&Model<T>| {
            let folder = folder.find_model(&other.planned.variant.name(), other.seed);
            let done = |folder: &ModelFolder| folder.result().map(|result| result.steps);
            let made = |folder| done(folder).max(checkpoint::latest_step(folder));
            steps.saturating_sub(folder.as_ref().and_then(made).unwrap_or(0))
        };
        let others: Vec<u64> = models[model.number..].iter().map(|m| left(&m)).collect();
        Forecast {
            models: 1 + others.iter().filter(|left| **left > 0).count(),
            steps_of_others: others.iter().sum(),
            by_time: self.resume.is_none(),
        }
    }

    /// What is known of a model that is about to be trained.
    fn started(&self, model: &Model<T>) -> Started {
        let Planned { variant, needs, .. } = model.planned;
        Started {
            variant: variant.name(),
            unit: self.task.unit(),
            seed: model.seed,
            number: model.number,
            models: model.count,
            parameters: needs.parameters,
            steps: self.settings.steps,
            planned_memory_bytes: needs.most().1,
        }
    }

    /// What came out for a model that is trained to the end and scored on as much as is wished for
    /// now, or can't be scored again.
    fn done(&self, folder: &ModelFolder, observer: &mut dyn Observer) -> Option<VariantSummary> {
        let result = folder.result().filter(|result| self.is_at_its_end(result))?;
        let scored = self.task.scored(&self.settings, Extent::All);
        if scored.iter().all(|(name, value)| result.results.get(name) == Some(value)) {
            return Some(result);
        }
        let name = format!("{} (seed {})", result.variant, result.seed);
        if checkpoint::latest_step(folder) == Some(result.steps) {
            observer.notice(&format!("{name} is scored anew, on as much as is wished for now"));
            return None;
        }
        observer.notice(&format!("{name} keeps its scores: its last checkpoint is gone"));
        Some(result)
    }

    /// Whether all steps of a model are made, or it was stopped early and would be again.
    fn is_at_its_end(&self, result: &VariantSummary) -> bool {
        let early = result.results.get(STOPPED_EARLY).and_then(Value::as_u64);
        let again = early.is_some_and(|then| self.settings.patience.is_some_and(|now| now <= then));
        result.steps == self.settings.steps || again
    }
}

/// Adds to an error where training can be gone on from, if it can.
fn resumable(error: Error, folder: &RunFolder, model: &ModelFolder) -> Error {
    match (error, checkpoint::latest_step(model)) {
        (error @ Error::Settings(_), _) | (error, None) => error,
        (source, Some(step)) => {
            let folder = folder.path().to_owned();
            Error::Resumable { source: Box::new(source), step, folder }
        }
    }
}
