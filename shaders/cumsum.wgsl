// y[i, k, j] = the sum of x[i, l, j] over l <= k, or over l >= k if reversed.
//
// A workgroup has a row, an i and a j. Each invocation adds up a stretch of it, and goes through it again
// from the sum of the stretches before.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    rows: u32,
    // How many k and how many j there are.
    count: u32,
    after: u32,
    reversed: u32,
    add: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> totals: array<f32, 256>;

// Where the element number `step` of a row lies, counted from where the sums begin.
fn element_of_row(row: u32, step: u32) -> u32 {
    let k = select(step, uniforms.count - 1u - step, uniforms.reversed != 0u);
    return (row / uniforms.after * uniforms.count + k) * uniforms.after + row % uniforms.after;
}

@compute @workgroup_size(lanes)
fn cumsum_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let length = (uniforms.count + lanes - 1u) / lanes;
    let start = lane * length;
    let end = min(start + length, uniforms.count);
    var total = 0.0;
    for (var step = start; step < end; step += 1u) {
        total += x[element_of_row(row, step)];
    }
    totals[lane] = total;
    // Each lane adds what lies 1, 2, 4... lanes before it, until it has all before it and its own.
    for (var distance = 1u; distance < lanes; distance *= 2u) {
        workgroupBarrier();
        var before = 0.0;
        if lane >= distance {
            before = totals[lane - distance];
        }
        workgroupBarrier();
        totals[lane] += before;
    }
    workgroupBarrier();
    total = 0.0;
    if lane > 0u {
        total = totals[lane - 1u];
    }
    for (var step = start; step < end; step += 1u) {
        let at = element_of_row(row, step);
        total += x[at];
        if uniforms.add != 0u {
            y[at] += total;
        } else {
            y[at] = total;
        }
    }
}
