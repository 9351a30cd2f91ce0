//! Tables of hints: one row per photo.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use csv::StringRecord;
use landfall_common::exit::usage_error;
use landfall_common::fs::read_limited;

use crate::photos::hints::area::numbers;
use crate::photos::hints::{Hint, Hints};
use crate::photos::names::full_path;

/// Maximum size of a table.
const MAX_BYTES: u64 = 64 << 20;
const COLUMNS: [&str; 8] = ["file", "country", "lat", "lng", "km", "bounds", "within", "exclude"];

/// The hints of a table by photo.
#[derive(Debug, Default)]
pub(crate) struct HintTable {
    file: PathBuf,
    rows: HashMap<PathBuf, Row>,
}

#[derive(Debug)]
struct Row {
    /// The photo as the table names it.
    name: String,
    line: u64,
    hints: Hints,
}

impl HintTable {
    /// Reads a CSV file with a header. `file` is relative to the directory of the table; of the other columns, those that
    /// are not needed may be missing, and their fields may be empty.
    ///
    /// # Errors
    /// When the file cannot be read, a column is unknown, or a line is malformed; the message has its number.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let bytes =
            read_limited(file, MAX_BYTES).with_context(|| usage_error(format!("cannot read {}", file.display())))?;
        let text = String::from_utf8(bytes).map_err(|_| usage_error(format!("{}: not UTF-8", file.display())))?;
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::parse(file, dir, &text)
    }

    fn parse(file: &Path, dir: &Path, text: &str) -> Result<Self> {
        let wrong = |line: u64, reason: &str| usage_error(format!("{}: line {line}: {reason}", file.display()));
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let malformed = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            wrong(line, &error.to_string())
        };
        let header = reader.headers().map_err(malformed)?.clone();
        if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(name)) {
            return Err(wrong(1, &format!("unknown column `{unknown}`: the columns are {}", COLUMNS.join(", "))));
        }
        if !header.iter().any(|name| name == "file") {
            return Err(wrong(1, "there is no column `file`"));
        }
        let mut table = Self { file: file.to_owned(), rows: HashMap::new() };
        // Files with areas are read once.
        let mut areas = HashMap::new();
        for record in reader.into_records() {
            let record = record.map_err(malformed)?;
            let line = record.position().map_or(0, csv::Position::line);
            let field = |name: &str| field(&header, &record, name);
            let name = field("file").ok_or_else(|| wrong(line, "`file` is empty"))?;
            let hints = hints_of(&field, dir, &mut areas).map_err(|reason| wrong(line, &reason))?;
            let row = Row { name: name.to_owned(), line, hints };
            if let Some(earlier) = table.rows.insert(full_path(&dir.join(name)), row) {
                return Err(wrong(line, &format!("{name} is in line {} already", earlier.line)));
            }
        }
        Ok(table)
    }

    /// The hints for a photo.
    pub(crate) fn of(&self, photo: &Path) -> Option<&Hints> {
        self.rows.get(&full_path(photo)).map(|row| &row.hints)
    }

    /// One line per row whose photo is none of these.
    pub(crate) fn unused<'a>(&self, photos: impl IntoIterator<Item = &'a Path>) -> Vec<String> {
        let photos: HashSet<PathBuf> = photos.into_iter().map(full_path).collect();
        let mut unused: Vec<&Row> =
            self.rows.iter().filter(|(path, _)| !photos.contains(*path)).map(|(_, row)| row).collect();
        unused.sort_by_key(|row| row.line);
        let note = |row: &Row| {
            format!("{}: line {}: {} is none of the located images", self.file.display(), row.line, row.name)
        };
        unused.into_iter().map(note).collect()
    }
}

fn field<'a>(header: &StringRecord, record: &'a StringRecord, name: &str) -> Option<&'a str> {
    let column = header.iter().position(|column| column == name)?;
    record.get(column).filter(|text| !text.is_empty())
}

fn hints_of<'a>(
    field: &impl Fn(&str) -> Option<&'a str>,
    dir: &Path,
    areas: &mut HashMap<PathBuf, Hint>,
) -> Result<Hints, String> {
    let mut hints = Vec::new();
    hints.extend(field("country").map(Hint::country).transpose()?);
    match (field("lat"), field("lng"), field("km")) {
        (None, None, None) => {}
        (Some(lat), Some(lng), Some(km)) => {
            numbers::<3>(&format!("{lat},{lng},{km}")).ok_or("lat, lng and km must be numbers with decimal points")?;
            hints.push(Hint::near(&format!("{lat},{lng},{km}"))?);
        }
        _ => return Err("lat, lng and km are given together or not at all".to_owned()),
    }
    hints.extend(field("bounds").map(Hint::bounds).transpose()?);
    if let Some(file) = field("within") {
        let file = dir.join(file);
        if !areas.contains_key(&file) {
            areas.insert(file.clone(), Hint::within(&file).map_err(|error| format!("{error:#}"))?);
        }
        hints.extend(areas.get(&file).cloned());
    }
    hints.extend(field("exclude").map(Hint::exclude).transpose()?);
    Ok(Hints::new(hints))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HintTable> {
        HintTable::parse(Path::new("hints.csv"), Path::new("/photos"), text)
    }

    #[test]
    fn rows_are_found_by_path_and_leftover_ones_are_listed() {
        let table = parse(
            "\u{feff}file,country,lat,lng,km,exclude\n a.jpg ,FR,,,,\nday 2/b.jpg,\"FR,BE\",48.86,2.35,50,DE\n/elsewhere/c.jpg,,,,,\n",
        )
        .unwrap();
        let texts = |file: &str| table.of(Path::new(file)).map(Hints::texts);
        assert_eq!(texts("/photos/a.jpg").unwrap(), ["country FR"]);
        let expected = ["country FR,BE", "near 48.86,2.35,50", "exclude DE"];
        assert_eq!(texts("/photos/day 2/b.jpg").unwrap(), expected);
        assert!(texts("/elsewhere/c.jpg").unwrap().is_empty() && texts("/photos/c.jpg").is_none());
        let unused = table.unused([Path::new("/photos/a.jpg")]);
        assert_eq!(unused.len(), 2);
        assert_eq!(unused[0], "hints.csv: line 3: day 2/b.jpg is none of the located images");
    }

    #[test]
    fn malformed_tables_are_refused_with_the_line() {
        for (text, reason) in [
            ("file,land\na.jpg,FR\n", "line 1: unknown column `land`"),
            ("country\nFR\n", "line 1: there is no column `file`"),
            ("file,country\na.jpg,FR\nb.jpg,XX\n", "line 3: `XX` is not the two-letter code"),
            ("file,country\na.jpg,FR\n,BE\n", "line 3: `file` is empty"),
            ("file,country\na.jpg,FR,BE\n", "line 2"),
            ("file,lat,lng,km\na.jpg,48,2,\n", "line 2: lat, lng and km are given together"),
            ("file,lat,lng,km\na.jpg,\"48,5\",2,50\n", "line 2: lat, lng and km must be numbers"),
            ("file,country\na.jpg,FR\na.jpg,BE\n", "line 3: a.jpg is in line 2 already"),
            ("file,within\na.jpg,nonesuch.geojson\n", "line 2: cannot read /photos/nonesuch.geojson"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.starts_with("hints.csv: ") && error.contains(reason), "{text}: {error}");
        }
    }
}
