//! A folder as Hugging Face's, of a small language model that nobody trained.

use neutreno::data::{PretrainedTokenizer, decode};
use neutreno::engine::checkpoint::Metadata;
use neutreno::engine::random::Key;
use neutreno::engine::{Device, Ids, Parameters};
use neutreno::{LanguageModel, LanguageModelConfig};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

pub const CONTEXT: usize = 32;

/// Its tokens are letters and two special ones.
pub struct Folder {
    folder: TempDir,
    pub model: LanguageModel,
    pub tokenizer: PretrainedTokenizer,
}

const SPECIAL: [&str; 2] = ["<end>", "<turn>"];
pub const TEMPLATE: &str = "{% for message in messages %}\n{{ '<turn>' + message.role[0] + ' ' + \
    message.content + '<end>' }}\n{%- endfor %}\n{% if add_generation_prompt %}<turn>a {% endif %}";

impl Folder {
    pub fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let letters = (' '..='~').filter(|letter| !"<>".contains(*letter)).map(String::from);
        let tokens: Vec<String> = SPECIAL
            .iter()
            .map(|token| (*token).to_owned())
            .chain(letters)
            .chain(["?".repeat(2)])
            .collect();
        let vocabulary: serde_json::Map<String, Value> = tokens
            .iter()
            .zip(0..)
            .map(|(token, id): (_, u32)| (token.clone(), id.into()))
            .collect();
        let special = |id: usize| {
            json!({"id": id, "content": SPECIAL[id], "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        };
        let tokenizer = json!({
            "version": "1.0", "added_tokens": [special(0), special(1)],
            "normalizer": null, "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "Fuse"},
            "model": {"type": "BPE", "unk_token": "??", "vocab": vocabulary, "merges": []}
        })
        .to_string();
        write(folder.path(), "tokenizer.json", &tokenizer);
        let config = LanguageModelConfig::new(tokens.len(), 32, 3, 2, CONTEXT);
        write(folder.path(), "config.json", serde_json::to_string(&config).unwrap());
        let build = |builder: &mut _| LanguageModel::new(&config, builder);
        let (model, parameters) = Parameters::build(&Device::cpu(), 1, build);
        // Weights that are large enough to make tokens depend on what stands before.
        for (name, tensor) in parameters.iter().filter(|(name, _)| name.ends_with("proj.weight")) {
            tensor.overwrite(&Key::new(2).named(name).normals(tensor.elements(), 0.0, 0.4));
        }
        parameters.save(&folder.path().join("model.safetensors"), &Metadata::new()).unwrap();
        Folder { folder, model, tokenizer: tokenizer.parse().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        write(self.path(), name, text);
    }

    /// The likeliest tokens after a text, found without a cache and without the program.
    pub fn likeliest(&self, prompt: &str, count: usize) -> Vec<u32> {
        let mut tokens = self.tokenizer.encode(prompt, true).unwrap();
        let first = tokens.len();
        while tokens.len() < first + count {
            let ids = Ids::new(tokens.clone(), [1, tokens.len()]);
            let logits = self.model.next_logits(&ids, &[tokens.len() - 1]).to_vec().unwrap();
            let largest = (0..).zip(logits).max_by(|(_, a), (_, b)| a.total_cmp(b));
            tokens.push(largest.unwrap().0);
        }
        tokens.split_off(first)
    }

    pub fn text(&self, ids: &[u32]) -> String {
        decode(&self.tokenizer, ids)
    }
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    fs::write(folder.join(name), text).expect("a file");
}
