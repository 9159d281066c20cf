// y = x with its axes in another order, or y += that.

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
    // For each of six axes of y: its size, and how far apart neighbours lie in x.
    size_0: u32, size_1: u32, size_2: u32, size_3: u32, size_4: u32, size_5: u32,
    x_0: u32, x_1: u32, x_2: u32, x_3: u32, x_4: u32, x_5: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// The position in x of element i of y.
fn position_in_x(i: u32) -> u32 {
    var rest = i;
    var at = rest % uniforms.size_5 * uniforms.x_5;
    rest /= uniforms.size_5;
    at += rest % uniforms.size_4 * uniforms.x_4;
    rest /= uniforms.size_4;
    at += rest % uniforms.size_3 * uniforms.x_3;
    rest /= uniforms.size_3;
    at += rest % uniforms.size_2 * uniforms.x_2;
    rest /= uniforms.size_2;
    at += rest % uniforms.size_1 * uniforms.x_1;
    rest /= uniforms.size_1;
    return at + rest * uniforms.x_0;
}

@compute @workgroup_size(64)
fn permute_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i >= uniforms.elements {
        return;
    }
    if uniforms.add != 0u {
        y[i] += x[position_in_x(i)];
    } else {
        y[i] = x[position_in_x(i)];
    }
}
