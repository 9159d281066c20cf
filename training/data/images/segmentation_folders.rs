//! Pictures with a label image each: `train/ trainannot/ val/ valannot/ test/ testannot/`.

use super::folder::{Folder, entries, folders, last, names_in, split_folders};
use super::holding_out::complete;
use super::listing::{FORMATS, Tally, is_picture, pictures};
use super::naming::{by_index, composed};
use super::picture::Form;
use super::samples::{Indices, Label, Noticed, Sample, load};
use super::{ImageData, ImageError, ImageSet, VOID, known};
use crate::data::{Source, Splits};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The index that most data sets use for pixels that are not scored.
const VOID_INDEX: u8 = 255;

/// The folders of the splits, each with that of its label images.
pub(super) struct Layout(Splits<Option<(PathBuf, PathBuf)>>);

/// The folders, if there are training pictures with label images.
///
/// # Errors
/// If a split has no label images.
pub(super) fn find(folder: &Path) -> Result<Option<Layout>, ImageError> {
    let all = folders(folder)?;
    let labels_of = |split: &Path| {
        let name = format!("{}annot", last(split)).to_lowercase();
        all.iter().find(|path| last(path).to_lowercase() == name).cloned()
    };
    if !all.iter().any(|path| labels_of(path).is_some()) {
        return Ok(None);
    }
    let splits = split_folders(folder)?;
    if splits.train.as_deref().and_then(labels_of).is_none() {
        let reason = "has label images, but no train/ with trainannot/ beside it";
        return Err(ImageError::malformed(folder, reason));
    }
    let with_labels = |split: PathBuf| match labels_of(&split) {
        Some(labels) => Ok((split, labels)),
        None => {
            let reason = format!("missing: the label images of {}", split.display());
            let labels = folder.join(format!("{}annot", last(&split)));
            Err(ImageError::malformed(&labels, reason))
        }
    };
    Ok(Some(Layout(splits.try_map(|split| split.map(with_labels).transpose())?)))
}

/// Reads the pictures. The classes are named by the user, or in `classes.txt`, or known (CamVid);
/// otherwise they are the indices up to the largest in the training images.
pub(super) fn read(
    Layout(folders): Layout,
    name: String,
    folder: &Folder,
) -> Result<ImageData, ImageError> {
    let (path, options) = (folder.path, folder.options);
    let is_camvid = name.to_lowercase().contains("camvid");
    let known = match names_in(&path.join("classes.txt"))? {
        None => is_camvid.then(|| known::names(&known::CAMVID)),
        names => names,
    };
    let values = options.label_values.as_deref();
    let (void, why) = match (options.void, is_camvid) {
        (Some(void), _) => (void, "as --void says"),
        (None, true) => (known::CAMVID_VOID, "since the folder is called CamVid; or else: --void"),
        (None, false) => (VOID_INDEX, "as in most data; or else: --void"),
    };
    // What stands for a class can't stand for void, unless someone says both.
    let is_value = values.is_some_and(|values| values.contains(&void));
    if options.void.is_some() && is_value {
        let reason = format!("{void} is among --label-values and is --void; it can't be both");
        return Err(ImageError::malformed(path, reason));
    }
    let void = (!is_value).then_some(void);
    let named = options.classes.as_ref().or(known.as_ref());
    let most = values.map_or(named.map_or(256, Vec::len), <[u8]>::len);

    let mut tally = Tally::default();
    let samples = folders
        .try_map(|folders| folders.map(|folders| samples(&folders, &mut tally)).transpose())?;
    beside(path, &mut tally)?;
    let train = samples.train.expect("looked for before");
    let form = Form::of(&train, options)?;
    let mut noticed = Noticed::default();
    let mut read = |samples: &[Sample], classes: usize| {
        let indices = Indices { classes, void, values: values.map(<[u8]>::to_vec) };
        load(samples, &form, &indices, options.broken, &mut noticed)
    };
    let train = read(&train, most)?;
    let needed = values.map_or_else(|| classes_in(&train), <[u8]>::len);
    let known = known.or_else(|| Some(values?.iter().map(u8::to_string).collect()));
    let names = by_index(path, options.classes.as_deref(), known, needed, values.is_some())?;
    let mut notices = vec![tally.line()];
    notices.extend(names.notice);
    notices.push(about_void(&train, void, why));
    let mut read_split = |samples: Option<Vec<Sample>>| {
        samples.map(|samples| read(&samples, names.classes.len())).transpose()
    };
    let (validation, test) = (read_split(samples.validation)?, read_split(samples.test)?);
    let (splits, about_splits) = complete(train, validation, test);
    notices.extend(noticed.conversions(&form));
    notices.extend(about_splits);
    let data = ImageData::new(name, Source::Folder(path.into()), names.classes, splits);
    Ok(ImageData { skipped: noticed.skipped, notices, ..data })
}

/// Counts what lies beside the folders of the splits.
fn beside(path: &Path, tally: &mut Tally) -> Result<(), ImageError> {
    let splits = split_folders(path)?;
    let known: Vec<String> =
        splits.iter().flatten().map(|split| last(split).to_lowercase()).collect();
    for entry in entries(path)? {
        let name = last(&entry).to_lowercase();
        let split = name.strip_suffix("annot").unwrap_or(&name).to_string();
        if entry.is_dir() && !known.contains(&split) {
            tally.leave_out_whole(format!("the folder {}/", last(&entry)));
        } else if !entry.is_dir() && name != "classes.txt" {
            tally.leave_out(&entry);
        }
    }
    Ok(())
}

/// The pictures of a split, each with the label image of its name, wherever in the folder it is.
fn samples(
    (pictures_in, labels_in): &(PathBuf, PathBuf),
    tally: &mut Tally,
) -> Result<Vec<Sample>, ImageError> {
    let found = pictures(pictures_in)?;
    if found.pictures.is_empty() {
        let reason = format!("no {FORMATS} files in it");
        return Err(ImageError::malformed(pictures_in, reason));
    }
    tally.add(found.tally);
    let name_in = |folder: &Path, path: &Path| {
        let name = path.strip_prefix(folder).unwrap_or(path).with_extension("");
        composed(&name.to_string_lossy())
    };
    let labels = pictures(labels_in)?.pictures.into_iter().filter(|path| is_picture(path));
    let mut labels: BTreeMap<String, PathBuf> =
        labels.map(|path| (name_in(labels_in, &path), path)).collect();
    let mut samples: Vec<Sample> = Vec::new();
    let mut names: BTreeMap<String, PathBuf> = BTreeMap::new();
    for image in found.pictures {
        let name = name_in(pictures_in, &image);
        if let Some(other) = names.insert(name.clone(), image.clone()) {
            let reason = format!("has the same label image as {}: remove one", last(&other));
            return Err(ImageError::malformed(&image, reason));
        }
        let own = image.strip_prefix(pictures_in).unwrap_or(&image).with_extension("png");
        let map = labels.remove(&name).unwrap_or_else(|| labels_in.join(own));
        samples.push(Sample { label: Label::Map(map), image });
    }
    if !labels.is_empty() {
        let count = labels.len();
        tally.leave_out_whole(format!("{count} in {}/ without a picture", last(labels_in)));
    }
    Ok(samples)
}

/// Which index is void, why, and how many pixels have it.
fn about_void(train: &ImageSet, void: Option<u8>, why: &str) -> String {
    let Some(void) = void else {
        return "no index stands for void: every pixel is scored".into();
    };
    let labels = (0..train.len()).flat_map(|index| train.labels(index));
    let all = (train.len() * train.labels_per_image()).max(1);
    let share = labels.filter(|label| **label == VOID).count() as f64 / all as f64;
    format!(
        "index {void} is void, not learnt and not scored: {:.1} % of the training pixels ({why})",
        100.0 * share
    )
}

/// One more than the largest class of any pixel.
fn classes_in(set: &ImageSet) -> usize {
    let labels = (0..set.len()).flat_map(|index| set.labels(index));
    let largest = labels.copied().filter(|label| *label != VOID).max();
    largest.map_or(0, |largest| usize::from(largest) + 1)
}
