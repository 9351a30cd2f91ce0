//! Where shards lie: a folder, or a bucket of an object store, by its address: `s3://bucket/set` (Amazon's, and what
//! speaks its protocol) or `gs://bucket/set` (Google's). Keys and endpoints come from the environment, under the names
//! that those stores' own tools read (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT` and so on).

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::fs::{temporary_file_in, write_atomic};
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use url::Url;

/// A folder, or its like in a bucket.
pub(crate) enum Storage {
    /// On this machine's disk.
    Folder(PathBuf),
    /// Behind a network.
    Bucket(Bucket),
}

/// A part of a bucket.
pub(crate) struct Bucket {
    address: String,
    prefix: object_store::path::Path,
    store: Arc<dyn ObjectStore>,
    runtime: Runtime,
}

impl Storage {
    /// The storage that a path or an address names. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When the address is of no known kind, or what the environment says does not suffice to use it.
    pub(crate) fn at(place: &Path) -> Result<Self> {
        let Some(address) = place.to_str().filter(|place| place.contains("://")) else {
            return Ok(Self::Folder(place.to_owned()));
        };
        let url = Url::parse(address).with_context(|| format!("{address} is no address"))?;
        let named = std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("GOOGLE_"));
        let (store, prefix) = object_store::parse_url_opts(&url, named).with_context(|| {
            format!("cannot use {address}; addresses are s3://bucket/folder and gs://bucket/folder")
        })?;
        // Reading ahead and writing behind go on while the threads that asked decode.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self::Bucket(Bucket { address: address.into(), prefix, store: store.into(), runtime }))
    }

    /// Whether there is a file of a name.
    ///
    /// # Errors
    /// When the storage does not answer.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        match self {
            Self::Folder(folder) => Ok(folder.join(name).is_file()),
            Self::Bucket(bucket) => match bucket.runtime.block_on(bucket.store.head(&bucket.path(name))) {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(bucket.failed("read", name, error)),
            },
        }
    }

    /// A whole file.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        match self {
            Self::Folder(folder) => {
                let file = folder.join(name);
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
            }
            Self::Bucket(bucket) => {
                let read = async { bucket.store.get(&bucket.path(name)).await?.bytes().await };
                let bytes = bucket.runtime.block_on(read).map_err(|error| bucket.failed("read", name, error))?;
                Ok(bytes.into())
            }
        }
    }

    /// Reads a json file; `what` names its contents for the error message.
    ///
    /// # Errors
    /// When it cannot be read or holds something else.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, name: &str, what: &str) -> Result<T> {
        serde_json::from_slice(&self.read(name)?).with_context(|| format!("{} is not {what}", self.name_of(name)))
    }

    /// Writes a whole file, or nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Folder(folder) => write_atomic(&folder.join(name), bytes),
            Self::Bucket(bucket) => {
                let path = bucket.path(name);
                bucket
                    .runtime
                    .block_on(bucket.store.put(&path, bytes.to_vec().into()))
                    .map_err(|error| bucket.failed("write", name, error))?;
                Ok(())
            }
        }
    }

    /// Begins a file that is too large for the memory; nobody sees it before [`Upload::finish`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn begin(&self, name: &str) -> Result<Upload<'_>> {
        Ok(match self {
            Self::Folder(folder) => {
                let file =
                    temporary_file_in(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
                Upload::File { file: io::BufWriter::new(file), target: folder.join(name) }
            }
            Self::Bucket(bucket) => {
                let writer = BufWriter::new(bucket.store.clone(), bucket.path(name));
                Upload::Object { writer: Box::new(writer), runtime: &bucket.runtime }
            }
        })
    }

    /// The names of the files that lie here, in no order.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        match self {
            Self::Folder(folder) => {
                let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
                entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
            }
            Self::Bucket(bucket) => {
                let listed = bucket.runtime.block_on(bucket.store.list_with_delimiter(Some(&bucket.prefix)));
                let listed = listed.map_err(|error| bucket.failed("list", "", error))?;
                Ok(listed.objects.iter().filter_map(|object| object.location.filename()).map(Into::into).collect())
            }
        }
    }

    /// What a file here is called in messages.
    pub(crate) fn name_of(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Bucket(bucket) => bucket.name_of(name),
        }
    }
}

impl Bucket {
    /// Has a range of a file's bytes fetched, by another thread: less than asked for where the file ends.
    pub(crate) fn fetch(&self, name: &str, range: Range<u64>) -> impl Future<Output = io::Result<Vec<u8>>> + use<> {
        let (store, path) = (self.store.clone(), self.path(name));
        let fetched = self.runtime.spawn(async move { store.get_range(&path, range).await });
        async { Ok(fetched.await?.map_err(io::Error::other)?.into()) }
    }

    /// Waits for what is fetched.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn path(&self, name: &str) -> object_store::path::Path {
        self.prefix.clone().join(name)
    }

    fn name_of(&self, name: &str) -> String {
        format!("{}/{name}", self.address.trim_end_matches('/'))
    }

    fn failed(&self, what: &str, name: &str, error: object_store::Error) -> anyhow::Error {
        let why = format!("cannot {what} {}", self.name_of(name));
        match error {
            object_store::Error::NotFound { .. } => anyhow::anyhow!("{why}: it is not there"),
            error => environment_error(format!("{why}: {error}; check the address and the keys in the environment")),
        }
    }
}

/// A file that is being written.
pub(crate) enum Upload<'a> {
    /// Renamed when it is whole.
    File { file: io::BufWriter<NamedTempFile>, target: PathBuf },
    /// Sent in parts, which the store makes an object of when all are there.
    Object { writer: Box<BufWriter>, runtime: &'a Runtime },
}

impl Upload<'_> {
    /// Makes the file one that others see.
    ///
    /// # Errors
    /// When the rest of it cannot be written.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::File { file, target } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.persist(target)?;
                Ok(())
            }
            Self::Object { mut writer, runtime } => runtime.block_on(writer.shutdown()),
        }
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { file, .. } => file.write(bytes),
            Self::Object { writer, runtime } => runtime.block_on(writer.write(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.flush(),
            // Parts have a least size: only the last may be smaller.
            Self::Object { .. } => Ok(()),
        }
    }
}
