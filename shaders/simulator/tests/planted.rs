//! Faults that were planted are found, one of each kind and more; what looks like them is not.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::Dispatch;
use neutreno_engine::device::{Bound, Execute, Execution};
use neutreno_engine::gpu::Shader;
use neutreno_simulator::{Fault, Simulator};

#[test]
fn races_in_workgroup_memory() {
    Dispatch::new("s[lane] = lane;\n y[lane] = s[31u - lane];").has(
        Fault::Race,
        "s[31u - lane]",
        "lane 0 of workgroup (0, 0) reads word 31 of s, which lane 31 wrote",
    );
    Dispatch::new("s[lane] = lane;\n workgroupBarrier();\n y[lane] = s[31u - lane];").clean();
    // A barrier for storage does not order it.
    Dispatch::new("s[lane] = lane;\n storageBarrier();\n y[lane] = s[31u - lane];").has(
        Fault::Race,
        "s[31u - lane]",
        "word 31 of s",
    );
    // What was read is overwritten.
    let text = "s[lane] = lane;\n workgroupBarrier();\n let t = s[31u - lane];\n s[lane] = t;";
    Dispatch::new(text).has(Fault::Race, "s[lane] = t", "which lane 31 read");
    let text = "s[lane] = 1u;\n workgroupBarrier();\n let t = s[31u - lane];\n workgroupBarrier();
        s[lane] = t;";
    Dispatch::new(text).clean();
    // Lanes that write the same do not agree on who does.
    Dispatch::new("s[0] = 1u;").has(
        Fault::Race,
        "s[0]",
        "lane 1 of workgroup (0, 0) writes word 0",
    );
    Dispatch::new("if lane == 5u { s[0] = 1u; }").clean();
    // Through branches, loops and functions.
    let text = "fn put(at: u32) { s[at] = 7u; }
        BODY
        for (var i = 0u; i < 2u; i++) { if lane < 16u { put(lane); } else { put(lane - 16u * i); } }";
    Dispatch::new(text).has(Fault::Race, "fn put", "writes word 0 of s, which lane 0 wrote");
}

#[test]
fn a_uniform_load_is_a_barrier() {
    let text = "var<workgroup> one: u32;
        BODY
        if lane == 0u { one = 3u; }
        y[lane] = workgroupUniformLoad(&one);
        if lane == 1u { one = 4u; }";
    let outcome = Dispatch::new(text).clean();
    assert_eq!(outcome.written[..32], [3; 32]);
}

#[test]
fn races_in_storage() {
    Dispatch::new("y[lane] = 1u;\n workgroupBarrier();\n y[lane + 32u] = y[31u - lane];").has(
        Fault::Race,
        "y[lane + 32u]",
        "reads word 31 of y, which lane 31 wrote",
    );
    Dispatch::new("y[lane] = 1u;\n storageBarrier();\n y[lane + 32u] = y[31u - lane];").clean();
}

#[test]
fn races_of_workgroups() {
    let of_two = |text| Dispatch { groups: 2, ..Dispatch::new(text) };
    of_two("y[lane] = group.x;").has(
        Fault::RaceOfGroups,
        "y[lane]",
        "lane 0 of workgroup (1, 0) writes word 0 of y, which another workgroup wrote",
    );
    of_two("y[lane + 32u * group.x] = group.x;").clean();
    // No barrier helps between workgroups.
    of_two("y[lane + 32u * group.x] = 1u;\n storageBarrier();\n if group.x == 1u { y[64u + lane] = y[lane]; }")
        .has(Fault::RaceOfGroups, "y[64u + lane]", "reads word 0 of y, which another workgroup wrote");
    of_two("if group.x == 0u { y[lane] += 1u; }").clean();
    of_two("if group.x == 0u { y[64u + lane] = y[lane]; } else { y[lane] = 1u; }").has(
        Fault::RaceOfGroups,
        "else",
        "writes word 0 of y, which another workgroup read",
    );
}

#[test]
fn indices_outside() {
    Dispatch::new("y[lane] = x[lane + 4090u];").has(
        Fault::OutOfBounds,
        "x[lane + 4090u]",
        "index 4096 into 4096 elements of x, in lanes 6 to 31",
    );
    Dispatch::new("y[2u * lane + 4090u] = 1u;").has(Fault::OutOfBounds, "y[2u", "elements of y");
    Dispatch::new("if lane < 3u { y[2u * lane + 4090u] = x[lane + 4093u]; }").clean();
    Dispatch::new("s[lane * 67u] = 1u;").has(Fault::OutOfBounds, "s[lane", "index 2077 into 2048");
    Dispatch::new("var a: array<u32, 4>;\n a[lane / 4u] = lane;").has(
        Fault::OutOfBounds,
        "a[lane / 4u]",
        "index 4 into 4 elements of a, in lanes 16 to 31",
    );
    Dispatch::new("let v = vec4(lane);\n y[lane] = v[lane / 7u];").has(
        Fault::OutOfBounds,
        "v[lane / 7u]",
        "index 4 into 4 elements",
    );
    Dispatch::new("let v = vec4(lane);\n y[lane] = v[lane / 8u];").clean();
    // A vector that is there only in part.
    let half = Dispatch { x: vec![0; 126], ..Dispatch::new("sums[lane] = fours[lane].x;") };
    half.has(Fault::OutOfBounds, "fours[lane]", "index 31 into 31 elements of fours, in lane 31");
}

#[test]
fn workgroup_memory_that_was_not_written() {
    Dispatch::new("if lane > 0u { s[lane] = lane; }\n workgroupBarrier();\n y[lane] = s[lane];")
        .has(Fault::Unwritten, "y[lane] = s[lane]", "lane 0 reads word 0 of s");
    // Nor is what the workgroup before wrote.
    let text = "if group.x == 0u { s[lane] = lane; }\n y[lane + 32u * group.x] = s[lane];";
    Dispatch { groups: 2, ..Dispatch::new(text) }.has(Fault::Unwritten, "= s[lane]", "lane 0");
    // Variables of functions begin at zero.
    let outcome = Dispatch::new("var a: array<u32, 4>;\n y[lane] = a[lane / 8u] + 1u;").clean();
    assert_eq!(outcome.written[..32], [1; 32]);
}

#[test]
fn barriers_that_some_lanes_miss() {
    Dispatch::new("if lane < 16u {\n workgroupBarrier(); }").has(
        Fault::DivergentBarrier,
        "workgroupBarrier",
        "only lanes 0 to 15 come to; lanes 16 to 31 do not",
    );
    // Those that returned count as missing.
    Dispatch::new("if x[lane] == 3u { return; }\n storageBarrier();").has(
        Fault::DivergentBarrier,
        "storageBarrier",
        "lane 3 do not",
    );
    Dispatch::new("for (var i = 0u; i < 2u + x[lane] / 31u; i++) {\n workgroupBarrier(); }").has(
        Fault::DivergentBarrier,
        "workgroupBarrier",
        "only lane 31 come to",
    );
    Dispatch::new("if u.n == 32u { workgroupBarrier(); }\n if u.n != 32u { return; }").clean();
}

#[test]
fn indices_that_wrapped() {
    // Back inside, by luck.
    Dispatch::new("let i = lane - 5u;\n y[lane] = x[i & 15u];").has(
        Fault::WrappedIndex,
        "x[i & 15u]",
        "too large for its 32 bits, in lanes 0 to 4",
    );
    Dispatch::new("var a: array<u32, 4>;\n a[(lane * 0x40000000u) >> 30u] = 1u;").has(
        Fault::WrappedIndex,
        "a[(lane",
        "the index into a comes from line",
    );
    // What wraps and is no index, is not chosen, or not reached.
    Dispatch::new("y[lane] = lane * 2654435761u + 2654435761u;").clean();
    Dispatch::new("y[lane] = x[min(lane - 5u, 9u)];").clean();
    Dispatch::new("y[lane] = x[select(lane, lane - 5u, lane > 5u)];").clean();
    Dispatch::new("if lane >= 5u { y[lane] = x[lane - 5u]; }").clean();
    Dispatch::new("if lane - 5u < 9u { y[lane] = x[lane]; }").clean();
    // Through a variable, and out of a function.
    let text = "fn before(i: u32) -> u32 { return i - 1u; }
        BODY
        var at = before(lane);
        at += 2u;
        y[lane] = x[at];";
    Dispatch::new(text).has(Fault::WrappedIndex, "x[at]", "in lane 0");
}

#[test]
fn shifts_and_divisions() {
    Dispatch::new("y[lane] = 1u << (lane + 1u);").has(Fault::Shift, "<<", "in lane 31");
    Dispatch::new("y[lane] = 1u << lane;").clean();
    Dispatch::new("y[lane] = 7u / x[lane];").has(Fault::DivisionByZero, "7u", "in lane 0");
    Dispatch::new("y[lane] = 7u % x[lane + 1u];").clean();
}

#[test]
fn real_numbers_that_come_out_as_none() {
    Dispatch::new("sums[lane] = 1.0 / f32(lane);").has(
        Fault::NotFinite,
        "1.0 / f32(lane)",
        "DivideF of 1e0 and 0e0 is inf, in lane 0",
    );
    Dispatch::new("sums[lane] = exp(4.0 * f32(lane));").has(
        Fault::NotFinite,
        "exp",
        "in lanes 23 to 31",
    );
    Dispatch::new("sums[lane] = sqrt(f32(lane) - 1.0);").has(Fault::NotFinite, "sqrt", "is NaN");
    // One that was none before is not made here; nor is one in a lane that does not come.
    let infinities = vec![f32::INFINITY.to_bits(); 64];
    let text = "sums[lane] = real[lane] - real[lane + 1u];";
    Dispatch { x: infinities, ..Dispatch::new(text) }.clean();
    Dispatch::new("if lane > 0u { sums[lane] = 1.0 / f32(lane); }").clean();
}

#[test]
fn bindings_that_overlap() {
    let simulator = Simulator::new();
    let shader = Dispatch::new("y[lane] = x[lane];").source();
    let run = |offset: usize| {
        let mut words = vec![0; 128];
        let input = Bound { buffer: 0, offset: 0, size: 64, is_output: false };
        let output = Bound { buffer: 0, offset, size: 32, is_output: true };
        simulator.execute(Execution {
            shader: Shader { name: "test", source: shader },
            entry_point: "test",
            uniforms: &[0, 32],
            memory: vec![&mut words],
            bindings: vec![input, output],
            grid: [1, 1],
            lanes: 32,
        });
        simulator.take_findings()
    };
    assert_eq!(run(64), []);
    let [found] = &run(63)[..] else { panic!("not found") };
    assert_eq!(found.fault, Fault::Overlap);
    assert!(found.what.contains("bindings 1 and 2"), "{found}");
}

/// What the simulator does not know is refused, and not left out.
#[test]
#[should_panic(expected = "not supported: test.wgsl:16: the function Degrees")]
fn what_is_not_known_is_refused() {
    Dispatch::new("sums[lane] = degrees(real[lane]);").run();
}

#[test]
#[should_panic(expected = "not supported")]
fn atomics_are_refused() {
    Dispatch::new("var<workgroup> a: atomic<u32>;\nBODY atomicAdd(&a, 1u);").run();
}

#[test]
#[should_panic(expected = "a loop that does not end")]
fn a_loop_without_end_is_refused() {
    Dispatch::new("var i = 0u; while i < 2u { i = 1u - i; }").run();
}
