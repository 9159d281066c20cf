// y = gate * s * up with s = 1 / (1 + e^-gate);
// d_gate = dy * up * s * (1 + gate * (1 - s)), d_up = dy * gate * s.
// Gate and up are two tensors, or the halves of each row of one.

struct Forward {
    first_group: u32,
    elements: u32,
}

struct Backward {
    first_group: u32,
    elements: u32,
    // Whether a gradient is added to what is there.
    add_gate: u32,
    add_up: u32,
}

@group(0) @binding(0) var<uniform> forward: Forward;
@group(0) @binding(0) var<uniform> backward: Backward;

// e^-x stays finite: what becomes of an infinity is up to the driver.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(select(-x, 80.0, x < -80.0)));
}

@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn swiglu_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (forward.first_group + id.y * groups.x) * 64u;
    if i < forward.elements {
        y[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> saved_gate: array<f32>;
@group(0) @binding(3) var<storage, read> saved_up: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_gate: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_up: array<f32>;

@compute @workgroup_size(64)
fn swiglu_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (backward.first_group + id.y * groups.x) * 64u;
    if i < backward.elements {
        let g = saved_gate[i];
        let s = sigmoid(g);
        let before_gate = select(0.0, d_gate[i], backward.add_gate != 0u);
        let before_up = select(0.0, d_up[i], backward.add_up != 0u);
        d_gate[i] = before_gate + dy[i] * saved_up[i] * s * (1.0 + g * (1.0 - s));
        d_up[i] = before_up + dy[i] * g * s;
    }
}

struct ForwardOfHalves {
    first_group: u32,
    // Of y.
    elements: u32,
    // The numbers of a row of y.
    width: u32,
}

struct BackwardOfHalves {
    first_group: u32,
    // Of dy.
    elements: u32,
    width: u32,
    // Whether the gradient is added to what is there.
    add: u32,
}

@group(0) @binding(0) var<uniform> forward_of_halves: ForwardOfHalves;
@group(0) @binding(0) var<uniform> backward_of_halves: BackwardOfHalves;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y_of_halves: array<f32>;

@compute @workgroup_size(64)
fn swiglu_halves_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (forward_of_halves.first_group + id.y * groups.x) * 64u;
    if i < forward_of_halves.elements {
        // Row r begins at 2 · r · width, r · width further on than in y.
        let at = i + i / forward_of_halves.width * forward_of_halves.width;
        y_of_halves[i] = x[at] * sigmoid(x[at]) * x[at + forward_of_halves.width];
    }
}

@group(0) @binding(2) var<storage, read> saved_x: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn swiglu_halves_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let i = id.x + (backward_of_halves.first_group + id.y * groups.x) * 64u;
    if i < backward_of_halves.elements {
        let at = i + i / backward_of_halves.width * backward_of_halves.width;
        let of_up = at + backward_of_halves.width;
        let g = saved_x[at];
        let s = sigmoid(g);
        let before_gate = select(0.0, dx[at], backward_of_halves.add != 0u);
        let before_up = select(0.0, dx[of_up], backward_of_halves.add != 0u);
        dx[at] = before_gate + dy[i] * saved_x[of_up] * s * (1.0 + g * (1.0 - s));
        dx[of_up] = before_up + dy[i] * g * s;
    }
}
