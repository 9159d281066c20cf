//! Training one model.

use super::evaluation::{Score, TokenizedText, evaluate};
use super::log::{Log, Waiting};
use super::{Error, Observer, Settings, sampling};
use crate::config::LanguageModelConfig;
use crate::data::batches::TrainingBatches;
use crate::data::corpus::Splits;
use crate::data::tokenizer::Tokenizer;
use crate::engine::checkpoint::Metadata;
use crate::engine::device::MemoryUse;
use crate::engine::optim::{AdamW, AdamWSettings, Optimizer, Schedule, clip};
use crate::engine::random::Key;
use crate::engine::{Device, Gradients, Ids, Parameters, Tensor};
use crate::language_model::{LanguageModel, Pass};
use crate::report::ModelFolder;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A model with all that changes while it learns.
pub struct Learner {
    /// The model.
    pub model: LanguageModel,
    /// Its parameters.
    pub parameters: Parameters,
    gradients: Gradients,
    optimizer: AdamW,
    schedule: Schedule,
    settings: Settings,
    dropout: Key,
}

/// What one step leaves on the device, to be read when it suits.
pub struct StepResult {
    /// The mean loss of the step, in nats a token.
    pub loss: Tensor,
    /// The norm of all gradients, before clipping.
    pub gradient_norm: Tensor,
}

impl Learner {
    /// A fresh model. Its weights follow from the seed and their names, so parameters that two
    /// variants share start alike.
    pub fn new(
        config: &LanguageModelConfig,
        settings: &Settings,
        seed: u64,
        device: &Device,
    ) -> Learner {
        let build = |builder: &mut _| LanguageModel::new(config, builder);
        let (model, parameters) = Parameters::build(device, seed, build);
        let [beta1, beta2] = settings.betas;
        let optimizer = AdamW::new(
            &parameters,
            AdamWSettings { beta1, beta2, epsilon: 1e-8, weight_decay: settings.weight_decay },
        );
        Learner {
            gradients: parameters.gradients(),
            model,
            parameters,
            optimizer,
            schedule: schedule(settings),
            settings: settings.clone(),
            dropout: Key::new(seed).named("dropout"),
        }
    }

    /// One step, numbered from 0: forward and backward for each micro-batch, and the update.
    ///
    /// # Errors
    /// If the gradients cannot be computed.
    pub fn step(&mut self, step: u64, batches: &mut TrainingBatches) -> Result<StepResult, Error> {
        let Settings { accumulate, batch, context, label_smoothing, .. } = self.settings;
        self.gradients.clear();
        let mut total: Option<Tensor> = None;
        for micro_batch in 0..accumulate as u64 {
            let (inputs, targets) = batches.batch(step * accumulate as u64 + micro_batch);
            let [inputs, targets] = [inputs, targets].map(|ids| Ids::new(ids, [batch, context]));
            let key = self.dropout.fold(step).fold(micro_batch);
            let pass = Pass { dropout: Some(key), label_smoothing };
            let loss = self.model.loss(&inputs, &targets, &pass);
            let loss = if accumulate > 1 { loss.scale(1.0 / accumulate as f32) } else { loss };
            loss.backward_into(&mut self.gradients)?;
            let loss = loss.detach();
            total = Some(total.map_or_else(|| loss.clone(), |total| total.add(&loss)));
        }
        if step == 0 {
            self.check_gradients()?;
        }
        let limit = if self.settings.clip > 0.0 { self.settings.clip } else { f64::INFINITY };
        let clipped = clip(&self.parameters, &self.gradients, limit);
        let rate = self.learning_rate(step);
        self.optimizer.step(&self.parameters, &self.gradients, rate, Some(&clipped));
        let loss = total.expect("a step has at least one micro-batch");
        Ok(StepResult { loss, gradient_norm: clipped.norm })
    }

    /// The learning rate of a step, numbered from 0.
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.schedule.at(step)
    }

    fn check_gradients(&self) -> Result<(), Error> {
        let names = self.parameters.missing_gradients(&self.gradients);
        match names.is_empty() {
            true => Ok(()),
            false => Err(Error::NoGradient { names, total: self.parameters.names().count() }),
        }
    }
}

fn schedule(settings: &Settings) -> Schedule {
    Schedule {
        curve: settings.decay,
        peak: settings.learning_rate,
        warmup_steps: settings.warmup,
        steps: settings.steps,
        final_fraction: settings.final_fraction,
    }
}

/// What is known of a model's training before any of it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The memory of a step.
    pub memory: MemoryUse,
    /// Trained numbers.
    pub parameters: u64,
}

/// Plans the training of a model by running one step on the planning device.
///
/// # Errors
/// If the step fails there: it would fail anywhere.
pub fn plan(config: &LanguageModelConfig, settings: &Settings) -> Result<Plan, Error> {
    let device = Device::plan();
    let mut learner = Learner::new(config, settings, 0, &device);
    let tokens = vec![0; settings.context + 1].into();
    let mut batches = TrainingBatches::new(tokens, settings.context, settings.batch, Key::new(0))?;
    learner.step(0, &mut batches)?;
    Ok(Plan { memory: device.memory(), parameters: learner.parameters.count() as u64 })
}

/// Seconds that a step of this model takes: the median over the first steps, which are run once
/// for this and forgotten.
///
/// # Errors
/// If a step fails.
pub fn seconds_per_step(
    config: &LanguageModelConfig,
    settings: &Settings,
    texts: &Splits<TokenizedText>,
    device: &Device,
) -> Result<f64, Error> {
    const SECONDS: f64 = 8.0;
    const MOST: usize = 40;
    let mut learner = Learner::new(config, settings, 0, device);
    let mut batches = training_batches(settings, texts, 0)?;
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < 4 || (times.len() < MOST && started.elapsed().as_secs_f64() < SECONDS) {
        let start = Instant::now();
        learner.step(times.len() as u64, &mut batches)?.loss.to_vec()?;
        times.push(start.elapsed().as_secs_f64());
    }
    // The first step also compiles shaders and takes memory from the system.
    let mut times = times.split_off(1);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn training_batches(
    settings: &Settings,
    texts: &Splits<TokenizedText>,
    seed: u64,
) -> Result<TrainingBatches, Error> {
    let key = Key::new(seed).named("data");
    let tokens = texts.train.tokens.clone();
    Ok(TrainingBatches::new(tokens, settings.context, settings.batch, key)?)
}

/// All that training one model needs beside the model.
pub struct Training<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The texts.
    pub texts: &'a Splits<TokenizedText>,
    /// How they were made into tokens.
    pub tokenizer: &'a Tokenizer,
    /// The seed of weights, order of data and dropout.
    pub seed: u64,
    /// Where it runs.
    pub device: &'a Device,
    /// Where its files go.
    pub folder: &'a ModelFolder,
    /// Becomes true when the user wants to stop.
    pub interrupted: &'a AtomicBool,
}

/// What came out of training one model.
pub struct Outcome {
    /// Whether it came to its end.
    pub finished: bool,
    /// The steps made.
    pub steps: u64,
    /// The training loss, averaged over the last steps.
    pub train_loss: f64,
    /// The score of the validation text.
    pub validation: Score,
    /// The score of the test text; not scored after an interruption.
    pub test: Score,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// Seconds in all.
    pub seconds: f64,
}

impl Training<'_> {
    /// Trains a model to the end or until interrupted, writes its `metrics.jsonl` and
    /// `model.safetensors`, and scores it.
    ///
    /// # Errors
    /// If the device or the disk fails, or the loss stops being a number. What was trained until
    /// then is saved where that is still possible.
    pub fn run(
        &self,
        config: &LanguageModelConfig,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, Error> {
        let mut learner = Learner::new(config, self.settings, self.seed, self.device);
        let names = learner.parameters.names().count();
        let mut log = Log::new(self, names, observer)?;
        let trained = self.train(&mut learner, &mut log);
        let interrupted = matches!(trained, Err(Error::Interrupted));
        let saved = learner.parameters.save(&self.folder.model_safetensors(), &metadata());
        if !interrupted {
            trained?;
        }
        saved?;
        let (validation, test) = self.score(&learner.model, interrupted)?;
        log.observer.evaluated(log.steps, validation.loss(), validation.perplexity());
        Ok(Outcome {
            finished: !interrupted,
            steps: log.steps,
            train_loss: log.recent_loss(),
            validation,
            test,
            training_seconds: log.training_seconds,
            seconds: log.started.elapsed().as_secs_f64(),
        })
    }

    fn train(&self, learner: &mut Learner, log: &mut Log) -> Result<(), Error> {
        let mut batches = training_batches(self.settings, self.texts, self.seed)?;
        // Results are read some steps late, so that the device never waits for the host.
        const LATE: usize = 2;
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        for step in 0..self.settings.steps {
            let interrupted = self.interrupted.load(Ordering::Relaxed);
            if !interrupted {
                let started = Instant::now();
                let StepResult { loss, gradient_norm } = learner.step(step, &mut batches)?;
                let (loss, gradient_norm) = (loss.read(), gradient_norm.read());
                if waiting.len() == LATE {
                    log.step(waiting.pop_front().expect("some are waiting"))?;
                }
                let seconds = started.elapsed().as_secs_f64();
                let rate = learner.learning_rate(step);
                waiting.push_back(Waiting { step, rate, loss, gradient_norm, seconds });
            }
            let due = |every: u64| every > 0 && (step + 1) % every == 0;
            let last = step + 1 == self.settings.steps;
            let evaluates = due(self.settings.evaluate_every) && !last;
            let samples = due(self.settings.sample_every) || last;
            if interrupted || evaluates || samples || last {
                waiting.drain(..).try_for_each(|result| log.step(result))?;
            }
            if interrupted {
                log.write()?;
                return Err(Error::Interrupted);
            }
            if evaluates {
                self.evaluate_now(&learner.model, log)?;
            }
            if samples {
                self.sample_now(&learner.model, log)?;
            }
        }
        log.write()
    }

    fn evaluate_now(&self, model: &LanguageModel, log: &mut Log) -> Result<(), Error> {
        let text = self.texts.validation.head(self.settings.evaluation_tokens, self.tokenizer);
        let score = match self.evaluate(model, &text, self.interrupted) {
            // The next step sees it and ends the training.
            Err(Error::Interrupted) => return Ok(()),
            score => score?,
        };
        log.evaluated(score);
        Ok(())
    }

    /// Scores a text in batches as large as those of training, so that it takes no more memory.
    fn evaluate(
        &self,
        model: &LanguageModel,
        text: &TokenizedText,
        interrupted: &AtomicBool,
    ) -> Result<Score, Error> {
        evaluate(model, text, self.settings.context, self.settings.batch, interrupted)
    }

    fn sample_now(&self, model: &LanguageModel, log: &mut Log) -> Result<(), Error> {
        const PROMPT: usize = 8;
        let length = if matches!(self.tokenizer, Tokenizer::Bytes) { 160 } else { 40 };
        let prompt = &self.texts.validation.tokens;
        let prompt = &prompt[..PROMPT.min(prompt.len()).min(self.settings.context)];
        let key = Key::new(self.seed).named("sample").fold(log.steps);
        let text = sampling::sample(model, self.tokenizer, prompt, length, key)?;
        log.sampled(text);
        Ok(())
    }

    /// Scores both texts; after an interruption only the part of the validation text that is
    /// scored while training, so that the program ends soon.
    fn score(&self, model: &LanguageModel, interrupted: bool) -> Result<(Score, Score), Error> {
        let limit = match interrupted {
            true => self.settings.evaluation_tokens,
            false => self.settings.final_evaluation_tokens.unwrap_or(usize::MAX),
        };
        let score = |text: &TokenizedText| {
            let text = text.head(limit, self.tokenizer);
            // After the first interruption a short score is still made; after a second one the
            // program ends at once.
            self.evaluate(model, &text, &AtomicBool::new(false))
        };
        let validation = score(&self.texts.validation)?;
        let test = if interrupted { Score::NONE } else { score(&self.texts.test)? };
        Ok((validation, test))
    }
}

/// What Hugging Face's tools look for in a file of weights.
fn metadata() -> Metadata {
    Metadata::from([("format".into(), "pt".into())])
}
