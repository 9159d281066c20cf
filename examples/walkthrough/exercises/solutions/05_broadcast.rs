// 5. Broadcasting, and the sum in its derivative
//
// A bias of shape [1, 4] can be added to a matrix of shape [3, 4]: its one row is used
// for every row. That is broadcasting. On the way back every use sends a gradient, and
// they all belong to the same number.
//
// Matrices are row-major here: element (row, column) is numbers[row * columns +
// column]. The second operand has as many rows as the first or one, and as many
// columns or one.
//
// Mend both functions below.

pub type Shape = [usize; 2];

/// a + b, where b is broadcast to the shape of a.
pub fn add(a: &[f64], of: Shape, b: &[f64], of_b: Shape) -> Vec<f64> {
    let [rows, columns] = of;
    let mut sum = vec![0.0; rows * columns];
    for row in 0..rows {
        for column in 0..columns {
            // SOLUTION
            let place = row % of_b[0] * of_b[1] + column % of_b[1];
            sum[row * columns + column] = a[row * columns + column] + b[place];
            // INSTEAD
            // let place = (row * columns + column) % (of_b[0] * of_b[1]);
            // sum[row * columns + column] = a[row * columns + column] + b[place];
            // END
        }
    }
    sum
}

/// The gradient of b, from that of the sum.
pub fn gradient_of_b(gradient: &[f64], of: Shape, of_b: Shape) -> Vec<f64> {
    let [rows, columns] = of;
    let mut of_each = vec![0.0; of_b[0] * of_b[1]];
    for row in 0..rows {
        for column in 0..columns {
            // SOLUTION
            let place = row % of_b[0] * of_b[1] + column % of_b[1];
            of_each[place] += gradient[row * columns + column];
            // INSTEAD
            // let place = row.min(of_b[0] - 1) * of_b[1] + column.min(of_b[1] - 1);
            // of_each[place] = gradient[row * columns + column];
            // END
        }
    }
    of_each
}

// HINT
// Which row of b belongs to a row of a: the same one, or row 0 if b has one row only.
// For columns it is the same. `row % of_b[0]` says this in one word.
// HINT
// Each element of b was added in several places. By the chain rule its gradient is the
// sum over all these places.
