// The sum of each 64 numbers, by the 64 invocations of a workgroup.

struct Uniforms {
    first_group: u32,
    elements: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// ANCHOR: sum
var<workgroup> values: array<f32, 64>;

@compute @workgroup_size(64)
fn sum(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = uniforms.first_group + workgroup.x + workgroup.y * groups.x;
    let i = group * 64u + lane;
    values[lane] = 0.0;
    if i < uniforms.elements {
        values[lane] = x[i];
    }
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            values[lane] += values[lane + width];
        }
    }
    if lane == 0u && group * 64u < uniforms.elements {
        y[group] = values[0];
    }
}
// ANCHOR_END: sum
