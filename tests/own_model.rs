//! The example of a model from outside the project: it learns, and writes.

mod common;

use common::programs::{program, said};

#[test]
fn it_learns_and_writes() {
    let output = program("own_model").arg("100").output().expect("the program starts");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    let losses: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("step ")?.split_once(": loss ")?.1.parse().ok())
        .collect();
    let [first, last] = losses[..] else { panic!("{text}") };
    // A uniform guess has ln 128 = 4.85 nats.
    assert!((first - 4.85).abs() < 0.1 && last < 0.6 * first, "{text}");
    // 400 characters, of which some are words.
    let (_, written) = text.split_once(&format!("loss {last:.3}\n")).expect("what is written");
    assert_eq!(written.chars().count(), 401, "{text}");
    assert!(written.split_whitespace().count() > 20, "{text}");
}
