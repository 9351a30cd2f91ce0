//! Large files: what broke off goes on where it broke off, in this run or the next, and only a whole file gets its name.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode, Url};

use super::http::{FetchError, RateLimitedClient, connection_error, redact_keys, retry_after};

/// A whole file may take this long; that its bytes keep coming is watched by the client.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Makes `to` the file at an address. What is there already of it, under the same name with `.part` behind, is not asked
/// for again.
///
/// # Errors
/// When the server refuses, is not reached for too long, or the file cannot be written.
pub(super) async fn download(client: &RateLimitedClient, url: &Url, to: &Path) -> Result<()> {
    if to.is_file() {
        return Ok(());
    }
    let cannot = || format!("cannot write {}", to.display());
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    fs::create_dir_all(to.parent().unwrap_or(Path::new("."))).with_context(cannot)?;
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
            // While it gets longer, it is not given up.
            Err(FetchError::Transient { .. }) if length() > before => {}
            Err(error) => {
                progress.finish_and_clear();
                return Err(anyhow::Error::new(error).context(format!("{} keeps what is there", part.display())));
            }
        }
    }
    progress.finish_and_clear();
    fs::rename(part, to).with_context(cannot)
}

/// The size of the file at an address, in bytes.
///
/// # Errors
/// When the server refuses, does not say, or is not reached.
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
        None => bail!("{} does not say how large it is", redact_keys(url)),
    }
}

/// Adds to `part` what is missing of the file.
async fn continue_download(
    client: &RateLimitedClient,
    url: &Url,
    part: &Path,
    progress: &ProgressBar,
) -> Result<(), FetchError> {
    let disk = |e: std::io::Error| FetchError::Permanent(format!("cannot write {}: {e}", part.display()));
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(disk)?;
    let have = file.metadata().map_err(disk)?.len();
    let from = format!("bytes={have}-");
    let asked = client.send(url, |request| {
        let request = request.timeout(DOWNLOAD_TIMEOUT);
        if have > 0 { request.header(RANGE, from) } else { request }
    });
    let mut response = asked.await?;
    let (begin, total_bytes) = match response.status() {
        // It does not know of parts: from the beginning.
        StatusCode::OK => (0, response.content_length()),
        StatusCode::PARTIAL_CONTENT => (have, total(&response)),
        StatusCode::RANGE_NOT_SATISFIABLE if total(&response) == Some(have) => return Ok(()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            file.set_len(0).map_err(disk)?;
            return Err(FetchError::transient(format!("{} is another file than before", redact_keys(url))));
        }
        _ => return Err(refused(url, &response)),
    };
    if begin != have {
        file.set_len(begin).map_err(disk)?;
    }
    if let Some(total_bytes) = total_bytes {
        progress.set_length(total_bytes);
    }
    progress.set_position(begin);
    while let Some(bytes) = response.chunk().await.map_err(|e| connection_error(url, e))? {
        file.write_all(&bytes).map_err(disk)?;
        progress.inc(bytes.len() as u64);
    }
    check_length(&file, total_bytes, url)
}

fn check_length(file: &File, total_bytes: Option<u64>, url: &Url) -> Result<(), FetchError> {
    let have = file.metadata().map_or(0, |metadata| metadata.len());
    match total_bytes {
        Some(total_bytes) if have != total_bytes => {
            Err(FetchError::transient(format!("{} broke off after {have} of {total_bytes} bytes", redact_keys(url))))
        }
        _ => Ok(()),
    }
}

/// The size of the whole that an answer is a part of: behind the stroke of `Content-Range`.
fn total(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.and_then(|range| range.rsplit_once('/')?.1.parse().ok())
}

fn refused(url: &Url, response: &Response) -> FetchError {
    let status = response.status();
    FetchError::from_status(status, format!("{} answers {status}", redact_keys(url)), retry_after(response))
}
