// y = |x|; dx = dy where x > 0, -dy where x < 0, 0 at 0.

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn abs_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        y[i] = abs(x[i]);
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn abs_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let before = select(0.0, dx[i], uniforms.add != 0u);
        dx[i] = before + dy[i] * sign(saved_x[i]);
    }
}
