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
use common::start::{describe_start, start};
use common::text::{describe_tokens, new_tokenizer, tokenizer_of};
use neutreno::VariantConfig;
use neutreno::data::Source;
use neutreno::data::lookup::Lookup;
use neutreno::ranks::Ranks;
use neutreno::tasks::language::LanguageModelling;
use std::process::ExitCode;

fn main() -> ExitCode {
    common::ranks::main(|arguments: &Arguments| arguments.common.flags(), run)
}

fn run(arguments: &Arguments, ranks: &dyn Ranks) -> Result<()> {
    interrupts::catch()?;
    let common = &arguments.common;
    // Whatever is wrong with the flags comes out before anything is loaded.
    arguments.check_start()?;
    let mut progress = Progress::of_training(&common.output, ranks);
    let resume = common.output.resume.as_deref();
    let start = start(&common.start, resume, &progress)?;
    let (start, its_tokenizer) = start.map_or((None, None), |(start, own)| (Some(start), own));
    let (sizes, _) = arguments.settings("tiny", start.as_ref())?;
    let variants = common.what.variants(sizes.layers, VariantConfig::new)?;
    arguments.check_warmup(&variants)?;
    let device = open_device(&common.machine, &progress)?;
    let (offline, require_real) = (arguments.offline, arguments.require_real_text);
    let how = Lookup { offline, require_real, ..Lookup::default() };
    let find = || arguments.text.find(how, resume, &progress);
    let corpus = progress.during("reading the text", find)?;
    let usual = if matches!(corpus.source, Source::Generated(_)) { "generated" } else { "tiny" };
    let (sizes, settings) = arguments.settings(usual, start.as_ref())?;
    let tokenizer = tokenizer_of(resume, arguments.tokenizer.as_ref())?.or(its_tokenizer);
    let task = progress.during("cutting the text into tokens", || match (start, tokenizer) {
        (Some(start), Some(own)) => {
            Ok(LanguageModelling::starting_from(start, &corpus, own, sizes))
        }
        (_, Some(tokenizer)) => Ok(LanguageModelling::with_tokenizer(&corpus, tokenizer, sizes)),
        (_, None) => new_tokenizer(arguments.tokenizer(usual, &corpus), &corpus, &progress)
            .map(|new| LanguageModelling::with_tokenizer(&corpus, new, sizes)),
    })?;
    describe_tokens(&task, &progress);
    describe_start(&task, &variants, &device, &progress)?;
    train(&task, settings, &variants, common, device, &mut progress, ranks)
}
