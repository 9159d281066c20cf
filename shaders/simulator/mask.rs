//! Sets of lanes.

use std::ops::{BitAnd, BitOr, BitOrAssign};

/// A set of the lanes of a workgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask([u64; 4]);

impl Mask {
    /// The most lanes that a workgroup can have.
    pub const MOST: usize = 256;
    pub const NONE: Mask = Mask([0; 4]);

    /// The first `count` lanes.
    pub fn first(count: usize) -> Mask {
        (0..count).collect()
    }

    pub fn is_empty(self) -> bool {
        self == Mask::NONE
    }

    pub fn has(self, lane: usize) -> bool {
        self.0[lane / 64] >> (lane % 64) & 1 != 0
    }

    pub fn insert(&mut self, lane: usize) {
        self.0[lane / 64] |= 1 << (lane % 64);
    }

    /// Those that are not in another.
    pub fn without(self, other: Mask) -> Mask {
        Mask(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    /// The lanes where a register is not 0.
    pub fn of(register: &[u32]) -> Mask {
        let mut mask = Mask::NONE;
        for (word, lanes) in mask.0.iter_mut().zip(register.chunks(64)) {
            for (byte, lanes) in lanes.chunks(8).enumerate() {
                let bit = |(bit, value): (usize, &u32)| u64::from(*value != 0) << bit;
                *word |= lanes.iter().enumerate().map(bit).sum::<u64>() << (8 * byte);
            }
        }
        mask
    }

    /// Does something for each lane; where speed matters, in place of [`Mask::lanes`].
    #[inline(always)]
    pub fn each(self, mut act: impl FnMut(usize)) {
        for (index, word) in self.0.into_iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                act(64 * index + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
        }
    }

    pub fn lanes(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(index, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                let lane = (word != 0).then_some(64 * index + bit);
                word &= word.wrapping_sub(1);
                lane
            })
        })
    }

    /// How many groups of 32 consecutive lanes have one in it.
    pub fn warps(self) -> u64 {
        let halves = self.0.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]);
        halves.map(|half| u64::from(half != 0)).sum()
    }
}

impl BitAnd for Mask {
    type Output = Mask;
    fn bitand(self, other: Mask) -> Mask {
        Mask(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }
}

impl BitOr for Mask {
    type Output = Mask;
    fn bitor(self, other: Mask) -> Mask {
        Mask(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }
}

impl BitOrAssign for Mask {
    fn bitor_assign(&mut self, other: Mask) {
        *self = *self | other;
    }
}

impl FromIterator<usize> for Mask {
    fn from_iter<I: IntoIterator<Item = usize>>(lanes: I) -> Mask {
        let mut mask = Mask::NONE;
        lanes.into_iter().for_each(|lane| mask.insert(lane));
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_its_lanes() {
        let mask: Mask = [0, 31, 64, 255].into_iter().collect();
        assert_eq!(mask.lanes().collect::<Vec<_>>(), [0, 31, 64, 255]);
        assert_eq!(mask.warps(), 3);
        assert!(mask.has(64) && !mask.has(63));
        assert_eq!(mask.without(Mask::first(64)).lanes().collect::<Vec<_>>(), [64, 255]);
        assert_eq!(Mask::of(&[0, 7, 0, 1]).lanes().collect::<Vec<_>>(), [1, 3]);
    }
}
