//! The flags that all training programs share.

use super::safeguards::Safeguards;
use super::variants::What;
use clap::builder::{PathBufValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use neutreno::engine::gpu::Class;
use neutreno::engine::optim::Curve;
use neutreno::engine::{Device, Error};
use neutreno::run::Use;
use neutreno::training::{Longer, Preset, Settings};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// All of them; a program adds those of its own task.
#[derive(Debug, Args)]
pub struct Common {
    #[command(flatten)]
    pub what: What,
    #[command(flatten)]
    pub start: StartFrom,
    #[command(flatten)]
    pub training: Training,
    #[command(flatten)]
    pub machine: Machine,
    #[command(flatten)]
    pub ranks: RankFlags,
    #[command(flatten)]
    pub safeguards: Safeguards,
    #[command(flatten)]
    pub output: Output,
}

/// About the processes that train together; nothing where there can be but one.
#[derive(Debug, Args)]
pub struct RankFlags {
    /// Stop if there are more or less processes than so many: where a cluster's launcher does not know this
    /// MPI, each would be alone, and all would train the same
    #[cfg(feature = "mpi")]
    #[arg(long, value_name = "RANKS", value_parser = positive, help_heading = "Machine")]
    pub expect_ranks: Option<usize>,
}

/// What to start from.
#[derive(Debug, Args)]
pub struct StartFrom {
    /// Start every model from a trained one: a run of one model, the folder of one of its models
    /// (runs/NAME/transformer-seed1), or a folder of Hugging Face's with a Llama or a ViT. Sizes, and the
    /// tokenizer, are its own; what a model has no use for is left, what it has more is new, and all of
    /// that is said. The encoder of a classifier goes into a segmenter, too
    #[arg(long, value_name = "MODEL", value_parser = place(), help_heading = "What")]
    pub from: Option<PathBuf>,
    /// Which weights of it, if it is of a run: last, best, or those after so many steps [default: last]
    #[arg(long = "use", value_name = "WEIGHTS", requires = "from", help_heading = "What")]
    pub weights: Option<Use>,
}

impl StartFrom {
    /// That no size is asked for where the model to start from has its own.
    ///
    /// # Errors
    /// If one is, by the name of the flag; each comes with whether it was given, and what the model has.
    pub fn check(&self, given: &[(&str, bool, &str)]) -> Result<(), String> {
        let Some(from) = &self.from else { return Ok(()) };
        match given.iter().find(|(_, given, _)| *given) {
            None => Ok(()),
            Some((flag, _, what)) => Err(format!(
                "{flag} does not go with --from: the model in {} has {what} of its own. Leave out one \
                 of the two",
                from.display()
            )),
        }
    }
}

/// How to train it.
#[derive(Debug, Args)]
pub struct Training {
    /// Examples (windows of text, images) in a batch
    #[arg(long, value_parser = positive, help_heading = "Training")]
    pub batch: Option<usize>,
    /// Batches whose gradients are averaged in one step
    #[arg(long, value_parser = few, help_heading = "Training")]
    pub accumulate: Option<usize>,
    /// Number of steps
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "minutes", help_heading = "Training")]
    pub steps: Option<u64>,
    /// Minutes of training for each model, evaluation not counted; sets the number of steps
    #[arg(long, value_parser = minutes, conflicts_with = "resume", help_heading = "Training")]
    pub minutes: Option<f64>,
    /// The largest learning rate
    #[arg(long, value_parser = non_negative, help_heading = "Training")]
    pub lr: Option<f64>,
    /// Steps in which the learning rate rises
    #[arg(long, help_heading = "Training")]
    pub warmup: Option<u64>,
    /// How the learning rate falls afterwards
    #[arg(long, value_enum, help_heading = "Training")]
    pub decay: Option<DecayName>,
    /// With --resume and more --steps: how the learning rate goes on [default: stretch]
    #[arg(long, value_enum, help_heading = "Training")]
    pub longer: Option<LongerName>,
    /// AdamW's weight decay
    #[arg(long, value_parser = non_negative, help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// The norm to which larger gradients are shortened; 0 for never
    #[arg(long, value_parser = non_negative, help_heading = "Training")]
    pub clip: Option<f64>,
    /// How much of the running average of the weights stays from step to step; the average is then
    /// what is scored and saved. 0 for the weights themselves
    #[arg(long, value_parser = share::<f64>, value_name = "DECAY", help_heading = "Training")]
    pub average: Option<f64>,
    /// Stop a model once it was validated so many times (--eval-every) since its best score without a
    /// better one; 0 for never. Its weights are then the last ones: --use best takes the best
    #[arg(long, value_name = "TIMES", help_heading = "Training")]
    pub patience: Option<u64>,
    /// Measure what the layers compute (token similarity, attention concentration, ...) every so
    /// many steps; 0 for only at the end
    #[arg(long, value_name = "STEPS", help_heading = "Training")]
    pub measure_every: Option<u64>,
    #[command(flatten, next_help_heading = "Training")]
    pub seeds: Seeds,
}

/// With which seeds to train it.
#[derive(Debug, Args)]
pub struct Seeds {
    /// The seed of weights, order of data and dropout; the first one with --seeds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train everything with so many seeds and report the spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
}

/// Where to train it.
#[derive(Debug, Args)]
pub struct Machine {
    /// auto, cpu, gpu, gpu:N, or three letters or more of a GPU's name (software ones only so)
    #[arg(long, default_value = "auto", help_heading = "Machine")]
    pub device: String,
    /// Threads on the CPU, for the data of a GPU too; 0 for one a core. Results do not depend on it
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024), help_heading = "Machine")]
    pub threads: u16,
    /// Let a software GPU that --device names run exactly what a card runs: slow, for tests of kernels
    #[arg(long, help_heading = "Machine")]
    pub as_hardware: bool,
    /// List the devices and stop
    #[arg(long, help_heading = "Machine")]
    pub list_devices: bool,
}

impl Machine {
    /// Opens the device that was asked for.
    ///
    /// # Errors
    /// If there is no such device, or it cannot be opened.
    pub fn open(&self) -> Result<Device, Error> {
        open(&self.device, self.as_hardware, self.threads.into())
    }
}

/// Opens the device that --device names, a software GPU perhaps --as-hardware.
///
/// # Errors
/// If there is no such device, or it cannot be opened.
pub fn open(device: &str, as_hardware: bool, threads: usize) -> Result<Device, Error> {
    match as_hardware {
        true => Device::open_as(device, Class::HARDWARE),
        false => Device::open(device, threads),
    }
}

/// What to leave behind and to show.
#[derive(Debug, Args)]
pub struct Output {
    /// The run's folder; it must be new or empty [default: runs/TIME-TASK]
    #[arg(long, value_name = "DIR", value_parser = place(), help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Go on with a run, from its latest checkpoint. No other flag is needed; some may be changed:
    /// --steps (with --longer), those under Machine, and those under Safeguards and Output. With more in
    /// --variant, --seed or --seeds, what is new is trained, and what is there stays
    #[arg(long, value_name = "RUN", conflicts_with = "out", value_parser = place(), help_heading = "Output")]
    pub resume: Option<PathBuf>,
    /// Go on with the run in this folder, or begin it there if it is not there yet: one command that a
    /// scheduler may start again and again
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "resume"], value_parser = place(), help_heading = "Output")]
    resume_or_start: Option<PathBuf>,
    /// Validate every so many steps; 0 for only at the end
    #[arg(long, value_name = "STEPS", help_heading = "Output")]
    pub eval_every: Option<u64>,
    /// Compare the other variants with this one [default: transformer, or the first]
    #[arg(long, value_name = "VARIANT", help_heading = "Output")]
    pub baseline: Option<String>,
    /// Write event files for TensorBoard too, a folder a model: tensorboard --logdir RUN
    #[arg(long, help_heading = "Output")]
    pub tensorboard: bool,
    /// Print the results as one line of JSON, the last on standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Where no terminal shows a moving line: say every so many seconds how far a model is
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..), help_heading = "Output")]
    pub line_every: u64,
    /// Print results only
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
}

/// A decay as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecayName {
    /// not at all
    Constant,
    /// in a straight line
    Linear,
    /// along half a cosine
    Cosine,
}

/// How the learning rate goes on in a longer run, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LongerName {
    /// its schedule is made anew for all steps, so it may jump up
    Stretch,
    /// it stays what it was at the end
    Hold,
    /// its schedule begins again for the further steps, with a warm-up
    Restart,
}

impl From<LongerName> for Longer {
    fn from(name: LongerName) -> Longer {
        match name {
            LongerName::Stretch => Longer::Stretch,
            LongerName::Hold => Longer::Hold,
            LongerName::Restart => Longer::Restart,
        }
    }
}

pub fn number<T: FromStr>(text: &str) -> Result<T, String> {
    let list = if text.contains(',') { "; one is taken here, not a list" } else { "" };
    text.parse().map_err(|_| format!("\"{text}\" is not such a number{list}"))
}

/// A size or a count. More than fits in 31 bits is meant by nobody, and products of two are safe.
pub fn positive(text: &str) -> Result<usize, String> {
    match number(text)? {
        0 => Err("must be at least 1".into()),
        value if value > i32::MAX as u64 => Err(format!("must be at most {}", i32::MAX)),
        value => Ok(value as usize),
    }
}

/// How many of something that each take their time and memory: layers, batches of a step.
pub fn few(text: &str) -> Result<usize, String> {
    const MOST: usize = 10_000;
    match positive(text)? {
        value if value > MOST => Err(format!("must be at most {MOST}")),
        value => Ok(value),
    }
}

/// How many tokens are scored.
pub fn at_least_two(text: &str) -> Result<usize, String> {
    match number(text)? {
        0 | 1 => Err("must be at least 2: the first token is not scored".into()),
        value => Ok(value),
    }
}

pub fn non_negative(text: &str) -> Result<f64, String> {
    let value: f64 = number(text)?;
    let sound = value.is_finite() && value >= 0.0;
    if sound { Ok(value) } else { Err("must be a finite number, 0 or larger".into()) }
}

pub fn share<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    let value: T = number(text)?;
    let sound = (T::from(0)..T::from(1)).contains(&value);
    if sound { Ok(value) } else { Err("must be at least 0 and less than 1".into()) }
}

pub fn above_zero(text: &str) -> Result<f32, String> {
    let value: f32 = number(text)?;
    let sound = value.is_finite() && value > 0.0;
    if sound { Ok(value) } else { Err("must be a finite number larger than 0".into()) }
}

pub fn minutes(text: &str) -> Result<f64, String> {
    let value: f64 = number(text)?;
    let sound = value.is_finite() && value > 0.0;
    if sound { Ok(value) } else { Err("must be a finite number larger than 0".into()) }
}

/// Reads a path as typed. The shell expands a `~` only outside of quotes, so one that arrives here
/// names nothing that anybody meant.
pub fn place() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| meant(&path).map(|()| path))
}

/// Whether a path can have been meant.
pub fn meant(path: &Path) -> Result<(), &'static str> {
    if !path.starts_with("~") || path.exists() {
        return Ok(());
    }
    Err("the shell leaves a ~ in quotes, or after =, as it is: write $HOME instead, or ./~ if a \
         folder of that name is meant")
}

impl Common {
    /// What matters before a program's own work.
    pub fn flags(&self) -> (&Machine, &RankFlags) {
        (&self.machine, &self.ranks)
    }

    /// Settings, with what the flags change.
    ///
    /// # Errors
    /// A patience that nothing would ever try.
    pub fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        self.training.apply(settings);
        set(&mut settings.evaluate_every, &self.output.eval_every);
        let never = settings.evaluate_every == 0 || settings.evaluate_every >= settings.steps;
        if settings.patience.is_some() && never && self.training.minutes.is_none() {
            return Err(format!(
                "--patience counts the validations while a model learns, and there is none: give an \
                 --eval-every that is less than --steps {}",
                settings.steps
            ));
        }
        Ok(())
    }
}

impl Training {
    fn apply(&self, settings: &mut Settings) {
        set(&mut settings.batch, &self.batch);
        set(&mut settings.accumulate, &self.accumulate);
        set(&mut settings.steps, &self.steps);
        set(&mut settings.learning_rate, &self.lr);
        set(&mut settings.warmup, &self.warmup);
        set(&mut settings.weight_decay, &self.weight_decay);
        set(&mut settings.clip, &self.clip);
        set(&mut settings.measure_every, &self.measure_every);
        if let Some(patience) = self.patience {
            settings.patience = (patience > 0).then_some(patience);
        }
        if let Some(average) = self.average {
            settings.average = (average > 0.0).then_some(average);
        }
        if let Some(decay) = self.decay {
            settings.decay = match decay {
                DecayName::Constant => Curve::Constant,
                DecayName::Linear => Curve::Linear,
                DecayName::Cosine => Curve::Cosine,
            };
        }
    }
}

impl Seeds {
    /// All of them.
    pub fn all(&self) -> Vec<u64> {
        (0..self.seeds).map(|number| self.seed.wrapping_add(number)).collect()
    }
}

/// The names of presets as a flag takes them.
pub fn names_of(presets: &[Preset]) -> PossibleValuesParser {
    let value = |preset: &Preset| PossibleValue::new(preset.name).help(preset.purpose);
    presets.iter().map(value).into()
}

/// Replaces a value if its flag was given.
pub fn set<T: Clone>(value: &mut T, flag: &Option<T>) {
    if let Some(flag) = flag {
        *value = flag.clone();
    }
}
