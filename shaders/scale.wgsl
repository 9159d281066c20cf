// y = factor * x + offset, or y += factor * x + offset.

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
    factor: f32,
    offset: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn scale_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let before = select(0.0, y[i], uniforms.add != 0u);
        y[i] = before + uniforms.factor * x[i] + uniforms.offset;
    }
}
