//! Tables as files: CSV, Parquet, newline-delimited JSON and Arrow IPC, in batches of columns.
//!
//! CSV and JSON may be compressed (`.gz`, `.zst`). Memory is bounded by the batch, in Parquet by the pages of the columns that are
//! read, in Arrow IPC by the record batches of the file. Nothing here knows what a baseline is made of the rows.

mod arrow;
mod csv;
mod ndjson;
mod text;

use std::fs::File;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::baseline::rows::{RowBatch, Selection};

pub use text::Compression;

/// Rows of a batch: 20 columns of numbers are 2.6 MB.
pub const BATCH_ROWS: usize = 8192;

/// Why a table cannot be read.
#[derive(Debug, Error)]
pub enum TableError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The name says no format.
    #[error("{}: the name ends in none of .csv, .parquet, .ndjson, .jsonl, .json, .arrow, .feather, .ipc (CSV and JSON also with .gz or .zst)", .0.display())]
    UnknownFormat(PathBuf),
    /// A line of a text file is wrong.
    #[error("{}:{line}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong.
        fault: String,
    },
    /// The file is not what its name says, or is damaged.
    #[error("{}: {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// A column cannot be read.
    #[error("{}: column '{column}': {fault}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong.
        fault: String,
    },
}

/// Formats by the end of the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header.
    Csv(Compression),
    /// One JSON object a line.
    Ndjson(Compression),
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC: the file format (Feather 2) or the stream format.
    Arrow,
}

impl Format {
    /// The format that the name says.
    #[must_use]
    pub fn of(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let (name, compression) = Compression::strip(&name);
        let extension = Path::new(name).extension()?.to_str()?;
        match (extension, compression) {
            ("csv", _) => Some(Format::Csv(compression)),
            ("ndjson" | "jsonl" | "json", _) => Some(Format::Ndjson(compression)),
            ("parquet", Compression::None) => Some(Format::Parquet),
            ("arrow" | "feather" | "ipc", Compression::None) => Some(Format::Arrow),
            _ => None,
        }
    }
}

/// An open table.
#[derive(Debug)]
pub struct TableReader {
    path: PathBuf,
    size: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Csv(csv::CsvTable),
    Ndjson(Box<ndjson::NdjsonTable>),
    Arrow(arrow::ArrowTable),
}

impl TableReader {
    /// Opens a table by the end of its name and reads what it says about its columns.
    ///
    /// # Errors
    /// [`TableError`], among them columns that are selected and of a type that cannot be read.
    pub fn open(path: &Path, selection: &Selection) -> Result<TableReader, TableError> {
        let format = Format::of(path).ok_or_else(|| TableError::UnknownFormat(path.to_owned()))?;
        let file = File::open(path).map_err(|source| TableError::Io { path: path.to_owned(), source })?;
        let size = file.metadata().map_err(|source| TableError::Io { path: path.to_owned(), source })?.len();
        let source = match format {
            Format::Csv(compression) => Source::Csv(csv::CsvTable::open(path, file, compression, selection)?),
            Format::Ndjson(compression) => Source::Ndjson(Box::new(ndjson::NdjsonTable::open(path, file, compression, selection)?)),
            Format::Parquet => Source::Arrow(arrow::ArrowTable::open_parquet(path, file, selection)?),
            Format::Arrow => Source::Arrow(arrow::ArrowTable::open_ipc(path, file, selection)?),
        };
        Ok(TableReader { path: path.to_owned(), size, source })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the columns that are read, where the format fixes them: JSON lines may each have others.
    #[must_use]
    pub fn columns(&self) -> Option<&[String]> {
        match &self.source {
            Source::Csv(table) => Some(table.columns()),
            Source::Ndjson(_) => None,
            Source::Arrow(table) => Some(table.columns()),
        }
    }

    /// The next rows, at most [`BATCH_ROWS`]; `None` at the end.
    ///
    /// # Errors
    /// Where a row is wrong, by line or column.
    pub fn next_batch(&mut self) -> Result<Option<RowBatch>, TableError> {
        let batch = match &mut self.source {
            Source::Csv(table) => table.next_batch(),
            Source::Ndjson(table) => table.next_batch(),
            Source::Arrow(table) => table.next_batch(),
        }?;
        Ok((batch.rows > 0).then_some(batch))
    }

    /// Size of the file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// About how many bytes of the file have been read.
    #[must_use]
    pub fn position(&self) -> u64 {
        let position = match &self.source {
            Source::Csv(table) => table.position(),
            Source::Ndjson(table) => table.position(),
            Source::Arrow(table) => table.position(self.size),
        };
        position.min(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_the_format() {
        let of = |name: &str| Format::of(Path::new(name));
        assert_eq!(of("dir.x/A.CSV.GZ"), Some(Format::Csv(Compression::Gzip)));
        assert_eq!(of("a.jsonl.zst"), Some(Format::Ndjson(Compression::Zstd)));
        assert_eq!(of("a.parquet"), Some(Format::Parquet));
        assert_eq!(of("a.feather"), Some(Format::Arrow));
        assert_eq!(of("a.parquet.gz"), None);
        assert_eq!(of("csv"), None);
    }
}
