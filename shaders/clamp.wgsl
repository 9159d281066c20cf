// y = x, no less than low and no more than high; dx = dy where low <= x <= high, else 0.

struct Uniforms {
    first_group: u32,
    elements: u32,
    add: u32,
    low: f32,
    high: f32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn clamp_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let raised = select(x[i], uniforms.low, x[i] < uniforms.low);
        y[i] = select(raised, uniforms.high, raised > uniforms.high);
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn clamp_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if i < uniforms.elements {
        let before = select(0.0, dx[i], uniforms.add != 0u);
        let x = saved_x[i];
        dx[i] = before + select(0.0, dy[i], uniforms.low <= x && x <= uniforms.high);
    }
}
