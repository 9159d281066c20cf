//! idx files, the format of MNIST (LeCun et al. 1998) and Fashion-MNIST, plain or in gzip: two
//! zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of axes, each axis
//! as a big-endian u32, and then the numbers.

use super::folder::{Folder, entries, last};
use super::gzip::Members;
use super::holding_out::{held_out, hold_out};
use super::listing::Tally;
use super::naming::by_index;
use super::{ImageData, ImageError, ImageSet, ImageShape, Task, known};
use crate::data::{Source, Splits};
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

/// The images and labels of the two official splits.
pub(super) struct Files {
    train: [PathBuf; 2],
    test: [PathBuf; 2],
    /// What else is there.
    left_out: Option<String>,
}

/// The idx files in a folder; `None` if it has none of them. Where there is a folder of a file's name,
/// as some downloads have, the file may be in it.
///
/// # Errors
/// If some are missing, or the folder can't be read.
pub(super) fn find(folder: &Path) -> Result<Option<Files>, ImageError> {
    let mut paths = Vec::new();
    for path in entries(folder)? {
        match path.is_dir() {
            true if is_idx(&path) => {
                paths.extend(entries(&path)?.into_iter().filter(|p| !p.is_dir()))
            }
            true => {}
            false => paths.push(path),
        }
    }
    // Files of the folder itself first.
    paths.sort_by_key(|path| path.components().count());
    let find = |starts: [&str; 2], axes: usize| {
        paths.iter().find(|path| starts.iter().any(|start| is_called(path, start, axes)))
    };
    let found = [
        ("train-images-idx3-ubyte", find(["train-images"; 2], 3)),
        ("train-labels-idx1-ubyte", find(["train-labels"; 2], 1)),
        ("t10k-images-idx3-ubyte", find(["t10k-images", "test-images"], 3)),
        ("t10k-labels-idx1-ubyte", find(["t10k-labels", "test-labels"], 1)),
    ];
    if found.iter().all(|(_, path)| path.is_none()) {
        return Ok(None);
    }
    let missing: Vec<&str> =
        found.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
    let [Some(a), Some(b), Some(c), Some(d)] = found.map(|(_, path)| path.cloned()) else {
        let reason = format!("lacks {} (plain or .gz)", missing.join(" and "));
        return Err(ImageError::malformed(folder, reason));
    };
    let used = [&a, &b, &c, &d];
    let mut tally = Tally::default();
    paths.iter().filter(|path| !used.contains(path)).for_each(|path| match is_idx(path) {
        true => tally.leave_out_whole(format!("{} (there is another)", last(path))),
        false => tally.leave_out(path),
    });
    let left_out = tally.left_out();
    Ok(Some(Files { train: [a, b], test: [c, d], left_out }))
}

fn is_idx(path: &Path) -> bool {
    ["train-images", "t10k-images", "test-images"].iter().any(|start| is_called(path, start, 3))
        || ["train-labels", "t10k-labels", "test-labels"].iter().any(|s| is_called(path, s, 1))
}

/// Whether a name is one of `train-images-idx3-ubyte`, `train-images.idx3-ubyte`, or with `.gz`.
fn is_called(path: &Path, start: &str, axes: usize) -> bool {
    let name = last(path);
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let rest = name.strip_prefix(start).and_then(|rest| rest.get(1..));
    rest == Some(&format!("idx{axes}-ubyte"))
}

/// Reads the files; one training image in ten is held out for validation.
pub(super) fn read(files: &Files, name: String, folder: &Folder) -> Result<ImageData, ImageError> {
    let train = read_split(&files.train)?;
    let test = read_split(&files.test)?;
    if train.shape() != test.shape() {
        let reason = format!(
            "its images are {}×{}, those of {} {}×{}",
            test.shape().width,
            test.shape().height,
            files.train[0].display(),
            train.shape().width,
            train.shape().height
        );
        return Err(ImageError::malformed(&files.test[0], reason));
    }
    let largest = |set: &ImageSet| (0..set.len()).map(|index| set.labels(index)[0]).max();
    let needed = largest(&train).max(largest(&test)).map_or(0, |label| usize::from(label) + 1);
    let is_fashion = name.to_lowercase().contains("fashion") && needed == 10;
    let known = is_fashion.then(|| known::names(&known::FASHION_MNIST));
    let names = by_index(folder.path, folder.options.classes.as_deref(), known, needed, true)?;
    let (train, validation) = hold_out(&train, "validation");
    let source = Source::Folder(folder.path.into());
    let splits = Splits { train, validation, test };
    let left_out = files.left_out.as_ref().map(|what| format!("left out: {what}"));
    let held_out = held_out("validation", Task::Classification);
    let notices = left_out.into_iter().chain(names.notice).chain([held_out]).collect();
    Ok(ImageData { notices, ..ImageData::new(name, source, names.classes, splits) })
}

fn read_split([images, labels]: &[PathBuf; 2]) -> Result<ImageSet, ImageError> {
    let ([count, height, width], pixels) = read_file::<3>(images)?;
    let ([label_count], label_bytes) = read_file::<1>(labels)?;
    if count != label_count {
        let reason = format!("{label_count} labels for the {count} images of {}", images.display());
        return Err(ImageError::malformed(labels, reason));
    }
    if pixels.is_empty() {
        return Err(ImageError::malformed(images, "holds no pixels"));
    }
    let shape = ImageShape { channels: 1, height, width };
    let labels = label_bytes.into_iter().map(u16::from).collect();
    Ok(ImageSet::new(shape, Task::Classification, pixels, labels))
}

/// The sizes of the axes and the bytes of a file. Its length is checked before memory is taken.
fn read_file<const AXES: usize>(path: &Path) -> Result<([usize; AXES], Vec<u8>), ImageError> {
    let system = |source| ImageError::of_system(path, source);
    let wrong = |reason: String| ImageError::malformed(path, reason);
    let mut file = BufReader::new(File::open(path).map_err(system)?);
    let length = file.get_ref().metadata().map_err(system)?.len();
    let mut start = [0; 2];
    let compressed = file.read_exact(&mut start).is_ok() && start == [0x1f, 0x8b];
    file.rewind().map_err(system)?;
    // DEFLATE makes at most 1,032 bytes of one.
    let most = if compressed { u128::from(length) * 1032 } else { u128::from(length) };
    let mut content: Box<dyn Read> =
        if compressed { Box::new(Members::new(file)) } else { Box::new(file) };

    let failed = |error: io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => wrong("cut short: fetch it again".into()),
        ErrorKind::InvalidData | ErrorKind::InvalidInput => {
            wrong(format!("damaged gzip data ({error}): fetch it again"))
        }
        _ => system(error),
    };
    let mut magic = [0; 4];
    content.read_exact(&mut magic).map_err(failed)?;
    if magic != [0, 0, 8, AXES as u8] {
        let reason = format!(
            "begins with {magic:02x?} and not with [00, 00, 08, {AXES:02x}], so it is no idx file \
             of bytes with {AXES} axes"
        );
        return Err(wrong(reason));
    }
    let mut axes = [0; AXES];
    for axis in &mut axes {
        let mut bytes = [0; 4];
        content.read_exact(&mut bytes).map_err(failed)?;
        *axis = u32::from_be_bytes(bytes) as usize;
    }
    let promised: u128 = axes.iter().map(|axis| *axis as u128).product();
    let header = 4 + 4 * AXES as u128;
    if promised + header > most {
        let reason = format!("cut short: its header promises {promised} bytes: fetch it again");
        return Err(wrong(reason));
    }
    let bytes = read_all(content, promised as usize).map_err(failed)?;
    match bytes.len() as u128 {
        found if found < promised => {
            Err(wrong(format!("cut short: {found} of {promised} bytes: fetch it again")))
        }
        found if found > promised => {
            Err(wrong(format!("goes on after the {promised} bytes that its header promises")))
        }
        _ => Ok((axes, bytes)),
    }
}

/// So many bytes, or as many as there are, or one more if there are more.
fn read_all(content: impl Read, promised: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(promised + 1).map_err(|_| ErrorKind::OutOfMemory)?;
    content.take(promised as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
