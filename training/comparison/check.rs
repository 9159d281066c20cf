//! What is found out before a run allocates or writes anything: whether its models have names, whether its
//! ranks train the same, and whether all would fit.

use super::Comparison;
use crate::error::Error;
use crate::follower::facts;
use crate::models::Planned;
use crate::needs::needs_of_one;
use crate::observer::Observer;
use crate::ranks::Place;
use crate::ranks::alike::{compare, described};
use crate::run::check_name;
use crate::safety::OnDeviceLoss;
use crate::settings::Settings;
use crate::task::Task;
use crate::variant::VariantConfig;

impl<'a, T: Task> Comparison<'a, T> {
    /// Finds out whether there is something to compare with, and whether each model has a name, and
    /// so a folder, of its own.
    pub(super) fn check_names(&self) -> Result<(), Error> {
        let names: Vec<String> = self.variants.iter().map(VariantConfig::name).collect();
        if let Some(name) = repeated(&names) {
            return Err(Error::Settings(format!(
                "two of the variants are called {name}, the name under which results are kept: with \
                 constants_in_name they have one each"
            )));
        }
        names.iter().try_for_each(check_name)?;
        if let Some(seed) = repeated(self.seeds) {
            return Err(Error::Settings(format!("the seed {seed} is given twice")));
        }
        match &self.baseline {
            Some(baseline) if !names.contains(baseline) => Err(Error::Settings(format!(
                "--baseline {baseline} is not among the variants of this run: {}",
                names.join(", ")
            ))),
            _ => Ok(()),
        }
    }

    /// Finds out whether the ranks, if there are several, have something to do each and train the same, and
    /// where they are.
    pub(super) fn check_ranks(&self, observer: &mut dyn Observer) -> Result<Vec<Place>, Error> {
        let (ranks, size) = (self.ranks, self.ranks.size());
        if size == 1 {
            return Ok(Vec::new());
        }
        let Settings { batch, accumulate, .. } = self.settings;
        if accumulate < size {
            return Err(Error::Settings(too_few_micro_batches(size, batch, accumulate)));
        }
        if self.safety.on_device_loss == OnDeviceLoss::Retry {
            return Err(Error::Settings(format!(
                "--on-device-loss retry is for one process: of {size} ranks, one that fails ends all, and \
                 --resume goes on from the latest checkpoint"
            )));
        }
        let facts = facts(self.task, &self.settings, &self.device, ranks);
        let places = compare(ranks, &facts)?;
        described(&places).iter().for_each(|line| observer.notice(line));
        Ok(places)
    }

    /// The variants with what is known of their models before training, and whether they would
    /// fit; lets the device see to the limit on its memory as well.
    pub(super) fn plan(&self) -> Result<Vec<Planned<'a, T>>, Error> {
        let config = |variant| self.task.config(variant, &self.device);
        let configs = self.variants.iter().map(config).collect::<Result<Vec<_>, _>>()?;
        self.task.check()?;
        self.safety.limit_memory(&self.device);
        let planned = |(variant, config): (&'a VariantConfig, T::Config)| {
            let (size, shared_out) = (self.ranks.size(), self.shard_optimizer);
            let (task, settings, device) = (self.task, &self.settings, &self.device);
            let needs = needs_of_one(size, shared_out, task, &config, settings, device)?;
            let mut flags = task.memory_flags().to_owned();
            if size > 1 && !shared_out {
                flags += ", or --shard-optimizer";
            }
            if let Some(limit) = self.safety.memory_limit {
                needs.check(&variant.name(), limit, &flags)?;
            }
            needs.check_machine(&variant.name(), device, &flags)?;
            Ok(Planned { variant, config, needs })
        };
        self.variants.iter().zip(configs).map(planned).collect()
    }
}

/// Says what to type where there are more ranks than micro-batches.
fn too_few_micro_batches(ranks: usize, batch: usize, accumulate: usize) -> String {
    let examples = batch * accumulate;
    let divides = (ranks..=examples).find(|accumulate| examples.is_multiple_of(*accumulate));
    let help = match divides {
        Some(more) => format!(
            "--accumulate {more} --batch {} makes the same {examples} examples a step, and one process with \
             these flags comes to the same bits",
            examples / more
        ),
        None => format!("a step of {examples} examples is too small for so many"),
    };
    format!(
        "--accumulate {accumulate} has fewer micro-batches than there are ranks, {ranks}: {help}"
    )
}

/// The first that is there twice.
fn repeated<T: PartialEq>(all: &[T]) -> Option<&T> {
    all.iter().enumerate().find(|(place, one)| all[..*place].contains(one)).map(|(_, one)| one)
}
