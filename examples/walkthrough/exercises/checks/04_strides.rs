use crate::check::{all_is_right, wrong};
use crate::exercise::View;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) {
    if got != expected {
        wrong(&format!("{what}: got {got:?}, expected {expected:?}"));
    }
}

fn main() {
    same("View::new(&[2, 3]).strides", View::new(&[2, 3]).strides, vec![3, 1]);
    same("View::new(&[2, 3, 4]).strides", View::new(&[2, 3, 4]).strides, vec![12, 4, 1]);
    same("View::new(&[5]).strides", View::new(&[5]).strides, vec![1]);
    let view = View::new(&[2, 3, 4]);
    same("the place of [0, 0, 0]", view.place(&[0, 0, 0]), 0);
    same("the place of [1, 2, 3] in the shape [2, 3, 4]", view.place(&[1, 2, 3]), 23);
    same("the place of [1, 0, 2] in the shape [2, 3, 4]", view.place(&[1, 0, 2]), 14);
    let by_hand = View { shape: vec![3, 2], strides: vec![1, 3] };
    same("the place of [2, 1] with strides [1, 3]", by_hand.place(&[2, 1]), 5);
    let turned = view.transposed(0, 2);
    same("the shape of [2, 3, 4], axes 0 and 2 exchanged", turned.shape.clone(), vec![4, 3, 2]);
    same(
        "the strides of [2, 3, 4], axes 0 and 2 exchanged",
        turned.strides.clone(),
        vec![1, 4, 12],
    );
    for index in [[0, 0, 1], [3, 2, 1], [1, 2, 0]] {
        let [a, b, c] = index;
        let what = format!("the place of {index:?} in it");
        same(&what, turned.place(&index), view.place(&[c, b, a]));
    }
    same("exchanged twice", turned.transposed(2, 0), view);
    all_is_right();
}
