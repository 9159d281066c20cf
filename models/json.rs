//! JSON files that others wrote. Their keys are taken one by one, so that those which nobody knows
//! are left over and can be told.

use crate::engine::{self, Error};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The longest file that is read, in bytes: an index of a thousand layers has a hundredth of it.
const LONGEST: u64 = 100_000_000;

/// A file's bytes.
///
/// # Errors
/// If it cannot be read, or is longer than any such file.
pub fn read(path: &Path) -> engine::Result<Vec<u8>> {
    let failed = |reason: String| Error::File { path: path.into(), reason };
    let cannot = |error: std::io::Error| failed(format!("cannot read it: {error}"));
    let mut bytes = Vec::new();
    if fs::metadata(path).map_err(cannot)?.is_dir() {
        return Err(failed("it is a folder, not a file".into()));
    }
    let file = File::open(path).map_err(cannot)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LONGEST {
        return Err(failed(format!("it has more than {LONGEST} bytes; such files have few")));
    }
    Ok(bytes)
}

/// The keys of an object that were not taken yet.
#[derive(Debug)]
pub struct Keys(Map<String, Value>);

impl Keys {
    /// An object in which no key stands twice.
    pub fn parse(text: &[u8]) -> Result<Keys, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    /// What stands there; `None` also for null.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        self.take_as(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub fn flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        self.take_as(key, "true or false", Value::as_bool)
    }

    pub fn number(&mut self, key: &str) -> Result<Option<f64>, String> {
        self.take_as(key, "a number", Value::as_f64)
    }

    pub fn size(&mut self, key: &str) -> Result<Option<usize>, String> {
        let size = |value: &Value| whole(value).filter(|size| *size <= u32::MAX as usize);
        self.take_as(key, "a whole number from 0 to 4294967295", size)
    }

    /// One token, or a list of them.
    pub fn tokens(&mut self, key: &str) -> Result<Option<Vec<u32>>, String> {
        let token = |value: &Value| whole(value).and_then(|id| u32::try_from(id).ok());
        self.take_as(key, "the id of a token, or a list of ids", |value| match value {
            Value::Array(ids) => ids.iter().map(token).collect(),
            one => Some(vec![token(one)?]),
        })
    }

    pub fn object(&mut self, key: &str) -> Result<Option<Keys>, String> {
        self.take_as(key, "an object", |value| value.as_object().cloned().map(Keys))
    }

    fn take_as<T>(
        &mut self,
        key: &str,
        kind: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match read(&value) {
            Some(found) => Ok(Some(found)),
            None => Err(format!("{key} is {}; it must be {kind}", short(&value))),
        }
    }

    /// Takes those that are named, as they are.
    pub fn part(&mut self, keys: &[&str]) -> Map<String, Value> {
        let found = |key: &&str| self.take(key).map(|value| ((*key).to_owned(), value));
        keys.iter().filter_map(found).collect()
    }

    /// Takes keys that may have one value only, or be absent: with another, the numbers would be others.
    /// Each comes with that value, and with what can be done about another.
    pub fn take_fixed<const N: usize>(
        &mut self,
        fixed: [(&str, Value, &str); N],
    ) -> Result<(), String> {
        for (key, only, advice) in fixed {
            let Some(value) = self.take(key) else { continue };
            // 1 and 1.0 are the same.
            let numbers = value.as_f64().zip(only.as_f64());
            if numbers.map_or_else(|| value != only, |(one, other)| one != other) {
                let known = if only.is_null() { "null".into() } else { short(&only) };
                let value = short(&value);
                return Err(format!("{key} is {value}, and only {known} is known: {advice}"));
            }
        }
        Ok(())
    }

    /// What is left, in the order of the names.
    pub fn rest(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

/// A whole number, be it written as 8 or as 8.0.
fn whole(value: &Value) -> Option<usize> {
    let float = |number: f64| {
        let exact = number.fract() == 0.0 && (0.0..9e15).contains(&number);
        exact.then_some(number as usize)
    };
    let whole = value.as_u64().and_then(|number| usize::try_from(number).ok());
    whole.or_else(|| value.as_f64().filter(|_| value.is_f64()).and_then(float))
}

/// A value as it stands in the file, or its beginning.
pub fn short(value: &Value) -> String {
    const LENGTH: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        struct EachOnce;
        impl<'de> Visitor<'de> for EachOnce {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
                let mut keys = Map::new();
                while let Some((key, value)) = entries.next_entry::<String, Value>()? {
                    if keys.contains_key(&key) {
                        return Err(de::Error::custom(format!("the key {key} stands twice")));
                    }
                    keys.insert(key, value);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(EachOnce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_their_kind_or_named() {
        let keys = || {
            let text =
                br#"{"size": 8.0, "half": 8.5, "less": -1, "ids": [1, 2], "id": 3, "no": null}"#;
            Keys::parse(text).unwrap()
        };
        assert_eq!(keys().size("size"), Ok(Some(8)));
        assert_eq!(keys().size("no"), Ok(None));
        assert_eq!(keys().size("nowhere"), Ok(None));
        assert_eq!(keys().number("less"), Ok(Some(-1.0)));
        assert_eq!(keys().tokens("ids"), Ok(Some(vec![1, 2])));
        assert_eq!(keys().tokens("id"), Ok(Some(vec![3])));
        for problem in [
            keys().size("half").unwrap_err(),
            keys().size("less").unwrap_err(),
            keys().tokens("less").unwrap_err(),
            keys().flag("id").unwrap_err(),
            keys().text("ids").unwrap_err(),
            keys().object("ids").unwrap_err(),
        ] {
            assert!(problem.contains(" is ") && problem.contains("it must be"), "{problem}");
        }
        assert_eq!(keys().size("half").unwrap_err().split(';').next(), Some("half is 8.5"));
    }

    #[test]
    fn what_is_no_object_or_says_two_things_is_refused() {
        for (text, words) in [
            ("[]", "expected an object"),
            ("", "EOF"),
            (r#"{"a": 1"#, "EOF"),
            (r#"{"a": NaN}"#, "expected"),
            (r#"{"a": 1, "b": 2, "a": 1}"#, "the key a stands twice"),
        ] {
            let problem = Keys::parse(text.as_bytes()).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }

    #[test]
    fn a_folder_or_a_file_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it is a folder"), "{error}");
        let error = read(&folder.path().join("x.json")).unwrap_err().to_string();
        assert!(error.contains("x.json: cannot read it"), "{error}");
    }
}
