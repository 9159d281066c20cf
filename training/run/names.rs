//! Names for folders.

use super::Error;
use std::ffi::OsStr;

/// `2031-05-07T09:30:00Z` as `2031-05-07-093000`.
pub(super) fn time_for_a_name(time: &str) -> String {
    let time = time.get(..19).unwrap_or(time);
    time.replace('T', "-").replace(':', "")
}

/// A name that Linux, macOS and Windows all allow for a folder.
pub(crate) fn check_name(name: impl AsRef<OsStr>) -> Result<(), Error> {
    // What is no Unicode is none of the characters that matter here.
    let name = &*name.as_ref().to_string_lossy();
    let edge = |c: Option<char>| c.is_none_or(|c| c == '.' || c == ' ');
    let forbidden = |c: char| c.is_control() || "<>:\"/\\|?*".contains(c);
    let bad = edge(name.chars().next()) || edge(name.chars().next_back());
    if bad || name.len() > 200 || name.contains(forbidden) {
        return Err(Error::Name { name: name.to_owned() });
    }
    Ok(())
}
