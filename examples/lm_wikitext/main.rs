//! Trains language models of the four variants on WikiText and compares them.
//!
//! `cargo run --release --example lm_wikitext -- --help` tells what it can do.

mod arguments;
#[path = "../common/mod.rs"]
mod common;

use arguments::Arguments;
use common::interrupts;
use common::program::{Result, open_device, train};
use common::progress::Progress;
use common::text::{describe_tokens, tokenizer_of};
use neutreno::VariantConfig;
use neutreno::data::Source;
use neutreno::data::lookup::Lookup;
use neutreno::tasks::language::LanguageModelling;
use std::process::ExitCode;

fn main() -> ExitCode {
    common::program::main(|arguments: &Arguments| &arguments.common.machine, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    let interrupted = interrupts::catch()?;
    let common = &arguments.common;
    // Whatever is wrong with the flags comes out before anything is loaded.
    let (sizes, _) = arguments.settings("tiny")?;
    let variants = common.what.variants(sizes.layers, VariantConfig::new)?;
    let mut progress = Progress::new(common.output.quiet);
    let device = open_device(&common.machine, &progress)?;
    let (offline, require_real) = (arguments.offline, arguments.require_real_text);
    let how = Lookup { offline, require_real, ..Lookup::default() };
    let find = || arguments.text.find(how, common.output.resume.as_deref(), &progress);
    let corpus = progress.during("reading the text", find)?;
    let usual = if matches!(corpus.source, Source::Generated(_)) { "generated" } else { "tiny" };
    let (sizes, settings) = arguments.settings(usual)?;
    let of_run = tokenizer_of(common.output.resume.as_deref())?;
    let task = progress.during("cutting the text into tokens", || match of_run {
        Some(tokenizer) => Ok(LanguageModelling::with_tokenizer(&corpus, tokenizer, sizes)),
        None => LanguageModelling::new(&corpus, arguments.tokenizer(usual, &corpus), sizes),
    })?;
    describe_tokens(&task, &progress);
    train(&task, settings, &variants, common, device, &mut progress, interrupted)
}
