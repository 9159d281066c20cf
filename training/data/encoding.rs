//! From a file's bytes to text. What is not UTF-8 is named for what it is, and never converted.

use thiserror::Error;

/// What some programs write before a text to tell its encoding.
const MARK: char = '\u{feff}';

/// How many bytes are looked at to tell what a file is.
const LOOKED_AT: usize = 1 << 16;

/// Why a file's bytes are no text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotText {
    /// Another format, or another encoding of text.
    #[error("is {what}, not UTF-8 text: {remedy}")]
    Other {
        /// What it is.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Some of it is not UTF-8.
    #[error("is not UTF-8 text: the byte at offset {offset}, line {line}, is invalid; {remedy}")]
    Invalid {
        /// How many valid bytes come before.
        offset: usize,
        /// The line, from 1.
        line: usize,
        /// What to do.
        remedy: &'static str,
    },
}

/// A text without the byte-order mark that it may begin with.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// The text that bytes are, without its byte-order mark, and whether it had one.
///
/// # Errors
/// What they are instead.
pub(super) fn text_of(bytes: Vec<u8>) -> Result<(String, bool), NotText> {
    let formats = FORMATS.iter().chain(ENCODINGS);
    if let Some((_, what, remedy)) = formats.clone().find(|(start, ..)| bytes.starts_with(start)) {
        return Err(NotText::Other { what, remedy });
    }
    if let Some((_, what, remedy)) = without_any_mark(&bytes).and_then(|i| ENCODINGS.get(i)) {
        return Err(NotText::Other { what, remedy });
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        invalid(error.as_bytes(), offset)
    })?;
    let mark = text.len() - without_mark(&text).len();
    text.drain(..mark);
    Ok((text, mark > 0))
}

type Format = (&'static [u8], &'static str, &'static str);

/// How files begin that are given as text by mistake, what they are, and what to do.
const FORMATS: &[Format] = &[
    (b"\x1f\x8b", "compressed with gzip", "unpack it first (gunzip -k), or pipe it: --data -"),
    (b"BZh", "compressed with bzip2", "unpack it first (bunzip2 -k), or pipe it: --data -"),
    (b"\xfd7zXZ\0", "compressed with xz", "unpack it first (unxz -k), or pipe it: --data -"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first (unzstd), or pipe it: --data -"),
    (
        b"PK\x03\x04",
        "a zip archive (so are .docx, .xlsx and .epub)",
        "unpack it first, and give the \
      text in it",
    ),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first, and give the text in it"),
    (b"PAR1", "a Parquet table", "write the column with the text into a text file first"),
    (b"ARROW1", "an Arrow table", "write the column with the text into a text file first"),
    (b"%PDF-", "a PDF", "write its text into a file first (pdftotext)"),
    (b"\x89HDF", "an HDF5 file", "write its text into a text file first"),
    (b"SQLite format 3", "an SQLite database", "write its text into a text file first"),
    (b"\x93NUMPY", "a NumPy array", "text is needed, which is then cut into tokens here"),
    (b"\x89PNG", "a PNG picture", "text is needed; image_classification learns from pictures"),
    (
        b"\xff\xd8\xff",
        "a JPEG picture",
        "text is needed; image_classification learns from pictures",
    ),
];

/// Encodings by their byte-order marks.
const ENCODINGS: &[Format] = &[
    (b"\xff\xfe\0\0", "UTF-32 (little-endian)", "convert it: iconv -f UTF-32LE -t UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 (big-endian)", "convert it: iconv -f UTF-32BE -t UTF-8"),
    (b"\xff\xfe", "UTF-16 (little-endian)", "convert it: iconv -f UTF-16LE -t UTF-8"),
    (b"\xfe\xff", "UTF-16 (big-endian)", "convert it: iconv -f UTF-16BE -t UTF-8"),
];

/// Which of [`ENCODINGS`] a text without a byte-order mark is in, told by where its zeros are: it may
/// well be UTF-8 too, with a zero after each letter.
fn without_any_mark(bytes: &[u8]) -> Option<usize> {
    let groups = bytes[..bytes.len().min(LOOKED_AT)].chunks_exact(4);
    let mut zeros = [0; 4];
    let count = groups.len();
    for group in groups {
        for (zeros, byte) in zeros.iter_mut().zip(group) {
            *zeros += usize::from(*byte == 0);
        }
    }
    // Most letters, or at least most spaces and line ends, against a few strays.
    let many = |places: [usize; 2]| places.iter().all(|&i| zeros[i] * 20 > count);
    let few = |places: [usize; 2]| places.iter().all(|&i| zeros[i] * 200 <= count);
    let all = |places: [usize; 2]| places.iter().all(|&i| zeros[i] * 20 > count * 19);
    match zeros {
        _ if count < 2 => None,
        _ if all([2, 3]) && few([0, 0]) => Some(0),
        _ if all([0, 1]) && few([3, 3]) => Some(1),
        _ if many([1, 3]) && few([0, 2]) => Some(2),
        _ if many([0, 2]) && few([1, 3]) => Some(3),
        _ => None,
    }
}

/// What is wrong with bytes of which so many are UTF-8.
fn invalid(bytes: &[u8], offset: usize) -> NotText {
    let line = 1 + bytes[..offset].iter().filter(|byte| **byte == b'\n').count();
    let seen = &bytes[..bytes.len().min(offset.saturating_add(LOOKED_AT))];
    let count = |is: fn(&u8) -> bool| seen.iter().filter(|byte| is(byte)).count();
    let high = count(|byte| *byte >= 0x80);
    let control = count(|byte| *byte < 0x20 && !b"\t\n\r\x0c\x1b".contains(byte));
    let remedy = if control * 50 > seen.len() {
        "it seems to be no text at all, but a file of some program"
    } else if !bytes[..offset].is_ascii() {
        "what comes before is UTF-8 and not only ASCII, so it is damaged there: mend or remove it"
    } else if high * 3 < seen.len() {
        "it seems to be Latin-1 or Windows-1252: convert it: iconv -f WINDOWS-1252 -t UTF-8"
    } else {
        "it seems to be in another encoding: convert it, as in iconv -f GB18030 -t UTF-8 (or \
         SHIFT_JIS, BIG5, EUC-KR, KOI8-R, WINDOWS-1251)"
    };
    NotText::Invalid { offset, line, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        text_of(bytes.to_vec()).unwrap_err().to_string()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let text = |bytes: &str| text_of(bytes.as_bytes().to_vec()).unwrap();
        assert_eq!(text("\u{feff}cat\n"), ("cat\n".into(), true));
        assert_eq!(text("cat\u{feff}\n"), ("cat\u{feff}\n".into(), false));
        assert_eq!(text(""), (String::new(), false));
        assert_eq!(without_mark("\u{feff}cat"), "cat");
    }

    #[test]
    fn other_encodings_are_named_with_and_without_a_mark() {
        for text in ["The cat sat on the mat.\n", "Кот сидел на коврике, и ждал.\n"]
        {
            let text = text.repeat(20);
            let utf16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
                [mark.to_vec(), text.encode_utf16().flat_map(bytes).collect()].concat()
            };
            let utf32 = |bytes: fn(u32) -> [u8; 4]| -> Vec<u8> {
                text.chars().flat_map(|c| bytes(c.into())).collect()
            };
            for (bytes, name) in [
                (utf16(b"\xff\xfe", u16::to_le_bytes), "UTF-16LE"),
                (utf16(b"\xfe\xff", u16::to_be_bytes), "UTF-16BE"),
                (utf16(b"", u16::to_le_bytes), "UTF-16LE"),
                (utf16(b"", u16::to_be_bytes), "UTF-16BE"),
                (utf32(u32::to_le_bytes), "UTF-32LE"),
                (utf32(u32::to_be_bytes), "UTF-32BE"),
            ] {
                let said = message(&bytes);
                assert!(said.contains(&format!("iconv -f {name} ")), "{name}: {said}");
            }
        }
        // A zero here and there is text.
        assert!(text_of(b"a text with one zero \0 and more\n".repeat(20)).is_ok());
    }

    #[test]
    fn what_is_no_text_is_named_for_what_it_is() {
        for (bytes, what) in [
            (b"\x1f\x8b\x08\0rest".as_slice(), "gzip"),
            (b"PK\x03\x04rest", "zip archive"),
            (b"PAR1rest", "Parquet"),
            (b"%PDF-1.7", "PDF"),
            (b"caf\xe9 au lait\n", "Latin-1"),
            (b"\xc4\xe3\xba\xc3\xca\xc0\xbd\xe7", "GB18030"),
            ("caf\u{e9} \u{2026}\n\u{fffd}".as_bytes().split_last().unwrap().1, "damaged"),
            (b"\x01\x02\x03\x04\xff\xfe\x00\x10", "no text at all"),
        ] {
            assert!(message(bytes).contains(what), "{what}: {}", message(bytes));
        }
        assert!(message(b"a\nb\ncaf\xe9\n").contains("offset 7, line 3"));
    }
}
