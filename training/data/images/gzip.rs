//! gzip files: one or several compressed pieces one after the other, and zeros after them, as tapes and
//! some programs leave them.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};

/// Reads what the pieces hold.
pub(super) struct Members<R> {
    /// `None` after the last one.
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(file: R) -> Members<R> {
        Members { current: Some(GzDecoder::new(file)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(current) = &mut self.current {
            let count = current.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let rest = self.current.take().map(GzDecoder::into_inner);
            let mut rest = rest.expect("it was there");
            self.current = skip_zeros(&mut rest)?.then(|| GzDecoder::new(rest));
        }
        Ok(0)
    }
}

/// Whether there is something after zeros.
fn skip_zeros(file: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let whole = zeros == bytes.len();
        file.consume(zeros);
        if !whole {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn pieces_and_zeros_are_read() {
        let piece = |text: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let read = |bytes: &[u8]| {
            let mut text = String::new();
            Members::new(bytes).read_to_string(&mut text).map(|_| text)
        };
        let zeros = vec![0; 1000];
        let file = [piece(b"one "), zeros.clone(), piece(b"two"), zeros].concat();
        assert_eq!(read(&file).unwrap(), "one two");
        assert!(read(&[piece(b"one"), b"rest".to_vec()].concat()).is_err());
    }
}
