//! OpenAddresses' files by the names of their sources, as in us/wa/statewide: which job made the newest of a source is asked
//! of its index, and the job's file is downloaded once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::download;
use super::http::url_with_query;
use super::source::CommonArgs;

/// Where OpenAddresses is.
#[derive(clap::Args)]
pub(super) struct Service {
    #[arg(long, hide = true, default_value = "https://batch.openaddresses.io/api/data")]
    addresses_index: String,
    #[arg(long, hide = true, default_value = "https://v2.openaddresses.io/batch-prod/job")]
    addresses_files: String,
}

/// A file of the index.
#[derive(Deserialize)]
struct Entry {
    source: String,
    layer: String,
    /// A number, or a text of one.
    job: Value,
}

impl Service {
    /// The files for names of files and of sources. Those of sources are in the folder `addresses` of --out, or will be.
    ///
    /// # Errors
    /// When a name is of neither, or the service refuses or cannot be reached.
    pub(super) async fn files(&self, names: &[PathBuf], common: &CommonArgs) -> Result<Vec<PathBuf>> {
        let client = common.client(Duration::from_secs(1))?;
        let mut files = Vec::new();
        for name in names {
            let Some(source) = source(name) else {
                files.push(name.clone());
                continue;
            };
            let index = url_with_query(&self.addresses_index, [("source", source.to_owned())])?;
            let entries: Vec<Entry> = client.get(&index, |answer| answer.json()).await?;
            let before = files.len();
            for entry in entries.iter().filter(|entry| entry.source == source && entry.layer == "addresses") {
                let job = entry.job.to_string().replace('"', "");
                let url = url_with_query(&format!("{}/{job}/source.geojson.gz", self.addresses_files), [])?;
                let file = common.out.join("addresses").join(format!("{}-{job}.geojson.gz", source.replace('/', "-")));
                download::download(&client, &url, &file).await?;
                files.push(file);
            }
            if files.len() == before {
                bail!("--addresses {source} is no file, and {index} knows no addresses of it");
            }
        }
        Ok(files)
    }
}

/// The source that a name is of, unless there is such a file: a country's code and places in it.
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
        for (name, is) in [
            ("us/wa/statewide", true),
            ("fr/countrywide", true),
            ("us", false),
            ("us/wa.csv", false),
            ("../us/wa", false),
            ("", false),
        ] {
            assert_eq!(source(Path::new(name)).is_some(), is, "{name}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(source(dir.path()), None);
    }
}
