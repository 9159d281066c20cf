// y = x * s(x) with s(x) = 1 / (1 + e^-x); dx = dy * s(x) * (1 + x * (1 - s(x))).

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// e^-x stays finite: what becomes of an infinity is up to the driver.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(select(-x, 80.0, x < -80.0)));
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn silu_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        y[i] = x[i] * sigmoid(x[i]);
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn silu_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let x = saved_x[i];
        let s = sigmoid(x);
        let before = select(0.0, dx[i], uniforms.add != 0u);
        dx[i] = before + dy[i] * s * (1.0 + x * (1.0 - s));
    }
}
