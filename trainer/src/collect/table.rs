//! Tables of coordinates as people have them: written by Excel, LibreOffice, ExifTool or a script, on Windows, macOS or
//! Linux. What cannot be read with certainty is refused, with the line and what to do.

use std::path::Path;

use anyhow::{Context, Result, bail};
use csv::{ReaderBuilder, StringRecord};

/// Accepted names of the columns, the preferred one first, in lower case without spaces, `_` and `-`.
pub(super) const FILE: &[&str] =
    &["file", "filename", "filepath", "path", "sourcefile", "image", "picture", "photo", "name"];
pub(super) const LAT: &[&str] = &["lat", "latitude", "gpslatitude", "latitudedeg", "latdeg"];
pub(super) const LNG: &[&str] =
    &["lng", "lon", "long", "longitude", "gpslongitude", "longitudedeg", "lngdeg", "londeg"];

/// Separators, the preferred one first.
const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

/// A table in memory.
pub(super) struct Table {
    /// The file, for messages.
    file: String,
    headers: Vec<String>,
    separator: char,
    rows: Vec<Row>,
}

/// A row with its first line in the file.
pub(super) struct Row {
    pub(super) line: u64,
    fields: StringRecord,
}

impl Table {
    /// # Errors
    /// When the file cannot be read or is not a table.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&file.display().to_string(), &bytes)
    }

    /// The table in the contents of a file; `file` is its name in messages.
    ///
    /// # Errors
    /// When it is not a table.
    pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let mut text = decode(bytes).with_context(|| file.to_owned())?;
        if !text.contains('\n') {
            text = text.replace('\r', "\n"); // line ends of old programs for the Mac
        }
        // Excel writes and reads a first line that names the separator.
        let first = text.lines().next().unwrap_or_default().trim();
        let named =
            first.strip_prefix("sep=").or_else(|| first.strip_prefix("\"sep=")).and_then(|rest| rest.chars().next());
        let skipped = if named.is_some() { text.find('\n').map_or(text.len(), |end| end + 1) } else { 0 };
        let text = &text[skipped..];
        let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let count = |separator: char| header.matches(separator).count();
        let most = SEPARATORS.into_iter().rev().max_by_key(|separator| count(*separator)).unwrap_or(',');
        let separator = named.filter(char::is_ascii).unwrap_or(most);
        let mut reader = ReaderBuilder::new()
            .delimiter(u8::try_from(separator).unwrap_or(b','))
            .flexible(true)
            .has_headers(false)
            .from_reader(text.as_bytes());
        let mut table = Self { file: file.to_owned(), headers: Vec::new(), separator, rows: Vec::new() };
        let (mut counted, mut line) = (0, 1 + u64::from(skipped > 0));
        for fields in reader.records() {
            let fields = fields.with_context(|| file.to_owned())?;
            // The reader's own position precedes the empty lines before the record.
            let start = fields.position().map_or(counted, |position| position.byte() as usize).min(text.len());
            let empty_lines = text.as_bytes()[start..].iter().take_while(|byte| [b'\r', b'\n'].contains(byte)).count();
            let passed = &text.as_bytes()[counted.min(start)..start + empty_lines];
            line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
            counted = start + empty_lines;
            if fields.iter().all(|field| field.trim().is_empty()) {
                continue; // spreadsheets write empty rows
            }
            if table.headers.is_empty() {
                table.headers = fields.iter().map(normalised).collect();
            } else {
                table.rows.push(Row { line, fields });
            }
        }
        Ok(table)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The index of the column with one of these names.
    pub(super) fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.headers.iter().position(|header| header == name))
    }

    /// As [`Table::column`].
    ///
    /// # Errors
    /// When there is no such column.
    pub(super) fn required(&self, names: &[&str]) -> Result<usize> {
        self.column(names).with_context(|| {
            format!(
                "{}, line 1: no column `{}`; the columns are {}",
                self.file,
                names[0],
                self.headers.iter().map(|header| format!("`{header}`")).collect::<Vec<_>>().join(", ")
            )
        })
    }

    /// Where a row is, for messages.
    pub(super) fn at(&self, row: &Row) -> String {
        format!("{}, line {}", self.file, row.line)
    }

    /// The text of a field without spaces around it; empty if it is missing.
    pub(super) fn text<'a>(&self, row: &'a Row, column: usize) -> &'a str {
        row.fields.get(column).unwrap_or_default().trim()
    }

    /// Checks that a row has no more fields than the header, as it has if decimal commas are separators too.
    ///
    /// # Errors
    /// When it has more.
    pub(super) fn check_width(&self, row: &Row) -> Result<()> {
        let (fields, columns) =
            (row.fields.iter().filter(|field| !field.trim().is_empty()).count(), self.headers.len());
        if fields <= columns {
            return Ok(());
        }
        let hint = match self.separator {
            ',' => ": write decimal points, or separate the columns with semicolons",
            _ => "",
        };
        bail!("{}: {fields} fields but {columns} columns{hint}", self.at(row))
    }

    /// A number in degrees; `None` if the field is empty.
    ///
    /// # Errors
    /// When it is not a number.
    pub(super) fn degrees(&self, row: &Row, column: usize) -> Result<Option<f64>> {
        let text = self.text(row, column);
        if text.is_empty() {
            return Ok(None);
        }
        let plain = text.trim_end_matches('°').trim_end().replace('\u{2212}', "-");
        // A decimal comma, unless it could separate columns or thousands.
        let plain =
            if plain.matches(',').count() == 1 && !plain.contains('.') { plain.replace(',', ".") } else { plain };
        let number = plain.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.with_context(|| {
            format!("{}: `{text}` is not a number of degrees; write it as in -33.8568", self.at(row))
        })?;
        Ok(Some(number))
    }
}

fn normalised(header: &str) -> String {
    let is_kept = |c: &char| !c.is_whitespace() && !['_', '-', '\u{feff}', '"'].contains(c);
    header.chars().filter(is_kept).flat_map(char::to_lowercase).collect()
}

/// Text in UTF-8 or UTF-16, with or without a byte order mark.
fn decode(bytes: &[u8]) -> Result<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let text = String::from_utf16(&pairs.iter().map(|pair| unit(*pair)).collect::<Vec<_>>()).ok();
        text.filter(|_| rest.is_empty()).context("is not valid UTF-16; save it as CSV in UTF-8")
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => return utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return utf16(rest, u16::from_be_bytes),
        // The first character of a table is ASCII.
        [1..=255, 0, ..] => return utf16(bytes, u16::from_le_bytes),
        [0, 1..=255, ..] => return utf16(bytes, u16::from_be_bytes),
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            bail!("line {line} is not UTF-8; save the table as CSV in UTF-8")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// File, latitude and longitude.
    type Place = (String, Option<f64>, Option<f64>);

    fn read(bytes: &[u8]) -> Result<Vec<Place>> {
        let table = Table::parse("t.csv", bytes)?;
        let (file, lat, lng) = (table.required(FILE)?, table.required(LAT)?, table.required(LNG)?);
        let row = |row| {
            table.check_width(row)?;
            Ok((table.text(row, file).to_owned(), table.degrees(row, lat)?, table.degrees(row, lng)?))
        };
        table.rows().iter().map(row).collect()
    }

    #[test]
    fn tables_of_all_programs_are_read() {
        let utf16 = |text: &str, unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let tabs = "file\tlat\tlng\r\nZürich.jpg\t47,4\t-8,5\r\n";
        for bytes in [
            b"file,lat,lng\nZ\xc3\xbcrich.jpg,47.4,-8.5".to_vec(),
            b"\xef\xbb\xbffile,lat,lng\r\nZ\xc3\xbcrich.jpg,47.4,-8.5\r\n".to_vec(),
            b"\xef\xbb\xbf\"file\",\"lat\",\"lng\"\r\n\"Z\xc3\xbcrich.jpg\",\"47,4\",\"-8.5\"\r\n".to_vec(),
            "file;lat;lng\r\nZürich.jpg;47,4;-8,5\r\n;;\r\n".as_bytes().to_vec(),
            "sep=;\r\nfile;lat;lng\r\nZürich.jpg;47.4;-8.5\r\n".as_bytes().to_vec(),
            "file,lat,lng\rZürich.jpg,47.4,-8.5\r".as_bytes().to_vec(),
            "\nSource File|GPS_Latitude|Long\n\nZürich.jpg | 47.4° | \u{2212}8.5\n".as_bytes().to_vec(),
            tabs.as_bytes().to_vec(),
            [b"\xff\xfe".to_vec(), utf16(tabs, u16::to_le_bytes)].concat(),
            [b"\xfe\xff".to_vec(), utf16(tabs, u16::to_be_bytes)].concat(),
            utf16(tabs, u16::to_le_bytes),
            utf16(tabs, u16::to_be_bytes),
        ] {
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(read(&bytes).unwrap(), [("Zürich.jpg".to_owned(), Some(47.4), Some(-8.5))], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_line() {
        for (bytes, message) in [
            (&b"file,lat,lng\na.jpg,1,2\nZ\xfcrich.jpg,47.4,8.5\n"[..], "t.csv: line 3 is not UTF-8"),
            (b"\xff\xfea\0,", "UTF-16"),
            (b"a.jpg,47.4,8.5\n", "t.csv, line 1: no column `file`; the columns are `a.jpg`, `47.4`, `8.5`"),
            (b"file,where\na.jpg,x\n", "no column `lat`"),
            (b"file,lat,lng\na.jpg,52,5,13,4\n", "t.csv, line 2: 5 fields but 3 columns"),
            (b"file,lat,lng\n\"a\nb.jpg\",1,2\nc.jpg,north,2\n", "t.csv, line 4: `north` is not a number"),
            (b"sep=;\nfile;lat;lng\na.jpg;1.234,5;2\n", "t.csv, line 3: `1.234,5` is not a number"),
            (b"file,lat,lng\na.jpg,inf,2\n", "`inf` is not a number"),
            (b"\r\nfile,lat,lng\r\n\r\n\r\na.jpg,x,2\r\n", "t.csv, line 5: `x`"),
        ] {
            let error = format!("{:#}", read(bytes).unwrap_err());
            assert!(error.contains(message), "{error}");
        }
        assert!(Table::parse("t.csv", b"").unwrap().is_empty());
    }
}
