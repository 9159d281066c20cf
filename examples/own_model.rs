//! A model of one's own: a recurrent network, a GRU (Cho et al. 2014), learns to write like this
//! project's README, a character at a time: `cargo run --release --example own_model`, or `... own_model
//! 100` for 100 steps.

use neutreno::engine::optim::{AdamW, AdamWSettings, Optimizer, Schedule, clip};
use neutreno::engine::random::Key;
use neutreno::engine::{Builder, Device, Ids, Initial, Parameters, Result, Tensor, no_grad};
use neutreno::language::Sampling;

const TEXT: &str = include_str!("../README.md");
const CHARACTERS: usize = 128; // of ASCII; what is none becomes '?'
const WIDTH: usize = 128;
const BATCH: usize = 16;
const TIME: usize = 48;

/// The weights that make gates and candidate: one below the other, for what is new and for the state.
struct Gru {
    embedding: Tensor, // (characters, width)
    new: Tensor,       // (3 · width, width)
    state: Tensor,     // (3 · width, width)
    bias: Tensor,      // (3 · width)
    output: Tensor,    // (characters, width)
}

impl Gru {
    fn new(builder: &mut Builder) -> Gru {
        let start = Initial::Normal { deviation: 1.0 / (WIDTH as f32).sqrt() };
        let mut weight = |name, rows: usize| builder.parameter(name, [rows, WIDTH], start, true);
        Gru {
            embedding: weight("embedding", CHARACTERS),
            new: weight("new", 3 * WIDTH),
            state: weight("state", 3 * WIDTH),
            output: weight("output", CHARACTERS),
            bias: builder.parameter("bias", [3 * WIDTH], Initial::Zeros, false),
        }
    }

    /// The state (batch, width) after one more character for each row of the batch.
    fn step(&self, state: &Tensor, characters: &Ids) -> Tensor {
        let new = self.embedding.embedding(characters).linear(&self.new, Some(&self.bias));
        let (new, old) = (new.chunk(3, 1), state.linear(&self.state, None).chunk(3, 1));
        let reset = (&new[0] + &old[0]).sigmoid();
        let keep = (&new[1] + &old[1]).sigmoid();
        let candidate = (&new[2] + reset * &old[2]).tanh();
        &candidate + keep * (state - &candidate)
    }
}

fn main() -> Result<()> {
    let steps = std::env::args().nth(1).map_or(600, |steps| steps.parse().expect("a number"));
    let device = Device::open("auto", 0)?; // a GPU, or else the CPU
    let text: Vec<u32> = TEXT.chars().map(|c| if c.is_ascii() { c as u32 } else { 63 }).collect();
    let (model, parameters) = Parameters::build(&device, 1, Gru::new);
    let mut optimizer = AdamW::new(&parameters, AdamWSettings::default());
    let schedule = Schedule { peak: 5e-3, warmup_steps: 20, ..Schedule::new(steps) };
    let mut gradients = parameters.gradients();
    let mut random = Key::new(2).generator();
    for step in 1..=steps {
        let starts = [0; BATCH].map(|_| random.below((text.len() - TIME) as u64) as usize);
        let at = |time: usize| Ids::new(starts.map(|start| text[start + time]).to_vec(), [BATCH]);
        let mut state = Tensor::zeros([BATCH, WIDTH], &device);
        let mut losses = Vec::new();
        for time in 0..TIME {
            state = model.step(&state, &at(time));
            losses.push(state.linear(&model.output, None).cross_entropy(&at(time + 1), 0.0));
        }
        let loss = Tensor::stack(&losses.iter().collect::<Vec<_>>(), 0).mean_all();
        gradients.clear();
        loss.backward_into(&mut gradients)?;
        let clip = clip(&parameters, &gradients, 1.0);
        optimizer.step(&parameters, &gradients, schedule.at(step - 1), Some(&clip));
        if step == 1 || step % 100 == 0 {
            println!("step {step}: loss {:.3}", loss.to_scalar()?);
        }
    }
    let sampling = Sampling { temperature: 0.7, ..Sampling::default() };
    let (mut state, mut character) = (Tensor::zeros([1, WIDTH], &device), u32::from(b'\n'));
    for _ in 0..400 {
        state = no_grad(|| model.step(&state, &Ids::new(vec![character], [1])));
        let logits = state.detach().linear(&model.output, None).to_vec()?;
        character = sampling.draw(&logits, &[], &mut random).unwrap_or(10);
        print!("{}", char::from(character as u8));
    }
    println!();
    Ok(())
}
