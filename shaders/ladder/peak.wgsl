// Nothing but multiply-adds, all in registers, and at the end one store, so that they are not for nothing: what an
// adapter can do at most. Eight vectors take turns, so that none waits for itself.

struct Uniforms {
    first_group: u32,
    elements: u32,
    rounds: u32,
    factor: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Four multiply-adds for each number, so that counting rounds takes a small share.
fn four_times(s: vec4<f32>) -> vec4<f32> {
    let once = uniforms.factor * s + uniforms.shift;
    let twice = uniforms.factor * once + uniforms.shift;
    let thrice = uniforms.factor * twice + uniforms.shift;
    return uniforms.factor * thrice + uniforms.shift;
}

@compute @workgroup_size(64)
fn peak(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i >= uniforms.elements {
        return;
    }
    var s0 = vec4(x[i]);
    var s1 = s0 + 0.1;
    var s2 = s0 + 0.2;
    var s3 = s0 + 0.3;
    var s4 = s0 + 0.4;
    var s5 = s0 + 0.5;
    var s6 = s0 + 0.6;
    var s7 = s0 + 0.7;
    for (var round = 0u; round < uniforms.rounds; round++) {
        s0 = four_times(s0);
        s1 = four_times(s1);
        s2 = four_times(s2);
        s3 = four_times(s3);
        s4 = four_times(s4);
        s5 = four_times(s5);
        s6 = four_times(s6);
        s7 = four_times(s7);
    }
    let sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
    y[i] = sum.x + sum.y + sum.z + sum.w;
}
