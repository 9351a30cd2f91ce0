//! Downloads of large files. An interrupted download resumes where it stopped, in the same or a later run; only a
//! complete file gets its final name.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landfall_common::fs::open_append;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode, Url};

use super::http::{FetchError, RateLimitedClient, connection_error, redact_keys, retry_after};

/// Time limit for a whole file. Stalled connections are detected by the read timeout of the client.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Downloads a URL to the file `to`, resuming from `to` with the suffix `.part` if that exists.
///
/// # Errors
/// If the server refuses the request, cannot be reached, or the file cannot be written.
pub(super) async fn download(client: &RateLimitedClient, url: &Url, to: &Path) -> Result<()> {
    if to.is_file() {
        return Ok(());
    }
    let write_failed = || format!("cannot write {}", to.display());
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    fs::create_dir_all(to.parent().unwrap_or(Path::new("."))).with_context(write_failed)?;
    let length = || fs::metadata(part).map_or(0, |metadata| metadata.len());
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let style =
        ProgressStyle::with_template("{prefix}: {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")?;
    let progress = ProgressBar::no_length().with_style(style).with_prefix(name).with_position(length());
    progress.reset_eta();
    loop {
        let before = length();
        match client.retry(|| continue_download(client, url, part, &progress)).await {
            Ok(()) => break,
            // Keep trying as long as there is progress.
            Err(FetchError::Transient { .. }) if length() > before => {}
            Err(error) => {
                progress.finish_and_clear();
                return Err(anyhow::Error::new(error)
                    .context(format!("download failed; the partial file {} is kept", part.display())));
            }
        }
    }
    progress.finish_and_clear();
    fs::rename(part, to).with_context(write_failed)
}

/// Returns the size of a remote file in bytes.
///
/// # Errors
/// If the server refuses the request, does not report a size, or cannot be reached.
pub(super) async fn size(client: &RateLimitedClient, url: &Url) -> Result<u64> {
    let first = || async {
        let response = client.send(url, |request| request.header(RANGE, "bytes=0-0")).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => Ok(total(&response)),
            StatusCode::OK => Ok(response.content_length()),
            _ => Err(refused(url, &response)),
        }
    };
    match client.retry(first).await? {
        Some(size) => Ok(size),
        None => bail!("{}: the server does not report the size", redact_keys(url)),
    }
}

/// Appends the missing bytes to `part`.
async fn continue_download(
    client: &RateLimitedClient,
    url: &Url,
    part: &Path,
    progress: &ProgressBar,
) -> Result<(), FetchError> {
    let disk_error = |e: std::io::Error| FetchError::Permanent(format!("cannot write {}: {e}", part.display()));
    let mut file = open_append(part).map_err(disk_error)?;
    let present = file.metadata().map_err(disk_error)?.len();
    let range = format!("bytes={present}-");
    let request = client.send(url, |request| {
        let request = request.timeout(DOWNLOAD_TIMEOUT);
        if present > 0 { request.header(RANGE, range) } else { request }
    });
    let mut response = request.await?;
    let (begin, total_bytes) = match response.status() {
        // The server ignores ranges and sends the whole file.
        StatusCode::OK => (0, response.content_length()),
        StatusCode::PARTIAL_CONTENT => (present, total(&response)),
        StatusCode::RANGE_NOT_SATISFIABLE if total(&response) == Some(present) => return Ok(()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            file.set_len(0).map_err(disk_error)?;
            return Err(FetchError::transient(format!("{} has changed since the download started", redact_keys(url))));
        }
        _ => return Err(refused(url, &response)),
    };
    if begin != present {
        file.set_len(begin).map_err(disk_error)?;
    }
    if let Some(total_bytes) = total_bytes {
        progress.set_length(total_bytes);
    }
    progress.set_position(begin);
    while let Some(bytes) = response.chunk().await.map_err(|e| connection_error(url, e))? {
        file.write_all(&bytes).map_err(disk_error)?;
        progress.inc(bytes.len() as u64);
    }
    check_length(&file, total_bytes, url)
}

fn check_length(file: &File, total_bytes: Option<u64>, url: &Url) -> Result<(), FetchError> {
    let present = file.metadata().map_or(0, |metadata| metadata.len());
    match total_bytes {
        Some(total_bytes) if present != total_bytes => Err(FetchError::transient(format!(
            "{}: the connection closed after {present} of {total_bytes} bytes",
            redact_keys(url)
        ))),
        _ => Ok(()),
    }
}

/// The total size from a `Content-Range` header, which follows the slash.
fn total(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.and_then(|range| range.rsplit_once('/')?.1.parse().ok())
}

fn refused(url: &Url, response: &Response) -> FetchError {
    let status = response.status();
    FetchError::from_status(status, format!("{} returned {status}", redact_keys(url)), retry_after(response))
}
