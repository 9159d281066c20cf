//! What the configurations of all models are checked for. Each error names the key and the numbers.

/// That no size is 0.
pub fn at_least_one(sizes: &[(&str, usize)]) -> Result<(), String> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(format!("{name} must be at least 1")),
        None => Ok(()),
    }
}

/// That every head has as many channels.
pub fn heads_divide(heads: usize, width: usize) -> Result<(), String> {
    if width.is_multiple_of(heads) {
        return Ok(());
    }
    Err(format!("{heads} heads do not divide the width {width}; choose a width that is a multiple"))
}

/// That something happens with a probability less than 1.
pub fn probability(name: &str, value: f32) -> Result<(), String> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} must be in [0, 1), not {value}"))
}

/// That a deviation lets weights differ.
pub fn above_zero(name: &str, value: f32) -> Result<(), String> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(format!("{name} must be more than 0, not {value}"))
}

/// That the activation is the one that we have.
pub fn activation(given: &str, known: &str) -> Result<(), String> {
    if given == known {
        return Ok(());
    }
    Err(format!("hidden_act is {given:?}, and only {known:?} is known"))
}
