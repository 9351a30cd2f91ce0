//! OpenAddresses files by source name, as in us/wa/statewide. The index of OpenAddresses gives the newest job of a
//! source; the file of that job is downloaded once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::download;
use super::keys::url_with_query;
use super::source::CommonArgs;

/// URLs of OpenAddresses, for tests.
#[derive(clap::Args)]
pub(super) struct Service {
    #[arg(long, hide = true, default_value = "https://batch.openaddresses.io/api/data")]
    addresses_index: String,
    #[arg(long, hide = true, default_value = "https://v2.openaddresses.io/batch-prod/job")]
    addresses_files: String,
}

/// An entry of the index.
#[derive(Deserialize)]
struct Entry {
    source: String,
    layer: String,
    /// A number, or a string that contains one.
    job: Value,
}

impl Service {
    /// Resolves file names and source names to files. Files of sources are downloaded to the folder `addresses` of
    /// --out if missing.
    ///
    /// # Errors
    /// If a name is neither a file nor a known source, or the service refuses requests or cannot be reached.
    pub(super) async fn files(&self, names: &[PathBuf], common: &CommonArgs) -> Result<Vec<PathBuf>> {
        let client = common.api_client(Duration::from_secs(1))?;
        let mut files = Vec::new();
        for name in names {
            let Some(source) = source(name) else {
                files.push(name.clone());
                continue;
            };
            let index = url_with_query(&self.addresses_index, [("source", source.to_owned())])?;
            let entries: Vec<Entry> = client.get(&index, |response| response.json()).await?;
            let before = files.len();
            for entry in entries.iter().filter(|entry| entry.source == source && entry.layer == "addresses") {
                let job = entry.job.as_u64().or_else(|| entry.job.as_str()?.parse().ok());
                // The job becomes part of a file name.
                let Some(job) = job else { bail!("{index} lists {source} without the number of a job") };
                let url = url_with_query(&format!("{}/{job}/source.geojson.gz", self.addresses_files), [])?;
                let file = common.out.join("addresses").join(format!("{}-{job}.geojson.gz", source.replace('/', "-")));
                download::download(&client, &url, &file).await?;
                files.push(file);
            }
            if files.len() == before {
                bail!("--addresses {source}: no such file, and {index} lists no addresses for it");
            }
        }
        Ok(files)
    }
}

/// Returns the name if it is a source name (a country code followed by regions) and no such file exists.
fn source(name: &Path) -> Option<&str> {
    let text = name.to_str().filter(|_| !name.exists())?;
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
    };
    let mut parts = text.split('/');
    let is_country = parts.next().is_some_and(|code| code.len() == 2 && is_part(code));
    (is_country && text.contains('/') && parts.all(is_part)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_names_are_distinguished_from_files() {
        for (name, is_source) in [
            ("us/wa/statewide", true),
            ("fr/countrywide", true),
            ("us", false),
            ("us/wa.csv", false),
            ("../us/wa", false),
            ("", false),
        ] {
            assert_eq!(source(Path::new(name)).is_some(), is_source, "{name}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(source(dir.path()), None);
    }
}
