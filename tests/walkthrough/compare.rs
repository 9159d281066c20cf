//! Whether two texts are the same, but for numbers that may be a little or wholly different.

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// Numbers by this share of the larger one. One in the last place shown is always allowed.
    Share(f64),
    /// Numbers.
    AnyNumbers,
    /// All but what stands before a first `: ` in a line: what a model writes hangs on the last bits of its
    /// weights, and these on the processor.
    AnyWords,
}

/// A text in words and numbers.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    /// A number, and one in its last place.
    Number(f64, f64),
}

/// Compares line by line.
///
/// # Errors
/// The first line that differs.
pub fn compare(shown: &[String], made: &[String], allowed: Allowed) -> Result<(), String> {
    if allowed == Allowed::AnyWords {
        let label = |line: &String| line.split_once(": ").map(|(label, _)| label.to_owned());
        let made: Vec<String> = made.iter().filter_map(label).collect();
        let lost = shown.iter().filter_map(label).find(|label| !made.contains(label));
        return lost.map_or(Ok(()), |label| Err(format!("{label:?} is not there")));
    }
    for (shown, made) in shown.iter().zip(made) {
        if !are_alike(&tokens(shown), &tokens(made), allowed) {
            return Err(format!("the page shows\n    {shown}\nbut it is\n    {made}"));
        }
    }
    let (long, is_shown) = if shown.len() > made.len() { (shown, true) } else { (made, false) };
    match long.get(shown.len().min(made.len())) {
        Some(line) if is_shown => Err(format!("the page shows\n    {line}\nwhich is not there")),
        Some(line) => Err(format!("the page lacks\n    {line}")),
        None => Ok(()),
    }
}

/// The words of a picture, in which numbers are places.
pub fn words(svg: &str) -> Vec<String> {
    let texts = svg.split("<text").skip(1).filter_map(|part| part.split_once('>'));
    let texts = texts.map(|(_, rest)| rest.split("</text>").next().unwrap_or_default().trim());
    let mut words: Vec<String> = texts
        .map(|text| tokens(text).iter().filter_map(Token::word).collect::<Vec<&str>>().join(" "))
        .filter(|text| !text.is_empty())
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

impl Token {
    fn word(&self) -> Option<&str> {
        if let Token::Word(word) = self { Some(word) } else { None }
    }
}

fn are_alike(one: &[Token], other: &[Token], allowed: Allowed) -> bool {
    let alike = |pair: (&Token, &Token)| match pair {
        (Token::Number(a, last_of_a), Token::Number(b, last_of_b)) => match allowed {
            Allowed::Share(share) => {
                let slack = share * a.abs().max(b.abs()) + 1.001 * last_of_a.max(*last_of_b);
                (a - b).abs() <= slack
            }
            _ => true,
        },
        (one, other) => one == other,
    };
    one.len() == other.len() && one.iter().zip(other).all(alike)
}

/// Spaces divide tokens and do not count, since numbers of other lengths move what stands beside them.
fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for part in line.split_whitespace() {
        let mut rest = part;
        while !rest.is_empty() {
            let start = rest.find(|c: char| c.is_ascii_digit());
            let (word, number) = rest.split_at(start.unwrap_or(rest.len()));
            // A sign belongs to the number, so that it may change.
            let sign = word.strip_suffix(['-', '−', '+']).filter(|_| !number.is_empty());
            let is_negative = sign.is_some() && !word.ends_with('+');
            let word = sign.unwrap_or(word);
            if !word.is_empty() {
                tokens.push(Token::Word(word.to_owned()));
            }
            if number.is_empty() {
                break;
            }
            let (value, place, length) = number_at(number);
            tokens.push(Token::Number(if is_negative { -value } else { value }, place));
            rest = &number[length..];
        }
    }
    tokens
}

/// The number that a text begins with, one in its last place, and how long it is. Commas between digits divide
/// thousands.
fn number_at(text: &str) -> (f64, f64, usize) {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let (mut end, mut decimals, mut is_fraction) = (0, 0, false);
    while digit(end)
        || (bytes.get(end) == Some(&b',') && digit(end + 1))
        || (bytes.get(end) == Some(&b'.') && digit(end + 1) && !is_fraction)
    {
        is_fraction |= bytes[end] == b'.';
        decimals += i32::from(is_fraction && bytes[end] != b'.');
        end += 1;
    }
    let mantissa: f64 = text[..end].replace(',', "").parse().unwrap_or(f64::NAN);
    let mut exponent = 0;
    if matches!(bytes.get(end), Some(b'e')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let digits = (end + 1 + sign..).take_while(|at| digit(*at)).count();
        if digits > 0 {
            let until = end + 1 + sign + digits;
            exponent = text[end + 1..until].parse().unwrap_or(0);
            end = until;
        }
    }
    let scale = 10f64.powi(exponent);
    (mantissa * scale, 10f64.powi(-decimals) * scale, end)
}
