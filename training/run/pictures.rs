//! Pictures of what a model does: files in its folder, and part of the page.

use super::names::check_name;
use super::{Error, ModelFolder, write_atomically, write_json};
use serde::{Deserialize, Serialize};
use std::fs;

/// A picture with what stands around it on the page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The name of its file, which ends in `.png` or `.svg`.
    pub file: String,
    /// Its title.
    pub title: String,
    /// What it shows, in a sentence or two.
    pub caption: String,
    /// The file's contents.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// Writes pictures into a model's folder: `pictures/`, with a list in `pictures.json`.
///
/// # Errors
/// If the folder cannot be written.
pub fn write_pictures(folder: &ModelFolder, pictures: &[Picture]) -> Result<(), Error> {
    if pictures.is_empty() {
        return Ok(());
    }
    let path = folder.pictures();
    fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
    for picture in pictures {
        write_atomically(&path.join(&picture.file), &picture.bytes)?;
    }
    let version = env!("CARGO_PKG_VERSION").into();
    write_json(&path.join(LIST), &List { version, pictures: pictures.to_vec() })
}

/// The pictures that [`write_pictures`] wrote; none if there are none.
///
/// ```
/// # use neutreno::run::{Error, Picture, RunFolder, read_pictures, write_pictures};
/// # let parent = tempfile::tempdir().unwrap();
/// # let fill = |_: &RunFolder, _: &str| Ok::<(), Error>(());
/// # let run = RunFolder::create(parent.path(), Some("first".as_ref()), "", "", fill)?;
/// let folder = run.model("resformer", 7)?;
/// let picture = Picture { file: "dot.svg".into(), bytes: b"<svg/>".into(), ..Picture::default() };
/// write_pictures(&folder, &[picture.clone()])?;
/// assert_eq!(read_pictures(&folder)?, [picture]);
/// # Ok::<(), neutreno::run::Error>(())
/// ```
///
/// # Errors
/// If a file cannot be read, or the list is not one.
pub fn read_pictures(folder: &ModelFolder) -> Result<Vec<Picture>, Error> {
    let path = folder.pictures();
    let list = path.join(LIST);
    if !list.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(&list).map_err(Error::file("read", &list))?;
    // Of runs before there were versions, it is the list alone.
    let read = serde_json::from_slice(&text).map(|List { pictures, .. }| pictures);
    let mut pictures: Vec<Picture> = read
        .or_else(|problem| serde_json::from_slice(&text).map_err(|_| problem))
        .map_err(|source| Error::Contents { line: source.line(), path: list.clone(), source })?;
    // A list that someone changed must not lead out of the folder.
    pictures.retain(|picture| check_name(&picture.file).is_ok());
    for picture in &mut pictures {
        let file = path.join(&picture.file);
        picture.bytes = fs::read(&file).map_err(Error::file("read", &file))?;
    }
    Ok(pictures)
}

const LIST: &str = "pictures.json";

/// What `pictures.json` holds.
#[derive(Serialize, Deserialize)]
struct List {
    /// Version of this program.
    version: String,
    pictures: Vec<Picture>,
}

impl Picture {
    /// The picture as an address that needs no file: `data:image/png;base64,…`.
    pub fn address(&self) -> String {
        let kind = if self.file.ends_with(".svg") { "svg+xml" } else { "png" };
        format!("data:image/{kind};base64,{}", base64(&self.bytes))
    }
}

/// Base64 (RFC 4648): three bytes are four letters.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let word = word[0] << 16 | word[1] << 8 | word[2];
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, read_pictures};
    use crate::run::RunFolder;
    use std::fs;

    #[test]
    fn lists_from_before_there_were_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("run.json"), "{}").unwrap();
        let run = RunFolder::open(folder.path()).unwrap();
        let model = run.model("transformer", 1).unwrap();
        fs::create_dir_all(model.pictures()).unwrap();
        fs::write(model.pictures().join("a.png"), b"png").unwrap();
        let list = r#"[{"file": "a.png", "title": "a", "caption": "b"}]"#;
        for text in [list.into(), format!(r#"{{"version": "1", "pictures": {list}}}"#)] {
            fs::write(model.pictures().join("pictures.json"), text).unwrap();
            assert_eq!(read_pictures(&model).unwrap()[0].bytes, b"png");
        }
        fs::write(model.pictures().join("pictures.json"), "{}").unwrap();
        assert!(read_pictures(&model).is_err());
    }

    #[test]
    fn base64_of_the_rfc() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
