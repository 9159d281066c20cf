//! Chapter 8: training, with every part of the loop in sight, and what each part is for.

#[path = "common/mod.rs"]
mod common;
#[path = "common/text.rs"]
mod text;

use common::Chapter;
use common::charts::{Line, lines};
use neutreno::data::batches::{TrainingBatches, uniform_nats, unigram_nats};
use neutreno::data::generated;
use neutreno::engine::optim::{AdamW, AdamWSettings, Clip, Optimizer};
use neutreno::engine::{Device, Gradients, Parameters, Result, Tensor, no_grad};
use neutreno::language::Pass;
use neutreno::{LanguageModel, LanguageModelConfig};
use std::f64::consts::PI;
use std::ops::Range;
use std::path::Path;
use text::{BATCH, CONTEXT, Text, batches, rows, windows};

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let (device, text) = (chapter.device("cpu"), Text::new());
    chapter.section("The text");
    text.show();
    let (layers, steps) = (chapter.pick(4, 2), chapter.pick(200, 30));
    let lab = Lab { chapter: &chapter, device, text, layers, steps };
    lab.losses()?;
    lab.watch("One run", &lab.text.train, "08_one_run.svg")?;
    lab.rates()?;
    lab.warm_up()?;
    lab.bad_batch()?;
    lab.watch("A text that is too short", &lab.text.train[..6_000], "08_short_text.svg")?;
    lab.stopped()
}

const MODEL: &str = "08_model.safetensors";
const OPTIMIZER: &str = "08_optimizer.safetensors";

/// How a model is trained.
#[derive(Clone, Copy)]
struct Recipe {
    steps: u64,
    peak: f64,
    warm_up: u64,
    /// The largest norm that gradients may have together.
    largest: f32,
    /// A step whose loss counts a thousand times, by a mistake.
    bad: Option<u64>,
}

impl Recipe {
    // ANCHOR: rate
    /// The learning rate: up along a line, then down along half a cosine to a tenth.
    fn rate(&self, step: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let gone = (step - self.warm_up) as f64 / (self.steps - self.warm_up) as f64;
        self.peak * (0.1 + 0.9 * (0.5 + 0.5 * (PI * gone).cos()))
    }
    // ANCHOR_END: rate
}

// ANCHOR: clip
/// The norm of all gradients together, and the factor that brings it down to `largest`.
fn clip(parameters: &Parameters, gradients: &Gradients, largest: f32) -> Result<Clip> {
    let mut squares = 0.0;
    for (_, parameter) in parameters.iter() {
        if let Some(gradient) = gradients.get(parameter) {
            squares += gradient.power(2.0).sum_all().to_scalar()?;
        }
    }
    let norm = squares.sqrt();
    let [norm, factor] = [norm, (largest / norm).min(1.0)]
        .map(|number| Tensor::full(number, [1], parameters.device()));
    Ok(Clip { norm, factor })
}
// ANCHOR_END: clip

/// A model with all that changes while it learns.
struct Learner {
    model: LanguageModel,
    parameters: Parameters,
    optimizer: AdamW,
    gradients: Gradients,
    batches: TrainingBatches,
}

impl Learner {
    // ANCHOR: step
    /// One training step, numbered from 0. Returns the loss and the norm of the gradients.
    fn step(&mut self, step: u64, recipe: &Recipe) -> Result<[f32; 2]> {
        let (inputs, targets) = self.batches.batch(step);
        let loss = self.model.loss(&rows(inputs), &rows(targets), &Pass::training(None));
        self.gradients.clear();
        let counts = if recipe.bad == Some(step) { 1000.0 } else { 1.0 };
        loss.scale(counts).backward_into(&mut self.gradients)?;
        let clip = clip(&self.parameters, &self.gradients, recipe.largest)?;
        let rate = recipe.rate(step);
        self.optimizer.step(&self.parameters, &self.gradients, rate, Some(&clip));
        Ok([loss.to_scalar()?, clip.norm.to_scalar()?])
    }
    // ANCHOR_END: step

    /// These steps, one after another; returns their losses.
    fn train(&mut self, steps: Range<u64>, recipe: &Recipe) -> Result<Vec<f32>> {
        steps.map(|step| Ok(self.step(step, recipe)?[0])).collect()
    }

    /// The mean loss of the first 4,096 tokens of a text, in windows that do not overlap.
    fn validate(&self, tokens: &[u32]) -> Result<f32> {
        let mut losses = Vec::new();
        for (inputs, targets) in windows(&tokens[..64 * CONTEXT + 1]) {
            let loss = no_grad(|| self.model.loss(&inputs, &targets, &Pass::evaluation()));
            losses.push(loss.to_scalar()?);
        }
        Ok(losses.iter().sum::<f32>() / losses.len() as f32)
    }

    /// Writes all that the next step depends on, beside its number.
    fn save(&self, folder: &Path) -> Result<()> {
        self.parameters.save(&folder.join(MODEL), &Default::default())?;
        self.optimizer.save(&self.parameters, &folder.join(OPTIMIZER))
    }

    fn load(&mut self, folder: &Path) -> Result<()> {
        self.parameters.load(&folder.join(MODEL))?;
        self.optimizer.load(&self.parameters, &folder.join(OPTIMIZER))
    }

    /// The bits of every weight.
    fn bits(&self) -> Result<Vec<u32>> {
        let weights = self.parameters.iter().map(|(_, weights)| weights.to_vec());
        Ok(weights.collect::<Result<Vec<_>>>()?.concat().into_iter().map(f32::to_bits).collect())
    }
}

struct Lab<'a> {
    chapter: &'a Chapter,
    device: Device,
    text: Text,
    layers: usize,
    steps: u64,
}

type Case = (String, Recipe);

impl Lab<'_> {
    fn recipe(&self, peak: f64) -> Recipe {
        Recipe { steps: self.steps, peak, warm_up: 0, largest: 1.0, bad: None }
    }

    fn learner(&self, tokens: &[u32], seed: u64) -> Learner {
        let vocabulary = self.text.words.vocabulary();
        let config = LanguageModelConfig::new(vocabulary, 32, self.layers, 4, CONTEXT);
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, parameters) = Parameters::build(&self.device, seed, build);
        let settings = AdamWSettings { beta2: 0.95, weight_decay: 0.1, ..AdamWSettings::default() };
        let optimizer = AdamW::new(&parameters, settings);
        let (gradients, batches) = (parameters.gradients(), batches(tokens, seed));
        Learner { model, parameters, optimizer, gradients, batches }
    }

    fn losses(&self) -> Result<()> {
        self.chapter.section("What a loss can be");
        let Text { words, train, validation, .. } = &self.text;
        let (vocabulary, scored) = (words.vocabulary(), validation.len() as f64 - 1.0);
        let show = |name: &str, loss: f64| println!("{name:<34}{loss:>6.3}{:>13.1}", loss.exp());
        println!("{:<34}{:>6}{:>13}", "", "loss", "perplexity");
        let untrained = self.learner(train, 1).validate(validation)?;
        show("a model that has learnt nothing", untrained.into());
        show("every word as likely as any other", uniform_nats(validation, vocabulary) / scored);
        let unigrams = unigram_nats(train, validation, vocabulary);
        show("each word as often as in the text", unigrams / scored);
        show("the grammar itself: the least", generated::entropy_rate());
        Ok(())
    }

    /// Trains on a text, and looks ten times at how well that goes.
    fn watch(&self, title: &str, tokens: &[u32], file: &str) -> Result<()> {
        self.chapter.section(title);
        let recipe = Recipe { steps: 3 * self.steps, ..self.recipe(0.01) };
        let mut learner = self.learner(tokens, 1);
        let mut curves = ["own text", "held out"].map(|name| Line::new(name, vec![]));
        println!("  step  times read      rate      norm      loss   own text   held out");
        for step in 0..recipe.steps {
            let ([loss, norm], rate) = (learner.step(step, &recipe)?, recipe.rate(step));
            let done = step + 1;
            if step == 0 || done % (recipe.steps / 10) == 0 {
                let read = (done as usize * BATCH * CONTEXT) as f64 / tokens.len() as f64;
                let held_out = &self.text.validation;
                let scores = [learner.validate(tokens)?, learner.validate(held_out)?];
                print!("{done:>6}{read:>12.2}{rate:>10.5}{norm:>10.3}{loss:>10.3}");
                println!("{:>11.3}{:>11.3}", scores[0], scores[1]);
                for (curve, score) in curves.iter_mut().zip(scores) {
                    curve.points.push((done as f64, score.into()));
                }
            }
        }
        self.chapter.picture(file, &lines(title, "step", "loss", &curves));
        Ok(())
    }

    /// Trains by each recipe, with so many seeds, and shows how well and how.
    fn compare(&self, title: &str, file: &str, seeds: u64, cases: &[Case]) -> Result<()> {
        self.chapter.section(title);
        let bar = self.chapter.progress(title, cases.len() * seeds as usize);
        let (mut curves, mut table) = (Vec::new(), String::new());
        for (name, recipe) in cases {
            table += &format!("{name:<28}validation");
            for seed in 1..=seeds {
                let mut learner = self.learner(&self.text.train, seed);
                let losses = learner.train(0..recipe.steps, recipe)?;
                table += &format!("{:>8.3}", learner.validate(&self.text.validation)?);
                if seed == 1 {
                    curves.push(smooth(name, &losses));
                }
                bar.inc(1);
            }
            table += "\n";
        }
        bar.finish_and_clear();
        print!("{table}");
        self.chapter.picture(file, &lines(title, "step", "loss", &curves));
        Ok(())
    }

    fn rates(&self) -> Result<()> {
        let case = |(name, peak)| (format!("{peak}: {name}"), self.recipe(peak));
        let cases = [("too small", 0.001), ("good", 0.01), ("too large", 0.3)].map(case);
        self.compare("Three learning rates", "08_rates.svg", 1, &cases)
    }

    fn warm_up(&self) -> Result<()> {
        let case = |(peak, warm_up)| {
            let with = if warm_up > 0 { "with" } else { "without" };
            (format!("{peak} {with} warm-up"), Recipe { warm_up, ..self.recipe(peak) })
        };
        let up = self.steps / 5;
        let cases = [(0.01, 0), (0.01, up), (0.06, 0), (0.06, up)].map(case);
        self.compare("With and without warm-up", "08_warm_up.svg", 3, &cases)
    }

    fn bad_batch(&self) -> Result<()> {
        let case = |(clipped, largest, what, bad)| {
            (format!("{clipped}, {what}"), Recipe { largest, bad, ..self.recipe(0.01) })
        };
        let bad = Some(self.steps / 2);
        let cases = [
            ("clipped", 1.0, "all well", None),
            ("clipped", 1.0, "a bad batch", bad),
            ("not clipped", f32::MAX, "all well", None),
            ("not clipped", f32::MAX, "a bad batch", bad),
        ];
        self.compare("One bad batch", "08_clipping.svg", 1, &cases.map(case))
    }

    fn stopped(&self) -> Result<()> {
        self.chapter.section("Stopped, and gone on with");
        let (recipe, half) = (self.recipe(0.01), self.steps / 2);
        let folder = self.chapter.path("");
        // ANCHOR: resume
        let mut whole = self.learner(&self.text.train, 1);
        whole.train(0..half, &recipe)?;
        whole.save(&folder)?;
        whole.train(half..recipe.steps, &recipe)?;

        let mut resumed = self.learner(&self.text.train, 2);
        resumed.load(&folder)?;
        resumed.batches = batches(&self.text.train, 1);
        resumed.train(half..recipe.steps, &recipe)?;
        // ANCHOR_END: resume
        let mut forgetful = self.learner(&self.text.train, 1);
        forgetful.parameters.load(&folder.join(MODEL))?;
        forgetful.train(half..recipe.steps, &recipe)?;
        let bits = whole.bits()?;
        let all =
            [("never stopped", whole), ("all loaded", resumed), ("weights loaded", forgetful)];
        for (name, learner) in &all {
            let other = learner.bits()?;
            let differ = bits.iter().zip(&other).filter(|(a, b)| a != b).count();
            let score = learner.validate(&self.text.validation)?;
            println!(
                "{name:<16}{differ:>5} of {} weights differ, validation {score:.3}",
                bits.len()
            );
        }
        Ok(())
    }
}

/// Losses as the line of a chart, each the mean of a fortieth of them.
fn smooth(name: &str, losses: &[f32]) -> Line {
    let window = (losses.len() / 40).max(1);
    let parts = losses.chunks(window).map(|part| part.iter().sum::<f32>() / part.len() as f32);
    let middle = |number: usize| (number * window) as f64 + window as f64 / 2.0;
    Line::new(name, parts.enumerate().map(|(i, loss)| (middle(i), loss.into())).collect())
}
