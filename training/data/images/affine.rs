//! Affine maps of the plane, and pictures seen through them.

use super::{ImageShape, VOID};

/// Where in the picture each pixel of the result looks: source = matrix · target + shift, with the
/// origin in the middle, x to the right and y down, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    matrix: [[f32; 2]; 2],
    shift: [f32; 2],
}

impl Affine {
    pub(super) const IDENTITY: Affine = Affine::linear([[1.0, 0.0], [0.0, 1.0]]);
    pub(super) const FLIP: Affine = Affine::linear([[-1.0, 0.0], [0.0, 1.0]]);

    const fn linear(matrix: [[f32; 2]; 2]) -> Affine {
        Affine { matrix, shift: [0.0; 2] }
    }

    pub(super) fn translation(x: f32, y: f32) -> Affine {
        Affine { shift: [x, y], ..Affine::IDENTITY }
    }

    /// A turn by an angle in radians.
    pub(super) fn rotation(angle: f32) -> Affine {
        let (sin, cos) = angle.sin_cos();
        Affine::linear([[cos, -sin], [sin, cos]])
    }

    pub(super) fn shear(x: f32, y: f32) -> Affine {
        Affine::linear([[1.0, x], [y, 1.0]])
    }

    /// Makes what is seen larger by a factor.
    pub(super) fn magnification(factor: f32) -> Affine {
        Affine::linear([[1.0 / factor, 0.0], [0.0, 1.0 / factor]])
    }

    fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [0, 1].map(|axis| {
            let row = self.matrix[axis];
            row[0] * x + row[1] * y + self.shift[axis]
        })
    }

    /// The picture first through this map, and the result through `next`.
    pub(super) fn then(self, next: Affine) -> Affine {
        let column = |column: usize| {
            let [x, y] = [next.matrix[0][column], next.matrix[1][column]];
            Affine { shift: [0.0; 2], ..self }.apply([x, y])
        };
        let [first, second] = [column(0), column(1)];
        let matrix = [[first[0], second[0]], [first[1], second[1]]];
        Affine { matrix, shift: self.apply(next.shift) }
    }

    /// For each pixel of the result, row by row, the column and row that it looks at.
    fn sources(&self, shape: ImageShape) -> impl Iterator<Item = [f32; 2]> {
        let middle = [shape.width, shape.height].map(|size| (size as f32 - 1.0) / 2.0);
        (0..shape.pixels()).map(move |pixel| {
            let target = [(pixel % shape.width) as f32, (pixel / shape.width) as f32];
            let [x, y] = self.apply([target[0] - middle[0], target[1] - middle[1]]);
            [x + middle[0], y + middle[1]]
        })
    }

    /// A picture, (channel, row, column), seen through the map: between pixels the bilinear mean
    /// of four, and outside the nearest on the edge.
    pub(super) fn image(&self, image: &[u8], shape: ImageShape, result: &mut [f32]) {
        let plane = shape.pixels();
        let clamp = |along: f32, size: usize| along.clamp(0.0, size as f32 - 1.0);
        for (target, [x, y]) in self.sources(shape).enumerate() {
            let (x, y) = (clamp(x, shape.width), clamp(y, shape.height));
            let (left, top) = (x as usize, y as usize);
            let right = (left + 1).min(shape.width - 1);
            let bottom = (top + 1).min(shape.height - 1);
            let (along, down) = (x - left as f32, y - top as f32);
            for (channel, pixels) in image.chunks(plane).enumerate() {
                let at = |row: usize, column: usize| f32::from(pixels[row * shape.width + column]);
                let upper = at(top, left) + along * (at(top, right) - at(top, left));
                let lower = at(bottom, left) + along * (at(bottom, right) - at(bottom, left));
                result[channel * plane + target] = upper + down * (lower - upper);
            }
        }
    }

    /// Labels, (row, column), seen through the map: the nearest, and [`VOID`] outside.
    pub(super) fn labels(&self, labels: &[u16], shape: ImageShape) -> Vec<u16> {
        let look = |[x, y]: [f32; 2]| {
            let (column, row) = (x.round(), y.round());
            let inside = (0.0..shape.width as f32).contains(&column)
                && (0.0..shape.height as f32).contains(&row);
            if inside { labels[row as usize * shape.width + column as usize] } else { VOID }
        };
        self.sources(shape).map(look).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::FRAC_PI_2;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 3, width: 4 };

    fn through(map: Affine) -> (Vec<f32>, Vec<u16>) {
        let pixels: Vec<u8> = (0..12).collect();
        let labels: Vec<u16> = (0..12).collect();
        let mut result = vec![0.0; 12];
        map.image(&pixels, SHAPE, &mut result);
        (result, map.labels(&labels, SHAPE))
    }

    #[test]
    fn whole_pixels_are_moved_exactly() {
        let (pixels, labels) = through(Affine::FLIP);
        assert_eq!(pixels, [3., 2., 1., 0., 7., 6., 5., 4., 11., 10., 9., 8.]);
        assert_eq!(labels, [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8]);
        assert_eq!(through(Affine::FLIP.then(Affine::FLIP)), through(Affine::IDENTITY));
        // Two to the right of the picture is seen: its edge goes on, its labels do not.
        let (pixels, labels) = through(Affine::translation(2.0, 0.0));
        assert_eq!(pixels[..4], [2., 3., 3., 3.]);
        assert_eq!(labels[..4], [2, 3, VOID, VOID]);
    }

    #[test]
    fn maps_follow_one_another() {
        let (right, turn) = (Affine::translation(1.0, 0.0), Affine::rotation(FRAC_PI_2));
        let [x, y] = right.then(turn).apply([1.0, 0.0]);
        // (1, 0) looks at (0, 1) of the moved picture, which looks at (1, 1) of the picture.
        assert!((x - 1.0).abs() < 1e-6 && (y - 1.0).abs() < 1e-6, "{x} {y}");
        assert_eq!(Affine::magnification(2.0).apply([4.0, 2.0]), [2.0, 1.0]);
        assert_eq!(Affine::shear(0.5, 0.0).apply([1.0, 2.0]), [2.0, 2.0]);
    }

    #[test]
    fn between_pixels_lies_their_mean() {
        let (pixels, _) = through(Affine::translation(0.5, 0.5));
        assert_eq!(pixels[..2], [2.5, 3.5]);
    }
}
