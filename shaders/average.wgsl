// One step of the running average of the weights, in place, four at a time. A factor of 0 says that
// the weights were not updated: then the average stays as it is.

struct Uniforms {
    first_group: u32,
    quads: u32,
    // How many of the updates that were left out the host knew of.
    known: u32,
    // What stays of the average if so many were left out, one more, and so on.
    decay0: f32,
    decay1: f32,
    decay2: f32,
    decay3: f32,
    // 1 - decay.
    rest0: f32,
    rest1: f32,
    rest2: f32,
    rest3: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> parameters: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read> left_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> averages: array<vec4<f32>>;

@compute @workgroup_size(64)
fn average_step(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i >= uniforms.quads || factor[0] == 0.0 {
        return;
    }
    let more = min(u32(left_out[0]) - uniforms.known, 3u);
    let u = uniforms;
    let decay = vec4(u.decay0, u.decay1, u.decay2, u.decay3)[more];
    let rest = vec4(u.rest0, u.rest1, u.rest2, u.rest3)[more];
    averages[i] = decay * averages[i] + rest * parameters[i];
}
