//! Named tensors in files, in the safetensors format: eight bytes with the header's length, a JSON
//! header (name → type, shape, place), then the numbers, little-endian.
//!
//! Writing is atomic: a file of that name is the old one or the new one, whole, whatever happens.
//! Reading is strict: nothing is changed unless the file fits entirely, and everything that does
//! not fit is named at once.

use crate::half::Half;
use crate::ops::half_matrix::{HalfMatrix, nearest};
use crate::shape::MAX_RANK;
use crate::{Device, Error, Parameters, Result, Shape, Tensor};
use safetensors::tensor::{Dtype, Metadata as Header, TensorInfo};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Texts that a file carries along.
pub type Metadata = BTreeMap<String, String>;

/// The longest header that is read, in bytes; the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// How many numbers are read at a time where a tensor is read piece by piece: 4 MiB.
const PIECE: usize = 1 << 20;

/// Saves tensors as f32 under their names.
///
/// ```
/// use neutreno_engine::checkpoint::{Metadata, load_tensors, save_tensors};
/// use neutreno_engine::{Device, Tensor};
/// let device = Device::cpu();
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("numbers.safetensors");
/// let x = Tensor::new(&[1.0, 2.0, 3.0], [3, 1], &device);
/// save_tensors(&path, &[("x".into(), x)], &Metadata::new())?;
/// let loaded = load_tensors(&path, &device)?;
/// assert_eq!(loaded[0].0, "x");
/// assert_eq!(loaded[0].1.to_vec()?, [1.0, 2.0, 3.0]);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
///
/// # Errors
/// If the file can not be written or the device failed; then a file that was there before is still
/// there.
///
/// # Panics
/// If two tensors have the same name, or one is named `__metadata__`.
#[track_caller]
pub fn save_tensors(path: &Path, tensors: &[(String, Tensor)], metadata: &Metadata) -> Result<()> {
    let chunks = chunks(tensors.to_vec(), metadata);
    let temporary = temporary(path)?;
    let written = write(&temporary, chunks)
        .and_then(|()| fs::rename(&temporary, path).map_err(|error| cannot("write", path, &error)));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(path)
}

/// The bytes of a safetensors file, piece by piece, for those who write them in their own way:
/// first the header, then the numbers of each tensor.
///
/// ```
/// use neutreno_engine::checkpoint::{Metadata, chunks};
/// use neutreno_engine::{Device, Tensor};
/// let x = Tensor::new(&[1.0, 2.0], [2], &Device::cpu());
/// let pieces: Vec<_> = chunks(vec![("x".into(), x)], &Metadata::new()).collect();
/// assert!(pieces[1].as_ref().unwrap().ends_with(&2.0_f32.to_le_bytes()));
/// ```
///
/// # Errors
/// An item is an error if the device failed.
///
/// # Panics
/// As [`save_tensors`].
#[track_caller]
pub fn chunks(
    tensors: Vec<(String, Tensor)>,
    metadata: &Metadata,
) -> impl Iterator<Item = Result<Vec<u8>>> + use<> {
    chunks_as(None, tensors, metadata)
}

/// The same with the numbers in half precision, each rounded to the nearest; with `None` as f32.
///
/// ```
/// use neutreno_engine::checkpoint::{Metadata, chunks_as};
/// use neutreno_engine::half::Half;
/// use neutreno_engine::{Device, Tensor};
/// let x = Tensor::new(&[1.0, 1e6], [2], &Device::cpu());
/// let bytes = |half| chunks_as(half, vec![("x".into(), x.clone())], &Metadata::new()).nth(1).unwrap();
/// let nearest = [0x3f80_u16, 0x4974].map(u16::to_le_bytes).concat();
/// assert_eq!(bytes(Some(Half::Bf16))?, nearest);
/// assert!(bytes(Some(Half::F16)).unwrap_err().to_string().contains("too large for F16"));
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
///
/// # Errors
/// An item is an error if the device failed, or [`Error::TooLarge`] if a finite number would become
/// infinite.
///
/// # Panics
/// As [`save_tensors`].
#[track_caller]
pub fn chunks_as(
    precision: Option<Half>,
    tensors: Vec<(String, Tensor)>,
    metadata: &Metadata,
) -> impl Iterator<Item = Result<Vec<u8>>> + use<> {
    let shape = |(name, tensor): &(String, Tensor)| (name.clone(), tensor.shape());
    let head = head_as(precision, tensors.iter().map(shape), metadata);
    let numbers = move |(_, tensor): (String, Tensor)| {
        let numbers = tensor.to_vec()?;
        match precision {
            None => Ok(numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
            Some(half) => {
                Ok(nearest(&numbers, half)?.into_iter().flat_map(u16::to_le_bytes).collect())
            }
        }
    };
    std::iter::once(Ok(head)).chain(tensors.into_iter().map(numbers))
}

/// The first of [`chunks`], for those who have the numbers of tensors only bit by bit, and write them after it
/// in this order, as f32, little-endian.
///
/// ```
/// use neutreno_engine::checkpoint::{Metadata, chunks, head};
/// use neutreno_engine::{Device, Tensor};
/// let x = Tensor::new(&[1.0, 2.0], [2], &Device::cpu());
/// let head = head([("x".into(), x.shape())], &Metadata::new());
/// assert_eq!(chunks(vec![("x".into(), x)], &Metadata::new()).next().unwrap()?, head);
/// # Ok::<(), neutreno_engine::Error>(())
/// ```
///
/// # Panics
/// As [`save_tensors`].
#[track_caller]
pub fn head(tensors: impl IntoIterator<Item = (String, Shape)>, metadata: &Metadata) -> Vec<u8> {
    head_as(None, tensors, metadata)
}

/// Loads all tensors of a file, in the order of their places in it.
///
/// # Errors
/// If the file can not be read, or holds anything but F32, F16 and BF16.
pub fn load_tensors(path: &Path, device: &Device) -> Result<Vec<(String, Tensor)>> {
    let mut checkpoint = Checkpoint::open(path)?;
    let entries = checkpoint.entries.iter().map(|(name, info)| (name.as_str(), info));
    let problems: Vec<String> = entries.filter_map(unreadable).collect();
    if !problems.is_empty() {
        return Err(Error::File { path: path.into(), reason: problems.join("; ") });
    }
    let entries: Vec<(String, TensorInfo)> = checkpoint.entries.clone();
    let load = |(name, info): (String, TensorInfo)| {
        let numbers = checkpoint.read(&info)?;
        Ok((name, Tensor::new(&numbers, info.shape.as_slice(), device)))
    };
    entries.into_iter().map(load).collect()
}

impl Parameters {
    /// Saves all parameters.
    ///
    /// # Errors
    /// As [`save_tensors`].
    pub fn save(&self, path: &Path, metadata: &Metadata) -> Result<()> {
        save_tensors(path, &self.handles(), metadata)
    }

    /// Puts what [`Parameters::save`] (or another program, such as Hugging Face's `transformers`)
    /// has saved in place of the parameters, and returns the texts that came with it. If that
    /// fails, nothing is changed.
    ///
    /// ```
    /// use neutreno_engine::checkpoint::Metadata;
    /// use neutreno_engine::{Builder, Device, Error, Initial, Parameters};
    /// let make = |p: &mut Builder| p.parameter("x", [2], Initial::Ones, true);
    /// let (x, parameters) = Parameters::build(&Device::cpu(), 1, make);
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("model.safetensors");
    /// parameters.save(&path, &Metadata::from([("format".into(), "pt".into())]))?;
    /// x.overwrite(&[5.0, 5.0]);
    /// let metadata = parameters.load(&path)?;
    /// assert_eq!(x.to_vec()?, [1.0, 1.0]);
    /// assert_eq!(metadata["format"], "pt");
    ///
    /// let other = |p: &mut Builder| p.parameter("y", [2], Initial::Ones, true);
    /// let (_, other) = Parameters::build(&Device::cpu(), 1, other);
    /// assert!(matches!(other.load(&path), Err(Error::Parameters { .. })));
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`Checkpoint::load_into`].
    pub fn load(&self, path: &Path) -> Result<Metadata> {
        let checkpoint = Checkpoint::open(path)?;
        let metadata = checkpoint.metadata().clone();
        checkpoint.load_into(&self.handles())?;
        Ok(metadata)
    }

    fn handles(&self) -> Vec<(String, Tensor)> {
        self.iter().map(|(name, tensor)| (name.to_string(), tensor.detach())).collect()
    }
}

/// An open safetensors file whose header was read and found to be in order.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the numbers start, in bytes.
    start: u64,
    /// In the order of their places.
    entries: Vec<(String, TensorInfo)>,
    metadata: Metadata,
}

impl Checkpoint {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// If it can not be read, is no safetensors file, or is cut off.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let wrong = |reason: String| Error::File { path: path.into(), reason };
        let failed = |error: io::Error| cannot("read", path, &error);
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let size = file.get_ref().metadata().map_err(failed)?.len();
        let mut length = [0; 8];
        if size < length.len() as u64 {
            return Err(wrong(format!("no safetensors file: it has only {size} bytes")));
        }
        file.read_exact(&mut length).map_err(failed)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER.min(size - 8) {
            return Err(wrong(format!(
                "cut off, or no safetensors file: its header should have {length} bytes, and the \
                 file has {size}"
            )));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let header: Header = serde_json::from_slice(&header)
            .map_err(|error| wrong(format!("no safetensors file: its header is wrong: {error}")))?;
        let expected = 8 + length + header.data_len() as u64;
        if size != expected {
            return Err(wrong(format!(
                "cut off or damaged: by its header it has {expected} bytes, but the file has {size}"
            )));
        }
        let entry = |name: String| header.info(&name).cloned().map(|info| (name, info));
        let entries = header.offset_keys().into_iter().filter_map(entry).collect();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Checkpoint { path: path.into(), file, start: 8 + length, entries, metadata })
    }

    /// The texts that the file carries along.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The name and the shape of each tensor, in the order of their places.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice()))
    }

    /// Whether the file has a tensor of that name whose numbers can not be read here, and why.
    pub fn unreadable(&self, name: &str) -> Option<String> {
        self.info(name).and_then(|info| unreadable((name, info)))
    }

    /// Overwrites one tensor with that of the file, a few MiB at a time, so that hardly more memory
    /// is taken than the tensor has. If reading fails, a part of it may be overwritten.
    ///
    /// ```
    /// use neutreno_engine::checkpoint::{Checkpoint, Metadata, save_tensors};
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("numbers.safetensors");
    /// save_tensors(&path, &[("x".into(), Tensor::full(3.0, [2], &device))], &Metadata::new())?;
    /// let mut checkpoint = Checkpoint::open(&path)?;
    /// assert_eq!(checkpoint.tensors().collect::<Vec<_>>(), [("x", &[2][..])]);
    /// let y = Tensor::zeros([2], &device);
    /// checkpoint.read_into("x", &y)?;
    /// assert_eq!(y.to_vec()?, [3.0, 3.0]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameters`] if the file has no such tensor of this shape that can be read,
    /// [`Error::File`] if reading fails.
    pub fn read_into(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let shape = tensor.shape();
        let Some(info) = self.info(name).cloned() else {
            return Err(self.misfit(vec![format!("{name} {shape} is missing")]));
        };
        let problems = misfits(name, &info, shape);
        if !problems.is_empty() {
            return Err(self.misfit(problems));
        }
        for first in (0..tensor.elements()).step_by(PIECE) {
            let part = first..tensor.elements().min(first + PIECE);
            let window = tensor.window(first, [part.len()].into());
            window.overwrite(&self.read_part(&info, part)?);
        }
        Ok(())
    }

    /// A part of a tensor's numbers, in the order in which they lie in memory.
    ///
    /// # Errors
    /// [`Error::Parameters`] if the file has no such tensor that can be read, [`Error::File`] if
    /// reading fails.
    ///
    /// # Panics
    /// If the tensor has fewer numbers.
    #[track_caller]
    pub fn read_range(&mut self, name: &str, range: Range<usize>) -> Result<Vec<f32>> {
        let info = self.readable(name)?;
        let elements: usize = info.shape.iter().product();
        let within = range.start <= range.end && range.end <= elements;
        assert!(within, "numbers {range:?} of {name}, which has {elements}");
        self.read_part(&info, range)
    }

    /// A matrix of the file, kept in half precision: the very bits if the file has that format, else the
    /// nearest numbers. It is read a few MiB at a time.
    ///
    /// # Errors
    /// [`Error::Parameters`] if the file has no such matrix that can be read, or a number is too large
    /// for the format; [`Error::File`] if reading fails.
    ///
    /// ```
    /// use neutreno_engine::checkpoint::{Checkpoint, Metadata, save_tensors};
    /// use neutreno_engine::half::Half;
    /// use neutreno_engine::{Device, Tensor};
    /// let device = Device::cpu();
    /// let folder = tempfile::tempdir().unwrap();
    /// let path = folder.path().join("numbers.safetensors");
    /// save_tensors(&path, &[("x".into(), Tensor::full(0.1, [1, 2], &device))], &Metadata::new())?;
    /// let x = Checkpoint::open(&path)?.read_half("x", Half::Bf16, &device)?;
    /// assert_eq!(x.to_tensor().to_vec()?, [0.100097656; 2]);
    /// # Ok::<(), neutreno_engine::Error>(())
    /// ```
    pub fn read_half(&mut self, name: &str, half: Half, device: &Device) -> Result<HalfMatrix> {
        let info = self.readable(name)?;
        let Ok([rows, columns]) = <[usize; 2]>::try_from(info.shape.as_slice()) else {
            return Err(self.misfit(vec![format!("{name} is {:?}, no matrix", info.shape)]));
        };
        let matrix = HalfMatrix::zeros([rows, columns], half, device);
        let at_once = (PIECE / columns.max(1)).max(1);
        for first in (0..rows).step_by(at_once) {
            let part = first * columns..rows.min(first + at_once) * columns;
            let bits = match (info.dtype, half) {
                (Dtype::F16, Half::F16) | (Dtype::BF16, Half::Bf16) => {
                    words(&self.read_bytes(&info, part)?).collect()
                }
                _ => nearest(&self.read_part(&info, part)?, half)
                    .map_err(|error| self.misfit(vec![format!("{name}: {error}")]))?,
            };
            matrix.overwrite_rows(first, &bits);
        }
        Ok(matrix)
    }

    /// Of a tensor whose numbers can be read.
    fn readable(&self, name: &str) -> Result<TensorInfo> {
        let Some(info) = self.info(name) else {
            return Err(self.misfit(vec![format!("{name} is missing")]));
        };
        match unreadable((name, info)) {
            Some(problem) => Err(self.misfit(vec![problem])),
            None => Ok(info.clone()),
        }
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.entries.iter().find(|entry| entry.0 == name).map(|(_, info)| info)
    }

    fn misfit(&self, problems: Vec<String>) -> Error {
        Error::Parameters { path: self.path.clone(), problems: problems.join("; ") }
    }

    /// Overwrites the tensors with those of the same names in the file. The file must have exactly
    /// these, in these shapes, as F32, F16 or BF16. If not, or if reading fails, none is changed.
    ///
    /// # Errors
    /// [`Error::Parameters`] with every tensor that is missing, not expected, or of another shape
    /// or type; [`Error::File`] if reading fails.
    pub fn load_into(mut self, tensors: &[(String, Tensor)]) -> Result<()> {
        self.check(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape())))?;
        let entries: BTreeMap<String, TensorInfo> = self.entries.iter().cloned().collect();
        let read = |(name, _): &(String, Tensor)| self.read(&entries[name]);
        let numbers = tensors.iter().map(read).collect::<Result<Vec<_>>>()?;
        for ((_, tensor), numbers) in tensors.iter().zip(numbers) {
            tensor.overwrite(&numbers);
        }
        Ok(())
    }

    /// Finds out whether the file has exactly the tensors of these names, in these shapes, as F32, F16 or BF16.
    ///
    /// # Errors
    /// [`Error::Parameters`] with every tensor that is missing, not expected, or of another shape or type.
    pub fn check<'a>(&self, tensors: impl IntoIterator<Item = (&'a str, Shape)>) -> Result<()> {
        let problems = self.problems(tensors);
        if problems.is_empty() { Ok(()) } else { Err(self.misfit(problems)) }
    }

    fn problems<'a>(&self, tensors: impl IntoIterator<Item = (&'a str, Shape)>) -> Vec<String> {
        let entries = self.entries.iter().map(|entry| (entry.0.as_str(), entry));
        let mut found: BTreeMap<&str, &(String, TensorInfo)> = entries.collect();
        let mut problems = Vec::new();
        for (name, shape) in tensors {
            let Some(entry) = found.remove(name) else {
                problems.push(format!("{name} {shape} is missing"));
                continue;
            };
            problems.extend(misfits(name, &entry.1, shape));
        }
        let unexpected = |(name, info): &(String, TensorInfo)| {
            format!("{name} {:?} is in the file, but not expected", info.shape)
        };
        problems.extend(found.into_values().map(unexpected));
        problems
    }

    /// The numbers of one tensor, whose type was checked.
    fn read(&mut self, info: &TensorInfo) -> Result<Vec<f32>> {
        self.read_part(info, 0..info.shape.iter().product())
    }

    /// Those of its numbers that stand there in its memory.
    fn read_part(&mut self, info: &TensorInfo, part: Range<usize>) -> Result<Vec<f32>> {
        let bytes = self.read_bytes(info, part)?;
        Ok(match info.dtype {
            Dtype::F16 => words(&bytes).map(|word| Half::F16.value(word)).collect(),
            Dtype::BF16 => words(&bytes).map(|word| Half::Bf16.value(word)).collect(),
            _ => bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        })
    }

    fn read_bytes(&mut self, info: &TensorInfo, part: Range<usize>) -> Result<Vec<u8>> {
        let size = if info.dtype == Dtype::F32 { 4 } else { 2 };
        let mut bytes = vec![0; size * part.len()];
        let start = info.data_offsets.0 + size * part.start;
        let place = SeekFrom::Start(self.start + start as u64);
        let arrived = self.file.seek(place).and_then(|_| self.file.read_exact(&mut bytes));
        match arrived {
            Ok(()) => Ok(bytes),
            Err(error) => Err(cannot("read", &self.path, &error)),
        }
    }
}

/// Numbers of 16 bits as they lie in a file.
fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word))
}

/// Why a tensor of the file does not fit one of this shape.
fn misfits(name: &str, info: &TensorInfo, shape: Shape) -> Vec<String> {
    let theirs = &info.shape;
    let other = *theirs != shape[..];
    let other = other.then(|| format!("{name} is {theirs:?} in the file, not {shape}"));
    other.into_iter().chain(unreadable((name, info))).collect()
}

/// Why a tensor can not be read here.
fn unreadable((name, info): (&str, &TensorInfo)) -> Option<String> {
    let axes = info.shape.len();
    match info.dtype {
        _ if axes > MAX_RANK => Some(format!("{name} has {axes} axes; the most is {MAX_RANK}")),
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => None,
        other => Some(format!("{name} holds {other}; F32, F16 or BF16 can be read")),
    }
}

/// The header, padded with spaces to a multiple of eight bytes, and before it its length.
#[track_caller]
fn head_as(
    precision: Option<Half>,
    tensors: impl IntoIterator<Item = (String, Shape)>,
    metadata: &Metadata,
) -> Vec<u8> {
    let (dtype, size) = precision.map_or(("F32", 4), |half| (half.name(), 2));
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!(metadata));
    let mut start = 0;
    for (name, shape) in tensors {
        let end = start + size * shape.elements();
        let entry = json!({ "dtype": dtype, "shape": &shape[..], "data_offsets": [start, end] });
        assert!(header.insert(name.clone(), entry).is_none(), "two tensors are named {name}");
        start = end;
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header].concat()
}

fn write(path: &Path, mut chunks: impl Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
    let failed = |error: io::Error| cannot("write", path, &error);
    let mut file = File::create(path).map_err(failed)?;
    chunks.try_for_each(|chunk| file.write_all(&chunk?).map_err(failed))?;
    file.sync_all().map_err(failed)
}

/// A name beside `path` that nobody else writes to, in this process or another.
fn temporary(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::File { path: path.into(), reason: "not the name of a file".into() });
    };
    let mut temporary = name.to_os_string();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

/// Makes sure that the new name survives a power failure; only Unix can open a folder for that.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| cannot("sync", folder, &error))?;
    }
    Ok(())
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::File { path: path.into(), reason: format!("cannot {what} it: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    fn tensor(numbers: &[f32], shape: impl Into<Shape>) -> Tensor {
        Tensor::new(numbers, shape, &Device::cpu())
    }

    #[test]
    fn threads_that_save_one_path_leave_a_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let save = |number: f32| {
            let numbers = [("x".to_owned(), tensor(&[number; 5_000], [5_000]))];
            for _ in 0..20 {
                save_tensors(&path, &numbers, &Metadata::new()).unwrap();
            }
        };
        std::thread::scope(|scope| {
            (1..=4).for_each(|number| drop(scope.spawn(move || save(number as f32))));
        });
        let x = tensor(&[0.0; 5_000], [5_000]);
        Checkpoint::open(&path).unwrap().load_into(&[("x".to_owned(), x.clone())]).unwrap();
        let numbers = x.to_vec().unwrap();
        assert!(numbers[0] >= 1.0 && numbers.iter().all(|number| *number == numbers[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// A file as Hugging Face's own crate writes it.
    fn foreign(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
        let view = safetensors::tensor::TensorView::new(dtype, shape.into(), bytes).unwrap();
        safetensors::serialize([("x", view)], None).unwrap()
    }

    #[test]
    fn other_readers_read_it_and_bits_survive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let numbers = [1.5, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, 1e-30, 7.0];
        let tensors = [("b.c".into(), tensor(&numbers, [2, 3])), ("a".into(), tensor(&[4.0], []))];
        let metadata = Metadata::from([("format".into(), "pt \"x\"".into())]);
        save_tensors(&path, &tensors, &metadata).unwrap();
        let bytes = fs::read(&path).unwrap();
        let other = SafeTensors::deserialize(&bytes).unwrap();
        let b = other.tensor("b.c").unwrap();
        assert_eq!((b.dtype(), b.shape()), (Dtype::F32, &[2, 3][..]));
        let expected: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(b.data(), expected);
        assert_eq!(other.tensor("a").unwrap().shape(), &[0_usize; 0]);
        assert_eq!(*Checkpoint::open(&path).unwrap().metadata(), metadata);
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let loaded = load_tensors(&path, &Device::cpu()).unwrap();
        assert_eq!(bits(&loaded[0].1.to_vec().unwrap()), bits(&numbers));
        // Nothing is left beside the file.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// To the nearest, of two the even one; infinities and what is no number stay what they are.
    #[test]
    fn half_precisions_are_written_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let below_f16 = 65_519.0;
        // Two steps above 1 in f16, and a quarter of a step in bf16.
        let step = 1.0 + 1.0 / 512.0_f32;
        let numbers = [1.0 / 3.0, -step, below_f16, f32::NEG_INFINITY, f32::NAN];
        let x = tensor(&numbers, [5]);
        for (half, expected) in [
            (Half::Bf16, [171.0 / 512.0, -1.0, 65_536.0, f32::NEG_INFINITY]),
            (Half::F16, [0.33325195, -step, 65_504.0, f32::NEG_INFINITY]),
        ] {
            let chunks = chunks_as(Some(half), vec![("x".into(), x.clone())], &Metadata::new());
            fs::write(&path, chunks.collect::<Result<Vec<_>>>().unwrap().concat()).unwrap();
            let loaded = load_tensors(&path, &Device::cpu()).unwrap()[0].1.to_vec().unwrap();
            assert_eq!(loaded[..4], expected);
            assert!(loaded[4].is_nan());
            let bytes = fs::read(&path).unwrap();
            let x = SafeTensors::deserialize(&bytes).unwrap().tensor("x").unwrap();
            assert_eq!(x.dtype().to_string(), half.name());
        }
        let too_large = |half, number| {
            let tensors = vec![("x".to_owned(), tensor(&[0.0, number], [2]))];
            let found = chunks_as(Some(half), tensors, &Metadata::new()).nth(1).unwrap();
            matches!(found, Err(Error::TooLarge { number: n, .. }) if n == number)
        };
        assert!(too_large(Half::F16, 65_520.0) && too_large(Half::F16, -1e9));
        assert!(too_large(Half::Bf16, f32::MAX) && !too_large(Half::Bf16, 3.3e38));
    }

    #[test]
    fn half_precisions_are_converted_and_other_types_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let load = || load_tensors(&path, &Device::cpu()).map(|all| all[0].1.to_vec().unwrap());
        let words: Vec<u8> = [0x3c00_u16, 0xc100, 0x7bff, 0x0001, 0x83ff, 0x7c00]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        fs::write(&path, foreign(Dtype::F16, &[6], &words)).unwrap();
        let smallest = 2.0_f32.powi(-24);
        let expected = [1.0, -2.5, 65504.0, smallest, -1023.0 * smallest, f32::INFINITY];
        assert_eq!(load().unwrap(), expected);
        fs::write(&path, foreign(Dtype::BF16, &[2], &[0x80, 0x3f, 0x49, 0xc0])).unwrap();
        assert_eq!(load().unwrap(), [1.0, -3.140625]);
        fs::write(&path, foreign(Dtype::I64, &[1], &[0; 8])).unwrap();
        assert!(load().unwrap_err().to_string().contains("x holds I64"));
    }

    #[test]
    fn everything_that_does_not_fit_is_named_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let saved = [("same", 2), ("shape", 3), ("extra", 1)]
            .map(|(name, n)| (name.to_string(), tensor(&vec![9.0; n], [n])));
        save_tensors(&path, &saved, &Metadata::new()).unwrap();
        let wanted = [("same", 2), ("shape", 4), ("lost", 1)]
            .map(|(name, n)| (name.to_string(), tensor(&vec![1.0; n], [n])));
        let error = Checkpoint::open(&path).unwrap().load_into(&wanted).unwrap_err();
        let Error::Parameters { problems, .. } = error else { panic!("{error}") };
        assert_eq!(
            problems,
            "shape is [3] in the file, not [4]; lost [1] is missing; \
             extra [1] is in the file, but not expected"
        );
        assert_eq!(wanted[0].1.to_vec().unwrap(), [1.0, 1.0]);
    }

    /// Of more than one piece, of each type, and only where it fits.
    #[test]
    fn one_tensor_is_read_piece_by_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let elements = 2 * PIECE + 7;
        // 0, 1, ... 255 are exact in each type.
        let numbers: Vec<f32> = (0..elements).map(|index| (index % 251) as f32).collect();
        let half = |number: f32| (number.to_bits() >> 16) as u16;
        let of_type = |dtype: Dtype| -> Vec<u8> {
            let all = numbers.iter();
            match dtype {
                Dtype::F32 => all.flat_map(|number| number.to_le_bytes()).collect(),
                _ => all.flat_map(|number| half(*number).to_le_bytes()).collect(),
            }
        };
        for dtype in [Dtype::F32, Dtype::BF16] {
            fs::write(&path, foreign(dtype, &[elements], &of_type(dtype))).unwrap();
            let mut checkpoint = Checkpoint::open(&path).unwrap();
            let x = tensor(&vec![-1.0; elements], [elements]);
            checkpoint.read_into("x", &x).unwrap();
            assert_eq!(x.to_vec().unwrap(), numbers, "{dtype:?}");
            let short = tensor(&[0.0; 5], [5]);
            let refused = |checkpoint: &mut Checkpoint, name: &str| {
                checkpoint.read_into(name, &short).unwrap_err().to_string()
            };
            let said = refused(&mut checkpoint, "x");
            assert!(said.contains(&format!("x is [{elements}] in the file, not [5]")), "{said}");
            assert!(refused(&mut checkpoint, "y").contains("y [5] is missing"));
            assert_eq!(checkpoint.read_range("x", 3..5).unwrap(), numbers[3..5]);
            assert!(checkpoint.read_range("y", 0..1).is_err());
        }
        fs::write(&path, foreign(Dtype::I64, &[1], &[0; 8])).unwrap();
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        assert!(checkpoint.unreadable("x").unwrap().contains("x holds I64"));
        for refused in [
            checkpoint.read_into("x", &tensor(&[0.0], [1])).unwrap_err(),
            checkpoint.read_range("x", 0..1).unwrap_err(),
        ] {
            assert!(refused.to_string().contains("x holds I64"), "{refused}");
        }
    }

    #[test]
    fn damaged_files_are_refused_wherever_they_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensors = [("x".to_string(), tensor(&[1.0, 2.0], [2]))];
        save_tensors(&path, &tensors, &Metadata::new()).unwrap();
        let whole = fs::read(&path).unwrap();
        let longer = [&whole[..], &[0]].concat();
        // A header's length that would take all memory.
        let huge = [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat();
        let cut = (0..whole.len()).map(|end| whole[..end].to_vec());
        for bytes in cut.chain([longer, huge, vec![b'{'; 300]]) {
            fs::write(&path, &bytes).unwrap();
            let error = Checkpoint::open(&path).unwrap_err();
            assert!(matches!(error, Error::File { .. }), "{} bytes: {error}", bytes.len());
        }
    }

    #[test]
    fn a_file_that_can_not_be_written_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none/a.safetensors");
        assert!(matches!(save_tensors(&missing, &[], &Metadata::new()), Err(Error::File { .. })));
        // A folder stands where the file should go.
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(matches!(save_tensors(&taken, &[], &Metadata::new()), Err(Error::File { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
