// y = tanh(x); dx = dy * (1 - y * y).

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// WGSL's own tanh may be off by 1e-5, and is NaN for large x on some drivers.
fn hyperbolic_tangent(x: f32) -> f32 {
    let magnitude = abs(x);
    if magnitude < 0.35 {
        let s = x * x;
        let series = -1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * 62.0 / 2835.0));
        return x + x * s * series;
    }
    let power = exp(2.0 * select(magnitude, 15.0, magnitude > 15.0));
    return sign(x) * (1.0 - 2.0 / (power + 1.0));
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn tanh_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        y[i] = hyperbolic_tangent(x[i]);
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn tanh_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let before = select(0.0, dx[i], uniforms.add != 0u);
        let y = saved_y[i];
        dx[i] = before + dy[i] * (1.0 - y * y);
    }
}
