//! What a dispatch costs, in numbers that can be counted.
//!
//! Counted is as NVIDIA's GPUs work, which others resemble: 32 lanes that follow each other, a warp, do an
//! instruction together, for as much as one of them comes there. Global memory is moved in sectors of 32
//! bytes. Workgroup memory has 32 banks, each of which gives one word of 4 bytes at a time.

use std::ops::AddAssign;

/// The lanes that do an instruction together.
pub const WARP: usize = 32;
/// The words of a sector of global memory.
const SECTOR: u32 = 8;
const BANKS: u32 = 32;

/// What was counted. Instructions are those of warps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workgroups that were launched.
    pub workgroups: u64,
    /// Fused multiply-adds: `fma`, a sum with a product that is used nowhere else, and each term of a dot
    /// or matrix product.
    pub fused: u64,
    /// Other operations on real numbers, comparisons and conversions among them.
    pub real: u64,
    /// Operations on whole numbers and truth values.
    pub whole: u64,
    /// Loads from storage, of up to four words each.
    pub loads: u64,
    /// Stores to storage, of up to four words each.
    pub stores: u64,
    /// The sectors that loads and stores move.
    pub sectors: u64,
    /// The fewest sectors that the same words could lie in, access by access.
    pub fewest_sectors: u64,
    /// Loads from and stores to workgroup memory.
    pub workgroup_accesses: u64,
    /// How often a bank had to be asked again, because lanes wanted different words of it at once.
    pub bank_conflicts: u64,
    /// Barriers, once for each workgroup.
    pub barriers: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.workgroups += other.workgroups;
        self.fused += other.fused;
        self.real += other.real;
        self.whole += other.whole;
        self.loads += other.loads;
        self.stores += other.stores;
        self.sectors += other.sectors;
        self.fewest_sectors += other.fewest_sectors;
        self.workgroup_accesses += other.workgroup_accesses;
        self.bank_conflicts += other.bank_conflicts;
        self.barriers += other.barriers;
    }
}

/// The sectors in which words lie, and the fewest in which as many could. `words` is put in order.
pub fn sectors(words: &mut Vec<u32>) -> (u64, u64) {
    words.sort_unstable();
    words.dedup();
    let fewest = words.len().div_ceil(SECTOR as usize) as u64;
    (words.chunk_by(|one, next| one / SECTOR == next / SECTOR).count() as u64, fewest)
}

/// How often banks have to be asked again for an access of one warp: `starts` are the first words of its
/// lanes, each with so many words. Vectors are served a quarter (of two words: half) of the warp at a time.
pub fn bank_conflicts(starts: &[Option<u32>], words: u32) -> u64 {
    let together = match words {
        1 => WARP,
        2 => WARP / 2,
        _ => WARP / 4,
    };
    let phase = |lanes: &[Option<u32>]| {
        let mut wanted: Vec<(u32, u32)> = Vec::new();
        for start in lanes.iter().flatten() {
            wanted.extend((*start..start + words).map(|word| (word % BANKS, word)));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let of_a_bank = wanted.chunk_by(|one, next| one.0 == next.0).map(<[_]>::len);
        of_a_bank.max().unwrap_or(1) as u64 - 1
    };
    starts.chunks(together).map(phase).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflicts(stride: u32, words: u32) -> u64 {
        let starts: Vec<_> = (0..32).map(|lane| Some(lane * stride)).collect();
        bank_conflicts(&starts, words)
    }

    #[test]
    fn banks_are_asked_again_for_other_words() {
        assert_eq!([0, 1, 2, 32, 33].map(|stride| conflicts(stride, 1)), [0, 0, 1, 31, 0]);
        // Eight vectors of four words fill the banks once.
        assert_eq!([0, 4, 8, 32].map(|stride| conflicts(stride, 4)), [0, 0, 4, 28]);
        assert_eq!([2, 4].map(|stride| conflicts(stride, 2)), [0, 2]);
        assert_eq!(bank_conflicts(&[None; 32], 1), 0);
    }

    #[test]
    fn sectors_hold_eight_words() {
        assert_eq!(sectors(&mut (0..32).collect()), (4, 4));
        assert_eq!(sectors(&mut (1..33).collect()), (5, 4));
        assert_eq!(sectors(&mut (0..32).map(|lane| 32 * lane).collect()), (32, 4));
        assert_eq!(sectors(&mut vec![7; 32]), (1, 1));
    }
}
