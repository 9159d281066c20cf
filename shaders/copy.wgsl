// y = x, or y += x.

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn copy_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i >= uniforms.elements {
        return;
    }
    if uniforms.add != 0u {
        y[i] += x[i];
    } else {
        y[i] = x[i];
    }
}
