//! What a run shows while it goes on: one progress line on a terminal, a few plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use neutreno::report::{VariantSummary, bytes, duration, label, thousands};
use neutreno::training::{Observer, Started, Step};
use std::io::IsTerminal;

/// Shows a run on standard error.
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
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
        Progress { bar, quiet }
    }

    /// Shows a line above the progress line.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }
}

impl Observer for Progress {
    fn notice(&mut self, line: &str) {
        self.line(line);
    }

    fn started(&mut self, model: &Started) {
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
            "step {}/{}  loss {:.3}  {} tokens/s  {} left",
            step.step,
            step.steps,
            step.loss,
            thousands(step.tokens_per_second as u64),
            duration(step.seconds_left),
        ));
    }

    fn evaluated(&mut self, step: u64, loss: f64, perplexity: f64) {
        self.line(&format!(
            "  step {step:>6}: validation loss {loss:.3}, perplexity {perplexity:.1}"
        ));
    }

    fn sample(&mut self, _step: u64, text: &str) {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.line(&format!("  it writes: {text}"));
    }

    fn finished(&mut self, summary: &VariantSummary) {
        self.bar.finish_and_clear();
        let how = if summary.finished { "done" } else { "stopped early" };
        self.line(&format!(
            "  {how} after {} at {} tokens/s",
            duration(summary.wall_seconds),
            thousands(summary.tokens_per_second as u64)
        ));
    }
}
