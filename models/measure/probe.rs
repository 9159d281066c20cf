//! The sequences that a language model is measured on.

use crate::engine::random::Key;
use std::collections::BTreeMap;

/// `count` windows of `length` tokens that all begin with the same token, so that what is special
/// about the first position is seen apart from what is special about its token: the one that begins
/// the most windows. They are drawn by the key from all of the text; fewer if there are not so
/// many. `None` if the text is shorter than a window.
///
/// ```
/// use neutreno_models::engine::random::Key;
/// use neutreno_models::measure::probe::windows;
/// let text = [7, 1, 2, 7, 3, 4, 7, 5, 6, 9];
/// let mut windows = windows(&text, 3, 10, Key::new(1)).unwrap();
/// windows.sort();
/// assert_eq!(windows, [[7, 1, 2], [7, 3, 4], [7, 5, 6]]);
/// ```
pub fn windows(tokens: &[u32], length: usize, count: usize, key: Key) -> Option<Vec<Vec<u32>>> {
    let positions = (tokens.len() + 1).checked_sub(length).filter(|count| *count > 0)?;
    let mut starts: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (start, token) in tokens[..positions].iter().enumerate() {
        starts.entry(*token).or_default().push(start);
    }
    let starts = starts.into_values().max_by_key(Vec::len)?;
    let order = key.permutation(starts.len());
    let window = |chosen: &usize| tokens[starts[*chosen]..][..length].to_vec();
    Some(order.iter().take(count).map(window).collect())
}
