//! The letters that stand for bytes in the tokens of byte-level BPE, as Radford et al. 2019 chose them:
//! a byte that is a visible letter in Latin-1 stands for itself, the others in turn for those from
//! U+0100 on.

/// The bytes that a token stands for. One with other letters is not made of bytes, but added as text.
pub(super) fn bytes_of(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The letters of all bytes, from 0 to 255.
pub(super) fn letters() -> impl Iterator<Item = char> {
    let all: Vec<char> = ('!'..='\u{143}').filter(|letter| byte_of(*letter).is_some()).collect();
    (0..=255).map(move |byte| {
        let found = all.iter().find(|letter| byte_of(**letter) == Some(byte));
        *found.expect("each byte has a letter")
    })
}

fn byte_of(letter: char) -> Option<u8> {
    match letter {
        '!'..='~' | '¡'..='¬' | '®'..='ÿ' => u8::try_from(letter).ok(),
        // 0 to 32, 127 to 160, and 173.
        '\u{100}'..='\u{120}' => Some((u32::from(letter) - 0x100) as u8),
        '\u{121}'..='\u{142}' => Some((u32::from(letter) - 0x121 + 127) as u8),
        '\u{143}' => Some(173),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    /// The alphabet of the `tokenizers` crate is exactly the letters of all bytes.
    #[test]
    fn every_byte_has_its_letter() {
        let mut bytes: Vec<u8> = ByteLevel::alphabet().into_iter().filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        let back: Vec<u8> = letters().filter_map(byte_of).collect();
        assert_eq!(back, bytes);
        assert_eq!(bytes_of("ĠnaÃ¯ve"), " naïve".as_bytes());
        assert_eq!(bytes_of("<|end of text|>"), b"<|end of text|>");
    }
}
