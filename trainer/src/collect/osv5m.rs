//! OpenStreetView-5M (<https://huggingface.co/datasets/osv5m/osv5m>) from its tables and archives on disk: pictures come out
//! of the archives one by one, which are never unpacked.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use csv::{Position, StringRecord};
use landfall_model::LatLng;
use reqwest::Url;
use tokio::sync::mpsc;
use zip::ZipArchive;

use super::{Common, Find, Item, Part, Source, Terms, Trouble};

/// Pictures of a part.
const PART: usize = 500;
/// What a table must have.
const COLUMNS: [&str; 3] = ["id", "latitude", "longitude"];

/// Pictures of OpenStreetView-5M, from its files on disk.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Table of the pictures: train.csv or test.csv
    #[arg(long)]
    labels: PathBuf,
    /// Archive of pictures (repeat the option)
    #[arg(required = true)]
    archives: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) struct Osv5m {
    labels: PathBuf,
    archives: Vec<PathBuf>,
    columns: HashMap<String, usize>,
    /// Where in the table the row of an id begins: the table itself is too large to keep.
    rows: HashMap<String, Position>,
    /// The archive that was read last, open.
    open: Mutex<Option<(PathBuf, ZipArchive<File>)>>,
}

impl Osv5m {
    pub(super) fn new(args: &Args) -> Result<Self> {
        let labels = args.labels.display();
        let mut reader = csv::Reader::from_path(&args.labels).with_context(|| format!("cannot read {labels}"))?;
        // By their names: test.csv has fewer.
        let columns: HashMap<String, usize> =
            reader.headers()?.iter().enumerate().map(|(i, name)| (name.to_owned(), i)).collect();
        if let Some(missing) = COLUMNS.iter().find(|name| !columns.contains_key(**name)) {
            bail!("{labels} has no column `{missing}`: name OpenStreetView-5M's train.csv or test.csv");
        }
        let (mut rows, mut record) = (HashMap::new(), StringRecord::new());
        loop {
            let at = reader.position().clone();
            if !reader.read_record(&mut record).with_context(|| format!("cannot read {labels}"))? {
                break;
            }
            rows.insert(record[columns["id"]].to_owned(), at);
        }
        let archives = args.archives.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
        Ok(Self { labels: args.labels.clone(), archives, columns, rows, open: Mutex::new(None) })
    }

    /// The pictures of an archive that the table knows, by their ids, in the order of the archive.
    fn members(&self, archive: &Path) -> Result<Vec<(String, String)>> {
        let open = || Ok::<_, anyhow::Error>(ZipArchive::new(File::open(archive)?)?);
        let zip = open().with_context(|| format!("cannot read {}", archive.display()))?;
        let id = |name: &str| Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        // Names that are no text are not the table's.
        let names = zip.file_names().filter_map(Result::ok);
        let known = names.filter_map(|name| id(&name).map(|id| (id, name.into_owned())));
        Ok(known.filter(|(id, _)| self.rows.contains_key(id)).collect())
    }

    fn find(&self, row: &StringRecord, archive: &Path, member: &str) -> Option<Find> {
        let text = |name: &str| self.columns.get(name).and_then(|i| row.get(*i)).unwrap_or_default().to_owned();
        let number = |name: &str| text(name).parse::<f64>().ok();
        let at = LatLng::new(number("latitude")?, number("longitude")?).ok()?;
        let mut url = Url::from_file_path(archive).ok()?;
        url.set_fragment(Some(member));
        let (id, author) = (text("id"), text("creator_username"));
        Some(Find {
            item: Item {
                source: "osv5m".into(),
                lat: Some(at.lat),
                lng: Some(at.lng),
                iso2: text("country"),
                time: text("captured_at"),
                group: format!("mapillary:{}", text("sequence")),
                attribution: format!("{author} on Mapillary, https://www.mapillary.com/app/?pKey={id}, by OSV-5M"),
                author,
                licence: "CC BY-SA 4.0".into(),
                url: format!("https://graph.mapillary.com/{id}"),
                id,
                ..Item::default()
            },
            url,
        })
    }

    fn read(&self, archive: &Path, member: &str) -> Result<Vec<u8>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_none_or(|(path, _)| path != archive) {
            *open = Some((archive.to_owned(), ZipArchive::new(File::open(archive)?)?));
        }
        let mut bytes = Vec::new();
        if let Some((_, zip)) = open.as_mut() {
            zip.by_name(member)?.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }
}

impl Source for Osv5m {
    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            name: "osv5m",
            text: "OpenStreetView-5M's pictures come from Mapillary and are under CC BY-SA 4.0: name the authors, and pass on \
                   what is made of the pictures under the same licence.",
        })
    }

    async fn plan(&self) -> Result<Vec<String>> {
        let members = self.archives.iter().map(|archive| self.members(archive).map(|members| members.len()));
        let members: usize = members.sum::<Result<_>>()?;
        Ok(vec![
            format!("{} archives with {members} pictures that {} knows", self.archives.len(), self.labels.display()),
            "cost: nothing".into(),
        ])
    }

    async fn search(&self, done: &HashSet<String>, parts: mpsc::Sender<Part>) -> Result<()> {
        let mut reader = csv::Reader::from_path(&self.labels)?;
        for archive in &self.archives {
            let mut members = self.members(archive)?;
            // As they stand in the table, which is then read in one direction.
            members.sort_by_key(|(id, _)| self.rows[id].byte());
            for (i, members) in members.chunks(PART).enumerate() {
                let name = format!("{} from {}", archive.display(), i * PART);
                if done.contains(&name) {
                    continue;
                }
                let (mut finds, mut row) = (Vec::new(), StringRecord::new());
                for (id, member) in members {
                    reader.seek(self.rows[id].clone())?;
                    reader.read_record(&mut row)?;
                    finds.extend(self.find(&row, archive, member));
                }
                if parts.send(Part { name, finds }).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn fetch(&self, find: &Find) -> Result<Vec<u8>, Trouble> {
        let broken = |why: String| Trouble::Lasting(format!("{}: {why}", super::web::shown(&find.url)));
        let archive = find.url.to_file_path().map_err(|()| broken("is no file".into()))?;
        let member = find.url.fragment().unwrap_or_default();
        // The fragment of an address is escaped.
        let member = percent_encoding::percent_decode_str(member).decode_utf8_lossy();
        tokio::task::block_in_place(|| self.read(&archive, &member)).map_err(|e| broken(format!("{e:#}")))
    }
}
