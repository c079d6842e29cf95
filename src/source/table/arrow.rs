//! Parquet and Arrow IPC: typed columns of numbers, booleans and strings, plain or by dictionary.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, OffsetSizeTrait, RecordBatch};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, Schema, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::baseline::rows::{ColumnData, Role, RowBatch, Selection, Texts};

use super::text::Counted;
use super::{BATCH_ROWS, TableError};

/// What a file in the IPC file format begins with; the stream format does not.
const IPC_MAGIC: &[u8] = b"ARROW1";

type Input = BufReader<Counted<File>>;

pub(super) struct ArrowTable {
    path: PathBuf,
    roles: Vec<Role>,
    columns: Vec<String>,
    batches: Batches,
    /// A batch of the file that is larger than ours, and how many of its rows were given out.
    current: Option<(RecordBatch, usize)>,
    progress: Progress,
}

enum Batches {
    Parquet(Box<ParquetRecordBatchReader>),
    File(Box<FileReader<Input>>),
    Stream(Box<StreamReader<Input>>),
}

enum Progress {
    /// Rows read and rows of the file.
    Rows(u64, u64),
    /// Bytes read.
    Bytes(Arc<AtomicU64>),
}

impl std::fmt::Debug for ArrowTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrowTable").field("path", &self.path).field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl ArrowTable {
    pub(super) fn open_parquet(path: &Path, file: File, selection: &Selection) -> Result<ArrowTable, TableError> {
        let fail = |fault: parquet::errors::ParquetError| TableError::File { path: path.to_owned(), fault: fault.to_string() };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(fail)?;
        let chosen = choose(path, builder.schema(), selection)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), chosen.positions.iter().copied());
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(fail)?;
        Ok(chosen.table(path, Batches::Parquet(Box::new(reader)), Progress::Rows(0, rows)))
    }

    pub(super) fn open_ipc(path: &Path, mut file: File, selection: &Selection) -> Result<ArrowTable, TableError> {
        let io = |source| TableError::Io { path: path.to_owned(), source };
        let fail = |fault: ArrowError| TableError::File { path: path.to_owned(), fault: fault.to_string() };
        let mut head = Vec::new();
        (&mut file).take(IPC_MAGIC.len() as u64).read_to_end(&mut head).map_err(io)?;
        let input = |from: &File| -> Result<(Input, Arc<AtomicU64>), TableError> {
            let mut file = from.try_clone().map_err(io)?;
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            let (counted, count) = Counted::new(file);
            Ok((BufReader::new(counted), count))
        };
        // The schema is read first, to know what to project.
        if head == IPC_MAGIC {
            let schema = FileReader::try_new(input(&file)?.0, None).map_err(fail)?.schema();
            let chosen = choose(path, &schema, selection)?;
            let (input, count) = input(&file)?;
            let reader = FileReader::try_new(input, Some(chosen.positions.clone())).map_err(fail)?;
            Ok(chosen.table(path, Batches::File(Box::new(reader)), Progress::Bytes(count)))
        } else {
            let schema = StreamReader::try_new(input(&file)?.0, None).map_err(fail)?.schema();
            let chosen = choose(path, &schema, selection)?;
            let (input, count) = input(&file)?;
            let reader = StreamReader::try_new(input, Some(chosen.positions.clone())).map_err(fail)?;
            Ok(chosen.table(path, Batches::Stream(Box::new(reader)), Progress::Bytes(count)))
        }
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn position(&self, size: u64) -> u64 {
        match &self.progress {
            Progress::Rows(done, of) => u64::try_from(u128::from(size) * u128::from(*done) / u128::from((*of).max(1))).unwrap_or(size),
            Progress::Bytes(count) => count.load(Ordering::Relaxed),
        }
    }

    pub(super) fn next_batch(&mut self) -> Result<RowBatch, TableError> {
        let fail = |fault: ArrowError| TableError::File { path: self.path.clone(), fault: fault.to_string() };
        while self.current.as_ref().is_none_or(|(batch, given)| *given >= batch.num_rows()) {
            let next = match &mut self.batches {
                Batches::Parquet(reader) => reader.next(),
                Batches::File(reader) => reader.next(),
                Batches::Stream(reader) => reader.next(),
            };
            match next {
                None => return Ok(RowBatch::default()),
                Some(batch) => self.current = Some((batch.map_err(fail)?, 0)),
            }
        }
        let Some((batch, given)) = &mut self.current else { return Ok(RowBatch::default()) };
        let rows = (batch.num_rows() - *given).min(BATCH_ROWS);
        let mut columns = Vec::with_capacity(self.roles.len());
        for ((array, role), name) in batch.columns().iter().zip(&self.roles).zip(&self.columns) {
            let data = column_data(&array.slice(*given, rows)).ok_or_else(|| unsupported(&self.path, name, array.data_type()))?;
            columns.push((role.clone(), data));
        }
        *given += rows;
        if let Progress::Rows(done, _) = &mut self.progress {
            *done += rows as u64;
        }
        Ok(RowBatch { rows, columns })
    }
}

/// The columns of a schema that are read.
struct Chosen {
    positions: Vec<usize>,
    roles: Vec<Role>,
    columns: Vec<String>,
}

impl Chosen {
    fn table(self, path: &Path, batches: Batches, progress: Progress) -> ArrowTable {
        ArrowTable { path: path.to_owned(), roles: self.roles, columns: self.columns, batches, current: None, progress }
    }
}

fn choose(path: &Path, schema: &Schema, selection: &Selection) -> Result<Chosen, TableError> {
    let mut chosen = Chosen { positions: Vec::new(), roles: Vec::new(), columns: Vec::new() };
    for (position, field) in schema.fields().iter().enumerate() {
        let Some(role) = selection.role(field.name()) else { continue };
        if chosen.columns.contains(field.name()) {
            let fault = "is in the schema twice".to_owned();
            return Err(TableError::Column { path: path.to_owned(), column: field.name().clone(), fault });
        }
        if role == Role::Time && !is_time(field.data_type()) && !is_supported(field.data_type()) {
            continue;
        }
        if role != Role::Time && !is_supported(field.data_type()) {
            return Err(unsupported(path, field.name(), field.data_type()));
        }
        chosen.positions.push(position);
        chosen.roles.push(role);
        chosen.columns.push(field.name().clone());
    }
    Ok(chosen)
}

fn unsupported(path: &Path, column: &str, kind: &DataType) -> TableError {
    let fault = format!("{kind} is neither a number, a boolean, a string nor an array of numbers; convert the column or exclude it");
    TableError::Column { path: path.to_owned(), column: column.to_owned(), fault }
}

fn is_supported(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => !matches!(**values, DataType::Dictionary(..)) && is_supported(values),
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            element.data_type().is_floating() || element.data_type().is_integer()
        }
        DataType::Null
        | DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..) => true,
        other => other.is_integer() || other.is_floating(),
    }
}

/// Whether it is a date or a point in time.
fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// The cells of an array; `None` where its type is not supported.
#[allow(clippy::redundant_closure_for_method_calls)] // The method belongs to a crate that is not a direct dependency.
fn column_data(array: &dyn Array) -> Option<ColumnData> {
    Some(match array.data_type() {
        DataType::Null => ColumnData::Numbers(vec![None; array.len()]),
        DataType::Boolean => ColumnData::Booleans(array.as_boolean_opt()?.iter().collect()),
        DataType::Utf8 => texts(array.as_string_opt::<i32>()?.iter()),
        DataType::LargeUtf8 => texts(array.as_string_opt::<i64>()?.iter()),
        DataType::Utf8View => texts(array.as_string_view_opt()?.iter()),
        DataType::Int8 => numbers::<Int8Type>(array, f64::from)?,
        DataType::Int16 => numbers::<Int16Type>(array, f64::from)?,
        DataType::Int32 => numbers::<Int32Type>(array, f64::from)?,
        DataType::UInt8 => numbers::<UInt8Type>(array, f64::from)?,
        DataType::UInt16 => numbers::<UInt16Type>(array, f64::from)?,
        DataType::UInt32 => numbers::<UInt32Type>(array, f64::from)?,
        // Beyond 2^53 the nearest f64: every number of the system is one.
        #[allow(clippy::cast_precision_loss)]
        DataType::Int64 => numbers::<Int64Type>(array, |value| value as f64)?,
        #[allow(clippy::cast_precision_loss)]
        DataType::UInt64 => numbers::<UInt64Type>(array, |value| value as f64)?,
        DataType::Float16 => numbers::<Float16Type>(array, |value| value.to_f64())?,
        DataType::Float32 => numbers::<Float32Type>(array, f64::from)?,
        DataType::Float64 => numbers::<Float64Type>(array, |value| value)?,
        DataType::Decimal32(_, scale) => numbers::<Decimal32Type>(array, |value| decimal(i128::from(value), *scale))?,
        DataType::Decimal64(_, scale) => numbers::<Decimal64Type>(array, |value| decimal(i128::from(value), *scale))?,
        DataType::Decimal128(_, scale) => numbers::<Decimal128Type>(array, |value| decimal(value, *scale))?,
        DataType::Dictionary(..) => by_dictionary(array)?,
        DataType::List(_) => {
            let list = array.as_list_opt::<i32>()?;
            vectors(list.values(), (0..list.len()).map(|row| list.is_valid(row).then(|| range(list.value_offsets(), row))))?
        }
        DataType::LargeList(_) => {
            let list = array.as_list_opt::<i64>()?;
            vectors(list.values(), (0..list.len()).map(|row| list.is_valid(row).then(|| range(list.value_offsets(), row))))?
        }
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list_opt()?;
            let length = usize::try_from(list.value_length()).ok()?;
            vectors(list.values(), (0..list.len()).map(|row| list.is_valid(row).then_some((row * length, (row + 1) * length))))?
        }
        // Times in seconds, which no reader of numbers takes for anything else.
        DataType::Date32 => numbers::<Date32Type>(array, |days| f64::from(days) * 86_400.0)?,
        #[allow(clippy::cast_precision_loss)]
        DataType::Date64 => numbers::<Date64Type>(array, |value| value as f64 / 1e3)?,
        #[allow(clippy::cast_precision_loss)]
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => numbers::<TimestampSecondType>(array, |value| value as f64)?,
            TimeUnit::Millisecond => numbers::<TimestampMillisecondType>(array, |value| value as f64 / 1e3)?,
            TimeUnit::Microsecond => numbers::<TimestampMicrosecondType>(array, |value| value as f64 / 1e6)?,
            TimeUnit::Nanosecond => numbers::<TimestampNanosecondType>(array, |value| value as f64 / 1e9)?,
        },
        _ => return None,
    })
}

fn numbers<T: ArrowPrimitiveType>(array: &dyn Array, convert: impl Fn(T::Native) -> f64) -> Option<ColumnData> {
    Some(ColumnData::Numbers(array.as_primitive_opt::<T>()?.iter().map(|value| value.map(&convert)).collect()))
}

/// Start and end of the elements of a row.
fn range<O: OffsetSizeTrait>(offsets: &[O], row: usize) -> (usize, usize) {
    let at = |place: usize| offsets.get(place).map_or(0, |offset| offset.as_usize());
    (at(row), at(row + 1))
}

/// Arrays of numbers, each by its range in all of them; those that hold a null or what is not finite are no vectors.
fn vectors(values: &dyn Array, ranges: impl Iterator<Item = Option<(usize, usize)>>) -> Option<ColumnData> {
    let ColumnData::Numbers(elements) = column_data(values)? else { return None };
    let are_numbers = |(start, end): (usize, usize)| {
        elements.get(start..end).is_some_and(|list| list.iter().all(|value| value.is_some_and(f64::is_finite)))
    };
    // A range of no place is a wrong type, and not null.
    let ranges = ranges.map(|row| row.map(|range| if are_numbers(range) { range } else { (1, 0) })).collect();
    Some(ColumnData::Vectors { ranges, numbers: elements.iter().map(|value| value.unwrap_or(0.0)).collect() })
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ColumnData {
    let mut texts = Texts::default();
    values.for_each(|value| texts.push(value));
    ColumnData::Texts(texts)
}

/// The nearest f64, as its decimal text would be read.
#[allow(clippy::cast_precision_loss)]
fn decimal(units: i128, scale: i8) -> f64 {
    /// Up to here integers and powers of ten are exact, and so is one division rounded once.
    const EXACT: u128 = 1 << 53;
    if units.unsigned_abs() <= EXACT && (0..=22).contains(&scale) {
        return units as f64 / 10f64.powi(i32::from(scale));
    }
    format!("{units}e{}", -i32::from(scale)).parse().unwrap_or(f64::NAN)
}

fn by_dictionary(array: &dyn Array) -> Option<ColumnData> {
    let dictionary = array.as_any_dictionary_opt()?;
    if dictionary.values().is_empty() {
        return Some(ColumnData::Numbers(vec![None; array.len()]));
    }
    let values = column_data(dictionary.values())?;
    let keys = dictionary.normalized_keys();
    let keys = keys.into_iter().enumerate().map(|(row, key)| (!dictionary.keys().is_null(row)).then_some(key));
    Some(match values {
        ColumnData::Numbers(values) => {
            ColumnData::Numbers(keys.map(|key| key.and_then(|key| values.get(key).copied().flatten())).collect())
        }
        ColumnData::Booleans(values) => {
            ColumnData::Booleans(keys.map(|key| key.and_then(|key| values.get(key).copied().flatten())).collect())
        }
        ColumnData::Texts(values) => texts(keys.map(|key| key.and_then(|key| values.get(key)))),
        other @ (ColumnData::Raw(_) | ColumnData::Mixed { .. } | ColumnData::Vectors { .. }) => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp)]
    fn decimals_are_read_as_their_text() {
        assert_eq!(decimal(12_345, 2), 123.45);
        assert_eq!(decimal(-1, 1), -0.1);
        assert_eq!(decimal(123_456_789_012_345_678_901, 25), 0.000_012_345_678_901_234_567);
        assert_eq!(decimal(5, -2), 500.0);
    }
}
