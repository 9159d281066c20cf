//! A first transformer: one block, made of small ops, learns to write the sentences of a tiny
//! grammar, a character at a time, and then writes some: half a minute at most on two CPU cores.
//! `cargo run --release --example first_transformer`, or `... first_transformer 100` for 100 steps.

use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer, Schedule};
use neutreno::engine::random::{Generator, Key};
use neutreno::engine::{Builder, Device, Ids, Initial, Parameters, Result, Tensor, no_grad};

const CHARACTERS: usize = 128; // of ASCII, each known by its code
const CONTEXT: usize = 64;
const WIDTH: usize = 64;
const HEADS: usize = 4;
const BATCH: usize = 16;

/// Sentences such as "the shy owls hear the goat." The verb agrees with a noun several characters
/// back, which is a task for attention. Also the entropy of all choices, in nats a character.
fn make_text(sentences: usize, random: &mut Generator) -> (Vec<u32>, f64) {
    let (mut text, mut nats) = (String::new(), 0.0);
    let mut choose = |words: &[&'static str]| {
        nats += (words.len() as f64).ln();
        words[random.below(words.len() as u64) as usize]
    };
    let nouns = ["cat", "dog", "owl", "hen", "goat", "bear"];
    for _ in 0..sentences {
        let adjective = choose(&["old", "young", "small", "quick", "shy", "loud"]);
        let (subject, plural, object) = (choose(&nouns), choose(&["", "s"]), choose(&nouns));
        let verb = choose(&["see", "hear", "like", "follow", "greet", "feed"]);
        let ending = if plural.is_empty() { "s" } else { "" };
        text += &format!("the {adjective} {subject}{plural} {verb}{ending} the {object}.\n");
    }
    (text.bytes().map(u32::from).collect(), nats / text.len() as f64)
}

/// What is learned.
struct Model {
    embedding: Tensor,         // (characters, width)
    attention: [Tensor; 4],    // queries, keys, values, output: (width, width) each
    feed_forward: [Tensor; 3], // gate and up (2 · width, width), down (width, 2 · width)
    norms: [Tensor; 3],        // (width) each
}

impl Model {
    fn new(builder: &mut Builder) -> Model {
        let start = Initial::Normal { deviation: 0.1 };
        let mut weight = |name: &str, size: [usize; 2]| builder.parameter(name, size, start, true);
        let [square, tall, wide] = [[WIDTH, WIDTH], [2 * WIDTH, WIDTH], [WIDTH, 2 * WIDTH]];
        Model {
            embedding: weight("embedding", [CHARACTERS, WIDTH]),
            attention: ["query", "key", "value", "output"].map(|name| weight(name, square)),
            feed_forward: [weight("gate", tall), weight("up", tall), weight("down", wide)],
            norms: ["norm_1", "norm_2", "norm_3"]
                .map(|name| builder.parameter(name, [WIDTH], Initial::Ones, false)),
        }
    }

    /// For each of the characters (batch, time), the logits of the one that follows it.
    fn logits(&self, characters: &Ids) -> Tensor {
        let [batch, time] = [characters.shape()[0], characters.shape()[1]];
        let x = self.embedding.embedding(characters);

        // Attention: each position gathers what it needs from those up to it.
        let [query, key, value, output] = &self.attention;
        let normed = x.rms_norm(&self.norms[0], 1e-5);
        let heads = |w| normed.linear(w, None).reshape([batch, time, HEADS, WIDTH / HEADS]);
        let [query, key] = [query, key].map(|w| heads(w).rope(0, 10_000.0));
        let attended = query.attention_unfused(&key, &heads(value), None, true);
        let x = x.add(&attended.reshape([batch, time, WIDTH]).linear(output, None));

        // Feed-forward: each position works on what it has.
        let [gate, up, down] = &self.feed_forward;
        let normed = x.rms_norm(&self.norms[1], 1e-5);
        let inner = normed.linear(gate, None).swiglu(&normed.linear(up, None));
        let x = x.add(&inner.linear(down, None));

        x.rms_norm(&self.norms[2], 1e-5).linear(&self.embedding, None) // the embedding once more
    }
}

fn main() -> Result<()> {
    let steps = std::env::args().nth(1).map_or(1000, |steps| steps.parse().expect("a number"));
    let device = Device::open("auto", 0)?; // a GPU, or else the CPU
    let mut random = Key::new(1).generator();
    let (text, entropy) = make_text(5_000, &mut random);
    let share = |code| text.iter().filter(|c| **c == code).count() as f64 / text.len() as f64;
    let single: f64 = (0..128).map(share).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
    println!("Counting characters gives a loss of {single:.3}; the least is {entropy:.3}.");

    // Learning: for windows of the text, the targets are the same windows a character later.
    let (model, parameters) = Parameters::build(&device, 1, Model::new);
    let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
    let schedule = Schedule { peak: 5e-3, ..Schedule::new(steps) };
    let mut gradients = parameters.gradients();
    for step in 1..=steps {
        let starts = [0; BATCH].map(|_| random.below((text.len() - CONTEXT) as u64) as usize);
        let windows = |shift: usize| {
            let windows = starts.iter().flat_map(|start| &text[start + shift..][..CONTEXT]);
            Ids::new(windows.copied().collect::<Vec<_>>(), [BATCH, CONTEXT])
        };
        let loss = model.logits(&windows(0)).cross_entropy(&windows(1), 0.0);
        gradients.clear();
        loss.backward_into(&mut gradients)?;
        optimizer.step(&parameters, &gradients, schedule.at(step - 1), None);
        if step == 1 || step % 100 == 0 {
            println!("step {step}: loss {:.3}", loss.to_scalar()?);
        }
    }

    // Writing: each character is drawn by its probability.
    let mut text = vec![u32::from(b'\n')];
    for _ in 0..300 {
        let seen = &text[text.len().saturating_sub(CONTEXT)..];
        let logits = no_grad(|| model.logits(&Ids::new(seen, [1, seen.len()])));
        let next = logits.slice(1, seen.len() - 1..seen.len()).softmax(-1).to_vec()?;
        let drawn = random.uniform();
        let code = (0..CHARACTERS).find(|code| next[..=*code].iter().sum::<f32>() > drawn);
        text.push(code.unwrap_or(0) as u32);
    }
    println!("{}", text.iter().map(|code| char::from(*code as u8)).collect::<String>());
    Ok(())
}
