//! Small shaders, run alone.

use neutreno_engine::device::{Bound, Execute, Execution};
use neutreno_engine::gpu::Shader;
use neutreno_simulator::{Counts, Fault, Finding, Simulator, Trace};

/// What came of a run.
pub struct Outcome {
    pub findings: Vec<Finding>,
    pub counts: Counts,
    pub written: Vec<u32>,
    pub trace: Trace,
}

/// What the entry point `test` of a shader does in a dispatch. The text gets what all have before it: x is
/// read, y is written, `u.first_group` and `u.n` are uniforms, s is 64 words of workgroup memory.
pub struct Dispatch {
    pub text: &'static str,
    pub x: Vec<u32>,
    pub y: usize,
    pub n: u32,
    pub groups: u32,
}

const HEAD: &str = "
struct Uniforms { first_group: u32, n: u32 }
@group(0) @binding(0) var<uniform> u: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> real: array<f32>;
@group(0) @binding(1) var<storage, read> fours: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
var<workgroup> s: array<u32, 2048>;
";
const ENTRY: &str = "
@compute @workgroup_size(32)
fn test(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
";

impl Dispatch {
    /// One workgroup of 32 lanes, with 4096 words to read and as many to write.
    pub fn new(text: &'static str) -> Dispatch {
        Dispatch { text, x: (0..4096).collect(), y: 4096, n: 32, groups: 1 }
    }

    /// The text, whole.
    pub fn source(&self) -> &'static str {
        let [functions, body] = match self.text.split_once("BODY") {
            Some((functions, body)) => [functions, body],
            None => ["", self.text],
        };
        Box::leak(format!("{HEAD}{functions}{ENTRY}{body}\n}}\n").into_boxed_str())
    }

    pub fn run(mut self) -> Outcome {
        let simulator = Simulator::tracing();
        let mut written = vec![0; self.y];
        let bindings = vec![
            Bound { buffer: 0, offset: 0, size: self.x.len(), is_output: false },
            Bound { buffer: 1, offset: 0, size: self.y, is_output: true },
        ];
        simulator.execute(Execution {
            shader: Shader { name: "test", source: self.source() },
            entry_point: "test",
            uniforms: &[0, self.n],
            memory: vec![&mut self.x, &mut written],
            bindings,
            grid: [self.groups, 1],
            lanes: 32,
        });
        let counts = simulator.take_counts()["test"];
        let trace = simulator.take_traces().remove(0);
        Outcome { findings: simulator.take_findings(), counts, written, trace }
    }

    /// That this fault is found, and no other, at the line with this text, and what is said of it.
    #[track_caller]
    pub fn has(self, fault: Fault, text: &str, what: &str) {
        let source = self.source();
        let line =
            source.lines().position(|line| line.contains(text)).expect("the line") as u32 + 1;
        let findings = self.run().findings;
        let [found] = &findings[..] else { panic!("{findings:#?}") };
        assert_eq!((found.fault, found.line), (fault, line), "{found}");
        assert!(found.what.contains(what), "{found}");
    }

    /// That nothing is found.
    #[track_caller]
    pub fn clean(self) -> Outcome {
        let outcome = self.run();
        assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
        outcome
    }
}
