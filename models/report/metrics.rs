//! `metrics.jsonl`: one line of JSON a logged step.

use super::{Error, Values, null_is_nan, write_atomically};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The name under which [`Metric::values`] holds what was measured inside the model.
pub const MEASURED: &str = "measured";

/// What is measured at one step of training. Numbers that are not finite become null, and NaN
/// (or `None`) when they are read back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Updates made so far, from 1.
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

/// Appends lines to a `metrics.jsonl`. Each line is handed to the system whole and at once, so
/// whatever ends the program leaves at most one torn line, the last, which [`read_metrics`] drops.
///
/// ```
/// # use neutreno::report::{Metric, MetricsWriter, read_metrics};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("metrics.jsonl");
/// let mut writer = MetricsWriter::create(&path)?;
/// writer.write(&Metric { step: 1, loss: 10.4, ..Metric::default() })?;
/// assert_eq!(read_metrics(&path)?[0].loss, 10.4);
/// # Ok::<(), neutreno::report::Error>(())
/// ```
#[derive(Debug)]
pub struct MetricsWriter {
    file: File,
    path: PathBuf,
}

impl MetricsWriter {
    /// Begins a new file. A file that is there already is an error, and stays.
    pub fn create(path: &Path) -> Result<MetricsWriter, Error> {
        let file = File::create_new(path).map_err(Error::file("create", path))?;
        Ok(MetricsWriter { file, path: path.to_owned() })
    }

    /// Continues a file after `step`, the step of the checkpoint that training goes on from: later
    /// lines are dropped, since those steps will be made again. A missing file is begun.
    pub fn resume(path: &Path, step: u64) -> Result<MetricsWriter, Error> {
        if !path.exists() {
            return MetricsWriter::create(path);
        }
        let mut kept = Vec::new();
        for metric in read_metrics(path)?.iter().filter(|metric| metric.step <= step) {
            kept.extend(line(metric));
        }
        write_atomically(path, &kept)?;
        let file = File::options().append(true).open(path).map_err(Error::file("write", path))?;
        Ok(MetricsWriter { file, path: path.to_owned() })
    }

    /// Appends one line.
    pub fn write(&mut self, metric: &Metric) -> Result<(), Error> {
        self.file.write_all(&line(metric)).map_err(Error::file("write", &self.path))
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
        let mut writer = MetricsWriter::create(&path).unwrap();
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
        MetricsWriter::resume(&path, 0).unwrap().write(&diverged).unwrap();
        let read = &read_metrics(&path).unwrap()[0];
        assert!(read.loss.is_nan() && read.gradient_norm.is_nan());
        assert!(read.values.number("validation_loss").is_nan());
    }

    #[test]
    fn resuming_drops_the_steps_that_will_be_made_again() {
        let (_folder, path) = written(5);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        MetricsWriter::resume(&path, 3).unwrap().write(&metric(4)).unwrap();
        let steps: Vec<u64> = read_metrics(&path).unwrap().iter().map(|m| m.step).collect();
        assert_eq!(steps, [1, 2, 3, 4]);
        assert!(MetricsWriter::create(&path).is_err(), "a file that is there must stay");
    }
}
