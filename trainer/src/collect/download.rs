//! Downloads of large files. An interrupted download resumes where it stopped, in the same or a later run, if the file
//! on the server is still the same; only a complete file gets its final name.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::fs::{open_append, read_limited, write_json};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::content_range::content_range;
use super::http::{FetchError, RateLimitedClient, connection_error, retry_after};
use super::keys::redact_keys;

/// Time limit for a whole file. Stalled connections are detected by the read timeout of the client.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Maximum size of a file, as protection of the disk. Archives of OpenStreetView-5M have about 3 GB.
const MAX_FILE_BYTES: u64 = 64 << 30;
/// Maximum size of the description of a partial file.
const MAX_DESCRIPTION_BYTES: u64 = 64 << 10;

/// Downloads a URL to the file `to`, resuming from `to` with the suffix `.part` if that exists.
///
/// # Errors
/// If the server refuses the request, cannot be reached, or the file cannot be written.
pub(super) async fn download(client: &RateLimitedClient, url: &Url, to: &Path) -> Result<()> {
    download_up_to(MAX_FILE_BYTES, client, url, to).await
}

async fn download_up_to(max_bytes: u64, client: &RateLimitedClient, url: &Url, to: &Path) -> Result<()> {
    if to.is_file() {
        return Ok(());
    }
    let write_failed = || format!("cannot write {}", to.display());
    fs::create_dir_all(to.parent().unwrap_or(Path::new("."))).with_context(write_failed)?;
    let part = Part::of(to).with_context(write_failed)?;
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let style =
        ProgressStyle::with_template("{prefix}: {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")?;
    let progress = ProgressBar::no_length().with_style(style).with_prefix(name).with_position(part.length());
    progress.reset_eta();
    let transfer = Transfer { client, url, part: &part, progress: &progress, max_bytes };
    loop {
        let before = part.length();
        match client.retry(|| transfer.proceed()).await {
            Ok(()) => break,
            // Keep trying as long as there is progress.
            Err(FetchError::Transient { .. }) if part.length() > before => {}
            Err(error) => {
                progress.finish_and_clear();
                return Err(anyhow::Error::new(error)
                    .context(format!("download failed; the partial file {} is kept", part.file.display())));
            }
        }
    }
    progress.finish_and_clear();
    fs::rename(&part.file, to).with_context(write_failed)?;
    _ = fs::remove_file(&part.description); // a leftover is harmless
    Ok(())
}

/// Returns the size of a remote file in bytes.
///
/// # Errors
/// If the server refuses the request, does not report a size, or cannot be reached.
pub(super) async fn size(client: &RateLimitedClient, url: &Url) -> Result<u64> {
    let first = || async {
        let response = client.send(url, |request| request.header(RANGE, "bytes=0-0")).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => Ok(content_range(&response).and_then(|range| range.total)),
            StatusCode::OK => Ok(response.content_length()),
            _ => Err(refused(url, &response)),
        }
    };
    match client.retry(first).await? {
        Some(size) => Ok(size),
        None => bail!("{}: the server does not report the size", redact_keys(url)),
    }
}

/// A partial file, and a description of the file on the server that it is the beginning of.
struct Part {
    file: PathBuf,
    description: PathBuf,
}

/// What identifies a version of a file on the server.
#[derive(Default, Deserialize, Serialize)]
struct Version {
    etag: Option<String>,
    last_modified: Option<String>,
    total_bytes: Option<u64>,
}

impl Part {
    fn of(to: &Path) -> std::io::Result<Self> {
        let with = |suffix: &str| {
            let mut name = to.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let part = Self { file: with(".part"), description: with(".part.json") };
        // The name is predictable, so that a folder from elsewhere could have a link to any file there.
        if fs::symlink_metadata(&part.file).is_ok_and(|found| !found.is_file()) {
            fs::remove_file(&part.file)?;
        }
        Ok(part)
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |metadata| metadata.len())
    }

    /// The version of which there is a part on disk.
    fn version(&self) -> Option<Version> {
        let bytes = read_limited(&self.description, MAX_DESCRIPTION_BYTES).ok()?;
        serde_json::from_slice(&bytes).ok().filter(Version::is_known)
    }

    /// Starts to write a version from its beginning.
    fn begin(&self, version: &Version) -> Result<File, FetchError> {
        let file = open_append(&self.file).map_err(|e| self.disk_error(&e))?;
        // In this order, so that there is never a part of one version with the description of another.
        file.set_len(0).map_err(|e| self.disk_error(&e))?;
        write_json(&self.description, version).map_err(|e| FetchError::Permanent(format!("{e:#}")))?;
        Ok(file)
    }

    /// Makes the next request one for the whole file.
    fn discard(&self) -> Result<(), FetchError> {
        fs::remove_file(&self.description).map_err(|e| self.disk_error(&e))
    }

    fn disk_error(&self, error: &std::io::Error) -> FetchError {
        FetchError::Permanent(format!("cannot write {}: {error}", self.file.display()))
    }
}

impl Version {
    fn of(response: &Response) -> Self {
        let header = |name: HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let total_bytes = match response.status() {
            StatusCode::PARTIAL_CONTENT => content_range(response).and_then(|range| range.total),
            _ => response.content_length(),
        };
        Self { etag: header(ETAG), last_modified: header(LAST_MODIFIED), total_bytes }
    }

    /// The value of an `If-Range` header, which must not be a weak entity tag.
    fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| etag.starts_with('"'));
        strong.or(self.last_modified.as_deref())
    }

    /// Returns whether anything distinguishes this version from others.
    fn is_known(&self) -> bool {
        self.validator().is_some() || self.total_bytes.is_some()
    }

    /// Returns whether a response with a part of a file may be of this version: whatever both state is equal.
    fn may_be(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
            a.zip(b).is_none_or(|(a, b)| a == b)
        }
        (self.validator().is_some() || other.total_bytes.is_some())
            && agree(self.etag.as_ref(), other.etag.as_ref())
            && agree(self.last_modified.as_ref(), other.last_modified.as_ref())
            && agree(self.total_bytes.as_ref(), other.total_bytes.as_ref())
    }
}

/// A download in progress.
struct Transfer<'a> {
    client: &'a RateLimitedClient,
    url: &'a Url,
    part: &'a Part,
    progress: &'a ProgressBar,
    max_bytes: u64,
}

impl Transfer<'_> {
    /// Appends the missing bytes to the part, or starts again if the file on the server has changed.
    async fn proceed(&self) -> Result<(), FetchError> {
        let Self { client, url, part, progress, max_bytes } = *self;
        let known = part.version();
        let present = if known.is_some() { part.length() } else { 0 };
        if present > 0 && known.as_ref().is_some_and(|known| known.total_bytes == Some(present)) {
            return Ok(());
        }
        let request = client.send(url, |request| {
            let request = request.timeout(DOWNLOAD_TIMEOUT);
            let Some(known) = known.as_ref().filter(|_| present > 0) else { return request };
            let request = request.header(RANGE, format!("bytes={present}-"));
            // If the file has changed, the server sends the new one as a whole.
            known.validator().into_iter().fold(request, |request, validator| request.header(IF_RANGE, validator))
        });
        let mut response = request.await?;
        let found = Version::of(&response);
        let (mut file, begin) = match response.status() {
            StatusCode::OK => {
                self.check_new(&response, &found)?;
                (part.begin(&found)?, 0)
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                let range = content_range(&response);
                let is_next = range.is_some_and(|range| range.is_from(present))
                    && known.as_ref().is_some_and(|known| known.may_be(&found))
                    && response.status() == StatusCode::PARTIAL_CONTENT;
                if !is_next {
                    if known.is_some() {
                        part.discard()?;
                    }
                    let why = format!("{} has changed since the download started", redact_keys(url));
                    return Err(FetchError::transient(why));
                }
                let open = open_append(&part.file);
                (open.map_err(|e| part.disk_error(&e))?, present)
            }
            _ => return Err(refused(url, &response)),
        };
        let total_bytes = found.total_bytes.or(known.filter(|_| begin > 0).and_then(|known| known.total_bytes));
        if let Some(total_bytes) = total_bytes {
            progress.set_length(total_bytes);
        }
        progress.set_position(begin);
        let mut written = begin;
        while let Some(bytes) = response.chunk().await.map_err(|e| connection_error(url, e))? {
            written += bytes.len() as u64;
            if written > total_bytes.unwrap_or(max_bytes) {
                part.discard()?;
                return Err(match total_bytes {
                    Some(total) => {
                        FetchError::transient(format!("{} sent more than its {total} bytes", redact_keys(url)))
                    }
                    None => too_large(url, max_bytes),
                });
            }
            file.write_all(&bytes).map_err(|e| part.disk_error(&e))?;
            progress.inc(bytes.len() as u64);
        }
        match total_bytes {
            Some(total) if written != total => Err(FetchError::transient(format!(
                "{}: the connection closed after {written} of {total} bytes",
                redact_keys(url)
            ))),
            _ => Ok(()),
        }
    }

    /// Checks a response with a whole file.
    fn check_new(&self, response: &Response, found: &Version) -> Result<(), FetchError> {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/html") || found.total_bytes == Some(0) {
            let what = if found.total_bytes == Some(0) { "nothing" } else { "a web page" };
            return Err(FetchError::transient(format!("{} returned {what} in place of a file", redact_keys(self.url))));
        }
        match found.total_bytes {
            Some(total) if total > self.max_bytes => Err(too_large(self.url, self.max_bytes)),
            _ => Ok(()),
        }
    }
}

fn too_large(url: &Url, max_bytes: u64) -> FetchError {
    FetchError::Permanent(format!("{} is larger than {} GiB, which is the limit", redact_keys(url), max_bytes >> 30))
}

fn refused(url: &Url, response: &Response) -> FetchError {
    let status = response.status();
    FetchError::from_status(status, format!("{} returned {status}", redact_keys(url)), retry_after(response))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::http::RetryPolicy;
    use axum::body::Body;
    use axum::http::HeaderMap;
    use axum::response::IntoResponse;
    use std::sync::{Arc, Mutex};

    /// What a server does when a download resumes.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Resumes {
        Correctly,
        /// The file has changed, and the server honours `If-Range`.
        Changed,
        /// The file has changed, and the server ignores `If-Range`.
        ChangedUnnoticed,
        /// The file has changed to one of the same size, without an entity tag.
        ChangedSameSize,
        /// The server sends another range than the requested one.
        WrongRange,
        WithoutContentRange,
        IgnoresRanges,
        NoSuchRange,
        WithHtml,
        WithNothing,
    }

    const BEFORE: &[u8] = b"the first version of a file";
    const AFTER: &[u8] = b"the second version, which is longer than the first";

    /// The file that is downloaded if the connection closes after ten bytes of the first version.
    async fn downloaded(resumes: Resumes) -> (Vec<u8>, Vec<Option<String>>) {
        let ranges: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let seen = ranges.clone();
        let reply = move |headers: HeaderMap| async move {
            let header =
                |name| headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned());
            let mut seen = seen.lock().unwrap();
            seen.push(header("range"));
            let has_changed = seen.len() > 1
                && matches!(resumes, Resumes::Changed | Resumes::ChangedUnnoticed | Resumes::ChangedSameSize);
            let same_size = [&AFTER[..BEFORE.len() - 1], b"!"].concat();
            let (file, etag) = match has_changed {
                true if resumes == Resumes::ChangedSameSize => (same_size, ""),
                true => (AFTER.to_vec(), "\"2\""),
                false => (BEFORE.to_vec(), if resumes == Resumes::ChangedSameSize { "" } else { "\"1\"" }),
            };
            let modified = if has_changed { "Wed, 21 Oct 2015 07:28:00 GMT" } else { "Tue, 20 Oct 2015 07:28:00 GMT" };
            let version = if etag.is_empty() { ("last-modified", modified) } else { ("etag", etag) };
            if seen.len() == 1 {
                let pieces = [Ok(file[..10].to_vec()), Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe))];
                let body = Body::from_stream(futures_util::StreamExt::then(
                    futures_util::stream::iter(pieces),
                    // Let the sent bytes arrive before the connection closes.
                    |piece| async {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        piece
                    },
                ));
                return ([version, ("content-length", &file.len().to_string())], body).into_response();
            }
            let if_range = header("if-range");
            let Some(from) = header("range").map(|range| range[6..].trim_end_matches('-').parse::<usize>().unwrap())
            else {
                return ([version], file).into_response();
            };
            let is_new = if_range.is_none_or(|wanted| wanted != version.1) && resumes != Resumes::ChangedUnnoticed;
            let from = if resumes == Resumes::WrongRange { 0 } else { from };
            let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
            match resumes {
                Resumes::WithHtml if seen.len() == 2 => ([("content-type", "text/html")], "<html>").into_response(),
                Resumes::WithNothing if seen.len() == 2 => ().into_response(),
                Resumes::IgnoresRanges => ([version], file).into_response(),
                Resumes::NoSuchRange => {
                    (StatusCode::RANGE_NOT_SATISFIABLE, [("content-range", "bytes */27")]).into_response()
                }
                _ if is_new => ([version], file).into_response(),
                Resumes::WithoutContentRange => {
                    (StatusCode::PARTIAL_CONTENT, [version], file[from..].to_vec()).into_response()
                }
                _ => (StatusCode::PARTIAL_CONTENT, [version, ("content-range", &range)], file[from..].to_vec())
                    .into_response(),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/file", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(reply)).await });
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("new/file.zip");
        download(&client(), &url, &to).await.unwrap();
        assert_eq!(fs::read_dir(to.parent().unwrap()).unwrap().count(), 1, "{resumes:?}");
        let ranges = ranges.lock().unwrap().clone();
        (fs::read(&to).unwrap(), ranges)
    }

    fn client() -> RateLimitedClient {
        let policy = RetryPolicy { first_wait: Duration::from_millis(1), ..RetryPolicy::default() };
        RateLimitedClient::new(Duration::ZERO, &policy, 1000).unwrap()
    }

    #[tokio::test]
    async fn an_interrupted_download_has_the_bytes_of_one_version() {
        let from_ten = Some("bytes=10-".to_owned());
        for (resumes, expected, requests) in [
            (Resumes::Correctly, BEFORE, vec![None, from_ten.clone()]),
            (Resumes::Changed, AFTER, vec![None, from_ten.clone()]),
            (Resumes::ChangedUnnoticed, AFTER, vec![None, from_ten.clone(), None]),
            (Resumes::ChangedSameSize, &[&AFTER[..26], b"!"].concat(), vec![None, from_ten.clone()]),
            (Resumes::WrongRange, BEFORE, vec![None, from_ten.clone(), None]),
            (Resumes::WithoutContentRange, BEFORE, vec![None, from_ten.clone(), None]),
            (Resumes::IgnoresRanges, BEFORE, vec![None, from_ten.clone()]),
            (Resumes::NoSuchRange, BEFORE, vec![None, from_ten.clone(), None]),
            (Resumes::WithHtml, BEFORE, vec![None, from_ten.clone(), from_ten.clone()]),
            (Resumes::WithNothing, BEFORE, vec![None, from_ten.clone(), from_ten.clone()]),
        ] {
            let (file, ranges) = downloaded(resumes).await;
            assert_eq!(String::from_utf8_lossy(&file), String::from_utf8_lossy(expected), "{resumes:?}");
            assert_eq!(ranges, requests, "{resumes:?}");
        }
    }

    #[tokio::test]
    async fn a_download_has_a_maximum_size_and_does_not_follow_links() {
        let endless = || async {
            Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'a'; 1000])))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/file", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(endless)).await });
        let dir = tempfile::tempdir().unwrap();
        let (to, outside) = (dir.path().join("file.zip"), dir.path().join("outside"));
        fs::write(&outside, "untouched").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&outside, dir.path().join("file.zip.part")).unwrap();
        let error = download_up_to(20_000, &client(), &url, &to).await.unwrap_err();
        assert!(format!("{error:#}").contains("which is the limit"), "{error:#}");
        assert!(fs::metadata(dir.path().join("file.zip.part")).unwrap().len() <= 20_000 && !to.exists());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
    }
}
