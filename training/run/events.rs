//! Event files for TensorBoard: what `metrics.jsonl` has, as scalars over steps.
//!
//! A file is a sequence of records, each a message in Protocol Buffers' form between its length and
//! checksums. The crates that write such files bring old versions of others with them, so the few messages
//! that are needed stand here.

use super::{Error, MEASURED, Metric, ModelFolder, disk};
use crate::measure::{MEASUREMENTS, Measured};
use crc::{CRC_32_ISCSI, Crc};
use prost::Message;
use serde_json::json;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// One message of an event file, with the numbers that its fields have in TensorFlow's `event.proto`.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Scalars>,
    #[prost(message, optional, tag = "7")]
    session: Option<Session>,
}

/// Several numbers.
#[derive(Clone, PartialEq, Message)]
struct Scalars {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Says that training began at a step: what other files have of it and of later ones no longer counts.
#[derive(Clone, PartialEq, Message)]
struct Session {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// [`Session::status`] of a beginning.
const START: i32 = 1;

/// Adds events to a file. Each time that training goes on, a new one takes the place of the one before.
pub(crate) struct EventWriter {
    file: File,
    path: PathBuf,
    length: u64,
}

impl EventWriter {
    /// Begins a file in a model's folder with all `earlier` lines, those that training goes on from.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(folder: &ModelFolder, earlier: &[Metric]) -> Result<EventWriter, Error> {
        let before = event_files(folder);
        let now = seconds_since_1970();
        let path = folder.path().join(format!("{NAME}.{now:.6}.neutreno"));
        let version = Event {
            wall_time: now,
            file_version: Some("brain.Event:2".into()),
            ..Event::default()
        };
        let reached = earlier.last().map_or(0.0, |line| line.seconds);
        let session = Some(Session { status: START });
        let mut bytes = record(&version);
        bytes.extend(record(&Event { wall_time: now, session, ..Event::default() }));
        let then = |line: &Metric| now - (reached - line.seconds);
        bytes.extend(earlier.iter().flat_map(|line| record(&event(line, then(line)))));
        disk::write_file(&path, std::iter::once(Ok::<_, Error>(bytes.clone())))?;
        // One that can't be removed does no harm: the new one says that it replaces what was there.
        before.iter().for_each(|path| drop(fs::remove_file(path)));
        let file = File::options().write(true).open(&path).map_err(Error::file("write", &path))?;
        Ok(EventWriter { file, path, length: bytes.len() as u64 })
    }

    /// Adds what a line has.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, line: &Metric) -> Result<(), Error> {
        let bytes = record(&event(line, seconds_since_1970()));
        disk::write_at(&self.file, &self.path, self.length, &bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// What TensorBoard knows such files by.
const NAME: &str = "events.out.tfevents";

fn event_files(folder: &ModelFolder) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path()).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(NAME));
    named.map(|entry| entry.path()).collect()
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The numbers of a line, under the names that they have there; of what was measured inside the model one
/// for each block, where 0 is the embedding.
fn event(line: &Metric, wall_time: f64) -> Event {
    let fields = json!(line);
    let numbers = fields.as_object().into_iter().flatten();
    let numbers = numbers.filter(|(name, _)| *name != "step" && *name != "seconds");
    let mut value: Vec<Scalar> =
        numbers.filter_map(|(name, number)| scalar(name.clone(), number.as_f64()?)).collect();
    let measured = line.values.get(MEASURED).map(Measured::from_json).unwrap_or_default();
    for measurement in MEASUREMENTS {
        let blocks = measured.get(measurement.name).unwrap_or_default();
        for (block, number) in (usize::from(!measurement.of_states)..).zip(blocks) {
            value.extend(scalar(format!("{}/block {block}", measurement.name), *number));
        }
    }
    let summary = Some(Scalars { value });
    Event { wall_time, step: line.step as i64, summary, ..Event::default() }
}

fn scalar(tag: String, number: f64) -> Option<Scalar> {
    number.is_finite().then_some(Scalar { tag, simple_value: Some(number as f32) })
}

/// A message as a record: its length, the checksum of that, the message, its checksum.
fn record(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), &message, &checksum(&message)].concat()
}

/// CRC-32C, masked as TensorFlow's records have it.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::{RunFolder, Values};
    use super::*;

    /// The messages of a file, with whatever its checksums do not fit.
    fn read(path: &std::path::Path) -> Vec<Event> {
        let bytes = fs::read(path).unwrap();
        let (mut events, mut rest) = (Vec::new(), &bytes[..]);
        while let [length @ .., _, _, _, _] = &rest[..rest.len().min(12)] {
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], checksum(&rest[..8]));
            let (message, after) = rest[12..].split_at(length);
            assert_eq!(after[..4], checksum(message));
            events.push(Event::decode(message).unwrap());
            rest = &after[4..];
        }
        assert!(rest.is_empty());
        events
    }

    fn line(step: u64) -> Metric {
        let measured = json!({ "token_similarity": [0.25, null], "value_rank": [3.0] });
        let values = Values::default().with("tokens", 64).with(MEASURED, measured);
        Metric {
            step,
            loss: 1.5,
            gradient_norm: f64::NAN,
            seconds: step as f64,
            values,
            ..Metric::default()
        }
    }

    /// TensorBoard 2.21's `RecordWriter` makes this of a file version, and of the scalar `loss` of 1.5 at
    /// step 7.
    #[test]
    fn records_have_the_bytes_of_tensorflows() {
        let hexadecimal = |event: &Event| -> String {
            record(event).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let version = Event {
            wall_time: 1.0,
            file_version: Some("brain.Event:2".into()),
            ..Event::default()
        };
        assert_eq!(
            hexadecimal(&version),
            "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a"
        );
        let summary = Some(Scalars { value: vec![scalar("loss".into(), 1.5).unwrap()] });
        let loss = Event { wall_time: 1000.25, step: 7, summary, ..Event::default() };
        assert_eq!(
            hexadecimal(&loss),
            "1a00000000000000129bd82d090000000000428f4010072a0d0a0b0a046c6f7373150000c03f4190c9a1"
        );
    }

    #[test]
    fn a_file_has_all_numbers_and_replaces_the_one_before() {
        let parent = tempfile::tempdir().unwrap();
        let fill = |_: &RunFolder, _: &str| Ok::<(), Error>(());
        let run = RunFolder::create(parent.path(), Some("a".as_ref()), "", "", fill).unwrap();
        let model = run.model("svformer", 1).unwrap();
        drop(EventWriter::begin(&model, &[line(1)]).unwrap());
        let mut writer = EventWriter::begin(&model, &[line(1), line(2)]).unwrap();
        writer.write(&line(3)).unwrap();
        let files = event_files(&model);
        assert_eq!(files.len(), 1);
        let events = read(&files[0]);
        assert_eq!(events.iter().map(|event| event.step).collect::<Vec<_>>(), [0, 0, 1, 2, 3]);
        assert_eq!(events[1].session, Some(Session { status: START }));
        assert!((events[3].wall_time - events[2].wall_time - 1.0).abs() < 1e-3);
        for event in &events[2..] {
            let value = &event.summary.as_ref().unwrap().value;
            let value: Vec<_> = value.iter().map(|v| (&*v.tag, v.simple_value.unwrap())).collect();
            let expected = [
                ("learning_rate", 0.0),
                ("loss", 1.5),
                ("tokens", 64.0),
                ("token_similarity/block 0", 0.25),
                ("value_rank/block 1", 3.0),
            ];
            assert_eq!(value, expected);
        }
    }
}
