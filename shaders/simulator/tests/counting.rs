//! What is counted of small shaders is what one counts by hand.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::Dispatch;
use neutreno_simulator::Counts;

#[track_caller]
fn counts(text: &'static str) -> Counts {
    Dispatch::new(text).clean().counts
}

#[test]
fn sectors_of_loads_and_stores() {
    // 32 lanes read 128 bytes that follow each other, and write as many.
    let coalesced = counts("y[lane] = x[lane];");
    assert_eq!((coalesced.loads, coalesced.stores), (1, 1));
    assert_eq!((coalesced.sectors, coalesced.fewest_sectors), (8, 8));
    // A sector for each lane.
    let strided = counts("y[lane] = x[32u * lane];");
    assert_eq!((strided.loads, strided.sectors, strided.fewest_sectors), (1, 32 + 4, 8));
    // One word for all.
    let same = counts("y[lane] = x[7];");
    assert_eq!((same.loads, same.sectors, same.fewest_sectors), (1, 1 + 4, 1 + 4));
    // A word later than a sector begins.
    assert_eq!(counts("y[lane] = x[lane + 1u];").sectors, 5 + 4);
    // A vector is one load of 512 bytes.
    let vectors = counts("sums[lane] = fours[lane].x + fours[lane].y;");
    assert_eq!((vectors.loads, vectors.stores), (2, 1));
    let vector = counts("let v = fours[lane]; sums[lane] = v.x;");
    assert_eq!((vector.loads, vector.sectors, vector.fewest_sectors), (1, 16 + 4, 20));
    // Half of the lanes.
    let half = counts("if lane < 16u { y[lane] = x[lane]; }");
    assert_eq!((half.loads, half.sectors, half.fewest_sectors), (1, 4, 4));
}

#[test]
fn conflicts_of_banks() {
    for (text, conflicts) in [
        ("s[lane] = 1u;", 0),
        ("s[2u * lane] = 1u;", 1),
        ("s[32u * lane] = 1u;", 31),
        ("s[33u * lane] = 1u;", 0),
    ] {
        let counts = counts(text);
        let accesses = (counts.workgroup_accesses, counts.bank_conflicts);
        assert_eq!(accesses, (1, conflicts), "{text}");
        assert_eq!((counts.loads, counts.stores, counts.sectors), (0, 0, 0), "{text}");
    }
}

#[test]
fn arithmetic() {
    // Fused: a product that only the sum uses.
    let fused = counts("sums[lane] = real[0] * real[1] + real[2];");
    assert_eq!((fused.fused, fused.real), (1, 0));
    assert_eq!(counts("sums[lane] = real[2] - real[0] * real[1];").fused, 1);
    assert_eq!(counts("var t = real[2]; t += real[0] * real[1]; sums[lane] = t;").fused, 1);
    assert_eq!(counts("sums[lane] = fma(real[0], real[1], real[2]);").fused, 1);
    // One of two products is left.
    let two = counts("sums[lane] = real[0] * real[1] + real[2] * real[3];");
    assert_eq!((two.fused, two.real), (1, 1));
    // A product that is used again is one of its own.
    let again =
        counts("let p = real[0] * real[1]; sums[lane] = p + real[2]; sums[lane + 32u] = p;");
    assert_eq!((again.fused, again.real), (0, 2));
    assert_eq!(counts("sums[lane] = dot(fours[0], fours[1]);").fused, 4);
    let product = "let m = mat4x4(fours[0], fours[1], fours[2], fours[3]);
        sums[lane] = (m * fours[4]).x;";
    assert_eq!(counts(product).fused, 16);
    let vector = counts("let v = fours[0] * fours[1].x + fours[2]; sums[lane] = v.x;");
    assert_eq!((vector.fused, vector.real), (4, 0));
    let whole = counts("y[lane] = (lane ^ 5u) + 3u * lane;");
    assert_eq!((whole.fused, whole.real, whole.whole), (0, 0, 3));
    assert_eq!(counts("sums[lane] = exp(real[0]);").real, 1);
}

#[test]
fn barriers_and_workgroups() {
    let text = "for (var i = 0u; i < 3u; i++) { workgroupBarrier(); }";
    let counts = Dispatch { groups: 5, ..Dispatch::new(text) }.clean().counts;
    assert_eq!((counts.workgroups, counts.barriers), (5, 15));
}
