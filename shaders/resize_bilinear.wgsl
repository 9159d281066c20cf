// Images (batch, height, width, channels) at another size: along each axis an output pixel takes
// from the input's pixels next to it, each by its share.

struct Uniforms {
    first_group: u32,
    // Of what is made: of y forward, of dx backward.
    elements: u32,
    // The sides of x and of y.
    from_height: u32,
    to_height: u32,
    from_width: u32,
    to_width: u32,
    channels: u32,
}

@group(0) @binding(0) var<uniform> uniforms: Uniforms;

// Forward:
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Backward:
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

// Where output pixel `o` lies among the input's pixels, in units of 1 / (2 to).
fn position(o: u32, lengths: vec2<u32>) -> u32 {
    let doubled = (2u * o + 1u) * lengths.x;
    return min(doubled - min(doubled, lengths.y), 2u * lengths.y * (lengths.x - 1u));
}

// The share that output pixel `o` takes from input pixel `i`.
fn share(o: u32, i: u32, lengths: vec2<u32>) -> f32 {
    let unit = 2u * lengths.y;
    let at = position(o, lengths);
    let distance = max(at, i * unit) - min(at, i * unit);
    return f32(unit - min(unit, distance)) / f32(unit);
}

// The first output pixel that may take from input pixel `i`, and the one after the last.
fn takers(i: u32, lengths: vec2<u32>) -> vec2<u32> {
    let unit = 2u * lengths.x;
    let low = 2u * i * lengths.y;
    let start = (low - min(low, lengths.x + lengths.y)) / unit;
    let high = (2u * i + 3u) * lengths.y;
    let end = (high - min(high, lengths.x) + unit - 1u) / unit;
    return vec2(start, min(end, lengths.y));
}

@compute @workgroup_size(64)
fn resize_bilinear_forward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if index >= uniforms.elements {
        return;
    }
    let channel = index % uniforms.channels;
    let pixel = index / uniforms.channels;
    let column = pixel % uniforms.to_width;
    let row = pixel / uniforms.to_width % uniforms.to_height;
    let image = pixel / uniforms.to_width / uniforms.to_height;
    let vertical = vec2(uniforms.from_height, uniforms.to_height);
    let horizontal = vec2(uniforms.from_width, uniforms.to_width);
    let top = position(row, vertical) / (2u * vertical.y);
    let left = position(column, horizontal) / (2u * horizontal.y);
    var total = 0.0;
    for (var i = top; i < min(top + 2u, vertical.x); i++) {
        for (var j = left; j < min(left + 2u, horizontal.x); j++) {
            let at = ((image * vertical.x + i) * horizontal.x + j) * uniforms.channels + channel;
            total += share(row, i, vertical) * share(column, j, horizontal) * x[at];
        }
    }
    y[index] = total;
}

@compute @workgroup_size(64)
fn resize_bilinear_backward(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let index = id.x + (uniforms.first_group + id.y * groups.x) * 64u;
    if index >= uniforms.elements {
        return;
    }
    let channel = index % uniforms.channels;
    let pixel = index / uniforms.channels;
    let column = pixel % uniforms.from_width;
    let row = pixel / uniforms.from_width % uniforms.from_height;
    let image = pixel / uniforms.from_width / uniforms.from_height;
    let vertical = vec2(uniforms.from_height, uniforms.to_height);
    let horizontal = vec2(uniforms.from_width, uniforms.to_width);
    let rows = takers(row, vertical);
    let columns = takers(column, horizontal);
    var total = 0.0;
    for (var o = rows.x; o < rows.y; o++) {
        let start = (image * vertical.y + o) * horizontal.y;
        var of_row = 0.0;
        for (var p = columns.x; p < columns.y; p++) {
            of_row += share(p, column, horizontal) * dy[(start + p) * uniforms.channels + channel];
        }
        total += share(o, row, vertical) * of_row;
    }
    dx[index] = total;
}
