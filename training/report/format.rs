//! Numbers and names as people read them.

pub use crate::engine::device::bytes;

/// What stands for a number that was not measured, or is not finite.
pub(super) const NONE: &str = "–";

/// A whole number with separators between thousands.
///
/// ```
/// # use neutreno::report::thousands;
/// assert_eq!(thousands(1_234_567), "1,234,567");
/// ```
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time given in seconds.
///
/// ```
/// # use neutreno::report::duration;
/// assert_eq!(duration(7.25), "7.2 s");
/// assert_eq!(duration(125.0), "2 min 05 s");
/// assert_eq!(duration(7320.0), "2 h 02 min");
/// ```
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return NONE.to_owned();
    }
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{:.1} s", seconds.max(0.0)),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", thousands(whole / 3600), whole % 3600 / 60),
    }
}

/// A number with so many decimals and separators between thousands; in powers of ten when it is
/// too large for that, and a dash when it is not finite.
pub(super) fn fixed(number: f64, decimals: usize) -> String {
    if !number.is_finite() {
        return NONE.to_owned();
    }
    if number.abs() >= 1e7 {
        return format!("{number:.1e}");
    }
    let text = format!("{:.decimals$}", number.abs());
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let sign =
        if number < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) { "−" } else { "" };
    let whole = thousands(whole.parse().unwrap_or(0));
    fraction.map_or_else(|| format!("{sign}{whole}"), |f| format!("{sign}{whole}.{f}"))
}

/// How many decimals a perplexity or a rate of this size deserves: four digits in all.
pub(super) fn decimals(number: f64) -> usize {
    match number.abs() {
        size if size < 10.0 => 3,
        size if size < 100.0 => 2,
        size if size < 1000.0 => 1,
        _ => 0,
    }
}

/// At most so many characters of a name.
pub(super) fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

/// A variant's name as its authors write it: `neutreno` is NeuTRENO. Other words stay.
///
/// ```
/// # use neutreno::report::label;
/// assert_eq!(label("svformer"), "SVFormer");
/// assert_eq!(label("neutreno+resformer"), "NeuTRENO+ResFormer");
/// assert_eq!(label("neutreno-0.2"), "NeuTRENO λ=0.2");
/// assert_eq!(label("resformer-sparse-5-6+7"), "ResFormer-sparse λ₁=5 layers 6+7");
/// assert_eq!(label("neutreno+resformer-0.1-sparse-5"), "NeuTRENO+ResFormer λ=0.1-sparse λ₁=5");
/// ```
pub fn label(variant: &str) -> String {
    const NAMES: [&str; 4] = ["Transformer", "NeuTRENO", "ResFormer", "SVFormer"];
    let label = NAMES
        .iter()
        .fold(variant.to_owned(), |label, name| label.replace(&name.to_lowercase(), name));
    let label = with_constant(&label, "NeuTRENO", "λ");
    let label = with_constant(&label, "ResFormer", "λ");
    let label = with_constant(&label, "constant", "λ₁");
    let label = with_constant(&label, "sparse", "λ₁");
    // The dash of a negative number stands first.
    let layers = |(before, after): (&str, &str)| {
        let is_of_number = |letter: char| letter == '.' || letter.is_ascii_digit();
        let (dash, _) = after.char_indices().skip(1).find(|(_, letter)| !is_of_number(*letter))?;
        after[dash..]
            .starts_with('-')
            .then(|| format!("{before}λ₁={} layers {}", &after[..dash], &after[dash + 1..]))
    };
    label.split_once("λ₁=").and_then(layers).unwrap_or(label)
}

/// A label in which the constant after `name`, if there is one, has its symbol.
fn with_constant(label: &str, name: &str, symbol: &str) -> String {
    let is_number =
        |text: &str| text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    match label.split_once(&format!("{name}-")) {
        Some((before, after)) if is_number(after) => format!("{before}{name} {symbol}={after}"),
        _ => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_size_stay_short() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(fixed(-1234.56, 1), "−1,234.6");
        assert_eq!(fixed(-0.00001, 3), "0.000");
        assert_eq!(fixed(9.5e30, 4), "9.5e30");
        assert_eq!(fixed(f64::NAN, 4), "–");
        assert_eq!(fixed(f64::NEG_INFINITY, 0), "–");
        assert_eq!(duration(59.96), "1 min 00 s");
        assert_eq!(duration(f64::INFINITY), "–");
    }
}
