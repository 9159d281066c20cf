//! What a run shows while it goes on: one progress line on a terminal, a few plain lines elsewhere.

use super::arguments::Output;
use super::{interrupts, show};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use neutreno::ranks::Ranks;
use neutreno::report::{bytes, describe, duration, label, thousands};
use neutreno::run::{Values, VariantSummary};
use neutreno::training::{Observer, Started, Step};
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The columns of the bar that fills up.
const BAR: usize = 12;

/// Shows a run on standard error.
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    /// Whether the progress line is shown, which is while a model is trained.
    shows_steps: bool,
    /// What speed is counted in.
    unit: &'static str,
    /// How often a line says how far a model is, where no terminal shows a moving one, and when one last
    /// did.
    every: Duration,
    told: Instant,
}

impl Progress {
    /// Nothing is shown if `quiet`, and no moving line where no terminal would show it.
    pub fn new(quiet: bool) -> Progress {
        let bar = ProgressBar::hidden();
        if !quiet && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        let style = ProgressStyle::with_template(&format!("{{prefix}} {{bar:{BAR}}} {{wide_msg}}"));
        bar.set_style(style.expect("the template is sound").progress_chars("━━─"));
        let (every, told) = (Duration::from_secs(60), Instant::now());
        Progress { bar, quiet, shows_steps: false, unit: "example", every, told }
    }

    /// The same of a training program, as its flags say. Of several ranks, the first one shows it.
    pub fn of_training(output: &Output, ranks: &dyn Ranks) -> Progress {
        let every = Duration::from_secs(output.line_every);
        Progress { every, ..Progress::new(output.quiet || ranks.rank() > 0) }
    }

    /// Shows a line above the progress line.
    pub fn line(&self, text: &str) {
        match (self.quiet, self.shows_steps) {
            (true, _) => {}
            (false, true) => self.bar.suspend(|| show::note(text)),
            (false, false) => show::note(text),
        }
    }

    /// Does something that may take long before any model is trained, and shows for how long it has
    /// been at it: on a terminal each second, elsewhere once.
    pub fn during<R>(&self, what: &str, work: impl FnOnce() -> R) -> R {
        let (done, is_done) = channel::<()>();
        let show = move || self.show_until(&is_done, what);
        thread::scope(|scope| {
            // Where the system starts no more threads, nothing is shown meanwhile.
            let _ = thread::Builder::new().spawn_scoped(scope, show);
            let result = work();
            drop(done);
            result
        })
    }

    fn show_until(&self, done: &Receiver<()>, what: &str) {
        let goes_on = |wait| done.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
        if self.bar.is_hidden() {
            if goes_on(Duration::from_secs(5)) {
                self.line(&format!("{what} …"));
            }
            return;
        }
        let started = Instant::now();
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        line.set_style(ProgressStyle::with_template("{wide_msg}").expect("the template is sound"));
        while goes_on(Duration::from_secs(1)) {
            line.set_message(format!("{what} … {}", duration(started.elapsed().as_secs_f64())));
            line.tick();
        }
        line.finish_and_clear();
    }

    /// What there is to say about a step, the time left first.
    fn said(&self, step: &Step) -> [String; 4] {
        [
            format!("{} left", duration(step.seconds_left)),
            format!("step {}/{}", step.step, step.steps),
            format!("loss {:.3}", step.loss),
            format!("{} {}s/s", thousands(step.units_per_second as u64), self.unit),
        ]
    }

    /// As much of that as fits beside the bar.
    fn message(&self, step: &Step) -> String {
        let taken = self.bar.prefix().chars().count() + 1 + BAR + 1;
        let room = show::width().unwrap_or(80).saturating_sub(taken + 1);
        let mut message = String::new();
        for part in self.said(step) {
            let gap = if message.is_empty() { "" } else { "  " };
            if message.chars().count() + gap.len() + part.chars().count() > room {
                break;
            }
            message = format!("{message}{gap}{part}");
        }
        message
    }
}

impl Observer for Progress {
    fn notice(&mut self, line: &str) {
        self.line(line);
    }

    fn started(&mut self, model: &Started) {
        interrupts::training_begins();
        self.unit = model.unit;
        let seed = if model.seed == 1 { String::new() } else { format!(", seed {}", model.seed) };
        self.line(&format!(
            "\n[{}/{}] {}{seed}: {} parameters, {} steps, at most {} of memory",
            model.number,
            model.models,
            label(&model.variant),
            thousands(model.parameters),
            thousands(model.steps),
            bytes(model.planned_memory_bytes),
        ));
        self.shows_steps = true;
        self.told = Instant::now();
        self.bar.reset();
        self.bar.set_length(model.steps);
        self.bar.set_prefix(label(&model.variant));
    }

    fn step(&mut self, step: &Step) {
        if step.step == 1 {
            let gradients = step.parameters;
            self.line(&format!("  parameters that got a gradient: {gradients}/{gradients}"));
        }
        self.bar.set_position(step.step);
        self.bar.set_message(self.message(step));
        if self.bar.is_hidden() && self.told.elapsed() >= self.every {
            self.line(&format!("  {}", self.said(step).join("  ")));
            self.told = Instant::now();
        }
    }

    fn evaluated(&mut self, step: u64, scores: &Values) {
        self.line(&format!("  step {step:>6}: {}", describe(scores)));
    }

    fn sample(&mut self, _step: u64, text: &str) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.line(&format!("  it writes: {text}"));
    }

    fn finished(&mut self, summary: &VariantSummary) {
        self.bar.finish_and_clear();
        self.shows_steps = false;
        let how = if summary.finished { "done" } else { "stopped early" };
        self.line(&format!(
            "  {how} after {} at {} {}s/s",
            duration(summary.wall_seconds),
            thousands(summary.number(&format!("{}s_per_second", self.unit)) as u64),
            self.unit,
        ));
    }
}
