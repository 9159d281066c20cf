//! Splits made by rule, where the data has none.

use super::{ImageSet, Task};
use crate::data::Splits;
use crate::engine::random::Key;

/// Always the same, so that runs can be compared.
const SEED: u64 = 2012;

/// The three splits, of those that are there, and what was done for them. Where there is one split
/// beside the training images it is the test split, as in ImageNet, whose `val` is what results are
/// reported on; what is missing is held out of the training images.
pub(super) fn complete(
    train: ImageSet,
    validation: Option<ImageSet>,
    test: Option<ImageSet>,
) -> (Splits<ImageSet>, Vec<String>) {
    let mut notices = Vec::new();
    let (validation, test) = match (validation, test) {
        (Some(validation), None) => {
            notices
                .push("there is no test split, so the validation split is the test split".into());
            (None, Some(validation))
        }
        both => both,
    };
    let (train, test) = match test {
        Some(test) => (train, test),
        None => {
            notices.push(held_out("testing", train.task()));
            hold_out(&train, "test")
        }
    };
    let (train, validation) = match validation {
        Some(validation) => (train, validation),
        None => {
            notices.push(held_out("validation", train.task()));
            hold_out(&train, "validation")
        }
    };
    (Splits { train, validation, test }, notices)
}

/// What [`hold_out`] does, in words.
pub(super) fn held_out(purpose: &str, task: Task) -> String {
    let of_each = if task == Task::Classification { " of each class" } else { "" };
    format!("one training image in ten{of_each} is held out for {purpose}, always the same ones")
}

/// One image in ten, at least one, of each class is held out; for segmentation, of all. Which
/// ones follows from their number and `purpose` alone. Returns the rest and what is held out.
pub(super) fn hold_out(set: &ImageSet, purpose: &str) -> (ImageSet, ImageSet) {
    let class = |index: usize| match set.task() {
        Task::Classification => usize::from(set.labels(index)[0]),
        Task::Segmentation => 0,
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in 0..set.len() {
        groups.resize_with(groups.len().max(class(index) + 1), Vec::new);
        groups[class(index)].push(index);
    }
    let key = Key::new(SEED).named(purpose);
    let (mut rest, mut held_out) = (Vec::new(), Vec::new());
    for (group, number) in groups.iter().zip(0..) {
        let order = key.fold(number).permutation(group.len());
        // A class of one image stays where it can be learned from.
        let count = group.len().div_ceil(10).min(group.len().saturating_sub(1));
        held_out.extend(order[..count].iter().map(|index| group[*index]));
        rest.extend(order[count..].iter().map(|index| group[*index]));
    }
    rest.sort_unstable();
    held_out.sort_unstable();
    (set.select(&rest), set.select(&held_out))
}

#[cfg(test)]
mod tests {
    use super::super::ImageShape;
    use super::*;

    #[test]
    fn one_in_ten_of_each_class_is_held_out() {
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let labels: Vec<u16> = (0..75).map(|index| u16::from(index >= 50)).collect();
        let set = ImageSet::new(shape, Task::Classification, (0..75).collect(), labels);
        let (rest, held_out) = hold_out(&set, "test");
        assert_eq!((rest.len(), held_out.len()), (67, 8));
        assert_eq!((0..8).filter(|index| held_out.labels(*index)[0] == 0).count(), 5);
        let sets = [&rest, &held_out];
        let mut pixels: Vec<u8> =
            sets.iter().flat_map(|set| (0..set.len()).map(|index| set.image(index)[0])).collect();
        pixels.sort_unstable();
        assert_eq!(pixels, (0..75).collect::<Vec<u8>>());
        assert_ne!(hold_out(&set, "validation").1, held_out);
    }
}
