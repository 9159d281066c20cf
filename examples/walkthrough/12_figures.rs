//! Chapter 12: the papers' claims from models of one's own, with what chance has to do with them; and a
//! mixing rule of one's own.

#[path = "common/mod.rs"]
mod common;
#[path = "common/contest.rs"]
mod contest;

use common::Chapter;
use common::charts::{Line, lines};
use contest::{CONTEXT, HEADS, LAYERS, Outcome, Plan, Text, WIDTH, text, train};
use neutreno::data::batches::unigram_nats;
use neutreno::data::generated;
use neutreno::engine::Result;
use neutreno::report::{Spread, label};
use neutreno::{Variant, VariantConfig};

const SEEDS: &[u64] = &[1, 2, 3, 4];

// ANCHOR: own
/// A mixing rule of one's own: a, b and c of each layer after the first, which are counted from 1.
fn own_rule(layer: usize) -> [f32; 3] {
    let share = layer as f32 / LAYERS as f32;
    [1.0 - share, share, 0.0] // the deeper, the more of the first layer's value
}

/// All that are compared, the baseline first.
fn contestants() -> Vec<(String, VariantConfig)> {
    let four = Variant::ALL.map(|variant| (label(variant.name()), VariantConfig::new(variant)));
    let own = ("own rule".to_owned(), VariantConfig::given(LAYERS, own_rule));
    four.into_iter().chain([own]).collect()
}
// ANCHOR_END: own

/// A variant's models, one for each seed.
struct Contestant {
    name: String,
    outcomes: Vec<Outcome>,
}

fn main() -> Result<()> {
    let chapter = Chapter::open();
    let device = chapter.device("cpu");
    let text = text(&chapter);
    let plan = Plan { steps: chapter.pick(300, 12), rows: chapter.pick(8, 2) };
    what_is_trained(&chapter, &text, &plan);

    let contestants = contestants();
    let count = contestants.len() * SEEDS.len();
    let bar = chapter.progress("training all models", count * plan.steps as usize);
    let train = |(name, variant): (String, VariantConfig)| {
        let outcome = |seed| train(&variant, seed, &text, &plan, &device, &bar);
        let outcomes = SEEDS.iter().map(|seed| outcome(*seed)).collect::<Result<Vec<_>>>()?;
        Ok(Contestant { name, outcomes })
    };
    let all = contestants.into_iter().map(train).collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();

    let (four, own) = all.split_at(Variant::ALL.len());
    each_seed(&chapter, four);
    differences(&chapter, "Four variants, four seeds", four);
    relative_loss(&chapter, four);
    inside(&chapter, four);
    differences(&chapter, "With a rule of your own", &all);
    println!("the own rule less each of the four:");
    for other in four {
        println!("  {:<14}{}", other.name, shown(&paired(&own[0], other, validation)));
    }
    Ok(())
}

fn what_is_trained(chapter: &Chapter, text: &Text, plan: &Plan) {
    chapter.section("What is trained");
    let scored = text.validation.tokens.len() - 1;
    let single =
        unigram_nats(&text.train, &text.validation.tokens, text.vocabulary) / scored as f64;
    println!("{LAYERS} layers of width {WIDTH}, {HEADS} heads, a context of {CONTEXT} words");
    println!("{} steps of {} words; scored on {scored} others", plan.steps, plan.rows * CONTEXT);
    println!("loss of a model that counts words: {single:.2} nats a word");
    println!("of the best that there can be:     {:.2}", generated::entropy_rate());
}

fn validation(outcome: &Outcome) -> f64 {
    outcome.validation
}

fn each_seed(chapter: &Chapter, four: &[Contestant]) {
    chapter.section("One seed at a time");
    let show = |name: &str, numbers: &[f64]| {
        print!("{name:<26}");
        numbers.iter().for_each(|number| print!("{number:>8.3}"));
        println!("{:>12.3}", Spread::of(numbers.iter().copied()).deviation.unwrap_or(0.0));
    };
    print!("validation loss, seed     ");
    SEEDS.iter().for_each(|seed| print!("{seed:>8}"));
    println!("   deviation");
    for contestant in four {
        show(&contestant.name, &contestant.of(validation));
    }
    println!("less the {}'s", four[0].name);
    for contestant in &four[1..] {
        show(&contestant.name, &contestant.less(&four[0], validation));
    }
}

impl Contestant {
    /// A number of each of its models, seed by seed.
    fn of(&self, number: impl Fn(&Outcome) -> f64) -> Vec<f64> {
        self.outcomes.iter().map(number).collect()
    }

    /// The same less that of another contestant's model of the same seed.
    fn less(&self, other: &Contestant, number: impl Fn(&Outcome) -> f64) -> Vec<f64> {
        let pairs = self.outcomes.iter().zip(&other.outcomes);
        pairs.map(|(one, other)| number(one) - number(other)).collect()
    }
}

// ANCHOR: paired
/// The mean of the differences, and how far they lie apart.
fn paired(one: &Contestant, other: &Contestant, number: impl Fn(&Outcome) -> f64) -> Spread {
    Spread::of(one.less(other, number))
}

/// A difference, its 95 % interval, and how likely one as large is by chance.
fn shown(difference: &Spread) -> String {
    let [least, most] = difference.interval().unwrap_or([f64::NAN; 2]);
    let chance = difference.chance().unwrap_or(f64::NAN);
    format!("{:>+7.3}  {least:>+7.3} to {most:>+6.3}  {chance:>7.4}", difference.mean)
}
// ANCHOR_END: paired

fn differences(chapter: &Chapter, title: &str, all: &[Contestant]) {
    chapter.section(title);
    println!("validation loss           mean      less     95 % interval        p");
    for contestant in all {
        let mean = Spread::of(contestant.of(validation)).mean;
        print!("{:<22}{mean:>8.3}   ", contestant.name);
        match contestant.name == all[0].name {
            true => println!("the baseline"),
            false => println!("{}", shown(&paired(contestant, &all[0], validation))),
        }
    }
}

/// The mean of the last losses up to each step.
fn smooth(losses: &[f64], window: usize) -> Vec<f64> {
    let mean = |end: usize| {
        let last = &losses[end.saturating_sub(window)..end];
        last.iter().sum::<f64>() / last.len() as f64
    };
    (1..=losses.len()).map(mean).collect()
}

/// A line through means, with a band as far as these can be off: half of the 95 % interval.
fn band(name: &str, spreads: impl Iterator<Item = (f64, Spread)>) -> Line {
    let (mut points, mut spread) = (Vec::new(), Vec::new());
    for (x, of) in spreads {
        points.push((x, of.mean));
        spread.push(of.interval().map_or(0.0, |[_, most]| most - of.mean));
    }
    Line { spread, ..Line::new(name, points) }
}

/// The losses of a contestant less the baseline's on the same batches, smoothed, step by step.
fn relative_loss(chapter: &Chapter, four: &[Contestant]) {
    let (steps, window) = (four[0].outcomes[0].losses.len(), chapter.pick(50, 4));
    let less = |(one, base): (&Outcome, &Outcome)| {
        let differences = one.losses.iter().zip(&base.losses).map(|(one, base)| one - base);
        smooth(&differences.collect::<Vec<f64>>(), window)
    };
    let curve = |contestant: &Contestant| {
        let pairs = contestant.outcomes.iter().zip(&four[0].outcomes);
        let of_seeds: Vec<Vec<f64>> = pairs.map(less).collect();
        let at = |step: usize| Spread::of(of_seeds.iter().map(|of_seed| of_seed[step]));
        let shown = (window - 1..steps).step_by(chapter.pick(10, 1));
        band(&contestant.name, shown.map(|step| (step as f64 + 1.0, at(step))))
    };
    let curves: Vec<Line> = four.iter().map(curve).collect();
    let title = "Training loss less the Transformer's, step by step";
    chapter.picture("12_loss.svg", &lines(title, "step", "nats a word", &curves));
}

/// What is measured, what it is called, and whether it has a number for the embedding too.
const MEASURED: [(&str, &str, &str); 4] = [
    ("token_similarity", "token similarity", "12_similarity.svg"),
    ("attention_concentration", "attention concentration", "12_concentration.svg"),
    ("first_token_importance", "share of the first token", "12_share.svg"),
    ("value_drain", "value of the first token", "12_values.svg"),
];

/// What was measured in a block, or at the embedding, which comes first where there is a number for it.
fn in_block(name: &str, outcome: &Outcome, place: usize) -> f64 {
    outcome.measured.get(name).map_or(f64::NAN, |numbers| numbers[place])
}

fn inside(chapter: &Chapter, four: &[Contestant]) {
    let places = |name: &str| four[0].outcomes[0].measured.get(name).map_or(0, <[f64]>::len);
    chapter.section("Inside");
    print!("in the last block       {:>12}", four[0].name);
    four[1..].iter().for_each(|other| print!("{:>18}", format!("{} less it", other.name)));
    println!();
    for (name, title, _) in MEASURED {
        let last = |outcome: &Outcome| in_block(name, outcome, places(name) - 1);
        print!("{title:<24}{:>12.3}", Spread::of(four[0].of(last)).mean);
        for other in &four[1..] {
            let difference = paired(other, &four[0], last);
            let half = difference.interval().map_or(f64::NAN, |[_, most]| most - difference.mean);
            print!("{:>18}", format!("{:+.3} ± {half:.3}", difference.mean));
        }
        println!();
    }
    chapter.section("Inside, block by block");
    for (name, title, picture) in MEASURED {
        let curve = |contestant: &Contestant| {
            let at = |place: usize| Spread::of(contestant.of(|one| in_block(name, one, place)));
            let first = 1 + LAYERS - places(name); // The embedding counts as block 0.
            band(&contestant.name, (0..places(name)).map(|i| ((first + i) as f64, at(i))))
        };
        let curves: Vec<Line> = four.iter().map(curve).collect();
        chapter.picture(picture, &lines(title, "block", title, &curves));
    }
}
