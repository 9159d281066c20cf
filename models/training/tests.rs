//! Training on a disk that fails.

use super::language::{LanguageModelling, LanguageSettings};
use super::{Comparison, Error, Safety, Settings, Silent};
use crate::data::corpus::{Corpus, Source, Splits};
use crate::data::tokenizer::TokenizerChoice;
use crate::engine::Device;
use crate::report::disk::faults;
use crate::{Variant, VariantConfig};
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn task() -> LanguageModelling {
    let sizes = LanguageSettings {
        layers: 2,
        width: 4,
        heads: 1,
        context: 8,
        evaluation_tokens: 20,
        final_evaluation_tokens: Some(20),
        ..LanguageSettings::preset("tiny").expect("a preset").0
    };
    let text = || "a few words, again and again\n".repeat(10);
    let corpus = Corpus {
        name: "a few words".into(),
        source: Source::Generated(0),
        official_words: false,
        splits: Splits { train: text(), validation: text(), test: text() },
        hashes: Splits { train: String::new(), validation: String::new(), test: String::new() },
        entropy: None,
    };
    LanguageModelling::new(&corpus, TokenizerChoice::Bytes, sizes).expect("a corpus")
}

/// Trains in `parent`/run, or goes on with what is there.
fn train(task: &LanguageModelling, parent: &Path, device: &Device) -> Result<(), Error> {
    let run = parent.join("run");
    let settings = Settings {
        batch: 1,
        steps: 2,
        evaluate_every: 1,
        sample_every: 0,
        ..LanguageSettings::preset("tiny").expect("a preset").1
    };
    let comparison = Comparison {
        task,
        variants: &[VariantConfig::new(Variant::Resformer)],
        seeds: &[1],
        settings,
        minutes: None,
        device,
        parent: parent.into(),
        name: Some("run".into()),
        resume: run.exists().then_some(run),
        safety: Safety { checkpoint_steps: 1, ..Safety::default() },
        arguments: Vec::new(),
        started: "2031-05-07T09:30:00Z".into(),
        interrupted: &AtomicBool::new(false),
    };
    comparison.run(&mut Silent).map(|_| ())
}

/// Whatever fails on the disk, once or from then on: an error that names a file, no panic, and what
/// was there can be gone on with to the same bits.
#[test]
fn a_disk_that_fails_loses_nothing() {
    let (task, device) = (task(), Device::cpu_with_threads(1));
    let weights = |parent: &Path| {
        fs::read(parent.join("run/resformer-seed1/model.safetensors")).expect("trained weights")
    };
    let whole = tempfile::tempdir().unwrap();
    faults::plan(whole.path(), u64::MAX, 0);
    train(&task, whole.path(), &device).unwrap();
    let operations = faults::end(whole.path());
    assert!(operations > 50, "{operations}");
    println!("{operations} writes, syncs, renames, and folders made or removed");
    for first in 0..operations {
        // Once, and at some places from then on.
        let kinds = if first % 3 == 0 { &[1, u64::MAX][..] } else { &[1] };
        for &times in kinds {
            let parent = tempfile::tempdir().unwrap();
            faults::plan(parent.path(), first, times);
            let result = train(&task, parent.path(), &device);
            faults::end(parent.path());
            if let Err(error) = result {
                let said = error.to_string();
                assert!(said.contains("no space left on the disk"), "{first}: {said}");
            }
            train(&task, parent.path(), &device).unwrap_or_else(|e| panic!("{first}: {e}"));
            assert!(weights(parent.path()) == weights(whole.path()), "{first}");
        }
    }
}
