//! Tables for other programs: files of comma-separated values.

use neutreno::run::{Error, write_atomically};
use std::path::Path;

/// A table in the making.
pub struct CsvFile(csv::Writer<Vec<u8>>);

impl CsvFile {
    /// One with these titles.
    pub fn new<T: AsRef<[u8]>>(titles: impl IntoIterator<Item = T>) -> CsvFile {
        let mut table = CsvFile(csv::Writer::from_writer(Vec::new()));
        table.row(titles);
        table
    }

    /// Adds a row, as long as the titles are.
    pub fn row<T: AsRef<[u8]>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.0.write_record(cells).expect("memory takes every row, and all have the same length");
    }

    /// Writes the file: it is there whole, or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(self, path: &Path) -> Result<(), Error> {
        write_atomically(path, &self.0.into_inner().expect("memory takes every row"))
    }
}

/// A number, or nothing where there is none.
pub fn number(number: Option<f64>) -> String {
    number.filter(|number| number.is_finite()).map(|number| number.to_string()).unwrap_or_default()
}
