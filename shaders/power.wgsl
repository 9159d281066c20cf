// y = x^p; dx = dy * p * x^(p - 1).

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
    exponent: f32,
    // What the power of |x| is multiplied by for x < 0: 1, -1, or NaN if p is not whole.
    sign: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// x^p for x >= 0; at 0 without infinities, which are up to the driver.
fn raise(x: f32, p: f32) -> f32 {
    if p == 0.0 {
        return 1.0;
    }
    if x == 0.0 {
        return select(0.0, 3.0e38, p < 0.0);
    }
    return exp2(p * log2(x));
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn power_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let sign = select(1.0, uniforms.sign, x[i] < 0.0);
        y[i] = sign * raise(abs(x[i]), uniforms.exponent);
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn power_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let before = select(0.0, dx[i], uniforms.add != 0u);
        let x = saved_x[i];
        let sign = select(1.0, -uniforms.sign, x < 0.0);
        let p = uniforms.exponent;
        dx[i] = before + dy[i] * p * sign * raise(abs(x), p - 1.0);
    }
}
