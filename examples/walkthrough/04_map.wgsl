// y = x², number by number.

struct Uniforms {
    first_group: u32, // filled in by the engine: long work goes in several dispatches
    elements: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// ANCHOR: map
@compute @workgroup_size(64)
fn square(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        y[i] = x[i] * x[i];
    }
}
// ANCHOR_END: map

// The same without a guard: wrong unless the numbers fill whole workgroups.
@compute @workgroup_size(64)
fn square_unguarded(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    y[i] = x[i] * x[i];
}
