//! What is written down of small shaders is what one sees by hand.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::Dispatch;
use neutreno_simulator::{Does, Touch, Trace};

fn trace(text: &'static str) -> Trace {
    Dispatch { n: 4, ..Dispatch::new(text) }.run().trace
}

/// The touches of a variable: lanes, words, what they do, steps and epochs.
fn of(trace: &Trace, name: &str) -> Vec<(u32, u32, Does, u32, u32)> {
    let index = trace.variables.iter().position(|variable| variable.name == name).expect("it");
    let touches = trace.touches.iter().filter(|touch| touch.variable as usize == index);
    touches.map(|touch| (touch.lane, touch.word, touch.does, touch.step, touch.epoch)).collect()
}

#[test]
fn touches_come_in_their_order_with_steps_and_barriers() {
    let text = "if lane < 2u { s[lane] = x[5u + lane]; }
        workgroupBarrier();
        storageBarrier();
        if lane < 2u { y[lane] = s[1u - lane]; }";
    let trace = trace(text);
    use Does::{Read, Write};
    assert_eq!(of(&trace, "x"), [(0, 5, Read, 0, 0), (1, 6, Read, 0, 0)]);
    let of_s = [(0, 0, Write, 1, 0), (1, 1, Write, 1, 0), (0, 1, Read, 2, 2), (1, 0, Read, 2, 2)];
    assert_eq!(of(&trace, "s"), of_s);
    assert_eq!(of(&trace, "y"), [(0, 0, Write, 3, 2), (1, 1, Write, 3, 2)]);
    assert!(trace.touches.iter().all(|touch| !touch.races && touch.workgroup == [0, 0]));
    let lines: Vec<u32> = trace.touches.iter().map(|touch| touch.line).collect();
    assert_eq!(
        lines.iter().map(|line| line - lines[0]).collect::<Vec<_>>(),
        [0, 0, 0, 0, 3, 3, 3, 3]
    );
}

#[test]
fn variables_have_their_sizes_and_places() {
    let trace = trace(
        "var<workgroup> first: array<f32, 5>;
        BODY
        first[lane % 5u] = 1.0;
        sums[lane] = fours[1].z;
        s[lane] = 1u;",
    );
    let find = |name: &str| trace.variables.iter().find(|one| one.name == name).expect("it");
    assert_eq!((find("fours").binding, find("fours").words), (Some(1), 4096));
    assert_eq!((find("sums").binding, find("sums").start), (Some(2), 0));
    assert_eq!((find("s").binding, find("s").words, find("s").start), (None, 2048, 0));
    // Where a vector of four words may begin.
    assert_eq!((find("first").words, find("first").start), (5, 2048));
    assert_eq!(of(&trace, "fours").len(), 32);
    assert!(of(&trace, "fours").iter().all(|touch| touch.1 == 6));
}

#[test]
fn races_are_marked_where_they_come_second() {
    let trace = trace("s[lane] = lane;\n y[lane] = s[31u - lane / 8u];");
    let races: Vec<&Touch> = trace.touches.iter().filter(|touch| touch.races).collect();
    assert_eq!(races.len(), 31, "lane 31 reads the word that it wrote, which is 28");
    assert!(races.iter().all(|touch| touch.does == Does::Read && touch.step == 1));
    let words: Vec<u32> = races.iter().map(|touch| touch.word).collect();
    assert_eq!([words[0], words[8], words[30]], [31, 30, 28]);
}

#[test]
fn workgroups_and_words_of_vectors_are_apart() {
    let text = "if lane == 3u { sums[group.x] = dot(fours[group.x], fours[group.x]); }";
    let trace = Dispatch { groups: 2, ..Dispatch::new(text) }.run().trace;
    assert_eq!(trace.entry_point, "test");
    assert_eq!(trace.left_out, 0);
    let at = |group: u32| {
        let touches = trace.touches.iter().filter(move |touch| touch.workgroup == [group, 0]);
        touches.map(|touch| (touch.lane, touch.word, touch.step)).collect::<Vec<_>>()
    };
    let four = |from: u32, step: u32| (from..from + 4).map(move |word| (3, word, step));
    let second: Vec<_> = four(4, 0).chain(four(4, 1)).chain([(3, 1, 2)]).collect();
    assert_eq!(at(1), second);
    assert_eq!(at(0).last(), Some(&(3, 0, 2)));
}

/// A lane that goes outside touches nothing.
#[test]
fn what_is_outside_is_not_touched() {
    let trace = trace("y[lane] = x[lane + 4090u];");
    assert_eq!(of(&trace, "x").len(), 6);
    assert_eq!(of(&trace, "y").len(), 32);
}
