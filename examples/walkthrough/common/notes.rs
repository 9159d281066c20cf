//! The text and the models of chapter 10.

use crate::common::training;
use neutreno::engine::optim::Schedule;
use neutreno::engine::random::{Generator, Key};
use neutreno::engine::{Device, Ids, Parameters, Result};
use neutreno::language::Pass;
use neutreno::measure::{Measured, measure};
use neutreno::trace::Trace;
use neutreno::{LanguageModel, LanguageModelConfig, Variant, VariantConfig};

pub const KEYS: u64 = 4; // a to d
const VALUES: u64 = 6; // 0 to 5
const VOCABULARY: usize = (1 + KEYS + KEYS * VALUES) as usize;
pub const CONTEXT: usize = 32;

/// A text of notes, such as "b4 a1 b? b4 d0 a3": a note says what a letter stands for from now on. After
/// a question comes the note that holds. Token 0 begins each text, then come 4 questions and 24 notes.
pub fn notes(length: usize, random: &mut Generator) -> Vec<u32> {
    let mut known = [None; KEYS as usize];
    let mut text = vec![0];
    let mut asked: Option<u64> = None;
    while text.len() < length {
        let key = asked.unwrap_or_else(|| random.below(KEYS));
        if asked.is_none() && random.uniform() < 0.3 {
            asked = Some(key);
            text.push(1 + key as u32);
            continue;
        }
        let held = known[key as usize].filter(|_| asked.is_some());
        let value = held.unwrap_or_else(|| random.below(VALUES));
        (known[key as usize], asked) = (Some(value), None);
        text.push((1 + KEYS + key * VALUES + value) as u32);
    }
    text
}

/// Rows of notes as inputs and targets.
fn batch(rows: usize, random: &mut Generator) -> [Ids; 2] {
    let texts: Vec<Vec<u32>> = (0..rows).map(|_| notes(CONTEXT + 1, random)).collect();
    [0, 1].map(|shift| {
        let windows = texts.iter().flat_map(|text| &text[shift..][..CONTEXT]);
        Ids::new(windows.copied().collect::<Vec<_>>(), [rows, CONTEXT])
    })
}

/// A question whose answer stands before it, and a note.
pub fn asks(inputs: &[u32], position: usize) -> bool {
    let of = |token: u32| u64::from(token).checked_sub(1 + KEYS).map(|note| note / VALUES);
    let (text, place) = (&inputs[position - position % CONTEXT..], position % CONTEXT);
    let question = u64::from(text[place]).wrapping_sub(1);
    question < KEYS && text[..place].iter().any(|token| of(*token) == Some(question))
}

/// A trained model, with what was measured of it.
pub struct Trained {
    pub variant: Variant,
    /// What it was measured on.
    pub inputs: Ids,
    /// The share of the questions that it answers rightly.
    pub right: f64,
    pub trace: Trace,
    measured: Measured,
}

impl Trained {
    /// Trains a model of three blocks of two heads.
    pub fn new(
        variant: Variant,
        steps: usize,
        device: &Device,
        bar: &indicatif::ProgressBar,
    ) -> Result<Trained> {
        let mut config = LanguageModelConfig::new(VOCABULARY, 48, 3, 2, CONTEXT);
        config.variant = VariantConfig::new(variant);
        let (model, parameters) =
            Parameters::build(device, 1, |builder| LanguageModel::new(&config, builder));
        let schedule = Schedule { peak: 5e-3, warmup_steps: 20, ..Schedule::new(steps as u64) };
        let mut random = Key::new(2).named("texts").generator();
        training::train(&parameters, schedule, |_| {
            let [inputs, targets] = batch(16, &mut random);
            bar.inc(1);
            Ok(model.loss(&inputs, &targets, &Pass::training(None)))
        })?;
        let [inputs, targets] = batch(64, &mut Key::new(3).generator());
        let said = model.logits(&inputs).argmax()?;
        let asked = (0..64 * CONTEXT).filter(|i| asks(inputs.as_slice(), *i));
        let right = |i: usize| f64::from(said.as_slice()[i] == targets.as_slice()[i]);
        let (count, sum) = asked.fold((0.0, 0.0), |(count, sum), i| (count + 1.0, sum + right(i)));
        let trace = model.trace(&inputs);
        let measured = measure(&trace)?;
        Ok(Trained { variant, inputs, right: sum / count, trace, measured })
    }

    /// What was measured under this name, block by block.
    pub fn numbers(&self, name: &str) -> &[f64] {
        self.measured.get(name).unwrap_or_default()
    }
}

/// What the measures are where every token attends evenly to all that it sees.
pub fn even() -> [f64; 2] {
    let received = |y: usize| (y..CONTEXT).map(|x| 1.0 / (x + 1) as f64).sum::<f64>();
    let shares = (0..CONTEXT).map(|y| received(y) / CONTEXT as f64);
    [shares.clone().map(|share| -share * share.ln()).sum(), received(0) / CONTEXT as f64]
}
