//! OpenStreetView-5M (<https://huggingface.co/datasets/osv5m/osv5m>) from its tables and archives, on disk or on the
//! hub. Images are read from the archives one by one, without unpacking them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use csv::{Position, StringRecord};
use indicatif::HumanBytes;
use reqwest::Url;
use tokio::sync::mpsc;
use zip::ZipArchive;

use super::download;
use super::http::{FetchError, MAX_PICTURE_BYTES, RateLimitedClient};
use super::keys::redact_keys;
use super::manifest::Item;
use super::source::{Batch, Candidate, CommonArgs, Source, Terms, group, place};
use crate::io::paths;

/// Images per batch.
const BATCH_SIZE: usize = 500;
/// Required columns of a table.
const COLUMNS: [&str; 3] = ["id", "latitude", "longitude"];

/// Collect images of OpenStreetView-5M from its files on disk or on the hub
#[derive(clap::Args)]
pub(super) struct Args {
    /// Table of the images, train.csv or test.csv [default: the hub's, for archives of the hub]
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    labels: Option<PathBuf>,
    /// Archives of images: files on disk, or names on the hub as in train/00
    ///
    /// Downloads from the hub are kept in the directory `hub` of --out.
    #[arg(required = true, value_name = "ARCHIVE")]
    archives: Vec<String>,
    /// Base URL of the files on the hub
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://huggingface.co/datasets/osv5m/osv5m/resolve/main/",
        help_heading = "Network"
    )]
    hub: String,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) struct Osv5m {
    labels: PathBuf,
    archives: Vec<PathBuf>,
    /// URLs of files on the hub and their local paths.
    from_hub: Vec<(Url, PathBuf)>,
    client: RateLimitedClient,
    /// The most recently read archive, kept open.
    open: Mutex<Option<(PathBuf, ZipArchive<File>)>>,
}

impl Osv5m {
    pub(super) fn new(args: &Args) -> Result<Self> {
        let hub = Url::parse(&args.hub).with_context(|| format!("`{}` is not a valid URL", args.hub))?;
        let mut from_hub = Vec::new();
        let mut hub_file = |file: String| -> Result<PathBuf> {
            let to = std::path::absolute(args.common.out.join("hub").join(&file))?;
            from_hub.push((hub.join(&file)?, to.clone()));
            Ok(to)
        };
        let (mut archives, mut tables) = (Vec::new(), BTreeSet::new());
        for archive in &args.archives {
            let path = Path::new(archive);
            archives.push(match archive.split_once('/') {
                _ if path.is_file() => std::path::absolute(path)?,
                Some((split @ ("train" | "test"), number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                    tables.insert(split.to_owned());
                    hub_file(format!("images/{split}/{number}.zip"))?
                }
                _ => bail!("{archive} is neither a file nor an archive of the hub, as in train/00"),
            });
        }
        let labels = match (&args.labels, tables.len()) {
            (Some(labels), _) => labels.clone(),
            (None, 1) => hub_file(format!("{}.csv", tables.first().map_or("train", String::as_str)))?,
            _ => bail!("give the table of the archives with --labels: train.csv or test.csv"),
        };
        let client = args.common.api_client(Duration::from_secs(1))?;
        Ok(Self { labels, archives, from_hub, client, open: Mutex::new(None) })
    }

    fn read(&self, archive: &Path, member: &str) -> Result<Vec<u8>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_none_or(|(path, _)| path != archive) {
            *open = Some((archive.to_owned(), ZipArchive::new(File::open(archive)?)?));
        }
        let mut bytes = Vec::new();
        if let Some((_, zip)) = open.as_mut() {
            // What the archive states about its size may be wrong.
            zip.by_name(member)?.take(MAX_PICTURE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        }
        ensure!(bytes.len() <= MAX_PICTURE_BYTES, "{member} is larger than {} MiB", MAX_PICTURE_BYTES >> 20);
        Ok(bytes)
    }
}

/// The table of the images.
struct Table {
    reader: csv::Reader<File>,
    columns: HashMap<String, usize>,
    /// Position of the row of each id; the table is too large to keep in memory.
    rows: HashMap<String, Position>,
}

impl Table {
    fn open(file: &Path) -> Result<Self> {
        let read_failed = || format!("cannot read {}", file.display());
        let mut reader = csv::Reader::from_path(file).with_context(read_failed)?;
        // By name, since test.csv has fewer columns.
        let columns: HashMap<String, usize> = reader
            .headers()
            .with_context(read_failed)?
            .iter()
            .enumerate()
            .map(|(i, name)| (name.to_owned(), i))
            .collect();
        if let Some(missing) = COLUMNS.iter().find(|name| !columns.contains_key(**name)) {
            bail!(
                "{} has no column `{missing}`: --labels must be train.csv or test.csv of OpenStreetView-5M",
                file.display()
            );
        }
        let (mut rows, mut record) = (HashMap::new(), StringRecord::new());
        loop {
            let at = reader.position().clone();
            if !reader.read_record(&mut record).with_context(read_failed)? {
                break;
            }
            rows.insert(record[columns["id"]].to_owned(), at);
        }
        Ok(Self { reader, columns, rows })
    }

    /// Ids and archive members of the images in an archive that are listed in the table, in the order of the table, so
    /// that it is read sequentially.
    fn members(&self, archive: &Path) -> Result<Vec<(String, String)>> {
        let open = || Ok::<_, anyhow::Error>(ZipArchive::new(File::open(archive)?)?);
        let zip = open().with_context(|| format!("cannot read {}", archive.display()))?;
        let id = |name: &str| Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        // File names that are not valid UTF-8 cannot be in the table.
        let is_file = |name: &str| !name.ends_with('/') && paths::check_relative(Path::new(name)).is_ok();
        let names = zip.file_names().filter_map(Result::ok).filter(|name| is_file(name));
        let known = names.filter_map(|name| id(&name).map(|id| (id, name.into_owned())));
        let mut members: Vec<_> = known.filter(|(id, _)| self.rows.contains_key(id)).collect();
        members.sort_by_key(|(id, _)| self.rows[id].byte());
        Ok(members)
    }

    fn row(&mut self, id: &str) -> Result<StringRecord> {
        let mut row = StringRecord::new();
        self.reader.seek(self.rows[id].clone())?;
        self.reader.read_record(&mut row)?;
        Ok(row)
    }

    fn candidate(&self, row: &StringRecord, archive: &Path, member: &str) -> Option<Candidate> {
        let text = |name: &str| self.columns.get(name).and_then(|i| row.get(*i)).unwrap_or_default().to_owned();
        let number = |name: &str| text(name).parse::<f64>().ok();
        let at = place(number("latitude")?, number("longitude")?)?;
        let mut url = Url::from_file_path(archive).ok()?;
        url.set_fragment(Some(member));
        let (id, author) = (text("id"), text("creator_username"));
        Some(Candidate {
            item: Item {
                source: "osv5m".into(),
                lat: Some(at.lat),
                lng: Some(at.lng),
                iso2: text("country"),
                time: text("captured_at"),
                group: group("mapillary", &text("sequence")),
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
}

impl Source for Osv5m {
    fn terms(&self) -> Option<Terms> {
        Some(Terms {
            name: "osv5m",
            text: "OpenStreetView-5M images come from Mapillary and are licensed under CC BY-SA 4.0: credit the \
                   authors, and share adaptations under the same licence.",
        })
    }

    fn options_fingerprint(&self) -> String {
        // A table of the hub never changes, and may not have been downloaded yet.
        let is_local = self.from_hub.iter().all(|(_, to)| *to != self.labels);
        let bytes = std::fs::metadata(&self.labels).ok().filter(|_| is_local).map(|table| table.len());
        format!("{} {bytes:?}", self.labels.display())
    }

    async fn plan(&self) -> Result<Vec<String>> {
        let missing: Vec<_> = self.from_hub.iter().filter(|(_, to)| !to.is_file()).collect();
        let mut plan = Vec::new();
        for (url, to) in &missing {
            let size = HumanBytes(download::size(&self.client, url).await?);
            plan.push(format!("{url}, {size}, to {}", to.display()));
        }
        if missing.is_empty() {
            let table = Table::open(&self.labels)?;
            let members = self.archives.iter().map(|archive| table.members(archive).map(|members| members.len()));
            let members: usize = members.sum::<Result<_>>()?;
            let labels = self.labels.display();
            plan.push(format!("{} archives with {members} images listed in {labels}", self.archives.len()));
        }
        plan.push("cost: nothing".into());
        Ok(plan)
    }

    async fn search(&self, done: &HashSet<String>, batches: mpsc::Sender<Batch>) -> Result<()> {
        for (url, to) in &self.from_hub {
            download::download(&self.client, url, to).await?;
        }
        let mut table = Table::open(&self.labels)?;
        for archive in &self.archives {
            for (i, members) in table.members(archive)?.chunks(BATCH_SIZE).enumerate() {
                let name = format!("{} from {}", archive.display(), i * BATCH_SIZE);
                if done.contains(&name) {
                    continue;
                }
                let rows: Vec<_> = members.iter().map(|(id, _)| table.row(id)).collect::<Result<_>>()?;
                let found = rows.iter().zip(members);
                let batch = Batch::new(name, found, |(row, (_, member))| table.candidate(row, archive, member));
                if batches.send(batch).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn fetch(&self, candidate: &Candidate) -> Result<Vec<u8>, FetchError> {
        let broken = |why: String| FetchError::Permanent(format!("{}: {why}", redact_keys(&candidate.url)));
        let archive = candidate.url.to_file_path().map_err(|()| broken("not a file".into()))?;
        let member = candidate.url.fragment().unwrap_or_default();
        // URL fragments are percent-encoded.
        let member = percent_encoding::percent_decode_str(member).decode_utf8_lossy();
        tokio::task::block_in_place(|| self.read(&archive, &member)).map_err(|e| broken(format!("{e:#}")))
    }
}
