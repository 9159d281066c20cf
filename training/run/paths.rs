//! Names and paths of the system as JSON holds them: not all of them are Unicode.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// A name as JSON: a string; where it is no Unicode its numbers, `{"Unix": [99, 97, 102, 233]}`, so
/// that nothing of it is lost.
///
/// ```
/// use neutreno::run::{name_from_json, name_to_json};
/// let name = std::ffi::OsStr::new("data");
/// assert_eq!(name_to_json(name), "data");
/// assert_eq!(name_from_json(&name_to_json(name)), Some(name.to_owned()));
/// ```
pub fn name_to_json(name: &OsStr) -> Value {
    match name.to_str() {
        Some(text) => text.into(),
        None => json!(name),
    }
}

/// The name that [`name_to_json`] made JSON of; `None` if it made no such JSON on this system.
pub fn name_from_json(value: &Value) -> Option<OsString> {
    match value {
        Value::String(text) => Some(text.into()),
        other => OsString::deserialize(other).ok(),
    }
}

/// For [`Data::path`](super::Data::path).
pub(super) fn serialize<S: Serializer>(
    path: &Option<PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| name_to_json(path.as_os_str())).serialize(serializer)
}

/// For [`Data::path`](super::Data::path).
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let value: Option<Value> = Option::deserialize(deserializer)?;
    Ok(value.as_ref().and_then(name_from_json).map(PathBuf::from))
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::Data;
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_that_are_no_unicode_come_back_whole() {
        let name = OsStr::from_bytes(b"caf\xe9");
        let value = name_to_json(name);
        assert_eq!(value, json!({ "Unix": [99, 97, 102, 233] }));
        assert_eq!(name_from_json(&value).as_deref(), Some(name));
        assert_eq!(name_from_json(&json!(5)), None);
        let data = Data { path: Some(name.into()), ..Data::default() };
        let text = serde_json::to_string(&data).unwrap();
        assert_eq!(serde_json::from_str::<Data>(&text).unwrap(), data);
    }
}
