// The position of the largest element of each row; of equals, the first.

override lanes: u32 = 64u;

struct Uniforms {
    first_group: u32,
    rows: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> values: array<f32, 256>;
var<workgroup> positions: array<u32, 256>;

@compute @workgroup_size(lanes)
fn argmax_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = uniforms.first_group + group.x + group.y * groups.x;
    if row >= uniforms.rows {
        return;
    }
    let start = row * uniforms.width;
    // A lane beyond the row's end starts with its first element too, which does no harm.
    var position = 0u;
    var largest = x[start];
    for (var k = lane; k < uniforms.width; k += lanes) {
        if x[start + k] > largest {
            largest = x[start + k];
            position = k;
        }
    }
    values[lane] = largest;
    positions[lane] = position;
    for (var width = lanes / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            let other = lane + width;
            let equal = values[other] == values[lane] && positions[other] < positions[lane];
            if values[other] > values[lane] || equal {
                values[lane] = values[other];
                positions[lane] = positions[other];
            }
        }
    }
    if lane == 0u {
        y[row] = f32(positions[0]);
    }
}
