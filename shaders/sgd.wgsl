// One step of gradient descent with momentum on a piece of parameters, in place, four at a time. A
// factor of 0 says that the gradients are not finite: then nothing changes.

struct Uniforms {
    first_group: u32,
    quads: u32,
    momentum: f32,
    weight_decay: f32,
    learning_rate: f32,
    // How much of the gradient and of the momentum the step is made of.
    along: f32,
    ahead: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> gradients: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameters: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> momentum: array<vec4<f32>>;

@compute @workgroup_size(64)
fn sgd_step(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i >= uniforms.quads || factor[0] == 0.0 {
        return;
    }
    let p = parameters[i];
    let g = factor[0] * gradients[i] + uniforms.weight_decay * p;
    let b = uniforms.momentum * momentum[i] + g;
    momentum[i] = b;
    parameters[i] = p - uniforms.learning_rate * (uniforms.along * g + uniforms.ahead * b);
}
