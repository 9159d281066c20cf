//! Whether there is something to choose between. A task of one class has a perfect score from the
//! beginning, and says nothing.

use super::{ImageData, ImageError, ImageSet, Task, VOID};
use std::path::Path;

impl ImageData {
    /// Adds what is odd about the classes to the notices.
    ///
    /// # Errors
    /// If there is nothing to learn or nothing to score.
    pub(super) fn with_a_choice(mut self, path: &Path) -> Result<ImageData, ImageError> {
        let counts = self.class_counts(&self.splits.train);
        let there: Vec<usize> = (0..counts.len()).filter(|class| counts[*class] > 0).collect();
        let wrong = |reason| Err(ImageError::malformed(path, reason));
        match (&there[..], self.task) {
            ([], _) => {
                return wrong(
                    "no pixel of the training label images has a class: all are void".into(),
                );
            }
            ([only], Task::Classification) => {
                return wrong(format!(
                    "all training images are of one class, {}: there is nothing to tell apart",
                    self.classes[*only]
                ));
            }
            ([only], Task::Segmentation) => {
                let all_void = has_void(&self.splits.train);
                let void = if all_void { ", and pixels that are void" } else { "" };
                return wrong(format!(
                    "the training label images have one class, {}{void}: there is nothing to tell \
                     apart. If another value stands for a class, as 255 in masks of 0 and 255, say \
                     all that do: --label-values 0,255",
                    self.classes[*only]
                ));
            }
            _ => {}
        }
        for (set, split) in [(&self.splits.validation, "validation"), (&self.splits.test, "test")] {
            if self.class_counts(set).iter().all(|count| *count == 0) {
                return wrong(format!(
                    "no pixel of the {split} label images has a class: all are void, so nothing can \
                     be scored"
                ));
            }
        }
        if there.len() < counts.len() {
            let notice = self.never(&counts, &there);
            self.notices.push(notice);
        }
        Ok(self)
    }

    /// Which classes never occur.
    fn never(&self, counts: &[u64], there: &[usize]) -> String {
        const SHOWN: usize = 10;
        let missing: Vec<&str> = (0..counts.len())
            .filter(|class| counts[*class] == 0)
            .map(|class| self.classes[class].as_str())
            .collect();
        let more = if missing.len() > SHOWN { ", …" } else { "" };
        let names = missing[..missing.len().min(SHOWN)].join(", ");
        let mut notice = format!(
            "{} of the {} classes never occur in training: {names}{more}",
            missing.len(),
            counts.len()
        );
        if self.task == Task::Segmentation && there.len() <= SHOWN {
            let values: Vec<String> = there.iter().map(usize::to_string).collect();
            notice += &format!(
                ". If the values of label images are no indices: --label-values {}",
                values.join(",")
            );
        }
        notice
    }
}

fn has_void(set: &ImageSet) -> bool {
    (0..set.len()).any(|index| set.labels(index).contains(&VOID))
}
