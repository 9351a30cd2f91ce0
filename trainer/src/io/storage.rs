//! Storage of shards: a local folder or a bucket of an object store, given by its URL: `s3://bucket/set` for Amazon S3
//! and compatible stores, `gs://bucket/set` for Google Cloud Storage. Credentials and endpoints are read from the
//! environment variables of the stores' own tools (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`
//! and so on).

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use landfall_common::fs::{temporary_file_in, write_atomic};
use landfall_common::http::use_ring;
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use url::Url;

/// A local folder or a prefix in a bucket.
pub(crate) enum Storage {
    /// A local folder.
    Folder(PathBuf),
    /// A prefix in a bucket.
    Bucket(Bucket),
}

/// A prefix in a bucket.
pub(crate) struct Bucket {
    address: String,
    prefix: object_store::path::Path,
    store: Arc<dyn ObjectStore>,
    runtime: Runtime,
}

impl Storage {
    /// Opens the storage at a path or URL, without accessing it.
    ///
    /// # Errors
    /// If the URL has an unknown scheme or the environment lacks settings of the store.
    pub(crate) fn at(place: &Path) -> Result<Self> {
        let Some(address) = place.to_str().filter(|place| place.contains("://")) else {
            return Ok(Self::Folder(place.to_owned()));
        };
        let url = Url::parse(address).with_context(|| format!("`{address}` is not a valid URL"))?;
        use_ring();
        let settings = std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("GOOGLE_"));
        let (store, prefix) = object_store::parse_url_opts(&url, settings).with_context(|| {
            format!("cannot use {address}; supported URLs are s3://bucket/folder and gs://bucket/folder")
        })?;
        // Read-ahead and write-behind continue while the calling threads decode images.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self::Bucket(Bucket { address: address.into(), prefix, store: store.into(), runtime }))
    }

    /// Returns whether a file exists.
    ///
    /// # Errors
    /// If the storage cannot be accessed.
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

    /// Reads a file.
    ///
    /// # Errors
    /// If it is missing or cannot be read.
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

    /// Reads a JSON file; `what` describes its contents for the error message.
    ///
    /// # Errors
    /// If it cannot be read or has other contents.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, name: &str, what: &str) -> Result<T> {
        serde_json::from_slice(&self.read(name)?).with_context(|| format!("{} is not {what}", self.name_of(name)))
    }

    /// Writes a file atomically.
    ///
    /// # Errors
    /// If it cannot be written.
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

    /// Starts to write a file that may exceed memory; it becomes visible with [`Upload::finish`].
    ///
    /// # Errors
    /// If it cannot be written.
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

    /// Returns the names of all files, in no particular order.
    ///
    /// # Errors
    /// If they cannot be listed.
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

    /// The full path or URL of a file, for messages.
    pub(crate) fn name_of(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Bucket(bucket) => bucket.name_of(name),
        }
    }
}

impl Bucket {
    /// Fetches a byte range of a file on another thread. The result is shorter if the file ends within the range.
    pub(crate) fn fetch(&self, name: &str, range: Range<u64>) -> impl Future<Output = io::Result<Vec<u8>>> + use<> {
        let (store, path) = (self.store.clone(), self.path(name));
        let fetched = self.runtime.spawn(async move { store.get_range(&path, range).await });
        async { Ok(fetched.await?.map_err(io::Error::other)?.into()) }
    }

    /// Blocks until a future completes.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn path(&self, name: &str) -> object_store::path::Path {
        self.prefix.clone().join(name)
    }

    fn name_of(&self, name: &str) -> String {
        format!("{}/{name}", self.address.trim_end_matches('/'))
    }

    fn failed(&self, verb: &str, name: &str, error: object_store::Error) -> anyhow::Error {
        let why = format!("cannot {verb} {}", self.name_of(name));
        match error {
            object_store::Error::NotFound { .. } => anyhow::anyhow!("{why}: not found"),
            error => environment_error(format!("{why}: {error}; check the URL and the credentials in the environment")),
        }
    }
}

/// A file being written.
pub(crate) enum Upload<'a> {
    /// A temporary file, renamed to `target` when complete.
    File { file: io::BufWriter<NamedTempFile>, target: PathBuf },
    /// A multipart upload, which the store turns into an object when complete.
    Object { writer: Box<BufWriter>, runtime: &'a Runtime },
}

impl Upload<'_> {
    /// Completes the file and makes it visible.
    ///
    /// # Errors
    /// If the rest of it cannot be written.
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
            // Parts have a minimum size; only the last one may be smaller.
            Self::Object { .. } => Ok(()),
        }
    }
}
