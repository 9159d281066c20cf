//! A run: several variants and seeds on the same data, in the same order, and what came out.

use super::learner::{Plan, plan, seconds_per_step};
use super::task::{Task, all_settings};
use super::trainer::{Outcome, Training};
use super::{Error, Observer, Settings, Started};
use crate::engine::Device;
use crate::report::{
    RunFolder, RunMetrics, Summary, VariantSummary, page, read_metrics, read_pictures,
    write_atomically, write_json,
};
use crate::variant::VariantConfig;
use serde_json::json;
use std::path::PathBuf;
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
    pub device: &'a Device,
    /// The folder in which the run's own folder is made.
    pub parent: PathBuf,
    /// The name of the run's folder; `None` to make one from the time.
    pub name: Option<String>,
    /// When the run began, in RFC 3339.
    pub started: String,
    /// Becomes true when the user wants to stop.
    pub interrupted: &'a AtomicBool,
}

impl<T: Task> Comparison<'_, T> {
    /// Trains all models and writes the run's folder: `run.json`, the task's own files, a folder
    /// for each model, and after each model `summary.json` and `report.html` anew.
    ///
    /// # Errors
    /// Anything that stops the run; what was finished until then is in its folder.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<(Summary, RunFolder), Error> {
        // Finds what cannot work before anything is allocated or written.
        let config = |variant| self.task.config(variant, self.device);
        let configs = self.variants.iter().map(config).collect::<Result<Vec<_>, _>>()?;
        self.task.check()?;
        if let (Some(minutes), Some(config)) = (self.minutes, configs.first()) {
            let seconds = seconds_per_step(self.task, config, &self.settings, self.device)?;
            self.settings.steps = ((60.0 * minutes / seconds) as u64).max(1);
            observer.notice(&format!(
                "{minutes} minutes are {} steps of {:.0} ms each; every model takes as many",
                self.settings.steps,
                1e3 * seconds
            ));
        }
        self.settings.warmup = self.settings.warmup.min(self.settings.steps / 2);
        let task = self.task.name();
        let folder = RunFolder::create(&self.parent, self.name.as_deref(), task, &self.started)?;
        let mut summary = self.empty_summary(&folder);
        write_json(&folder.run_json(), &self.facts(&summary))?;
        self.task.save(folder.path())?;
        let total = self.seeds.len() * self.variants.len();
        let variants = || self.variants.iter().zip(&configs);
        let models = self.seeds.iter().flat_map(|seed| variants().map(|v| (*seed, v)));
        for (number, (seed, (variant, config))) in (1..).zip(models) {
            let run = Run { comparison: &self, folder: &folder, variant, config, seed };
            let result = run.model((number, total), observer)?;
            observer.finished(&result);
            summary.variants.push(result);
            self.write_results(&folder, &summary)?;
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok((summary, folder))
    }

    fn empty_summary(&self, folder: &RunFolder) -> Summary {
        Summary {
            name: folder.name(),
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
    fn facts(&self, summary: &Summary) -> serde_json::Value {
        let mut facts = json!({
            "name": summary.name,
            "task": summary.task,
            "version": summary.version,
            "started": summary.started,
            "data": summary.data,
            "variants": self.variants,
            "seeds": self.seeds,
            "minutes": self.minutes,
            "settings": summary.settings,
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

/// One model of a run.
struct Run<'a, T: Task> {
    comparison: &'a Comparison<'a, T>,
    folder: &'a RunFolder,
    variant: &'a VariantConfig,
    config: &'a T::Config,
    seed: u64,
}

impl<T: Task> Run<'_, T> {
    fn model(
        &self,
        (number, models): (usize, usize),
        observer: &mut dyn Observer,
    ) -> Result<VariantSummary, Error> {
        let Comparison { task, settings, device, interrupted, .. } = self.comparison;
        let (variant, seed) = (self.variant.name(), self.seed);
        let folder = self.folder.model(&variant, seed)?;
        write_json(&folder.config_json(), self.config)?;
        let Plan { memory, parameters } = plan(*task, self.config, settings)?;
        observer.started(&Started {
            variant: variant.clone(),
            unit: task.unit(),
            seed,
            number,
            models,
            parameters,
            steps: settings.steps,
            planned_memory_bytes: memory.peak,
        });
        device.reset_peak();
        let training =
            Training { task: *task, settings, seed, device, folder: &folder, interrupted };
        let outcome = device.install(|| training.run(self.config, observer))?;
        let Outcome { finished, steps, train_loss, scores, training_seconds, seconds } = outcome;
        let unit = task.unit();
        let seen = steps * settings.units_per_step(*task);
        let mut results = task
            .model_facts(self.config)
            .with(&format!("{unit}s_seen"), seen)
            .with(&format!("{unit}s_per_second"), seen as f64 / training_seconds);
        results.extend(scores);
        Ok(VariantSummary {
            variant,
            seed,
            finished,
            parameters,
            steps,
            train_loss,
            peak_memory_bytes: device.memory().peak,
            wall_seconds: seconds,
            device: device.kind().into(),
            adapter: (device.kind() == "gpu").then(|| device.name()),
            results,
        })
    }
}
