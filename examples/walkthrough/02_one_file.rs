//! Chapter 2: a transformer, its training and its writing in plain Rust: `rustc -O 02_one_file.rs`.

use std::cell::{Cell, RefCell};

// ---- Derivatives: chapter 1's tape. Each number has two inputs, so all take the same room. ----

type Value = usize; // a number's place on the tape

#[derive(Clone, Copy)]
struct Node {
    value: f64,
    gradient: f64,
    inputs: [(Value, f64); 2], // places and slopes; a slope of 0 where there is no input
}

thread_local! { static TAPE: RefCell<Vec<Node>> = const { RefCell::new(Vec::new()) }; }

fn new(value: f64, inputs: [(Value, f64); 2]) -> Value {
    TAPE.with_borrow_mut(|tape| {
        tape.push(Node { value, gradient: 0.0, inputs });
        tape.len() - 1
    })
}

fn get(x: Value) -> f64 {
    TAPE.with_borrow(|tape| tape[x].value)
}

fn plus(a: Value, b: Value) -> Value {
    new(get(a) + get(b), [(a, 1.0), (b, 1.0)])
}

fn times(a: Value, b: Value) -> Value {
    new(get(a) * get(b), [(a, get(b)), (b, get(a))])
}

// ANCHOR: map
/// A function of x, by the function and its derivative.
fn map(x: Value, f: fn(f64) -> f64, derivative: fn(f64) -> f64) -> Value {
    new(f(get(x)), [(x, derivative(get(x))), (0, 0.0)])
}
// ANCHOR_END: map

/// Adds to each gradient the slope of the last number on the tape.
fn backward() {
    TAPE.with_borrow_mut(|tape| {
        tape.last_mut().expect("a number to go back from").gradient = 1.0;
        for place in (0..tape.len()).rev() {
            let Node { gradient, inputs, .. } = tape[place];
            inputs.iter().for_each(|(input, slope)| tape[*input].gradient += gradient * slope);
        }
    });
}

// ---- Data: names of a made-up language. ----

thread_local! { static BITS: Cell<u64> = const { Cell::new(1) }; }

/// A number from 0 to 1 (Knuth's linear congruential generator for MMIX).
fn random() -> f64 {
    let bits = BITS.get().wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    BITS.set(bits);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

// ANCHOR: names
/// Two or three syllables, all with vowels of "ao" or all of "ei", and the first letter once more.
fn make_name() -> String {
    let pick = |letters: &[&'static str]| letters[(random() * letters.len() as f64) as usize];
    let vowels = if random() < 0.5 { ["a", "o"] } else { ["e", "i"] };
    let syllable = || pick(&["b", "d", "k", "l", "m", "n", "s", "t"]).to_owned() + pick(&vowels);
    let third = if random() < 0.5 { syllable() } else { String::new() };
    let name = syllable() + &syllable() + &third;
    format!("{name}{}", &name[..1])
}
// ANCHOR_END: names

const LETTERS: &str = ".aoeibdklmnst"; // the token of a letter is its place here
const TOKENS: usize = LETTERS.len();

fn tokens(text: &str) -> Vec<usize> {
    text.chars().filter_map(|letter| LETTERS.find(letter)).collect()
}

fn keeps_the_rules(name: &str) -> bool {
    let all = |start, of: &str| name.chars().skip(start).step_by(2).all(|x| of.contains(x));
    let is_framed = [5, 7].contains(&name.len()) && name[..1] == name[name.len() - 1..];
    is_framed && all(0, "bdklmnst") && (all(1, "ao") || all(1, "ei"))
}

// ---- The model: nine matrices of parameters, which stand first on the tape. ----

type Vector = Vec<Value>;
type Matrix = Vec<Vector>;

const LONGEST: usize = 12;
const WIDTH: usize = 16;
const HEADS: usize = 4;
const SIZE: usize = 4; // of a head: WIDTH / HEADS
const PARAMETERS: usize = WIDTH * (2 * TOKENS + LONGEST + 8 * WIDTH);

fn new_model() -> [Matrix; 9] {
    let [tokens, places, square] = [[TOKENS, WIDTH], [LONGEST, WIDTH], [WIDTH, WIDTH]];
    let [tall, wide] = [[2 * WIDTH, WIDTH], [WIDTH, 2 * WIDTH]];
    let row = |columns| (0..columns).map(|_| new(random() - 0.5, [(0, 0.0); 2])).collect();
    let matrix = |[rows, columns]: [usize; 2]| (0..rows).map(|_| row(columns)).collect();
    [tokens, places, square, square, square, square, tall, wide, tokens].map(matrix)
}

fn add(a: &[Value], b: &[Value]) -> Vector {
    a.iter().zip(b).map(|(a, b)| plus(*a, *b)).collect()
}

fn sum(terms: impl Iterator<Item = Value>) -> Value {
    terms.reduce(plus).expect("a sum of something")
}

fn dot(a: &[Value], b: &[Value]) -> Value {
    sum(a.iter().zip(b).map(|(a, b)| times(*a, *b)))
}

fn linear(weights: &[Vector], x: &[Value]) -> Vector {
    weights.iter().map(|row| dot(row, x)).collect()
}

// ANCHOR: pieces
/// The same direction, at a length of √WIDTH.
fn norm(x: &[Value]) -> Vector {
    let factor = map(dot(x, x), |s| 4.0 / s.sqrt(), |s| -2.0 / s.powf(1.5));
    x.iter().map(|x| times(*x, factor)).collect()
}

/// Shares of a whole: positive, 1 in sum, and larger where x is.
fn softmax(x: Vector) -> Vector {
    let powers: Vector = x.iter().map(|x| map(*x, f64::exp, f64::exp)).collect();
    let factor = map(sum(powers.iter().copied()), |s| 1.0 / s, |s| -1.0 / (s * s));
    powers.iter().map(|power| times(*power, factor)).collect()
}
// ANCHOR_END: pieces

/// After each of these tokens: how probable each is to be the next.
fn next(model: &[Matrix; 9], tokens: &[usize]) -> Matrix {
    TAPE.with_borrow_mut(|tape| tape.truncate(PARAMETERS)); // nothing else is needed any more
    // ANCHOR: attention
    let [letters, places, query, key, value, output, up, down, logits] = model;
    let embed = |(at, token): (usize, &usize)| add(&letters[*token], &places[at]);
    let mut stream: Matrix = tokens.iter().enumerate().map(embed).collect();

    // Attention: each place gathers what it needs from those up to it.
    let normed: Matrix = stream.iter().map(|x| norm(x)).collect();
    let each = |weights| -> Matrix { normed.iter().map(|x| linear(weights, x)).collect() };
    let [queries, keys, values] = [each(query), each(key), each(value)];
    for (at, x) in stream.iter_mut().enumerate() {
        let mut gathered = Vec::new();
        for head in 0..HEADS {
            let part = head * SIZE..(head + 1) * SIZE;
            let product = |key: &Vector| dot(&queries[at][part.clone()], &key[part.clone()]);
            let score = |key| map(product(key), |s| s / 2.0, |_| 1.0 / 2.0); // 2 = √SIZE
            let shares = softmax(keys[..=at].iter().map(score).collect());
            let mix = |i: usize| sum(shares.iter().zip(&values).map(|(p, v)| times(*p, v[i])));
            gathered.extend(part.clone().map(mix));
        }
        *x = add(x, &linear(output, &gathered));
    }
    // ANCHOR_END: attention

    // ANCHOR: feed_forward
    // Feed-forward: each place works on what it has.
    let relu = |x: Value| map(x, |x| x.max(0.0), |x| if x > 0.0 { 1.0 } else { 0.0 });
    for x in &mut stream {
        let inner: Vector = linear(up, &norm(x)).into_iter().map(relu).collect();
        *x = add(x, &linear(down, &inner));
    }
    stream.iter().map(|x| softmax(linear(logits, &norm(x)))).collect()
    // ANCHOR_END: feed_forward
}

// ANCHOR: loss
/// How surprising a name is: the sum of −ln(probability) over its letters and its end.
fn loss(model: &[Matrix; 9], name: &str) -> Value {
    let tokens = tokens(&format!(".{name}."));
    let shares = next(model, &tokens[..tokens.len() - 1]);
    let right = shares.iter().zip(&tokens[1..]).map(|(shares, token)| shares[*token]);
    sum(right.map(|share| map(share, |p| -p.ln(), |p| -1.0 / p)))
}
// ANCHOR_END: loss

/// A new name: each letter is drawn by its probability.
fn write(model: &[Matrix; 9]) -> String {
    let mut name = String::from(".");
    loop {
        let shares = next(model, &tokens(&name)).pop().expect("as many as tokens");
        let (mut token, mut left) = (TOKENS - 1, random());
        while token > 0 && left >= get(shares[token]) {
            left -= get(shares[token]);
            token -= 1;
        }
        if token == 0 || name.len() == LONGEST {
            return name.split_off(1);
        }
        name += &LETTERS[token..=token];
    }
}

/// Moves each parameter against its gradient, by a step of its own size (Adam, Kingma & Ba 2014).
fn adam(step: i32, rate: f64, moments: &mut [[f64; 2]]) {
    let [begun_1, begun_2] = [1.0 - 0.9_f64.powi(step), 1.0 - 0.95_f64.powi(step)];
    TAPE.with_borrow_mut(|tape| {
        for (node, [mean, square]) in tape.iter_mut().zip(moments) {
            // ANCHOR: adam
            *mean += 0.1 * (node.gradient - *mean);
            *square += 0.05 * (node.gradient * node.gradient - *square);
            node.value -= rate * (*mean / begun_1) / ((*square / begun_2).sqrt() + 1e-8);
            // ANCHOR_END: adam
            node.gradient = 0.0;
        }
    });
}

/// Prints the loss a letter on 100 new names, and how many of 100 that the model writes keep the rules.
fn judge(step: usize, model: &[Matrix; 9]) {
    let names: Vec<String> = (0..100).map(|_| make_name()).collect();
    let nats: f64 = names.iter().map(|name| get(loss(model, name))).sum();
    let nats = nats / names.iter().map(|name| name.len() + 1).sum::<usize>() as f64;
    let names: Vec<String> = (0..100).map(|_| write(model)).collect();
    let right = names.iter().filter(|name| keeps_the_rules(name)).count();
    println!("{step:4}  {nats:.3}  {right:3}    {}", names[..4].join(" "));
}

fn main() {
    let names: Vec<String> = (0..8).map(|_| make_name()).collect();
    println!("\n== The language ==\n\n{}", names.join(" "));
    println!("loss of a guess among {TOKENS} letters: {:.3}", (TOKENS as f64).ln());
    println!("loss of whoever knows the rules: {:.3}", 12.0 * 2_f64.ln() / 7.0);

    let model = new_model();
    let mut moments = vec![[0.0; 2]; PARAMETERS];
    println!("\n== Training ==\n\nstep  loss  right  names by the model");
    for step in 0..=2000 {
        if step % 200 == 0 {
            judge(step, &model);
        }
        for _ in 0..4 {
            loss(&model, &make_name());
            backward();
        }
        adam(step as i32 + 1, 0.01 * (1.0 - step as f64 / 2000.0), &mut moments);
    }
}
