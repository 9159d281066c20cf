//! Which text to learn from, for the programs that take text.

use super::arguments::{meant, place};
use super::program::Result;
use super::progress::Progress;
use super::resume;
use clap::Args;
use neutreno::data::corpus::{self, Corpus};
use neutreno::data::lookup::{Lookup, cache_folder, lookup};
use neutreno::data::tokenizer::{Tokenizer, TokenizerChoice, TokenizerError};
use neutreno::data::{Source, Splits};
use neutreno::report::{MANY_UNKNOWN, thousands};
use neutreno::run::RunFolder;
use neutreno::tasks::language::LanguageModelling;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The flag.
#[derive(Debug, Args)]
pub struct Text {
    /// Folder with wiki.{train,valid,test}.tokens (or .raw, or {train,valid,test}.txt; valid may be
    /// validation, val or dev, and test may be missing), or any text file, or - for a pipe: one
    /// text is split 90/5/5 [default: WikiText-2 from the cache or the network, else generated
    /// text]
    #[arg(long, value_name = "DIR", value_parser = place())]
    data: Option<PathBuf>,
}

impl Text {
    /// Finds it, by the rules of `how`, or in the run to go on with, and says where.
    ///
    /// # Errors
    /// If what was asked for is not there.
    pub fn find(&self, how: Lookup, run: Option<&Path>, progress: &Progress) -> Result<Corpus> {
        let kept = run.and_then(|run| RunFolder::open(run).ok()).and_then(|run| run.kept_text());
        let (corpus, notices) = match (&self.data, kept) {
            // What came through a pipe is there no more.
            (Some(data), Some(kept)) if !corpus::can_be_read_again(data) => {
                (Corpus::read(&kept)?.passed_through(data), Vec::new())
            }
            _ => lookup(&Lookup { data: self.data.clone(), ..how })?,
        };
        notices.iter().for_each(|notice| progress.line(notice));
        describe(&corpus, progress);
        Ok(corpus)
    }
}

fn describe(corpus: &Corpus, progress: &Progress) {
    let words = |text: &String| thousands(text.split_whitespace().count() as u64);
    let Splits { train, validation, test } = corpus.splits.as_ref().map(words);
    progress.line(&format!(
        "text: {} ({}): {train} words to learn from, {validation} for validation, {test} for the test",
        corpus.name, corpus.source,
    ));
    if !corpus.parts.is_empty() {
        progress.line(&format!("  {}", corpus.parts));
    }
    if matches!(corpus.source, Source::Pipe(_)) {
        progress.line(
            "  it came through a pipe, which can be read only once: the run keeps a copy, text.txt, \
             to go on with",
        );
    }
}

/// Which tokenizer, as typed: one to make, or one that is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerName {
    Made(TokenizerChoice),
    File(PathBuf),
}

impl FromStr for TokenizerName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<TokenizerName, String> {
        if is_tokenizer_file(text) {
            let path = PathBuf::from(text);
            meant(&path)?;
            return Ok(TokenizerName::File(path));
        }
        let choice = text.parse().map(TokenizerName::Made);
        choice.map_err(|error: TokenizerError| format!("{error}; or a file, tokenizer.json"))
    }
}

/// Whether what was typed is the place of a file and no kind of tokenizer.
pub fn is_tokenizer_file(text: &str) -> bool {
    text.ends_with(".json") || text.contains(std::path::is_separator)
}

/// A tokenizer that is there already: that of the run to go on with, read from its folder, or the one in a
/// file. `None` where it is to be made: for a new run, and where `--tokenizer` is typed again, and must come
/// out the same.
///
/// # Errors
/// If it cannot be read, or is not what the run wrote or began with.
pub fn tokenizer_of(
    run: Option<&Path>,
    typed: Option<&TokenizerName>,
) -> Result<Option<Tokenizer>> {
    let now: Vec<OsString> = std::env::args_os().collect();
    let again = resume::value(&now, "--tokenizer").is_some();
    let run = run.map(RunFolder::open).transpose()?;
    if let Some(run) = &run {
        run.check_files()?;
        if !again {
            return Ok(Some(Tokenizer::load(run.tokenizer_json())?));
        }
    }
    let Some(TokenizerName::File(path)) = typed else { return Ok(None) };
    let tokenizer = Tokenizer::load(path)?;
    if let Some(run) = run
        && fs::read(path).ok() != fs::read(run.tokenizer_json()).ok()
    {
        return Err(format!(
            "--tokenizer {} is not the tokenizer that {} began with; leave it out, or begin a new run",
            path.display(),
            run.path().display()
        )
        .into());
    }
    Ok(Some(tokenizer))
}

/// A new tokenizer for a text. Byte pairs of a long one are kept in the cache, and learnt once.
///
/// # Errors
/// If the text has nothing to learn from.
pub fn new_tokenizer(
    choice: TokenizerChoice,
    corpus: &Corpus,
    progress: &Progress,
) -> std::result::Result<Tokenizer, TokenizerError> {
    let text = &corpus.splits.train;
    let Some(cache) = cache_folder() else { return choice.build(text) };
    let (tokenizer, problem) = choice.build_kept(text, &cache.join("byte-pairs"))?;
    problem.iter().for_each(|problem| progress.line(problem));
    Ok(tokenizer)
}

/// Says what the tokens are, and what that does to scores.
pub fn describe_tokens(task: &LanguageModelling, progress: &Progress) {
    let Splits { train, validation, test } =
        task.texts.as_ref().map(|text| thousands(text.tokens.len() as u64));
    progress.line(&format!(
        "tokens: {}, {} different; {train} to learn from, {validation} for validation, {test} for \
         the test",
        task.tokenizer.name(),
        thousands(task.tokenizer.vocabulary() as u64),
    ));
    let Splits { validation, test, .. } = task.texts.as_ref().map(|text| text.unknown_share());
    if validation.max(test) > MANY_UNKNOWN {
        progress.line(&format!(
            "  {:.1} % of the tokens for validation and {:.1} % of those for the test are words that \
             the text to learn from does not have. All of them count as one, <unk>, so these \
             perplexities will compare with no others; --tokenizer bytes or bpe:4000 knows every word",
            100.0 * validation,
            100.0 * test
        ));
    }
}
