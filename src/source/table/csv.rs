//! CSV: a header, then records of as many fields. All cells are untyped; an empty one, quoted or not, is null.
//!
//! A column without a name, such as the index that pandas writes, is not read.

use std::fs::File;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::baseline::rows::{ColumnData, Role, RowBatch, Selection, Texts};

use super::text::{self, Compression};
use super::{BATCH_ROWS, TableError};

pub(super) struct CsvTable {
    path: PathBuf,
    reader: ::csv::Reader<Box<dyn BufRead + Send>>,
    record: ::csv::ByteRecord,
    /// Role and position of the columns that are read.
    roles: Vec<(Role, usize)>,
    columns: Vec<String>,
    count: Arc<AtomicU64>,
}

impl std::fmt::Debug for CsvTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvTable").field("path", &self.path).field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl CsvTable {
    pub(super) fn open(path: &Path, file: File, compression: Compression, selection: &Selection) -> Result<CsvTable, TableError> {
        let (input, count) = text::open(file, compression).map_err(|source| TableError::Io { path: path.to_owned(), source })?;
        let mut reader = ::csv::ReaderBuilder::new().has_headers(true).flexible(false).from_reader(input);
        let header = reader.headers().map_err(|fault| error(path, fault))?.clone();
        if header.is_empty() {
            return Err(TableError::Line { path: path.to_owned(), line: 1, fault: "there is no header".to_owned() });
        }
        let (mut roles, mut columns): (Vec<(Role, usize)>, Vec<String>) = (Vec::new(), Vec::new());
        for (position, name) in header.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let Some(role) = selection.role(name) else { continue };
            if columns.iter().any(|other| other == name) {
                let fault = "is in the header twice".to_owned();
                return Err(TableError::Column { path: path.to_owned(), column: name.to_owned(), fault });
            }
            roles.push((role, position));
            columns.push(name.to_owned());
        }
        Ok(CsvTable { path: path.to_owned(), reader, record: ::csv::ByteRecord::new(), roles, columns, count })
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn position(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn next_batch(&mut self) -> Result<RowBatch, TableError> {
        let mut texts: Vec<Texts> = self.roles.iter().map(|_| Texts::default()).collect();
        let mut rows = 0;
        while rows < BATCH_ROWS && self.reader.read_byte_record(&mut self.record).map_err(|fault| error(&self.path, fault))? {
            for (texts, (role, position)) in texts.iter_mut().zip(&self.roles) {
                let cell = self.record.get(*position).unwrap_or_default();
                let cell = std::str::from_utf8(cell).map_err(|_| TableError::Line {
                    path: self.path.clone(),
                    line: self.record.position().map_or(0, ::csv::Position::line),
                    fault: format!("the cell of '{role}' is not UTF-8"),
                })?;
                texts.push((!cell.is_empty()).then_some(cell));
            }
            rows += 1;
        }
        let columns = self.roles.iter().zip(texts).map(|((role, _), texts)| (role.clone(), ColumnData::Raw(texts))).collect();
        Ok(RowBatch { rows, columns })
    }
}

fn error(path: &Path, fault: ::csv::Error) -> TableError {
    let line = fault.position().map_or(1, ::csv::Position::line);
    let fault = match fault.into_kind() {
        ::csv::ErrorKind::Io(source) => return TableError::Io { path: path.to_owned(), source },
        ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!("{len} fields, but the header has {expected_len}"),
        ::csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
        _ => "not CSV".to_owned(),
    };
    TableError::Line { path: path.to_owned(), line, fault }
}
