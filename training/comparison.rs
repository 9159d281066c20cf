//! A run: several variants and seeds on the same data, in the same order, and what came out.

use crate::engine::{self, Device};
use crate::error::Error;
use crate::needs::{Needs, needs, seconds_per_step};
use crate::observer::{Observer, Started};
use crate::recovery::Recovery;
use crate::report::{RunMetrics, page};
use crate::run::checkpoint;
use crate::run::{
    ModelFolder, RunFolder, RunLock, Summary, VariantSummary, read_metrics, read_pictures,
    write_atomically, write_json,
};
use crate::safety::Safety;
use crate::settings::Settings;
use crate::task::{Task, all_settings};
use crate::trainer::{Outcome, Training};
use crate::variant::VariantConfig;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What to compare.
pub struct Comparison<'a, T: Task> {
    /// What is learnt.
    pub task: &'a T,
    /// The variants, each trained with every seed.
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
    /// Opens the same device again after it has failed; see [`Safety::on_device_loss`].
    pub open: &'a dyn Fn() -> engine::Result<Device>,
    /// The folder in which the run's own folder is made.
    pub parent: PathBuf,
    /// The name of the run's folder; `None` to make one from the time.
    pub name: Option<String>,
    /// A run to go on with; then `parent` and `name` mean nothing, and `minutes` must be `None`.
    pub resume: Option<PathBuf>,
    /// How nothing is lost.
    pub safety: Safety,
    /// What was typed, kept in `run.json` so that the run can be gone on with.
    pub arguments: Vec<String>,
    /// When the run began, in RFC 3339.
    pub started: String,
    /// Becomes true when the user wants to stop.
    pub interrupted: &'a AtomicBool,
}

impl<'a, T: Task> Comparison<'a, T> {
    /// Trains all models and writes the run's folder: `run.json`, the task's own files, a folder
    /// for each model, and after each model `summary.json` and `report.html` anew. An earlier run
    /// is gone on with: models that are done stay, the others start at their latest checkpoint.
    ///
    /// # Errors
    /// Anything that stops the run; what was finished until then is in its folder.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<(Summary, RunFolder), Error> {
        // Finds what cannot work before anything is allocated or written.
        let planned = self.plan()?;
        self.settle_steps(&planned, observer)?;
        let (folder, _lock) = match self.resume.clone() {
            Some(path) => self.reopen(&path, observer)?,
            None => self.create()?,
        };
        let mut summary = self.summary(&folder.name());
        let models = self.models(&planned);
        let mut trained = 0;
        for model in &models {
            let model_folder = folder.model(&model.planned.variant.name(), model.seed)?;
            if let Some(result) = self.done(&model_folder) {
                summary.variants.push(result);
                continue;
            }
            let result = self.train(model, &model_folder, observer);
            let result = result.map_err(|error| resumable(error, &folder, &model_folder))?;
            trained += 1;
            observer.finished(&result);
            summary.variants.push(result);
            self.write_results(&folder, &summary)?;
            if self.interrupted.load(Ordering::Relaxed) {
                let path = folder.path().display();
                observer.notice(&format!("interrupted; go on with --resume {path}"));
                break;
            }
        }
        if trained == 0 {
            observer.notice("this run is finished already: all its models are trained");
            self.write_results(&folder, &summary)?;
        }
        Ok((summary, folder))
    }

    /// The variants with what is known of their models before training, and whether they would
    /// fit; lets the device see to the limit on its memory as well.
    fn plan(&self) -> Result<Vec<Planned<'a, T>>, Error> {
        let config = |variant| self.task.config(variant, &self.device);
        let configs = self.variants.iter().map(config).collect::<Result<Vec<_>, _>>()?;
        self.task.check()?;
        self.safety.limit_memory(&self.device);
        let planned = |(variant, config): (&'a VariantConfig, T::Config)| {
            let needs = needs(self.task, &config, &self.settings, &self.device)?;
            if let Some(limit) = self.safety.memory_limit {
                needs.check(&variant.name(), limit, self.task.memory_flags())?;
            }
            needs.check_machine(&variant.name(), &self.device, self.task.memory_flags())?;
            Ok(Planned { variant, config, needs })
        };
        self.variants.iter().zip(configs).map(planned).collect()
    }

    /// Turns minutes into steps, and shortens the warm-up where there are few.
    fn settle_steps(
        &mut self,
        planned: &[Planned<T>],
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        if let (Some(minutes), Some(first)) = (self.minutes, planned.first()) {
            let seconds = seconds_per_step(self.task, &first.config, &self.settings, &self.device)?;
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
        observer: &mut dyn Observer,
    ) -> Result<VariantSummary, Error> {
        let Model { planned: Planned { config, .. }, seed, .. } = *model;
        write_json(&folder.config_json(), config)?;
        observer.started(&self.started(model));
        let (safety, flags) = (self.safety.clone(), self.task.memory_flags());
        let mut recovery = Recovery::new(self.open, &safety, self.interrupted, flags);
        let outcome = loop {
            let Comparison { task, settings, safety, device, interrupted, .. } = &*self;
            let training =
                Training { task: *task, settings, safety, seed, device, folder, interrupted };
            device.reset_peak();
            match device.install(|| training.run(config, observer)) {
                Err(Error::Engine(error)) if error.is_of_device() => {
                    let step = checkpoint::latest_step(folder);
                    recovery.recover(&mut self.device, error, step, observer)?;
                }
                outcome => break outcome?,
            }
        };
        let result = self.result(model, outcome);
        if result.finished {
            write_json(&folder.result_json(), &result)?;
        }
        Ok(result)
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

    /// What came out for a model.
    fn result(&self, model: &Model<T>, outcome: Outcome) -> VariantSummary {
        let Planned { variant, config, .. } = model.planned;
        let unit = self.task.unit();
        let seen = outcome.steps * self.settings.units_per_step(self.task);
        let mut results = self
            .task
            .model_facts(config)
            .with(&format!("{unit}s_seen"), seen)
            .with(&format!("{unit}s_per_second"), seen as f64 / outcome.training_seconds);
        results.extend(outcome.scores);
        if outcome.skipped > 0 {
            results.set("skipped_steps", outcome.skipped);
        }
        VariantSummary {
            variant: variant.name(),
            seed: model.seed,
            finished: outcome.finished,
            parameters: outcome.parameters,
            steps: outcome.steps,
            train_loss: outcome.train_loss,
            peak_memory_bytes: self.device.memory().peak,
            wall_seconds: outcome.seconds,
            device: self.device.kind().into(),
            adapter: self.device.adapter(),
            results,
        }
    }

    /// Makes the run's folder, which appears with `run.json` and the task's own files in it.
    fn create(&self) -> Result<(RunFolder, RunLock), Error> {
        let fill = |folder: &RunFolder, name: &str| {
            write_json(&folder.run_json(), &self.facts(name))?;
            self.task.save(folder.path())
        };
        let name = self.name.as_deref();
        let folder = RunFolder::create(&self.parent, name, self.task.name(), &self.started, fill)?;
        let lock = folder.lock()?;
        Ok((folder, lock))
    }

    /// Opens the folder of an earlier run, finds out whether it can be gone on with, and notes what
    /// is changed.
    fn reopen(
        &mut self,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(RunFolder, RunLock), Error> {
        let folder = RunFolder::open(path)?;
        let lock = folder.lock()?;
        let before = folder.facts()?;
        if let Some(started) = before["started"].as_str() {
            self.started = started.to_owned();
        }
        let now = self.facts(&folder.name());
        let problems = changes(&before, &now);
        if !problems.is_empty() {
            return Err(Error::Settings(format!(
                "{} cannot continue like this: {}. Leave out what changes that, or begin a new run",
                path.display(),
                problems.join("; ")
            )));
        }
        observer.notice(&format!("going on with {}", path.display()));
        folder.remove_leftovers();
        if before != now {
            write_json(&folder.run_json(), &now)?;
        }
        Ok((folder, lock))
    }

    /// What came out for a model that is trained to the end.
    fn done(&self, folder: &ModelFolder) -> Option<VariantSummary> {
        let text = std::fs::read(folder.result_json()).ok()?;
        let result: VariantSummary = serde_json::from_slice(&text).ok()?;
        (result.finished && result.steps == self.settings.steps).then_some(result)
    }

    /// The summary before any model is trained.
    fn summary(&self, name: &str) -> Summary {
        Summary {
            name: name.into(),
            task: self.task.name().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.started.clone(),
            data: self.task.data(),
            unit: self.task.unit().into(),
            settings: all_settings(&self.settings, self.task),
            facts: self.task.facts(),
            variants: Vec::new(),
        }
    }

    /// The contents of `run.json`: everything that is known before training.
    fn facts(&self, name: &str) -> Value {
        let summary = self.summary(name);
        let mut facts = json!({
            "name": summary.name,
            "task": summary.task,
            "version": summary.version,
            "started": summary.started,
            "data": summary.data,
            "variants": self.variants,
            "seeds": self.seeds,
            "minutes": self.minutes,
            "arguments": self.arguments,
            "settings": summary.settings,
            "safety": self.safety,
            "device": self.device.kind(),
            "adapter": self.device.name(),
        });
        for (name, value) in summary.facts.iter() {
            facts[name] = value.clone();
        }
        facts
    }

    fn write_results(&self, folder: &RunFolder, summary: &Summary) -> Result<(), Error> {
        write_json(&folder.summary_json(), summary)?;
        let metrics = summary.variants.iter().map(|model| {
            let folder = folder.model(&model.variant, model.seed)?;
            let metrics = read_metrics(&folder.metrics_jsonl())?;
            let pictures = read_pictures(&folder)?;
            let variant = model.variant.clone();
            Ok(RunMetrics { variant, seed: model.seed, metrics, pictures })
        });
        let metrics: Vec<RunMetrics> = metrics.collect::<Result<_, Error>>()?;
        write_atomically(&folder.report_html(), page(summary, &metrics).as_bytes())?;
        Ok(())
    }
}

/// What two runs differ in that must be the same when one goes on with the other, in words.
/// How long it trains, and when it is scored and shows something, may change.
fn changes(before: &Value, now: &Value) -> Vec<String> {
    const FREE: [&str; 6] = [
        "steps",
        "evaluate_every",
        "sample_every",
        "measure_every",
        "evaluation_tokens",
        "final_evaluation_tokens",
    ];
    let mut problems = Vec::new();
    let mut compare = |name: &str, before: &Value, now: &Value| {
        if before != now {
            problems.push(format!("{name} was {before} and would be {now}"));
        }
    };
    for name in ["task", "variants", "seeds", "tokenizer"] {
        compare(name, &before[name], &now[name]);
    }
    let (old, new) = (&before["settings"], &now["settings"]);
    for (name, value) in new.as_object().into_iter().flatten() {
        // The warm-up is shortened where there are few steps.
        let follows = name == "warmup" && old["steps"] != new["steps"];
        if !FREE.contains(&name.as_str()) && !follows {
            compare(name, &old[name], value);
        }
    }
    if before["data"]["hashes"] != now["data"]["hashes"] {
        problems.push("the data is not the same: its hashes differ".into());
    }
    problems
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

/// A variant with what is known of its models before they are trained.
struct Planned<'a, T: Task> {
    variant: &'a VariantConfig,
    config: T::Config,
    needs: Needs,
}

/// A model of the run.
struct Model<'a, T: Task> {
    planned: &'a Planned<'a, T>,
    seed: u64,
    /// Which it is, from 1.
    number: usize,
    /// How many there are.
    count: usize,
}
