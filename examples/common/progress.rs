//! What a run shows while it goes on: one progress line on a terminal, a few plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use neutreno::report::{bytes, describe, duration, escaped, label, thousands};
use neutreno::run::{Values, VariantSummary};
use neutreno::training::{Observer, Started, Step};
use std::io::IsTerminal;

/// Shows a run on standard error.
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    /// What speed is counted in.
    unit: &'static str,
}

impl Progress {
    /// Nothing is shown if `quiet`, and no moving line where no terminal would show it.
    pub fn new(quiet: bool) -> Progress {
        let bar = ProgressBar::hidden();
        if !quiet && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        let style = ProgressStyle::with_template("{prefix} {bar:24} {msg}")
            .expect("the template is sound")
            .progress_chars("━━─");
        bar.set_style(style);
        Progress { bar, quiet, unit: "example" }
    }

    /// Shows a line above the progress line.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            // Names, data and what models write may hold anything.
            self.bar.suspend(|| eprintln!("{}", escaped(text)));
        }
    }
}

impl Observer for Progress {
    fn notice(&mut self, line: &str) {
        self.line(line);
    }

    fn started(&mut self, model: &Started) {
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
        self.bar.set_message(format!(
            "step {}/{}  loss {:.3}  {} {}s/s  {} left",
            step.step,
            step.steps,
            step.loss,
            thousands(step.units_per_second as u64),
            self.unit,
            duration(step.seconds_left),
        ));
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
        let how = if summary.finished { "done" } else { "stopped early" };
        self.line(&format!(
            "  {how} after {} at {} {}s/s",
            duration(summary.wall_seconds),
            thousands(summary.number(&format!("{}s_per_second", self.unit)) as u64),
            self.unit,
        ));
    }
}
