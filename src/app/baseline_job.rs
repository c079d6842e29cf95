//! Building a baseline from files: opens them, reads them as often as the builder asks, and tells how far it is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use thiserror::Error;

use crate::baseline::build::{BuildError, BuildSpec};
use crate::baseline::rows::RowBatch;
use crate::baseline::{Baseline, Survey};
use crate::source::table::{TableError, TableReader};

/// How far the building is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of the look at the files, from 1. There are two, one more where a column's type changes half way, and one more for sums over many dimensions.
    pub look: u32,
    /// Rows read in this look.
    pub rows: u64,
    /// Bytes of the files read in this look, about.
    pub bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// Why no baseline was built.
#[derive(Debug, Error)]
pub enum JobError {
    /// There are no files.
    #[error("no input files are given")]
    NoFiles,
    /// A file cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The rows do not make a baseline.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A file has other columns than the first.
    #[error("{}: {fault}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// Which column is there or not.
        fault: String,
    },
}

/// Builds a baseline from the rows of all files, in their order.
///
/// # Errors
/// [`JobError`], with file and line or column.
pub fn build_from_files(spec: &BuildSpec, files: &[PathBuf], progress: &mut dyn FnMut(Progress)) -> Result<Baseline, JobError> {
    if files.is_empty() {
        return Err(JobError::NoFiles);
    }
    check_columns(spec, files)?;
    let mut at = Progress::default();
    let mut survey = Survey::new(spec.clone())?;
    read(spec, files, &mut at, progress, &mut |batch| survey.add(batch))?;
    while survey.wants_another_look() {
        survey.look_again();
        read(spec, files, &mut at, progress, &mut |batch| survey.add(batch))?;
    }
    let mut tally = survey.finish()?;
    read(spec, files, &mut at, progress, &mut |batch| tally.add(batch))?;
    if tally.wants_another_look() {
        tally.look_again()?;
        read(spec, files, &mut at, progress, &mut |batch| tally.add(batch))?;
    }
    Ok(tally.finish()?)
}

/// Several files are one table: each has the columns of the first.
fn check_columns(spec: &BuildSpec, files: &[PathBuf]) -> Result<(), JobError> {
    let mut first: Option<(&PathBuf, BTreeSet<String>)> = None;
    for path in files {
        let table = TableReader::open(path, &spec.selection)?;
        let Some(columns) = table.columns() else { continue };
        let columns: BTreeSet<String> = columns.iter().cloned().collect();
        let Some((reference, wanted)) = &first else {
            first = Some((path, columns));
            continue;
        };
        let fault = match (wanted.difference(&columns).next(), columns.difference(wanted).next()) {
            (Some(missing), _) => format!("there is no column '{missing}', which {} has", reference.display()),
            (None, Some(extra)) => format!("column '{extra}' is not in {}", reference.display()),
            (None, None) => continue,
        };
        return Err(JobError::Columns { path: path.clone(), fault });
    }
    Ok(())
}

/// Takes one look at all rows.
fn read(
    spec: &BuildSpec,
    files: &[PathBuf],
    at: &mut Progress,
    progress: &mut dyn FnMut(Progress),
    take: &mut dyn FnMut(&RowBatch) -> Result<(), BuildError>,
) -> Result<(), JobError> {
    let mut tables = Vec::with_capacity(files.len());
    let mut total_bytes = 0;
    for path in files {
        let size = std::fs::metadata(path).map_err(|source| TableError::Io { path: path.clone(), source })?.len();
        total_bytes += size;
        tables.push((path, size));
    }
    *at = Progress { look: at.look + 1, rows: 0, bytes: 0, total_bytes };
    let mut before = 0;
    for (path, size) in tables {
        let mut table = TableReader::open(path, &spec.selection)?;
        while let Some(batch) = table.next_batch()? {
            take(&batch)?;
            at.rows += batch.rows as u64;
            at.bytes = before + table.position();
            progress(*at);
        }
        before += size;
    }
    Ok(())
}
