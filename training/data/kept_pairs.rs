//! Byte pairs that were learnt once are kept: learning them from a long text takes as long as a part of a
//! short run, and gives the same each time.

use super::bpe::{BytePairs, learnt_from};
use super::files::write_whole;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Pairs of a shorter text are learnt sooner than they are looked up and written.
const WORTH_KEEPING: usize = 1 << 20;

/// Changes with whatever makes other pairs of the same text.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), ", 1");

/// Byte pairs of a text, from a folder where they were kept, or learnt and put there. A file that is
/// damaged counts as none. Comes with a sentence where they cannot be kept.
///
/// # Errors
/// If they cannot be learnt.
pub fn byte_pairs(
    text: &str,
    vocabulary: usize,
    folder: &Path,
) -> Result<(BytePairs, Option<String>), String> {
    let beginning = learnt_from(text);
    if beginning.len() < WORTH_KEEPING {
        return Ok((BytePairs::train(text, vocabulary)?, None));
    }
    let path = place(folder, beginning, vocabulary);
    if let Some(pairs) = kept(&path) {
        return Ok((pairs, None));
    }
    let pairs = BytePairs::train(text, vocabulary)?;
    let json = pairs.to_json();
    let file = json!({ "sha256": hash(&[json.as_bytes()]), "tokenizer": json });
    let keep =
        fs::create_dir_all(folder).and_then(|()| write_whole(&path, file.to_string().as_bytes()));
    let problem = keep.err();
    let told = |error| format!("the byte pairs could not be kept in {}: {error}", folder.display());
    Ok((pairs, problem.map(told)))
}

/// Where the pairs of a text lie: under the hash of all that they are made from.
fn place(folder: &Path, text: &str, vocabulary: usize) -> PathBuf {
    let of = format!("{VERSION}, {vocabulary}: ");
    folder.join(format!("{}.json", hash(&[of.as_bytes(), text.as_bytes()])))
}

fn kept(path: &Path) -> Option<BytePairs> {
    let file: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let json = file["tokenizer"].as_str()?;
    let whole = file["sha256"] == hash(&[json.as_bytes()]);
    BytePairs::from_json(json.as_bytes()).ok().filter(|_| whole)
}

fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_learnt_once_for_each_text_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("byte-pairs");
        let files = || fs::read_dir(&kept).into_iter().flatten().count();
        let text = "the cat sat on the mat and the dog sat on the log\n".repeat(30_000);
        let learnt = |text: &str, size: usize| {
            let (pairs, problem) = byte_pairs(text, size, &kept).unwrap();
            assert_eq!(problem, None);
            pairs.to_json()
        };
        let fresh = BytePairs::train(&text, 270).unwrap().to_json();
        assert_eq!((learnt(&text, 270), files()), (fresh.clone(), 1));
        let other = learnt(&text, 280);
        assert!(other != fresh && files() == 2);
        // A short text is not worth a file; another text has its own.
        learnt(&text[..5000], 270);
        assert_eq!(files(), 2);
        learnt(&text.replace("cat", "cow"), 270);
        assert_eq!(files(), 3);
        // What lies there is what is used, if it is whole.
        let [of_270, of_280] = [270, 280].map(|size| place(&kept, learnt_from(&text), size));
        fs::copy(&of_280, &of_270).unwrap();
        assert_eq!(learnt(&text, 270), other);
        let damaged = fs::read_to_string(&of_280).unwrap().replacen("Ġ", "x", 1);
        fs::write(&of_270, damaged).unwrap();
        assert_eq!(learnt(&text, 270), fresh);
        // It was put there again.
        assert_eq!(super::kept(&of_270).unwrap().to_json(), fresh);
    }

    #[test]
    fn where_nothing_can_be_kept_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").unwrap();
        let text = "to be or not to be\n".repeat(60_000);
        let (pairs, problem) = byte_pairs(&text, 260, &blocked).unwrap();
        assert_eq!(pairs.to_json(), BytePairs::train(&text, 260).unwrap().to_json());
        assert!(problem.unwrap().contains("could not be kept in"));
    }
}
