use crate::check::{all_is_right, by_differences, numbers, rounded, some_numbers, wrong};
use crate::exercise::{loss_gradient, softmax};

fn main() {
    let logit = |place| format!("logit {place}");
    let third = [0.25, 0.25, 0.5];
    let logits = third.map(f64::ln);
    numbers("softmax of [ln ¼, ln ¼, ln ½]", &softmax(&logits), &third, logit);
    numbers("softmax of [1000, 1000]", &softmax(&[1000.0, 1000.0]), &[0.5, 0.5], logit);
    numbers("softmax of [−1000, −1000]", &softmax(&[-1000.0, -1000.0]), &[0.5, 0.5], logit);
    let gradient = loss_gradient(&logits, 2);
    numbers("loss_gradient of [ln ¼, ln ¼, ln ½], target 2", &gradient, &[0.25, 0.25, -0.5], logit);
    let logits = some_numbers(7);
    let loss = |logits: &[f64]| -softmax(logits)[3].ln();
    let expected = rounded(&by_differences(loss, &logits));
    let got = rounded(&loss_gradient(&logits, 3));
    for (place, (got, expected)) in got.iter().zip(&expected).enumerate() {
        if (got - expected).abs() > 1e-6 {
            wrong(&format!(
                "loss_gradient, at logit {place}: got {got}, by differences {expected}"
            ));
        }
    }
    all_is_right();
}
