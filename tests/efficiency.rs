//! The program `efficiency`: a small grid, gone on with.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SMALL: &str = "--device cpu --data text.txt --tokenizer bytes --layers 2 --head-size 8 \
                     --tokens 1600 --context 16 --batch 4 --seeds 2 --eval-tokens 100 --out grid";

fn efficiency(arguments: &str, folder: &Path) -> Output {
    let mut path = std::env::current_exe().expect("this test's path");
    path.pop();
    path.set_file_name("examples");
    path.push(format!("efficiency{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is built with the tests", path.display());
    Command::new(path)
        .stdin(Stdio::null())
        .current_dir(folder)
        .args(SMALL.split_whitespace())
        .args(arguments.split_whitespace())
        .output()
        .expect("the program starts")
}

fn results(folder: &Path) -> Value {
    let text = fs::read(folder.join("grid/efficiency.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_grid_is_trained_gone_on_with_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = "the cat sat on the mat and the dog sat on the log\n".repeat(200);
    fs::write(folder.join("text.txt"), text).unwrap();

    // First a part of the grid, then all of it: what is there is not trained again.
    let output = efficiency("--widths 8,16 --budgets 1600", folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let first = results(folder);
    let weights = folder.join("grid/width-16-tokens-1600/resformer-seed2/model.safetensors");
    let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let before = written(&weights);
    let output = efficiency("--widths 8,16,24 --budgets 800,1600", folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(written(&weights), before);
    let all = results(folder);
    let count = |results: &Value, name: &str| results[name].as_array().unwrap().len();
    assert_eq!((count(&first, "over_parameters"), count(&first, "over_tokens")), (8, 4));
    assert_eq!((count(&all, "over_parameters"), count(&all, "over_tokens")), (12, 8));
    for point in first["over_parameters"].as_array().unwrap() {
        assert!(all["over_parameters"].as_array().unwrap().contains(point), "{point}");
    }
    let page = fs::read_to_string(folder.join("grid/efficiency.html")).unwrap();
    assert!(page.contains("Loss over parameters") && !page.contains("not trained yet"));

    // Other settings are another grid.
    for (arguments, message) in [
        ("--widths 8,16 --budgets 1600 --lr 1", "learning_rate"),
        ("--widths 8,12", "--widths 12: must be a multiple of --head-size 8"),
        ("--widths 8,16 --budgets 600", "only 9 steps"),
    ] {
        let output = efficiency(arguments, folder);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(message), "{message}: {error}");
    }
}
