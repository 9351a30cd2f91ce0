//! Images from a local folder, with coordinates from EXIF data or from a table.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landfall_common::photo_files::find_photos;
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::image_files;
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::http::FetchError;
use super::manifest::Item;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms, place};

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
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    places: Option<PathBuf>,
    /// Licence of photos for which the table has none
    #[arg(long, default_value = "", help_heading = "Input")]
    licence: String,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Row {
    file: PathBuf,
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
    rows: Option<HashMap<PathBuf, Row>>,
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
        let rows = args.places.as_deref().map(rows).transpose()?;
        if let Some(rows) = &rows {
            let missing: Vec<&PathBuf> = rows.keys().filter(|file| !dir.join(file).is_file()).collect();
            if let Some(first) = missing.iter().min() {
                let n = missing.len();
                bail!(
                    "{n} of the {} files in the table are missing from {}, such as {}",
                    rows.len(),
                    dir.display(),
                    first.display()
                );
            }
        }
        Ok(Self { dir, licence: args.licence.clone(), rows, pictures })
    }

    /// The manifest item of an image, or `None` if its location is unknown.
    fn item(&self, picture: &Path) -> Result<Option<Item>> {
        let file = picture.strip_prefix(&self.dir).unwrap_or(picture);
        let row = match &self.rows {
            None => image_files::gps_position(picture)?.map(|at| Row {
                lat: Some(at.lat),
                lng: Some(at.lng),
                ..Row::default()
            }),
            Some(rows) => rows.get(file).map(|row| Row {
                file: row.file.clone(),
                group: row.group.clone(),
                iso2: row.iso2.clone(),
                author: row.author.clone(),
                licence: row.licence.clone(),
                ..*row
            }),
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

fn rows(file: &Path) -> Result<HashMap<PathBuf, Row>> {
    let mut reader = csv::Reader::from_path(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut rows = HashMap::new();
    for (i, row) in reader.deserialize::<Row>().enumerate() {
        let line = || format!("{}, line {}", file.display(), i + 2);
        let row = row.with_context(|| format!("{}: not a valid row", line()))?;
        match (row.lat, row.lng) {
            (Some(lat), Some(lng)) if place(lat, lng).is_some() => {}
            (None, None) if !row.iso2.is_empty() => {}
            _ => bail!("{}: needs valid lat and lng, or iso2", line()),
        }
        if let Some(duplicate) = rows.insert(row.file.clone(), row) {
            bail!("{}: {} is listed twice in the table", line(), duplicate.file.display());
        }
    }
    Ok(rows)
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
                    Ok(Some(item)) if item.lat.zip(item.lng).is_some_and(|(lat, lng)| place(lat, lng).is_none()) => {
                        without_place += 1; // such as 0, 0 from a camera without a GPS fix
                    }
                    Ok(Some(item)) => {
                        let url = Url::from_file_path(picture).ok();
                        candidates.extend(url.map(|url| Candidate { item, url }));
                    }
                    Ok(None) => without_place += 1,
                    Err(error) => eprintln!("skipped {}: {error:#}", picture.display()),
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
