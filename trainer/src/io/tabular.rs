//! Tables with one row per image: CSV, or Parquet if the file name ends in `.parquet`. Both have the same columns; in
//! Parquet, numbers are doubles and missing numbers are null.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use csv::StringRecord;
use landfall_common::fs::temporary_file_in;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use tempfile::NamedTempFile;

/// Rows per Parquet row group; a group is buffered in memory until it is written.
const ROWS_PER_GROUP: usize = 1 << 16;

fn is_parquet(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "parquet")
}

/// Rows, read lazily.
type Records = Box<dyn Iterator<Item = Result<StringRecord>>>;

/// Reads the column names of a table and returns an iterator over its rows as text.
///
/// # Errors
/// If the file cannot be read or is not a table. The iterator returns an error for an invalid row.
pub(crate) fn read(file: &Path) -> Result<(StringRecord, Records)> {
    let read_failed = || format!("cannot read {}", file.display());
    let open = File::open(file).with_context(read_failed)?;
    if !is_parquet(file) {
        let mut reader = csv::Reader::from_reader(open);
        let names = reader.headers().with_context(read_failed)?.clone();
        return Ok((names, Box::new(reader.into_records().map(|row| Ok(row?)))));
    }
    let file_bytes = open.metadata().with_context(read_failed)?.len();
    let reader = or_damaged(|| Ok(SerializedFileReader::new(open)?)).with_context(read_failed)?;
    check_offsets(&reader, file_bytes).with_context(read_failed)?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema().get_fields();
    let names = schema.iter().map(|column| column.name()).collect();
    let mut rows = or_damaged(|| Ok(reader.into_iter())).with_context(read_failed)?;
    // After an error there are no more rows: the iterator may be in any state.
    let mut is_done = false;
    let rows = std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        let row = or_damaged(|| rows.next().map(|row| Ok(row?)).transpose()).transpose()?;
        is_done = row.is_err();
        Some(row.map(|row| row.get_column_iter().map(|(_, field)| text(field)).collect::<StringRecord>()))
    });
    Ok((names, Box::new(rows)))
}

/// Turns a panic into an error: the Parquet library has some on damaged files.
fn or_damaged<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|_| bail!("the file is damaged"))
}

/// Checks that the columns lie within the file, which the library asserts, and are complete.
fn check_offsets(reader: &SerializedFileReader<File>, file_bytes: u64) -> Result<()> {
    let columns =
        reader.metadata().row_groups().iter().flat_map(|group| group.columns().iter().map(move |c| (group, c)));
    for (group, column) in columns {
        ensure!(column.num_values() >= group.num_rows(), "the file is damaged: a column has too few values");
        let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        let (start, bytes) = (u64::try_from(start), u64::try_from(column.compressed_size()));
        let end = start.ok().zip(bytes.ok()).and_then(|(start, bytes)| start.checked_add(bytes));
        ensure!(end.is_some_and(|end| end <= file_bytes), "the file is damaged: a column lies outside of it");
    }
    Ok(())
}

fn text(field: &Field) -> String {
    match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Double(number) => number.to_string(), // 1, not Parquet's 1.0
        other => other.to_string(),
    }
}

/// A table being written; the file appears under its name when it is complete.
pub(crate) struct Writer {
    target: PathBuf,
    sink: Sink,
}

enum Sink {
    Csv(csv::Writer<NamedTempFile>),
    Parquet { writer: SerializedFileWriter<NamedTempFile>, columns: Vec<Vec<String>> },
}

impl Writer {
    /// Creates a table with the columns `names`, of which `numbers` are numeric, and its folder if missing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn create(file: &Path, names: &[&str], numbers: &[&str]) -> Result<Self> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = temporary_file_in(folder)?;
        let rows = if is_parquet(file) {
            let column = |name: &&str| match numbers.contains(name) {
                true => format!("optional double {name};"),
                false => format!("required binary {name} (UTF8);"),
            };
            let schema = format!("message table {{ {} }}", names.iter().map(column).collect::<String>());
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            let writer =
                SerializedFileWriter::new(temporary, Arc::new(parse_message_type(&schema)?), Arc::new(properties))?;
            Sink::Parquet { writer, columns: vec![Vec::new(); names.len()] }
        } else {
            let mut writer = csv::Writer::from_writer(temporary);
            writer.write_record(names)?;
            Sink::Csv(writer)
        };
        Ok(Self { target: file.to_owned(), sink: rows })
    }

    /// Adds a row: one text per column, empty for missing values.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn push<const N: usize>(&mut self, row: [String; N]) -> Result<()> {
        match &mut self.sink {
            Sink::Csv(writer) => Ok(writer.write_record(row)?),
            Sink::Parquet { writer, columns } => {
                ensure!(columns.len() == N, "a row has {N} fields, but the table has {} columns", columns.len());
                columns.iter_mut().zip(row).for_each(|(column, field)| column.push(field));
                if columns[0].len() == ROWS_PER_GROUP { write_group(writer, columns) } else { Ok(()) }
            }
        }
    }

    /// Completes the table.
    ///
    /// # Errors
    /// If the rest of it cannot be written.
    pub(crate) fn finish(self) -> Result<()> {
        let temporary = match self.sink {
            Sink::Csv(writer) => writer.into_inner().map_err(csv::IntoInnerError::into_error)?,
            Sink::Parquet { mut writer, mut columns } => {
                write_group(&mut writer, &mut columns)?;
                writer.into_inner()?
            }
        };
        temporary.persist(self.target)?;
        Ok(())
    }
}

/// Writes the buffered rows column by column and clears the buffers.
fn write_group(writer: &mut SerializedFileWriter<NamedTempFile>, columns: &mut [Vec<String>]) -> Result<()> {
    let mut group = writer.next_row_group()?;
    for fields in columns {
        let mut column = group.next_column()?.context("the table has fewer columns than the row has fields")?;
        match column.untyped() {
            ColumnWriter::DoubleColumnWriter(column) => {
                let numbers = fields.iter().filter(|field| !field.is_empty()).map(|field| field.parse());
                let numbers = numbers.collect::<std::result::Result<Vec<f64>, _>>()?;
                let levels: Vec<i16> = fields.iter().map(|field| i16::from(!field.is_empty())).collect();
                column.write_batch(&numbers, Some(&levels), None)?;
            }
            ColumnWriter::ByteArrayColumnWriter(column) => {
                let texts: Vec<ByteArray> = fields.drain(..).map(|field| field.into_bytes().into()).collect();
                column.write_batch(&texts, None, None)?;
            }
            _ => bail!("a column has neither numbers nor text"),
        }
        column.close()?;
        fields.clear();
    }
    group.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parquet_and_csv_round_trip_alike() {
        let dir = tempfile::tempdir().unwrap();
        let row = |i: usize| {
            let number = if i.is_multiple_of(3) { String::new() } else { (i as f64 / 7.0).to_string() };
            [format!("{i}, \"é\"\n.jpg"), number, if i.is_multiple_of(2) { String::new() } else { "x".into() }]
        };
        let [csv, parquet] = ["t.csv", "t.parquet"].map(|name| dir.path().join("new").join(name));
        // More than one row group.
        let rows = ROWS_PER_GROUP + 100;
        for file in [&csv, &parquet] {
            let mut writer = Writer::create(file, &["file", "lat", "group"], &["lat"]).unwrap();
            (0..rows).for_each(|i| writer.push(row(i)).unwrap());
            assert!(!file.exists());
            writer.finish().unwrap();
            let (names, found) = read(file).unwrap();
            assert_eq!(names, StringRecord::from(vec!["file", "lat", "group"]));
            let found: Vec<StringRecord> = found.collect::<Result<_>>().unwrap();
            assert_eq!(found.len(), rows);
            for (i, found) in found.iter().enumerate() {
                assert_eq!(found.iter().collect::<Vec<_>>(), row(i), "{}", file.display());
            }
        }
        assert!(fs::metadata(&parquet).unwrap().len() < fs::metadata(&csv).unwrap().len());
    }

    #[test]
    fn errors_name_a_file_that_is_not_a_table() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.parquet");
        fs::write(&file, "file,lat\n").unwrap();
        let error = format!("{:#}", read(&file).err().unwrap());
        assert!(error.contains("t.parquet"), "{error}");
    }
}
