//! A learner that is one of several, each on a rank of its own: it has what the first one has, and makes the
//! gradients of a step together with them.

use super::{Learner, StepTimes, handles};
use crate::engine::checkpoint::Checkpoint;
use crate::engine::optim::{Average, Optimizer};
use crate::engine::{Blocks, Device, Reading, Tensor};
use crate::error::Error;
use crate::order::{Begin, Order, give};
use crate::ranks::exchange::{Exchange, Rows};
use crate::ranks::{self, Ranks};
use crate::run::checkpoint::OPTIMIZER;
use crate::task::Task;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many numbers of a gradient are exchanged at once, about; less would cost more calls, and with more the
/// first of them would begin later.
const NUMBERS_OF_A_BLOCK: usize = 1 << 20;

/// And to each rank at least so many.
const FEWEST_OF_A_PART: usize = 1 << 14;

/// The same for so many ranks, all with one length of it. Blocks end at multiples of 64.
fn numbers_of_a_block(ranks: usize) -> usize {
    ranks * NUMBERS_OF_A_BLOCK.div_ceil(ranks).max(FEWEST_OF_A_PART).next_multiple_of(64)
}

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
        let part = ranks::part_of(ranks, begin.shared_out);
        let mut learner =
            Learner::to_read(part, task, &config, &begin.settings, begin.seed, device);
        learner.ranks = ranks;
        for tensor in learner.state() {
            let numbers = ranks::numbers_of(&ranks.broadcast(Vec::new())?);
            if numbers.len() != tensor.elements() {
                let why = format!("{} numbers for {}", numbers.len(), tensor.shape());
                return Err(unreadable(why).into());
            }
            tensor.overwrite(&numbers);
        }
        if begin.moments_follow {
            learner.deal_moments(None)?;
        }
        learner.optimizer.set_updates(begin.updates);
        if let (Some(average), Some(averaged)) = (&mut learner.average, begin.averaged) {
            average.set_updates(averaged);
        }
        Ok(learner)
    }

    /// Lets the other ranks, if there are any, have the same model after so many steps, and make each step
    /// together with this one. `checkpoint` is what it goes on from.
    ///
    /// # Errors
    /// If the device has failed, the checkpoint cannot be read, or another rank has ended.
    pub(crate) fn lead(
        mut self,
        ranks: &'a dyn Ranks,
        config: &T::Config,
        steps: u64,
        checkpoint: Option<&Path>,
    ) -> Result<Learner<'a, T>, Error> {
        self.ranks = ranks;
        if !ranks.leads() {
            return Ok(self);
        }
        let shared_out = self.is_shared_out();
        // Without a checkpoint they are zero.
        let moments = checkpoint.filter(|_| shared_out).map(|path| path.join(OPTIMIZER));
        let begin = Begin {
            shared_out,
            moments_follow: moments.is_some(),
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
        if let Some(path) = moments {
            self.deal_moments(Some(Checkpoint::open(&path)?))?;
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

    /// All numbers that go from step to step, but for moments that are shared out.
    fn state(&self) -> impl Iterator<Item = Tensor> {
        let average = self.average.iter().flat_map(|average| average.state(&self.parameters));
        let moments = match self.is_shared_out() {
            true => Vec::new(),
            false => self.optimizer.state(&self.parameters),
        };
        let all = handles(&self.parameters).into_iter().chain(moments).chain(average);
        all.map(|(_, tensor)| tensor)
    }

    /// The same where micro-batches are shared out: of R ranks, rank k computes those with the numbers k,
    /// R + k, 2 R + k, ... What is whole of a gradient is exchanged while the rest of it is made. Beside the
    /// loss: how long that took.
    pub(super) fn add_up_over_ranks(
        &mut self,
        step: u64,
        batches: &mut impl FnMut(u64) -> Result<T::Batch, Error>,
    ) -> Result<(Tensor, StepTimes), Error> {
        let (accumulate, ranks) = (self.settings.accumulate, self.ranks);
        let device = self.parameters.device().clone();
        let started = Instant::now();
        let blocks = self.parameters.blocks(numbers_of_a_block(ranks.size()));
        let memory_of_blocks = self.parameters.gradient_blocks(&self.gradients, &blocks);
        // Apart from the rest of the learner, which changes meanwhile.
        let memory = std::mem::take(&mut self.memory);
        let rows = Rows { ranks, blocks: &memory_of_blocks, count: accumulate, memory: &memory };
        let mine = rows.sum(|exchange| self.bring_gradients(step, batches, &blocks, &exchange))?;
        self.parameters.note_gradients(&mut self.gradients);
        self.memory = memory;
        let together = started.elapsed().as_secs_f64();
        // Each brings its losses, and for how long it computed.
        let mut all = vec![0.0; mine.len() * ranks.size()];
        let own = ranks::own_part(ranks, all.len());
        all[own].copy_from_slice(&mine);
        ranks.all_gather(&mut all)?;
        let of_ranks: Vec<&[f32]> = all.chunks(mine.len()).collect();
        let loss = |micro_batch: usize| {
            let (round, rank) = (micro_batch / ranks.size(), micro_batch % ranks.size());
            Tensor::new(&of_ranks[rank][round..][..1], [], &device)
        };
        let total = (0..accumulate).map(loss).reduce(|total, loss| total.add(&loss));
        let computing = of_ranks.iter().map(|mine| f64::from(mine[mine.len() - 1])).collect();
        let times = StepTimes { computing, together };
        Ok((total.expect("a step has at least one micro-batch"), times))
    }

    /// Makes the gradients of this rank's micro-batches and brings them to the exchange. Returns the loss of
    /// each round, 0 where this rank has none, and then for how many seconds it computed.
    fn bring_gradients(
        &mut self,
        step: u64,
        batches: &mut impl FnMut(u64) -> Result<T::Batch, Error>,
        blocks: &Blocks,
        exchange: &Exchange,
    ) -> Result<Vec<f32>, Error> {
        let (accumulate, size) = (self.settings.accumulate, self.ranks.size());
        let (started, mut waited) = (Instant::now(), Duration::ZERO);
        let mut losses = Vec::new();
        for number in (self.ranks.rank()..accumulate.next_multiple_of(size)).step_by(size) {
            if number >= accumulate {
                losses.push(None);
                continue;
            }
            let number = number as u64;
            let batch = batches(step * accumulate as u64 + number)?;
            let loss = self.loss(step, number, &batch);
            losses.push(Some(loss.read()));
            self.gradients.clear();
            let bring = |_: &Tensor| {
                let began = Instant::now();
                exchange.bring();
                waited += began.elapsed();
            };
            self.parameters.backward_by_blocks(&loss, &mut self.gradients, blocks, bring)?;
            if step == 0 && losses.len() == 1 {
                self.check_gradients()?;
            }
        }
        // A GPU may have all of it still to do.
        self.parameters.device().synchronize()?;
        let computing = started.elapsed().saturating_sub(waited).as_secs_f32();
        if losses.last().is_some_and(Option::is_none) {
            exchange.bring_none();
        }
        let wait = |loss: Option<Reading>| loss.map_or(Ok(0.0), |loss| Ok(loss.wait()?[0]));
        let losses = losses.into_iter().map(wait).collect::<Result<Vec<f32>, Error>>()?;
        Ok([losses, vec![computing]].concat())
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
