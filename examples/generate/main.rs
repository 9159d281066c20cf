//! Lets trained language models write, and talks with those that were taught to.
//!
//! `cargo run --release --example generate -- --help` tells what it can do.

mod arguments;
mod cache_table;
mod chat;
#[path = "../common/mod.rs"]
mod common;
mod lines;
mod prompts;
mod session;
mod writing;

use arguments::{Arguments, describe};
use common::program::{Result, open_device};
use common::progress::Progress;
use common::{interrupts, show};
use neutreno::engine::random::Key;
use neutreno::training::Error;
use prompts::Prompt;
use session::{Session, Told};
use std::process::ExitCode;
use writing::Speed;

fn main() -> ExitCode {
    common::program::main(|arguments: &Arguments| &arguments.machine, run)
}

fn run(arguments: &Arguments) -> Result<()> {
    interrupts::catch()?;
    interrupts::nothing_is_trained();
    let progress = Progress::new(arguments.quiet);
    if arguments.table.cache_table {
        let device = open_device(&arguments.machine, &progress)?;
        return cache_table::show(arguments, &device, &progress);
    }
    let (models, tokenizer) = arguments.models.find(&progress)?;
    let template = match arguments.prompts.chat {
        true => Some(chat::template(&models)?),
        false => None,
    };
    let prompts = match template {
        Some(_) => Vec::new(),
        None => prompts::find(&arguments.prompts)?,
    };
    let device = open_device(&arguments.machine, &progress)?;
    for found in &models {
        let loaded = arguments.models.load(found, &tokenizer, &device, &progress)?;
        let session =
            Session { arguments, found, loaded: &loaded, tokenizer: &tokenizer, device: &device };
        match &template {
            Some(template) => chat::chat(&session, template, &progress)?,
            None => complete(&session, &prompts, models.len() > 1, &progress)?,
        }
    }
    Ok(())
}

/// Goes on with each prompt, and shows what was written: as it comes where there is only one.
fn complete(
    session: &Session,
    prompts: &[Prompt],
    headings: bool,
    progress: &Progress,
) -> Result<()> {
    const USUAL_TOKENS: usize = 200;
    let Session { arguments, found, .. } = *session;
    let settings = session.settings(USUAL_TOKENS)?;
    let prompts = session.tokens(prompts)?;
    let context = session.context(&prompts, settings.tokens)?;
    let seed = arguments.writing.seed;
    progress.line(&format!("  {}, seed {seed}", describe(&settings.sampling)));
    let several = prompts.len() > 1;
    let heading = |number: usize| {
        let model = headings.then(|| found.name.clone());
        let prompt = several.then(|| format!("prompt {}", number + 1));
        let parts: Vec<String> = model.into_iter().chain(prompt).collect();
        (!parts.is_empty()).then(|| format!("== {} ==", parts.join(", ")))
    };
    let streams = !several && !arguments.json;
    let mut total = Speed::default();
    let mut number = 0;
    for group in prompts.chunks(arguments.prompts.batch) {
        let keys = (number..number + group.len()).map(|number| Key::new(seed).fold(number as u64));
        let mut generation = session.begin(keys.collect(), context, &settings)?;
        let pieces: Vec<&[u32]> = group.iter().map(|(_, tokens)| tokens.as_slice()).collect();
        generation.add(&pieces);
        if let Some(heading) = heading(number).filter(|_| streams) {
            show::result(heading);
        }
        let show = |_: usize, piece: &str| !streams || show::piece(piece);
        let (written, speed) = session.write(&mut generation, &show)?;
        total.add(&speed);
        for (text, ((prompt, ids), written)) in group.iter().zip(&written).enumerate() {
            if arguments.json {
                let told = Told {
                    prompt: &prompt.text,
                    prompt_ids: ids,
                    written,
                    number: number + 1,
                    speed: &speed,
                };
                show::json(&session.json(&told, &settings, generation.cache()));
            } else if streams {
                show::piece("\n");
            } else {
                show::result(heading(number).unwrap_or_default());
                show::result(&written.text);
            }
            let what = if several { format!("prompt {}: ", number + 1) } else { String::new() };
            session.tell_end(&what, written, generation.cache(), text, progress);
            number += 1;
        }
        let interrupted = written.iter().any(|written| written.ended == "interrupted");
        if interrupted || number == prompts.len() {
            session.report(&total, generation.cache(), progress);
        }
        if interrupted {
            return if interrupts::came() { Err(Error::Interrupted.into()) } else { Ok(()) };
        }
    }
    Ok(())
}
