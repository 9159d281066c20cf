// y = a + b, a - b, a * b or a / b, the smaller or the larger of both, or whether one is less than or equal
// to the other (1 or 0), element by element, with broadcasting.

struct Uniforms {
    first_group: u32,
    elements: u32,
    // Whether a and b are as large as y: then nothing is divided.
    are_equal: u32,
    // For each of six axes: the size of y, and how far apart neighbours lie in a and b
    // (0 where an operand is repeated).
    size_0: u32, size_1: u32, size_2: u32, size_3: u32, size_4: u32, size_5: u32,
    a_0: u32, a_1: u32, a_2: u32, a_3: u32, a_4: u32, a_5: u32,
    b_0: u32, b_1: u32, b_2: u32, b_3: u32, b_4: u32, b_5: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// The positions in a and b of element i of y.
fn positions(i: u32) -> vec2<u32> {
    if uniforms.are_equal != 0u {
        return vec2(i);
    }
    var rest = i;
    var at = (rest % uniforms.size_5) * vec2(uniforms.a_5, uniforms.b_5);
    rest /= uniforms.size_5;
    at += (rest % uniforms.size_4) * vec2(uniforms.a_4, uniforms.b_4);
    rest /= uniforms.size_4;
    at += (rest % uniforms.size_3) * vec2(uniforms.a_3, uniforms.b_3);
    rest /= uniforms.size_3;
    at += (rest % uniforms.size_2) * vec2(uniforms.a_2, uniforms.b_2);
    rest /= uniforms.size_2;
    at += (rest % uniforms.size_1) * vec2(uniforms.a_1, uniforms.b_1);
    rest /= uniforms.size_1;
    return at + rest * vec2(uniforms.a_0, uniforms.b_0);
}

@compute @workgroup_size(64)
fn broadcast_add(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = a[at.x] + b[at.y];
    }
}

@compute @workgroup_size(64)
fn broadcast_subtract(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = a[at.x] - b[at.y];
    }
}

@compute @workgroup_size(64)
fn broadcast_multiply(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = a[at.x] * b[at.y];
    }
}

@compute @workgroup_size(64)
fn broadcast_divide(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = a[at.x] / b[at.y];
    }
}

// This way round a NaN in either operand stays one, where the driver knows NaN.
@compute @workgroup_size(64)
fn broadcast_minimum(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = select(b[at.y], a[at.x], a[at.x] < b[at.y] || a[at.x] != a[at.x]);
    }
}

@compute @workgroup_size(64)
fn broadcast_maximum(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = select(b[at.y], a[at.x], a[at.x] > b[at.y] || a[at.x] != a[at.x]);
    }
}

// 1 where a is the smaller, and a half where both are equal.
@compute @workgroup_size(64)
fn broadcast_share(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = select(select(0.0, 0.5, a[at.x] == b[at.y]), 1.0, a[at.x] < b[at.y]);
    }
}

@compute @workgroup_size(64)
fn broadcast_less(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = select(0.0, 1.0, a[at.x] < b[at.y]);
    }
}

@compute @workgroup_size(64)
fn broadcast_less_equal(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = select(0.0, 1.0, a[at.x] <= b[at.y]);
    }
}

@compute @workgroup_size(64)
fn broadcast_equal(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = select(0.0, 1.0, a[at.x] == b[at.y]);
    }
}

@compute @workgroup_size(64)
fn broadcast_not_equal(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions(i);
        y[i] = select(0.0, 1.0, a[at.x] != b[at.y]);
    }
}
