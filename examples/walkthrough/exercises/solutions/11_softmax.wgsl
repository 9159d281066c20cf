// 11. Softmax of a row
//
// One workgroup does one row, of any number of columns: invocation 0 takes columns 0,
// 64, 128 and so on, invocation 1 takes 1, 65, 129. What they find each is put
// together by a reduction.
//
// Task: y = exp(x) / Σ exp(x) along each row. The kernel is right for small numbers
// only, since exp(100) is too large for an f32. Mend that, as in exercise 3.

struct Uniforms {
    columns: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> parts: array<f32, 64>;

/// The sum of what all invocations of the workgroup have. All must call it.
fn sum_of_all(lane: u32, value: f32) -> f32 {
    parts[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            parts[lane] += parts[lane + half];
        }
        workgroupBarrier();
    }
    let sum = parts[0];
    workgroupBarrier();
    return sum;
}

// SOLUTION
/// The largest of what all invocations of the workgroup have. All must call it.
fn largest_of_all(lane: u32, value: f32) -> f32 {
    parts[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if lane < half {
            parts[lane] = max(parts[lane], parts[lane + half]);
        }
        workgroupBarrier();
    }
    let largest = parts[0];
    workgroupBarrier();
    return largest;
}

// INSTEAD
// END
@compute @workgroup_size(64)
fn softmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x * uniforms.columns;
    // SOLUTION
    var most = -3.4e38;
    for (var column = lane; column < uniforms.columns; column += 64u) {
        most = max(most, x[row + column]);
    }
    let largest = largest_of_all(lane, most);
    // INSTEAD
    // let largest = 0.0;
    // END
    var sum = 0.0;
    for (var column = lane; column < uniforms.columns; column += 64u) {
        sum += exp(x[row + column] - largest);
    }
    let all = sum_of_all(lane, sum);
    for (var column = lane; column < uniforms.columns; column += 64u) {
        y[row + column] = exp(x[row + column] - largest) / all;
    }
}

// HINT
// `largest` should be the row's largest number. Each invocation can find the largest
// of its own columns, in a loop like the other two; from those comes the row's.
// HINT
// A function like sum_of_all, with max(a, b) in place of a + b. An invocation without
// a column brings -3.4e38, almost the least number of an f32.
