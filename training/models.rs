//! The models of a run, and what came out for them.

use crate::engine::Device;
use crate::error::Error;
use crate::needs::Needs;
use crate::report::{RunMetrics, page};
use crate::run::{
    CONSTANTS, RunFolder, Summary, VariantSummary, constants, read_metrics, read_pictures,
    write_atomically, write_json,
};
use crate::settings::Settings;
use crate::task::Task;
use crate::trainer::Outcome;
use crate::variant::VariantConfig;

/// A variant with what is known of its models before they are trained.
pub struct Planned<'a, T: Task> {
    pub variant: &'a VariantConfig,
    pub config: T::Config,
    pub needs: Needs,
}

/// A model of the run.
pub struct Model<'a, T: Task> {
    pub planned: &'a Planned<'a, T>,
    pub seed: u64,
    /// Which it is, from 1.
    pub number: usize,
    /// How many there are.
    pub count: usize,
}

/// Writes what came out so far.
pub fn write_results(folder: &RunFolder, summary: &Summary) -> Result<(), Error> {
    write_json(&folder.summary_json(), summary)?;
    write_page(folder, summary)
}

/// Writes the page of what came out so far.
pub fn write_page(folder: &RunFolder, summary: &Summary) -> Result<(), Error> {
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

/// What the results of a model are made from.
pub struct Results<'a, T: Task> {
    pub task: &'a T,
    pub settings: &'a Settings,
    pub device: &'a Device,
    pub model: &'a Model<'a, T>,
}

impl<T: Task> Results<'_, T> {
    /// What came out.
    pub fn of(&self, outcome: Outcome) -> VariantSummary {
        let Planned { variant, config, .. } = self.model.planned;
        let unit = self.task.unit();
        let seen = outcome.steps * self.settings.units_per_step(self.task);
        let mut results = self
            .task
            .model_facts(config)
            .with(&format!("{unit}s_seen"), seen)
            .with(&format!("{unit}s_per_second"), seen as f64 / outcome.training_seconds);
        results.extend(outcome.scores);
        let constants = constants(variant);
        if !constants.is_empty() {
            results.set(CONSTANTS, constants);
        }
        if outcome.skipped > 0 {
            results.set("skipped_steps", outcome.skipped);
        }
        VariantSummary {
            version: env!("CARGO_PKG_VERSION").into(),
            variant: variant.name(),
            seed: self.model.seed,
            finished: outcome.finished,
            parameters: outcome.parameters,
            steps: outcome.steps,
            train_loss: outcome.train_loss,
            peak_memory_bytes: self.device.memory().peak,
            wall_seconds: outcome.seconds,
            device: self.device.kind().into(),
            adapter: self.device.adapter(),
            ranks: outcome.ranks,
            results,
        }
    }
}
