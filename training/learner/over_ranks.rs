//! A learner that is one of several, each on a rank of its own: it has what the first one has, and makes the
//! gradients of a step together with them.

use super::{Learner, handles};
use crate::engine::optim::{Average, Optimizer};
use crate::engine::{Device, Tensor};
use crate::error::Error;
use crate::order::{Begin, Order, give};
use crate::ranks::sum::Sum;
use crate::ranks::{self, Ranks};
use crate::task::Task;
use serde_json::json;

impl<'a, T: Task> Learner<'a, T> {
    /// The model that the first rank has.
    ///
    /// # Errors
    /// If that is of another kind, or another rank has ended.
    pub(crate) fn following(
        task: &'a T,
        begin: &Begin,
        device: &Device,
        ranks: &'a dyn Ranks,
    ) -> Result<Learner<'a, T>, Error> {
        let unreadable =
            |why: String| ranks::Error::Connection(format!("a model cannot be read: {why}"));
        let config: T::Config = serde_json::from_value(begin.config.clone())
            .map_err(|error| unreadable(error.to_string()))?;
        let mut learner = Learner::to_read(task, &config, &begin.settings, begin.seed, device);
        learner.ranks = ranks;
        for tensor in learner.state() {
            let numbers = ranks::numbers_of(&ranks.broadcast(Vec::new())?);
            if numbers.len() != tensor.elements() {
                let why = format!("{} numbers for {}", numbers.len(), tensor.shape());
                return Err(unreadable(why).into());
            }
            tensor.overwrite(&numbers);
        }
        learner.optimizer.set_updates(begin.updates);
        if let (Some(average), Some(averaged)) = (&mut learner.average, begin.averaged) {
            average.set_updates(averaged);
        }
        Ok(learner)
    }

    /// Lets the other ranks, if there are any, have the same model after so many steps, and make each step
    /// together with this one.
    ///
    /// # Errors
    /// If the device has failed, or another rank has ended.
    pub(crate) fn lead(
        mut self,
        ranks: &'a dyn Ranks,
        config: &T::Config,
        steps: u64,
    ) -> Result<Learner<'a, T>, Error> {
        self.ranks = ranks;
        if !ranks.leads() {
            return Ok(self);
        }
        let begin = Begin {
            config: json!(config),
            settings: self.settings.clone(),
            seed: self.seed,
            steps,
            updates: self.optimizer.updates()?,
            averaged: self.average.as_ref().map(Average::updates).transpose()?,
        };
        give(ranks, &Order::Begin(Box::new(begin)))?;
        for tensor in self.state() {
            ranks.broadcast(ranks::bytes_of(&tensor.to_vec()?))?;
        }
        Ok(self)
    }

    /// Finds out whether all ranks have the same weights, as they must: each makes the updates by itself.
    ///
    /// # Errors
    /// On the first rank, which others have other weights; if the device has failed, or another rank has
    /// ended.
    pub(crate) fn compare(&self) -> Result<(), Error> {
        let ranks = self.ranks;
        if ranks.size() == 1 {
            return Ok(());
        }
        give(ranks, &Order::Compare)?;
        let hashes = ranks.gather(format!("{} {}", self.hash()?, ranks.name()).as_bytes())?;
        let hashes = hashes.iter().map(|text| String::from_utf8_lossy(text));
        let hashes: Vec<String> = hashes.map(|text| text.into_owned()).collect();
        let of = |text: &str| text.split(' ').next().map(str::to_owned);
        match hashes.iter().find(|other| of(other) != of(&hashes[0])) {
            Some(other) if ranks.leads() => Err(ranks::Error::Differ(format!(
                "{} has come to other weights than rank 0, by the same gradients: their devices do not \
                 compute alike. Ranks on devices of one kind do",
                other.split_once(' ').map_or("a rank", |(_, name)| name)
            ))
            .into()),
            _ => Ok(()),
        }
    }

    /// All numbers that go from step to step.
    fn state(&self) -> impl Iterator<Item = Tensor> {
        let average = self.average.iter().flat_map(|average| average.state(&self.parameters));
        let moments = self.optimizer.state(&self.parameters);
        let all = handles(&self.parameters).into_iter().chain(moments).chain(average);
        all.map(|(_, tensor)| tensor)
    }

    /// The same where micro-batches are shared out: of R ranks, rank k computes those with the numbers k,
    /// R + k, 2 R + k, ...
    pub(super) fn add_up_over_ranks(
        &mut self,
        step: u64,
        batches: &mut impl FnMut(u64) -> Result<T::Batch, Error>,
    ) -> Result<Tensor, Error> {
        let (accumulate, ranks) = (self.settings.accumulate, self.ranks);
        let device = self.parameters.device().clone();
        let pieces = self.parameters.pieces(&self.gradients);
        let numbers = pieces.iter().map(|piece| piece.gradients.elements()).sum();
        let mut sum = Sum::new(ranks, &device, numbers);
        let mut losses = Vec::new();
        for first in (0..accumulate).step_by(ranks.size()) {
            let micro_batch = (first + ranks.rank()) as u64;
            let members = ranks.size().min(accumulate - first);
            if ranks.rank() >= members {
                losses.push(0.0);
                sum.add(Vec::new(), members)?;
                continue;
            }
            let batch = batches(step * accumulate as u64 + micro_batch)?;
            let loss = self.loss(step, micro_batch, &batch);
            self.gradients.clear();
            loss.backward_into(&mut self.gradients)?;
            losses.push(loss.to_scalar()?);
            if step == 0 && first == 0 {
                self.check_gradients()?;
            }
            sum.add(self.parameters.read_gradients(&self.gradients)?, members)?;
        }
        let whole = sum.gather::<Error>()?;
        self.parameters.overwrite_gradients(&mut self.gradients, &whole);
        let mut all = vec![0.0; losses.len() * ranks.size()];
        ranks.all_gather(&losses, &mut all)?;
        let loss = |micro_batch| {
            let (round, rank) = (micro_batch / ranks.size(), micro_batch % ranks.size());
            Tensor::new(&[all[rank * losses.len() + round]], [], &device)
        };
        let total = (0..accumulate).map(loss).reduce(|total, loss| total.add(&loss));
        Ok(total.expect("a step has at least one micro-batch"))
    }

    /// The numbers of the micro-batches that this rank computes from a step on, in the whole run.
    pub(crate) fn micro_batches_from(
        &self,
        step: u64,
    ) -> impl Iterator<Item = u64> + Send + use<T> {
        let (accumulate, ranks) = (self.settings.accumulate as u64, self.ranks);
        let (rank, size) = (ranks.rank(), ranks.size());
        let of_step = move |step| {
            (rank as u64..accumulate).step_by(size).map(move |number| step * accumulate + number)
        };
        (step..).flat_map(of_step)
    }
}
