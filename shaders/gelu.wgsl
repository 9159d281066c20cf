// y = x * Phi(x) with Phi(x) = (1 + erf(x / sqrt(2))) / 2;
// dx = dy * (Phi(x) + x * e^(-x^2 / 2) / sqrt(2 pi)).

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// The error function: an odd polynomial near 0, and beyond 1 - e^-p with a polynomial p.
fn erf(x: f32) -> f32 {
    let magnitude = abs(x);
    if magnitude < 0.9 {
        let s = x * x;
        var series = 5.011963e-3 - 6.09036e-4 * s;
        series = series * s - 2.677891e-2;
        series = series * s + 1.1282141e-1;
        series = series * s - 3.7612524e-1;
        series = series * s + 1.2837915e-1;
        return x + x * series;
    }
    let m = select(magnitude, 4.0, magnitude > 4.0);
    var p = 1.2613844e-3 * m - 1.5652568e-2;
    p = p * m + 9.13228e-2;
    p = p * m + 6.504538e-1;
    p = p * m + 1.1203978;
    p = p * m + 1.8222644e-3;
    return sign(x) * (1.0 - exp(-p));
}

fn distribution(x: f32) -> f32 {
    return 0.5 + 0.5 * erf(x * 0.70710678);
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn gelu_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        y[i] = x[i] * distribution(x[i]);
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn gelu_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let before = select(0.0, dx[i], uniforms.add != 0u);
        let x = saved_x[i];
        // Beyond 20 the density is 0 in f32.
        let near = clamp(x, -20.0, 20.0);
        let density = 0.39894228 * exp(-0.5 * near * near);
        dx[i] = before + dy[i] * (distribution(x) + x * density);
    }
}
