//! Learned positions for images of another size: between those that were learned.

/// Positions, one of `width` numbers for each patch of a grid (rows, columns), as seen through a finer or
/// coarser grid: by cubic convolution (Keys 1981) along both sides, with a = −3/4, as
/// `interpolate_pos_encoding` of `transformers` does it. Beyond the border, the positions at the border go
/// on.
pub(super) fn interpolate(
    positions: &[f32],
    width: usize,
    [rows, columns]: [usize; 2],
    [new_rows, new_columns]: [usize; 2],
) -> Vec<f32> {
    let [down, across] = [taps(rows, new_rows), taps(columns, new_columns)];
    let mut new = Vec::with_capacity(new_rows * new_columns * width);
    for vertical in &down {
        for horizontal in &across {
            for channel in 0..width {
                let at = |row: usize, column: usize| {
                    f64::from(positions[(row * columns + column) * width + channel])
                };
                let of_row = |row: usize| {
                    horizontal.iter().map(|(column, weight)| weight * at(row, *column)).sum::<f64>()
                };
                let value: f64 = vertical.iter().map(|(row, weight)| weight * of_row(*row)).sum();
                new.push(value as f32);
            }
        }
    }
    new
}

/// For each place on a new side, the four old places that it lies among, and what they weigh.
fn taps(old: usize, new: usize) -> Vec<[(usize, f64); 4]> {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let place = |index: usize| {
        // Middles of patches lie over middles of patches.
        let exact = (index as f64 + 0.5) * old as f64 / new as f64 - 0.5;
        let (first, t) = (exact.floor(), exact - exact.floor());
        let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        let inside = |offset: usize| (first + offset as f64 - 1.0).clamp(0.0, old as f64 - 1.0);
        std::array::from_fn(|offset| (inside(offset) as usize, weights[offset]))
    };
    (0..new).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_grid_has_the_same_positions() {
        let positions: Vec<f32> = (0..3 * 4 * 2).map(|i| (i as f32).sin()).collect();
        assert_eq!(interpolate(&positions, 2, [3, 4], [3, 4]), positions);
    }

    /// Four weights add up to 1, so what is even stays so, and where the place is in the middle they are
    /// −3/32, 19/32, 19/32 and −3/32.
    #[test]
    fn weights_are_those_of_cubic_convolution() {
        let even = interpolate(&[0.5; 6], 1, [2, 3], [5, 7]);
        assert!(even.iter().all(|x| (x - 0.5).abs() < 1e-7) && even.len() == 35);
        let halves = interpolate(&[0.0, 0.0, 1.0, 0.0, 0.0, 0.0], 1, [1, 6], [1, 3]);
        assert_eq!(halves, [-3.0 / 32.0, 19.0 / 32.0, 0.0]);
        // Along both sides alike.
        let mut point = [0.0; 36];
        point[2 * 6 + 2] = 1.0;
        let both = interpolate(&point, 1, [6, 6], [3, 3]);
        assert_eq!(both[4], (19.0_f32 / 32.0).powi(2));
        assert_eq!(both[1], -3.0 / 32.0 * 19.0 / 32.0);
    }
}
