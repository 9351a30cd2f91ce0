//! Tables of photos whose place is known.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::exit::usage_error;
use landfall_common::fs::read_limited;
use landfall_model::LatLng;

/// Maximum size of a table.
const MAX_BYTES: u64 = 64 << 20;

/// A photo and where it was taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownPhoto {
    pub file: PathBuf,
    pub at: LatLng,
}

/// Reads a CSV table with the columns `file`, `lat` and `lng`; others are ignored, and so are rows without a location.
/// Files are relative to `dir`, or else to the directory of the table. With a limit, rows at equal distances are taken.
///
/// # Errors
/// When the table cannot be read, a column is missing, a line is malformed, or no row is left.
pub(crate) fn read_known_photos(table: &Path, dir: Option<&Path>, limit: Option<usize>) -> Result<Vec<KnownPhoto>> {
    let shown = table.display();
    let bytes = read_limited(table, MAX_BYTES).with_context(|| usage_error(format!("cannot read {shown}")))?;
    let dir = dir.or_else(|| table.parent()).unwrap_or(Path::new("."));
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    let malformed = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        usage_error(format!("{shown}: line {line}: {error}"))
    };
    let header = reader.headers().map_err(malformed)?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|column| column.trim_start_matches('\u{feff}') == name);
        found.ok_or_else(|| usage_error(format!("{shown}: line 1: there is no column `{name}`")))
    };
    let columns = [column("file")?, column("lat")?, column("lng")?];
    let mut photos = Vec::new();
    for record in reader.into_records() {
        let record = record.map_err(malformed)?;
        let [file, lat, lng] = columns.map(|column| record.get(column).unwrap_or_default());
        if lat.is_empty() && lng.is_empty() {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        let at = lat.parse().ok().zip(lng.parse().ok()).and_then(|(lat, lng)| LatLng::new(lat, lng).ok());
        let at = at.ok_or_else(|| usage_error(format!("{shown}: line {line}: `{lat}`, `{lng}` is not a location")))?;
        photos.push(KnownPhoto { file: dir.join(file), at });
    }
    if photos.is_empty() {
        return Err(usage_error(format!("{shown}: it has no row with a location")));
    }
    let n = photos.len();
    let kept = limit.unwrap_or(n).min(n);
    Ok((0..kept).map(|i| photos[i * n / kept].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_locations_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("places.csv");
        let read = |text: &str, limit| {
            std::fs::write(&table, text).unwrap();
            read_known_photos(&table, None, limit)
        };
        let text =
            "\u{feff}set,file,lat,lng\na,1.jpg,48.9,2.3\na,2.jpg,,\na,/x/3.jpg,-33.9,151.2\na,4.jpg,1,2\na,5.jpg,3,4\n";
        let all = read(text, None).unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!((&all[0].file, all[0].at), (&dir.path().join("1.jpg"), LatLng { lat: 48.9, lng: 2.3 }));
        assert_eq!(all[1].file, Path::new("/x/3.jpg"));
        assert_eq!(read(text, Some(2)).unwrap(), [all[0].clone(), all[2].clone()]);
        for (text, reason) in [
            ("file,lat\n1.jpg,2\n", "there is no column `lng`"),
            ("file,lat,lng\n1.jpg,48.9,2.3\n2.jpg,x,2\n", "line 3: `x`, `2` is not a location"),
            ("file,lat,lng\n1.jpg,95,2\n", "line 2"),
            ("file,lat,lng\n1.jpg,,\n", "no row with a location"),
        ] {
            let error = read(text, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
