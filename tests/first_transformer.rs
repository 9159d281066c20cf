//! The example that a newcomer reads first: it learns, and writes what it has learned.

mod common;

use common::programs::{program, said};

/// The last number of a line, such as the loss of "step 100: loss 0.350".
fn last_number(line: &str) -> f64 {
    let number = line.trim_end_matches('.').rsplit(' ').next().expect("a word");
    number.parse().unwrap_or_else(|_| panic!("no number at the end of {line}"))
}

#[test]
fn it_learns_and_writes() {
    let output = program("first_transformer").arg("100").output().expect("the program starts");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    let (head, written) = text.split_once("\n\n").expect("what is written comes last");
    let mut lines = head.lines();
    let (by_counting, least) = lines.next().and_then(|line| line.split_once(';')).expect("bounds");
    let [by_counting, least] = [by_counting, least].map(last_number);
    let losses: Vec<f64> = lines.map(last_number).collect();
    assert_eq!(losses.len(), 2, "{text}");
    assert!(losses[0] > by_counting, "{text}");
    assert!(losses[1] < 0.25 * by_counting && losses[1] > 0.8 * least, "{text}");

    let sentences: Vec<&str> = written.lines().collect();
    let begun = sentences.iter().filter(|sentence| sentence.starts_with("the ")).count();
    assert!(sentences.len() > 5 && 2 * begun > sentences.len(), "{text}");
}
