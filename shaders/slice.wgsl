// Forward: y[i, k] = x[i, start + k]. Backward: y[i, start + k] += x[i, k]. Without `add`: =.

struct Uniforms {
    first_group: u32,
    // Of the shorter array.
    elements: u32,
    // The elements for each i, in the shorter and in the longer array.
    short_length: u32,
    long_length: u32,
    start: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Where element `index` of the shorter array lies in the longer one.
fn position_in_longer(index: u32) -> u32 {
    let i = index / uniforms.short_length;
    return i * uniforms.long_length + uniforms.start + index % uniforms.short_length;
}

@compute @workgroup_size(64)
fn slice_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if index >= uniforms.elements {
        return;
    }
    if uniforms.add != 0u {
        y[index] += x[position_in_longer(index)];
    } else {
        y[index] = x[position_in_longer(index)];
    }
}

@compute @workgroup_size(64)
fn slice_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if index >= uniforms.elements {
        return;
    }
    if uniforms.add != 0u {
        y[position_in_longer(index)] += x[index];
    } else {
        y[position_in_longer(index)] = x[index];
    }
}
