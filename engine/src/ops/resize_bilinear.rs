//! Bilinear resizing of images, as PyTorch's `interpolate` does it with `align_corners = false`:
//! pixels are squares, and the centre of output pixel o lies at s = (o + ½)·from / to − ½ among
//! the centres of the input's pixels, kept within 0..=from − 1. Along each axis it takes the share
//! 1 − |s − i| from the input's pixel i where that is positive: from two neighbours, or from one.
//!
//! y\[Y, X\] = Σ_i Σ_j (1 − |s(Y) − i|)₊ (1 − |s(X) − j|)₊ x\[i, j\], for each channel. Derivative: the
//! same shares, summed over the output's pixels: dx\[i, j\] = Σ_Y Σ_X … dy\[Y, X\]. Saves nothing. Cost
//! an element of the larger image: 6 flops, 4 bytes.
//!
//! s is a fraction of whole numbers, so every device finds the same neighbours. When an image is
//! made more than twice smaller, pixels between the neighbours are left out.

use crate::autograd::{GradientContext, Op, Saved, Saves, apply_built_in};
use crate::device::cpu::scratch::Slots;
use crate::device::cpu::simd;
use crate::device::{Cost, Kernel, View, ViewMut};
use crate::gpu::{Binding, Recorder};
use crate::proof::{Array64, Case, Proven};
use crate::{Shape, Tensor, uniforms};
use std::ops::Range;

impl Tensor {
    /// These images (batch, height, width, channels) at another size: (batch, `height`, `width`,
    /// channels).
    ///
    /// # Panics
    /// If there are not four axes, or a side of the images is 0.
    ///
    /// ```
    /// use neutreno_engine::{Device, Tensor};
    /// let x = Tensor::new(&[0.0, 4.0], [1, 1, 2, 1], &Device::cpu());
    /// assert_eq!(x.resize_bilinear(1, 4).to_vec()?, [0.0, 1.0, 3.0, 4.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    #[track_caller]
    pub fn resize_bilinear(&self, height: usize, width: usize) -> Tensor {
        let [y] = apply_built_in(ResizeBilinear { height, width }, &[self]);
        y
    }
}

/// y (batch, height, width, channels) from x (batch, any height, any width, channels).
#[derive(Clone, Debug)]
pub struct ResizeBilinear {
    /// The output's height.
    pub height: usize,
    /// The output's width.
    pub width: usize,
}

/// One axis, resized from so many pixels to so many.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: usize,
    to: usize,
}

impl Axis {
    /// s of output pixel `o`, in units of 1 / (2·to).
    #[inline(always)]
    fn position(self, o: usize) -> usize {
        ((2 * o + 1) * self.from).saturating_sub(self.to).min(2 * self.to * (self.from - 1))
    }

    /// The input's pixels before and after s, and the share of the second.
    #[inline(always)]
    fn neighbours(self, o: usize) -> (usize, usize, f32) {
        let (position, unit) = (self.position(o), 2 * self.to);
        let before = position / unit;
        let share = (position % unit) as f32 / unit as f32;
        (before, (before + 1).min(self.from - 1), share)
    }

    /// The output's pixels that may take a share from input pixel `i`.
    #[inline(always)]
    fn takers(self, i: usize) -> Range<usize> {
        let start = ((2 * i) * self.to).saturating_sub(self.to + self.from) / (2 * self.from);
        let end = ((2 * i + 3) * self.to).saturating_sub(self.from).div_ceil(2 * self.from);
        start..end.min(self.to)
    }

    /// The share that output pixel `o` takes from input pixel `i`.
    #[inline(always)]
    fn share(self, o: usize, i: usize) -> f32 {
        let unit = 2 * self.to;
        let distance = self.position(o).abs_diff(i * unit);
        unit.saturating_sub(distance) as f32 / unit as f32
    }
}

/// The vertical and the horizontal axis of a resizing of `x`.
fn axes(x: &Shape, y: &Shape) -> [Axis; 2] {
    [1, 2].map(|axis| Axis { from: x[axis], to: y[axis] })
}

impl Kernel for ResizeBilinear {
    fn name(&self) -> &'static str {
        "resize_bilinear"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if inputs[0].rank() != 4 {
            return Err("images are (batch, height, width, channels)".into());
        }
        if inputs[0][1] * inputs[0][2] * self.height * self.width == 0 {
            return Err(format!("a side of 0 pixels, to {} by {}", self.height, self.width));
        }
        Ok(vec![inputs[0].with(1, self.height).with(2, self.width)])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let made = inputs[0].with(1, self.height).with(2, self.width).elements();
        Cost::elementwise(made, 6, inputs[0].elements() + made)
    }

    fn scratch(&self, inputs: &[Shape], threads: usize) -> Option<usize> {
        let channels = inputs[0][3];
        let (rows, width) = (inputs[0][0] * self.height, self.width * channels);
        Some(Slots::elements(inputs[0][2] * channels, simd::row_tasks(rows, width), threads))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let axes = axes(&inputs[0].shape, &outputs[0].shape);
        let channels = inputs[0].shape[3];
        let [y, scratch] = outputs else { unreachable!("y and the working memory") };
        let buffers = Slots::new(scratch, axes[1].from * channels);
        let body = Forward { x: inputs[0].data, axes, channels, buffers };
        simd::for_long_rows(y, self.width * channels, &body);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        record("resize_bilinear_forward", &inputs[0], &outputs[0], false, gpu);
    }
}

/// Records a shader with an invocation for each element of what it makes: of y, or of dx from dy.
fn record(entry_point: &str, input: &Binding, made: &Binding, back: bool, gpu: &mut Recorder) {
    let (small, large) = (&input.shape, &made.shape);
    let [vertical, horizontal] = if back { axes(large, small) } else { axes(small, large) };
    let elements = made.shape.elements();
    let uniforms = uniforms! {
        elements,
        from_height: vertical.from,
        to_height: vertical.to,
        from_width: horizontal.from,
        to_width: horizontal.to,
        channels: made.shape[3],
    };
    gpu.dispatch_elements(entry_point, &[input], &[made], uniforms, elements);
}

/// The output's rows: each mixes two rows of the input, then neighbours within the mix.
struct Forward<'a> {
    x: &'a [f32],
    axes: [Axis; 2],
    channels: usize,
    /// Room for a row of x each.
    buffers: Slots<'a>,
}

impl simd::Rows for Forward<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let ([vertical, horizontal], channels) = (self.axes, self.channels);
        let length = horizontal.from * channels;
        let mut mixed = self.buffers.take();
        let mixed = &mut mixed[..length];
        for (row, y) in (first..).zip(rows.chunks_exact_mut(horizontal.to * channels)) {
            let image = row / vertical.to * vertical.from;
            let (before, after, share) = vertical.neighbours(row % vertical.to);
            let row = |number: usize| &self.x[(image + number) * length..][..length];
            mix(mixed, row(before), row(after), share);
            for (o, y) in y.chunks_exact_mut(channels).enumerate() {
                let (before, after, share) = horizontal.neighbours(o);
                let pixel = |number: usize| &mixed[number * channels..][..channels];
                mix(y, pixel(before), pixel(after), share);
            }
        }
    }
}

/// target = (1 − share)·before + share·after.
#[inline(always)]
fn mix(target: &mut [f32], before: &[f32], after: &[f32], share: f32) {
    for (target, (before, after)) in target.iter_mut().zip(before.iter().zip(after)) {
        *target = (1.0 - share) * before + share * after;
    }
}

/// dx from dy.
#[derive(Clone, Debug)]
struct ResizeBilinearBackward {
    /// The height and the width of x.
    sides: [usize; 2],
}

impl Kernel for ResizeBilinearBackward {
    fn name(&self) -> &'static str {
        "resize_bilinear_backward"
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![inputs[0].with(1, self.sides[0]).with(2, self.sides[1])])
    }

    fn cost(&self, inputs: &[Shape]) -> Cost {
        let made = inputs[0].with(1, self.sides[0]).with(2, self.sides[1]).elements();
        Cost::elementwise(inputs[0].elements(), 6, inputs[0].elements() + made)
    }

    fn scratch(&self, inputs: &[Shape], threads: usize) -> Option<usize> {
        let channels = inputs[0][3];
        let (rows, width) = (inputs[0][0] * self.sides[0], self.sides[1] * channels);
        Some(Slots::elements(inputs[0][2] * channels, simd::row_tasks(rows, width), threads))
    }

    fn cpu(&self, inputs: &[View], outputs: &mut [ViewMut]) {
        let axes = axes(&outputs[0].shape, &inputs[0].shape);
        let channels = inputs[0].shape[3];
        let [dx, scratch] = outputs else { unreachable!("dx and the working memory") };
        let buffers = Slots::new(scratch, axes[1].to * channels);
        let body = Backward { dy: inputs[0].data, axes, channels, buffers };
        simd::for_long_rows(dx, self.sides[1] * channels, &body);
    }

    fn gpu(&self, inputs: &[Binding], outputs: &[Binding], gpu: &mut Recorder) {
        record("resize_bilinear_backward", &inputs[0], &outputs[0], true, gpu);
    }
}

/// Rows of dx: the rows of dy that took from a row are summed by their shares, then the pixels.
struct Backward<'a> {
    dy: &'a [f32],
    axes: [Axis; 2],
    channels: usize,
    /// Room for a row of dy each.
    buffers: Slots<'a>,
}

impl simd::Rows for Backward<'_> {
    #[inline(always)]
    fn make(&self, first: usize, rows: &mut [f32]) {
        let ([vertical, horizontal], channels) = (self.axes, self.channels);
        let length = horizontal.to * channels;
        let mut summed = self.buffers.take();
        let summed = &mut summed[..length];
        for (row, dx) in (first..).zip(rows.chunks_exact_mut(horizontal.from * channels)) {
            let (image, i) = (row / vertical.from * vertical.to, row % vertical.from);
            summed.fill(0.0);
            for o in vertical.takers(i) {
                let dy = &self.dy[(image + o) * length..][..length];
                add_share(summed, dy, vertical.share(o, i));
            }
            dx.fill(0.0);
            for (o, dy) in summed.chunks_exact(channels).enumerate() {
                let (before, after, share) = horizontal.neighbours(o);
                add_share(&mut dx[before * channels..][..channels], dy, 1.0 - share);
                add_share(&mut dx[after * channels..][..channels], dy, share);
            }
        }
    }
}

#[inline(always)]
fn add_share(total: &mut [f32], values: &[f32], share: f32) {
    total.iter_mut().zip(values).for_each(|(total, value)| *total += share * value);
}

impl Op for ResizeBilinear {
    fn saves(&self) -> Saves {
        Saves::default()
    }

    fn backward(&self, saved: &Saved, context: &mut GradientContext) {
        let gradient = context.of_output(0);
        let x = saved.input_shape(0);
        context.accumulate_with(
            &ResizeBilinearBackward { sides: [x[1], x[2]] },
            &[&gradient],
            &[0],
        );
    }
}

impl Proven for ResizeBilinear {
    fn reference(&self, inputs: &[Array64]) -> Vec<Array64> {
        let x = &inputs[0];
        let [height, width, channels] = [x.shape[1], x.shape[2], x.shape[3]];
        // The neighbours and the share of the second, as PyTorch computes them.
        let along = |o: usize, from: usize, to: usize| {
            let s = ((o as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let before = (s.floor() as usize).min(from - 1);
            (before, (before + 1).min(from - 1), s - before as f64)
        };
        let element = |index: usize| {
            let (pixel, channel) = (index / channels, index % channels);
            let (row, column) = (pixel / self.width, pixel % self.width);
            let (image, row) = (row / self.height, row % self.height);
            let (top, bottom, down) = along(row, height, self.height);
            let (left, right, across) = along(column, width, self.width);
            let at = |i: usize, j: usize| {
                x.data[((image * height + i) * width + j) * channels + channel]
            };
            (1.0 - down) * ((1.0 - across) * at(top, left) + across * at(top, right))
                + down * ((1.0 - across) * at(bottom, left) + across * at(bottom, right))
        };
        let shape = x.shape.with(1, self.height).with(2, self.width);
        vec![Array64::from_fn(shape, element)]
    }

    fn cases() -> Vec<Case> {
        let case = |shape: [usize; 4], height: usize, width: usize| {
            let op = ResizeBilinear { height, width };
            Case::new(format!("{shape:?} to {height} by {width}"), op).input(shape)
        };
        vec![
            case([1, 1, 1, 1], 1, 1),
            case([1, 1, 1, 2], 3, 5),
            case([2, 2, 3, 1], 4, 9),
            case([1, 3, 2, 2], 3, 2),
            case([2, 5, 7, 3], 3, 4),
            case([1, 17, 9, 1], 4, 2),
            case([2, 15, 20, 11], 120, 63),
            case([1, 65, 33, 3], 65, 257),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_takers_are_those_with_a_share() {
        for (from, to) in [(1, 1), (1, 6), (6, 1), (3, 7), (7, 3), (15, 120), (5, 5), (9, 10)] {
            let axis = Axis { from, to };
            for i in 0..from {
                let takers = axis.takers(i);
                for o in (0..to).filter(|o| !takers.contains(o)) {
                    assert_eq!(axis.share(o, i), 0.0, "{axis:?}: {o} takes from {i}");
                }
            }
            for o in 0..to {
                let total: f32 = (0..from).map(|i| axis.share(o, i)).sum();
                assert!((total - 1.0).abs() < 1e-6, "{axis:?}: shares of {o}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "resize_bilinear: images are (batch, height, width, channels)")]
    fn wrong_axes_are_named() {
        Tensor::zeros([4, 4, 3], &crate::Device::cpu()).resize_bilinear(8, 8);
    }
}
