//! The folder of a run: made for a new one, or opened to go on with an earlier one; and what stands in it before
//! any model is trained.

use super::Comparison;
use super::earlier::{Earlier, refused};
use crate::error::Error;
use crate::extension::rates_differ;
use crate::models::Planned;
use crate::observer::Observer;
use crate::resumption::{changes, check_made, lengthen, settings_of};
use crate::run::{FILES, RunFolder, RunLock, STRETCHED, Summary, name_to_json, write_json};
use crate::task::{Task, all_settings};
use serde_json::{Value, json};

impl<T: Task> Comparison<'_, T> {
    /// Makes the run's folder, which appears with `run.json` and the task's own files in it.
    pub(super) fn create(&self) -> Result<(RunFolder, RunLock), Error> {
        let fill = |folder: &RunFolder, name: &str| -> Result<(), Error> {
            self.task.save(folder.path())?;
            let mut facts = self.facts(name);
            facts[FILES] = json!(folder.hashes()?);
            Ok(write_json(&folder.run_json(), &facts)?)
        };
        let name = self.name.as_deref();
        let folder = RunFolder::create(&self.parent, name, self.task.name(), &self.started, fill)?;
        let lock = folder.lock()?;
        Ok((folder, lock))
    }

    /// Opens the folder of an earlier run, finds out whether it can be gone on with, and notes what
    /// is changed. Nothing is written before all of that is found out.
    pub(super) fn reopen(
        &mut self,
        earlier: Earlier,
        planned: &[Planned<T>],
        observer: &mut dyn Observer,
    ) -> Result<(RunFolder, RunLock), Error> {
        let Earlier { folder, lock, news } = earlier;
        let before = folder.facts()?;
        folder.check_files()?;
        if let Some(started) = before["started"].as_str() {
            self.started = started.to_owned();
        }
        let refused = |why: String| refused(&folder, why);
        let facts = |comparison: &Self| {
            let mut facts = comparison.facts(&folder.name());
            for name in [FILES, STRETCHED] {
                if let Some(fact) = before.get(name) {
                    facts[name] = fact.clone();
                }
            }
            facts
        };
        let problems = changes(&before, &facts(self));
        if !problems.is_empty() {
            let problems = problems.join("; ");
            let help = "Leave out what changes that, or begin a new run";
            return Err(refused(format!("{problems}. {help}")));
        }
        let lengthened = lengthen(&mut self.settings, &before, self.longer).map_err(refused)?;
        let (mut begins, mut most) = (false, 0);
        for model in self.models(planned) {
            let name = model.planned.variant.name();
            let (config, steps) = (&model.planned.config, self.settings.steps);
            let made = check_made(&folder, (&name, model.seed), config, steps);
            let made = made.map_err(refused)?;
            begins |= made.is_none();
            most = most.max(made.unwrap_or(0));
        }
        let stretched = rates_differ(&settings_of(&before).map_err(refused)?, &self.settings, most);
        if let Some(news) = news.as_ref().filter(|_| stretched) {
            return Err(refused(format!(
                "{news} would learn by the stretched schedule from the first step on, and the models of \
                 the run from step {most} on, so that they would not compare. Do one after the other, \
                 first what is new, with the same --steps; or give --longer hold or --longer restart"
            )));
        }
        if begins {
            self.task.check_start()?;
        }
        observer.notice(&format!("going on with {}", folder.path().display()));
        lengthened.iter().for_each(|line| observer.notice(line));
        if let Some(news) = &news {
            observer.notice(&format!("new in this run: {news}"));
            if let Some(step) = before[STRETCHED].as_u64() {
                observer.notice(&format!(
                    "the learning rate's schedule of this run was stretched after {step} steps; what is \
                     new has it from the first step on, so it does not compare with what was there"
                ));
            }
        }
        folder.remove_leftovers();
        let mut now = facts(self);
        if stretched {
            now[STRETCHED] = json!(most);
        }
        if before != now {
            write_json(&folder.run_json(), &now)?;
        }
        Ok((folder, lock))
    }

    /// The summary before any model is trained.
    pub(super) fn summary(&self, name: &str) -> Summary {
        Summary {
            name: name.into(),
            task: self.task.name().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.started.clone(),
            data: self.task.data(),
            unit: self.task.unit().into(),
            settings: all_settings(&self.settings, self.task),
            facts: self.task.facts(),
            baseline: self.baseline.clone(),
            growing: false,
            variants: Vec::new(),
        }
    }

    /// The contents of `run.json`: everything that is known before training.
    pub(super) fn facts(&self, name: &str) -> Value {
        let summary = self.summary(name);
        let arguments: Vec<Value> = self.arguments.iter().map(|text| name_to_json(text)).collect();
        let mut facts = json!({
            "name": summary.name,
            "task": summary.task,
            "version": summary.version,
            "started": summary.started,
            "data": summary.data,
            "variants": self.variants,
            "seeds": self.seeds,
            "minutes": self.minutes,
            "baseline": summary.baseline,
            "arguments": arguments,
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
}
