//! Writing: tokens become text, until a text is at its end.

use crate::common::language_models::AnyTokenizer;
use neutreno::data::{StopTexts, TextStream};
use neutreno::engine::Result;
use neutreno::language::{End, Generation};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What was written for one prompt.
#[derive(Clone, Debug)]
pub struct Written {
    pub text: String,
    /// All tokens, with the one that ended it.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub ended: &'static str,
}

/// How fast it went, of all prompts together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speed {
    /// Tokens of prompts that went through the model, and the seconds that it took.
    pub read: (usize, f64),
    /// Tokens written after the first ones, which come with the prompts, and the seconds.
    pub written: (usize, f64),
    /// All tokens written.
    pub tokens: usize,
}

impl Speed {
    pub const fn reading(&self) -> Option<f64> {
        rate(self.read)
    }

    pub fn add(&mut self, other: &Speed) {
        let sum = |a: (usize, f64), b: (usize, f64)| (a.0 + b.0, a.1 + b.1);
        self.read = sum(self.read, other.read);
        self.written = sum(self.written, other.written);
        self.tokens += other.tokens;
    }

    pub const fn writing(&self) -> Option<f64> {
        rate(self.written)
    }
}

const fn rate((tokens, seconds): (usize, f64)) -> Option<f64> {
    if tokens > 0 && seconds > 0.0 { Some(tokens as f64 / seconds) } else { None }
}

/// One text on its way.
struct Text<'a> {
    stream: Option<TextStream<'a, AnyTokenizer>>,
    stop: StopTexts,
    written: Written,
}

impl Text<'_> {
    /// Takes in what is let through.
    fn take(&mut self, piece: &str) -> String {
        let shown = self.stop.push(piece);
        self.written.text.push_str(&shown);
        shown
    }

    /// The rest of it, at its end.
    fn finish(&mut self) -> String {
        let rest = self.stream.take().map(TextStream::finish).unwrap_or_default();
        let mut shown = self.take(&rest);
        let held = self.stop.finish();
        self.written.text.push_str(&held);
        shown.push_str(&held);
        shown
    }
}

/// What a writer is told.
pub struct Orders<'a> {
    pub tokenizer: &'a AnyTokenizer,
    /// Texts to stop at.
    pub stop: &'a [String],
    /// Becomes true when someone wants it to end.
    pub interrupted: &'a AtomicBool,
    /// Is given what is written as it comes: of which text, and the piece. False if nobody reads.
    pub show: &'a (dyn Fn(usize, &str) -> bool + Sync),
}

/// Goes on with the texts of a generation, which were added and not read yet, to their ends.
///
/// # Errors
/// If the device fails.
pub fn write(generation: &mut Generation, orders: &Orders) -> Result<(Vec<Written>, Speed)> {
    let texts = generation.cache().lengths().len();
    let unread = |generation: &Generation| -> usize {
        let lengths = generation.cache().lengths().iter();
        (0..texts).zip(lengths).map(|(text, read)| generation.tokens(text).len() - read).sum()
    };
    let mut speed = Speed { read: (unread(generation), 0.0), ..Speed::default() };
    let mut all: Vec<Text> = (0..texts)
        .map(|text| Text {
            stream: Some(TextStream::after(generation.tokens(text), orders.tokenizer)),
            stop: StopTexts::new(orders.stop),
            written: Written { text: String::new(), ids: Vec::new(), ended: "interrupted" },
        })
        .collect();
    let mut is_read = true;
    let interrupted = || orders.interrupted.load(Ordering::Relaxed);
    let started = Instant::now();
    while !interrupted() && generation.read()? > 0 {}
    speed.read.1 = started.elapsed().as_secs_f64();
    speed.read.0 -= unread(generation);
    let mut first = true;
    let mut started = Instant::now();
    while is_read && !interrupted() {
        let written = generation.write()?;
        if written.is_empty() {
            break;
        }
        for (text, token) in &written {
            is_read &= take(&mut all[*text], *text, *token, generation, orders);
        }
        speed.tokens += written.len();
        if first {
            // The first tokens were there with the prompts.
            (first, started) = (false, Instant::now());
        } else {
            speed.written.0 += written.len();
            speed.written.1 = started.elapsed().as_secs_f64();
        }
    }
    for (number, text) in all.iter_mut().enumerate() {
        finish(text, number, generation, orders);
    }
    Ok((all.into_iter().map(|text| text.written).collect(), speed))
}

/// Takes in a token that was written. False if nobody reads any more.
fn take(
    text: &mut Text,
    number: usize,
    token: u32,
    generation: &mut Generation,
    orders: &Orders,
) -> bool {
    text.written.ids.push(token);
    // The token that ends a text is no part of it.
    let is_text = generation.end(number) != Some(End::EndToken);
    let piece = text.stream.as_mut().filter(|_| is_text).map(|stream| stream.push(token));
    let shown = text.take(&piece.unwrap_or_default());
    if text.stop.found() {
        generation.stop(number);
        text.written.ended = "stop text";
    }
    shown.is_empty() || (orders.show)(number, &shown)
}

/// Ends a text.
fn finish(text: &mut Text, number: usize, generation: &Generation, orders: &Orders) {
    let rest = text.finish();
    if !rest.is_empty() {
        (orders.show)(number, &rest);
    }
    text.written.ended = match generation.end(number) {
        _ if text.stop.found() => "stop text",
        Some(End::EndToken) => "end token",
        Some(End::Tokens) => "tokens",
        Some(End::Full) => "context",
        Some(End::NoToken) => "no token",
        Some(End::Stopped) | None => "interrupted",
    };
}
