use crate::check::{all_is_right, numbers, of_matrix, some_numbers};
use crate::exercise::{Shape, add, gradient_of_b};

/// Where b's element for (row, column) lies, said in another way than the exercise may.
fn place(row: usize, column: usize, [rows, columns]: Shape) -> usize {
    let row = if rows == 1 { 0 } else { row };
    let column = if columns == 1 { 0 } else { column };
    row * columns + column
}

fn main() {
    let a: Vec<f64> = (0..12).map(f64::from).collect();
    for of_b in [[1, 4], [3, 4], [3, 1], [1, 1]] {
        let b = some_numbers(of_b[0] * of_b[1]);
        let at = |i: usize| place(i / 4, i % 4, of_b);
        let expected: Vec<f64> = (0..12).map(|i| a[i] + b[at(i)]).collect();
        let what = format!("add of [3, 4] and {of_b:?}");
        numbers(&what, &add(&a, [3, 4], &b, of_b), &expected, of_matrix(4));
    }
    for of_b in [[1, 4], [3, 4], [3, 1], [1, 1]] {
        let mut expected = vec![0.0; of_b[0] * of_b[1]];
        (0..12).for_each(|i| expected[place(i / 4, i % 4, of_b)] += a[i]);
        let what = format!("gradient_of_b for {of_b:?} from that of [3, 4]");
        numbers(&what, &gradient_of_b(&a, [3, 4], of_b), &expected, of_matrix(of_b[1]));
    }
    all_is_right();
}
