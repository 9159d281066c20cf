//! `metrics.jsonl`: one line of JSON a logged step.

use super::values::null_is_nan;
use super::{Error, Values, disk, write_atomically};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The name under which [`Metric::values`] holds what was measured inside the model.
pub const MEASURED: &str = "measured";

/// What is measured at one step of training. Numbers that are not finite become null, and NaN
/// (or `None`) when they are read back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Updates made so far, from 1; 0 for a score before the first, where this has no loss, no
    /// learning rate and no gradient.
    pub step: u64,
    /// Training loss of this step, in nats.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// The learning rate of this step.
    #[serde(deserialize_with = "null_is_nan")]
    pub learning_rate: f64,
    /// Norm of all gradients together, before clipping.
    #[serde(deserialize_with = "null_is_nan")]
    pub gradient_norm: f64,
    /// Seconds since this model's training began, evaluation included.
    #[serde(deserialize_with = "null_is_nan")]
    pub seconds: f64,
    /// Text that the model wrote at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// What depends on the task: tokens or images so far and a second, and, where the model was
    /// evaluated, its scores, such as `validation_loss`.
    #[serde(flatten)]
    pub values: Values,
}

/// Adds lines to a `metrics.jsonl`. Each line is handed to the system whole and at once, so
/// whatever ends the program leaves at most one torn line, the last, which [`read_metrics`] drops.
/// Lines that could not be written wait in memory for the next try.
///
/// ```
/// # use neutreno::run::{Metric, MetricsWriter, read_metrics};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("metrics.jsonl");
/// let mut writer = MetricsWriter::begin(&path, b"")?;
/// writer.write(&Metric { step: 1, loss: 10.4, ..Metric::default() })?;
/// assert_eq!(read_metrics(&path)?[0].loss, 10.4);
/// # Ok::<(), neutreno::run::Error>(())
/// ```
#[derive(Debug)]
pub struct MetricsWriter {
    file: File,
    path: PathBuf,
    /// The bytes of the file that are whole lines.
    length: u64,
    /// Whether something may stand behind them.
    torn: bool,
    unwritten: Vec<u8>,
}

impl MetricsWriter {
    /// Begins a file with `contents`, the lines of the checkpoint that training goes on from: those
    /// of later steps are dropped, since these will be made again.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(path: &Path, contents: &[u8]) -> Result<MetricsWriter, Error> {
        write_atomically(path, contents)?;
        let file = File::options().write(true).open(path).map_err(Error::file("write", path))?;
        let length = contents.len() as u64;
        Ok(MetricsWriter {
            file,
            path: path.to_owned(),
            length,
            torn: false,
            unwritten: Vec::new(),
        })
    }

    /// Adds one line.
    ///
    /// # Errors
    /// The file cannot be written now; the line is kept, and written with the next one.
    pub fn write(&mut self, metric: &Metric) -> Result<(), Error> {
        self.unwritten.extend(line(metric));
        self.flush()
    }

    /// Writes the lines that wait.
    ///
    /// # Errors
    /// The file cannot be written now; the lines are kept.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.torn {
            self.file.set_len(self.length).map_err(Error::file("write", &self.path))?;
        }
        self.torn = true;
        disk::write_at(&self.file, &self.path, self.length, &self.unwritten)?;
        self.torn = false;
        self.length += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// All lines, those that wait included.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn contents(&self) -> Result<Vec<u8>, Error> {
        let mut contents = fs::read(&self.path).map_err(Error::file("read", &self.path))?;
        contents.truncate(self.length as usize);
        contents.extend(&self.unwritten);
        Ok(contents)
    }
}

fn line(metric: &Metric) -> Vec<u8> {
    let mut line = serde_json::to_vec(metric).expect("numbers and strings are always valid JSON");
    line.push(b'\n');
    line
}

/// All lines of a `metrics.jsonl`. A last line that was torn (it has no line end and is not a
/// whole object) is dropped; any other line that cannot be read is an error naming it.
pub fn read_metrics(path: &Path) -> Result<Vec<Metric>, Error> {
    let text = fs::read(path).map_err(Error::file("read", path))?;
    let mut metrics = Vec::new();
    for (i, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(metric) => metrics.push(metric),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(source) => {
                return Err(Error::Contents { path: path.to_owned(), line: i + 1, source });
            }
        }
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(step: u64) -> Metric {
        let sample = Some("a line\nand \"another\" – ü".to_owned());
        let values = Values::default().with("validation_loss", 4.25);
        Metric { step, loss: 3.5, sample, values, ..Metric::default() }
    }

    fn written(count: u64) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut writer = MetricsWriter::begin(&path, b"").unwrap();
        (1..=count).for_each(|step| writer.write(&metric(step)).unwrap());
        (folder, path)
    }

    #[test]
    fn a_file_torn_at_any_byte_keeps_its_whole_lines() {
        let (_folder, path) = written(2);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            // A line is whole once its closing brace is there, with or without the line end.
            let expected =
                usize::from(length + 1 >= first) + usize::from(length + 1 >= whole.len());
            assert_eq!(read_metrics(&path).unwrap().len(), expected, "cut at byte {length}");
        }
    }

    #[test]
    fn a_corrupt_line_in_the_middle_is_named() {
        let (_folder, path) = written(3);
        let text = fs::read_to_string(&path).unwrap().replace("\"step\":2", "\"step\":?");
        fs::write(&path, text).unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl, line 2: "), "{message}");
    }

    #[test]
    fn numbers_that_are_not_finite_survive_as_nan() {
        let (_folder, path) = written(0);
        let mut diverged = metric(1);
        diverged.loss = f64::NAN;
        diverged.gradient_norm = f64::INFINITY;
        diverged.values.set("validation_loss", f64::NAN);
        MetricsWriter::begin(&path, b"").unwrap().write(&diverged).unwrap();
        let read = &read_metrics(&path).unwrap()[0];
        assert!(read.loss.is_nan() && read.gradient_norm.is_nan());
        assert!(read.values.number("validation_loss").is_nan());
    }

    #[test]
    fn lines_that_could_not_be_written_are_not_lost() {
        let (folder, path) = written(0);
        let mut writer = MetricsWriter::begin(&path, b"").unwrap();
        writer.write(&metric(1)).unwrap();
        disk::faults::plan(folder.path(), 0, 2);
        assert!(writer.write(&metric(2)).is_err() && writer.write(&metric(3)).is_err());
        disk::faults::end(folder.path());
        let steps = |metrics: &[Metric]| metrics.iter().map(|m| m.step).collect::<Vec<_>>();
        assert_eq!(steps(&read_metrics(&path).unwrap()), [1]);
        let kept = writer.contents().unwrap();
        writer.write(&metric(4)).unwrap();
        assert_eq!(steps(&read_metrics(&path).unwrap()), [1, 2, 3, 4]);
        // Going on from what was known then.
        MetricsWriter::begin(&path, &kept).unwrap();
        assert_eq!(steps(&read_metrics(&path).unwrap()), [1, 2, 3]);
    }
}
