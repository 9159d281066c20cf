// y = b where a is not 0, else c, element by element, with broadcasting.

struct Uniforms {
    first_group: u32,
    elements: u32,
    // Whether a, b and c are as large as y: then nothing is divided.
    are_equal: u32,
    // For each of six axes: the size of y, and how far apart neighbours lie in a, b and c
    // (0 where an operand is repeated).
    size_0: u32, size_1: u32, size_2: u32, size_3: u32, size_4: u32, size_5: u32,
    a_0: u32, a_1: u32, a_2: u32, a_3: u32, a_4: u32, a_5: u32,
    b_0: u32, b_1: u32, b_2: u32, b_3: u32, b_4: u32, b_5: u32,
    c_0: u32, c_1: u32, c_2: u32, c_3: u32, c_4: u32, c_5: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// The positions in a, b and c of element i of y.
fn positions_of_three(i: u32) -> vec3<u32> {
    if uniforms.are_equal != 0u {
        return vec3(i);
    }
    var rest = i;
    var at = (rest % uniforms.size_5) * vec3(uniforms.a_5, uniforms.b_5, uniforms.c_5);
    rest /= uniforms.size_5;
    at += (rest % uniforms.size_4) * vec3(uniforms.a_4, uniforms.b_4, uniforms.c_4);
    rest /= uniforms.size_4;
    at += (rest % uniforms.size_3) * vec3(uniforms.a_3, uniforms.b_3, uniforms.c_3);
    rest /= uniforms.size_3;
    at += (rest % uniforms.size_2) * vec3(uniforms.a_2, uniforms.b_2, uniforms.c_2);
    rest /= uniforms.size_2;
    at += (rest % uniforms.size_1) * vec3(uniforms.a_1, uniforms.b_1, uniforms.c_1);
    rest /= uniforms.size_1;
    return at + rest * vec3(uniforms.a_0, uniforms.b_0, uniforms.c_0);
}

@compute @workgroup_size(64)
fn where_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let at = positions_of_three(i);
        if a[at.x] != 0.0 {
            y[i] = b[at.y];
        } else {
            y[i] = c[at.z];
        }
    }
}
