//! Images from a local folder, with coordinates from EXIF data or from a table.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};
use landfall_common::photo_files::find_photos;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::metadata::gps;
use reqwest::Url;
use tokio::sync::mpsc;
use unicode_normalization::UnicodeNormalization;

use super::http::FetchError;
use super::manifest::Item;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms};
use super::table::{self, Table};

/// Import photos with coordinates from a directory
///
/// The photos are copied, so that the output directory is self-contained.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Directory to search recursively
    dir: PathBuf,
    /// Table (CSV) of the photos and their coordinates, used instead of EXIF data
    ///
    /// The columns are file (relative to the directory), lat and lng, and optionally group, iso2, author and licence.
    /// Columns may be separated by commas, semicolons or tabs; the encoding is UTF-8 or UTF-16.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    places: Option<PathBuf>,
    /// Licence of photos for which the table has none
    #[arg(long, default_value = "", help_heading = "Input")]
    licence: String,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Clone, Default)]
struct Row {
    lat: Option<f64>,
    lng: Option<f64>,
    group: String,
    iso2: String,
    author: String,
    licence: String,
}

/// Images per batch.
const BATCH_SIZE: usize = 256;

pub(super) struct Folder {
    dir: PathBuf,
    licence: String,
    /// Rows of the table by [`key`].
    rows: Option<BTreeMap<String, Row>>,
    pictures: Vec<PathBuf>,
}

impl Folder {
    pub(super) fn new(args: &Args) -> Result<Self> {
        let dir = std::path::absolute(&args.dir)?;
        let found = find_photos(&dir)?;
        found.notes.iter().chain(&found.problems).for_each(|line| eprint_sanitized(sanitize_line(line)));
        let (mut pictures, out) = (found.files, std::path::absolute(&args.common.out)?);
        // The output directory may be inside the searched one.
        pictures.retain(|picture| !picture.starts_with(&out));
        let rows = match &args.places {
            Some(table) => Some(rows(&Table::read(table)?, &args.dir)?),
            None => None,
        };
        if let Some(rows) = &rows {
            let found: HashSet<String> = pictures.iter().map(|picture| key_below(&dir, picture)).collect();
            let is_missing = |name: &&String| !found.contains(*name) && !dir.join(name).is_file();
            let missing: Vec<&String> = rows.keys().filter(is_missing).collect();
            if let Some(first) = missing.first() {
                let n = missing.len();
                bail!(
                    "{n} of the {} files in the table are missing from {}, such as {first}",
                    rows.len(),
                    dir.display()
                );
            }
        }
        Ok(Self { dir, licence: args.licence.clone(), rows, pictures })
    }

    /// The manifest item of an image, or `None` if its location is unknown.
    fn item(&self, picture: &Path) -> Result<Option<Item>> {
        let file = picture.strip_prefix(&self.dir).unwrap_or(picture);
        let row = match &self.rows {
            None => gps::position(picture)?.map(|at| Row { lat: Some(at.lat), lng: Some(at.lng), ..Row::default() }),
            Some(rows) => rows.get(&key_below(&self.dir, picture)).cloned(),
        };
        let Some(row) = row else { return Ok(None) };
        let id = file.to_string_lossy().replace('\\', "/");
        Ok(Some(Item {
            source: "folder".into(),
            id,
            lat: row.lat,
            lng: row.lng,
            iso2: row.iso2,
            group: row.group,
            author: row.author,
            licence: if row.licence.is_empty() { self.licence.clone() } else { row.licence },
            ..Item::default()
        }))
    }
}

/// The rows of a table by the [`key`] of their file. `dir` is the searched directory as the user named it.
fn rows(table: &Table, dir: &Path) -> Result<BTreeMap<String, Row>> {
    let mut rows = BTreeMap::new();
    if table.is_empty() {
        return Ok(rows);
    }
    let file = table.required(table::FILE)?;
    let iso2 = table.column(&["iso2", "countrycode"]);
    // Rows need no coordinates if their country is known.
    let coordinate = |names| if iso2.is_some() { Ok(table.column(names)) } else { table.required(names).map(Some) };
    let (lat, lng) = (coordinate(table::LAT)?, coordinate(table::LNG)?);
    let [group, author, licence] =
        [&["group"][..], &["author"], &["licence", "license"]].map(|names| table.column(names));
    for row in table.rows() {
        table.check_width(row)?;
        let text = |column: Option<usize>| column.map_or("", |column| table.text(row, column)).to_owned();
        let number = |column: Option<usize>| column.map_or(Ok(None), |column| table.degrees(row, column));
        let (name, lat, lng) = (table.text(row, file), number(lat)?, number(lng)?);
        let read = Row { lat, lng, group: text(group), iso2: text(iso2), author: text(author), licence: text(licence) };
        match (lat, lng) {
            (Some(lat), Some(lng)) => {
                if let Err(reason) = gps::plausible(lat, lng) {
                    let are_swapped = lat.abs() > 90.0 && lat.abs() <= 180.0 && lng.abs() <= 90.0;
                    let hint = if are_swapped { "; are latitude and longitude swapped?" } else { "" };
                    bail!("{}: {reason}{hint}", table.at(row));
                }
            }
            (None, None) if !read.iso2.is_empty() => {}
            _ => bail!("{}: needs valid lat and lng, or iso2", table.at(row)),
        }
        if name.is_empty() {
            bail!("{}: names no file", table.at(row));
        }
        if rows.insert(key_in_table(name, dir), read).is_some() {
            bail!("{}: {name} is listed twice in the table", table.at(row));
        }
    }
    Ok(rows)
}

/// What names of one file have in common: its components, in the composed form that all systems but macOS write (NFC).
fn key(path: &Path) -> String {
    let names = path.components().filter(|part| !matches!(part, Component::CurDir));
    let names: Vec<String> = names.map(|part| part.as_os_str().to_string_lossy().nfc().collect()).collect();
    names.join("/")
}

fn key_below(dir: &Path, file: &Path) -> String {
    key(file.strip_prefix(dir).unwrap_or(file))
}

/// The key of a file that a table names relative to the searched directory, with its path, or as Windows does.
fn key_in_table(name: &str, dir: &Path) -> String {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let exists = |path: &Path| absolute.join(path).is_file();
    let from_windows = name.replace('\\', "/");
    let path = if exists(Path::new(name)) { Path::new(name) } else { Path::new(&from_windows) };
    let below = path.strip_prefix(&absolute).ok();
    // As a program names it that was started outside the directory.
    let below = below.or_else(|| path.strip_prefix(dir).ok().filter(|below| !exists(path) && exists(below)));
    key(below.unwrap_or(path))
}

impl Source for Folder {
    fn terms(&self) -> Option<Terms> {
        None
    }

    fn options_fingerprint(&self) -> String {
        String::new()
    }

    async fn plan(&self) -> Result<Vec<String>> {
        let with_place = self.pictures.iter().filter(|picture| matches!(self.item(picture), Ok(Some(_)))).count();
        Ok(vec![format!(
            "{} images in {}, {with_place} of them with coordinates",
            self.pictures.len(),
            self.dir.display()
        )])
    }

    async fn search(&self, _done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()> {
        let mut without_place = 0;
        for (i, pictures) in self.pictures.chunks(BATCH_SIZE).enumerate() {
            let mut candidates = Vec::new();
            for picture in pictures {
                match self.item(picture) {
                    Ok(Some(item)) => {
                        let url = Url::from_file_path(picture).ok();
                        candidates.extend(url.map(|url| Candidate { item, url }));
                    }
                    Ok(None) => without_place += 1,
                    Err(error) => eprint_sanitized(sanitize_line(format!("skipped {error:#}"))),
                }
            }
            // Completed batches are searched again: the folder may have changed, and searching it is cheap.
            let batch = Batch::new(format!("files from {}", i * BATCH_SIZE), candidates, Some);
            if batches.send(batch).await.is_err() {
                return Ok(());
            }
        }
        if without_place > 0 {
            eprintln!("skipped {without_place} of {} images: no coordinates", self.pictures.len());
        }
        Ok(())
    }

    async fn fetch(&self, candidate: &Candidate) -> Result<Vec<u8>, FetchError> {
        let file = candidate.url.to_file_path().map_err(|()| FetchError::Permanent("not a file".into()))?;
        tokio::fs::read(&file).await.map_err(|e| FetchError::Permanent(format!("cannot read the file: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(table: &str, dir: &Path) -> Result<Vec<String>> {
        rows(&Table::parse("t.csv", table.as_bytes())?, dir).map(|rows| rows.into_keys().collect())
    }

    #[test]
    fn files_are_found_however_a_table_names_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["sub/b.jpg", "back\\slash.jpg", "Z\u{fc}rich.jpg"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let absolute = dir.path().join("sub/b.jpg").display().to_string();
        for name in ["sub/b.jpg", "./sub/b.jpg", ".\\sub\\b.jpg", "sub\\b.jpg", "sub//b.jpg", &absolute] {
            assert_eq!(keys(&format!("file,lat,lng\n{name},1,2\n"), dir.path()).unwrap(), ["sub/b.jpg"], "{name}");
        }
        if cfg!(unix) {
            assert_eq!(keys("file,lat,lng\nback\\slash.jpg,1,2\n", dir.path()).unwrap(), ["back\\slash.jpg"]);
        }
        // Decomposed, as macOS writes it, and composed.
        for name in ["Zu\u{308}rich.jpg", "Z\u{fc}rich.jpg"] {
            let named = keys(&format!("file,lat,lng\n{name},1,2\n"), dir.path()).unwrap();
            assert_eq!(named, [key_below(dir.path(), &dir.path().join(name))]);
            assert_eq!(named, ["Z\u{fc}rich.jpg"]);
        }
    }

    #[test]
    fn invalid_rows_are_refused_with_the_line() {
        for (rows, message) in [
            (
                "a.jpg,1,2\nb.jpg,139.7,35.7",
                "line 3: the latitude 139.7 is not between -90 and 90; are latitude and longitude",
            ),
            ("a.jpg,1,181", "line 2: the longitude 181"),
            ("a.jpg,0,0", "line 2: the position is 0, 0"),
            ("a.jpg,1,", "line 2: needs valid lat and lng, or iso2"),
            (",1,2", "line 2: names no file"),
            ("a.jpg,1,2\n./a.jpg,1,2", "line 3: ./a.jpg is listed twice"),
        ] {
            let error = keys(&format!("file,lat,lng\n{rows}\n"), Path::new("nowhere")).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(keys("Filename;Country Code;Lat\na.jpg;CH;\n", Path::new("nowhere")).unwrap(), ["a.jpg"]);
    }
}
