// One step of AdamW on a piece of parameters, in place, four at a time. A factor of 0 says that the
// gradients are not finite: then nothing changes.

struct Uniforms {
    first_group: u32,
    quads: u32,
    beta1: f32,
    beta2: f32,
    // 1 - beta1 and 1 - beta2.
    rest1: f32,
    rest2: f32,
    // 1 - learning rate * weight decay.
    keep: f32,
    epsilon: f32,
    // How many of the updates that were left out the host knew of.
    known: u32,
    // Learning rate / (1 - beta1^t), where t is the number of this update if so many were left out,
    // one more, and so on.
    size0: f32,
    size1: f32,
    size2: f32,
    size3: f32,
    // 1 / sqrt(1 - beta2^t).
    root0: f32,
    root1: f32,
    root2: f32,
    root3: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read> left_out: array<f32>;
@group(0) @binding(4) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> first_moments: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> second_moments: array<vec4<f32>>;

@compute @workgroup_size(64)
fn adamw_step(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i >= uniforms.quads || factor[0] == 0.0 {
        return;
    }
    let more = min(u32(left_out[0]) - uniforms.known, 3u);
    let u = uniforms;
    let size = vec4(u.size0, u.size1, u.size2, u.size3)[more];
    let root = vec4(u.root0, u.root1, u.root2, u.root3)[more];
    let g = factor[0] * gradients[i];
    let m = uniforms.beta1 * first_moments[i] + uniforms.rest1 * g;
    let v = uniforms.beta2 * second_moments[i] + uniforms.rest2 * g * g;
    let step = size * m / (sqrt(v) * root + uniforms.epsilon);
    first_moments[i] = m;
    second_moments[i] = v;
    parameters[i] = uniforms.keep * parameters[i] - step;
}
