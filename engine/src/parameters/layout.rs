//! Where each parameter lies in the flat pieces.

use super::Group;
use crate::device::ALIGNMENT;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Location {
    pub piece: usize,
    /// Elements from the piece's start.
    pub offset: usize,
}

/// Gives each of `sizes` (its elements, and its group) a piece of that group and a location in it, in
/// their order; also returns the sizes and groups of the pieces, none of which is larger than `largest`,
/// a whole number of alignments, unless one of `sizes` is. Those that are learnt come first.
pub(super) fn lay_out(
    sizes: &[(usize, Group)],
    largest: usize,
) -> (Vec<Location>, Vec<(usize, Group)>) {
    let mut pieces: Vec<(usize, Group)> = Vec::new();
    let mut locations = Vec::with_capacity(sizes.len());
    for (elements, group) in sizes {
        let size = elements.next_multiple_of(ALIGNMENT);
        let latest = pieces.iter().rposition(|(_, other)| other == group);
        let open = latest.filter(|piece| pieces[*piece].0 + size <= largest);
        let piece = open.unwrap_or_else(|| {
            pieces.push((0, *group));
            pieces.len() - 1
        });
        locations.push(Location { piece, offset: pieces[piece].0 });
        pieces[piece].0 += size;
    }
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|piece| !pieces[*piece].1.learnt);
    for location in &mut locations {
        let place = order.iter().position(|piece| *piece == location.piece);
        location.piece = place.expect("each piece has a place");
    }
    (locations, order.into_iter().map(|piece| pieces[piece]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_at_the_largest_tensor() {
        let [frozen, decayed, plain] =
            [Group::FROZEN, Group::with_decay(true), Group::with_decay(false)];
        let sizes = [(3, frozen), (100, decayed), (65, decayed), (1, plain), (64, decayed)];
        let (locations, pieces) = lay_out(&sizes, 200);
        let expected = [(3, 0), (0, 0), (1, 0), (2, 0), (1, 128)];
        assert_eq!(locations, expected.map(|(piece, offset)| Location { piece, offset }));
        assert_eq!(pieces, [(128, decayed), (192, decayed), (64, plain), (64, frozen)]);
    }
}
