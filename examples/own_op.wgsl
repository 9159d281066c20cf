// Snake: y = x + sin(a x)^2 / a; dx = dy (1 + sin(2 a x)).

struct Uniforms {
    first_group: u32, // filled in by the engine: long work goes in several dispatches
    elements: u32,
    add: u32, // whether the result is added to what is there
    a: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// Forward:
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn snake_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let s = sin(uniforms.a * x[i]);
        y[i] = x[i] + s * s / uniforms.a;
    }
}

// Backward:
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn snake_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let before = select(0.0, dx[i], uniforms.add != 0u);
        dx[i] = before + dy[i] * (1.0 + sin(2.0 * uniforms.a * saved_x[i]));
    }
}
