//! How much memory tensors take.

use std::fmt;

/// How much memory a device holds for tensors and for the working memory of kernels, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// In tensors that are alive now.
    pub in_use: u64,
    /// The most that was ever in use.
    pub peak: u64,
    /// Taken from the system: what is in use, and what waits in the pool to be used again.
    pub reserved: u64,
    /// How often memory was taken from the system.
    pub allocations: u64,
}

impl fmt::Display for MemoryUse {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [now, most] = [self.in_use, self.peak].map(bytes);
        write!(f, "tensors took {now} there, and {most} at most")
    }
}

/// A number of bytes as people read it, in units of 1,024.
///
/// ```
/// use neutreno_engine::device::bytes;
/// assert_eq!(bytes(512), "512 B");
/// assert_eq!(bytes(3 << 19), "1.5 MiB");
/// ```
pub fn bytes(number: u64) -> String {
    if number < 1024 {
        return format!("{number} B");
    }
    let (mut size, mut unit) = (number as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    match format!("{size:.1}") {
        // From 1,000 on there is a separator between thousands.
        text if text.len() > "999.9".len() => format!("{},{} {unit}", &text[..1], &text[1..]),
        text => format!("{text} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_words() {
        let expected = [
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (999 << 20, "999.0 MiB"),
            (1000 << 20, "1,000.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (number, text) in expected {
            assert_eq!(bytes(number), text);
        }
    }
}
