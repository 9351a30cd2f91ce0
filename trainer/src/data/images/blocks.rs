//! Reads of shards in a bucket. Shards are fetched in blocks, with read-ahead, so that a network with a latency of 100
//! ms keeps all CPU cores busy. The cache is limited to 64 MiB.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;

use crate::io::storage::Bucket;

/// Size of a block in bytes.
const BLOCK: u64 = 2 << 20;
/// Maximum number of cached blocks.
const MAX_BLOCKS: NonZeroUsize = NonZeroUsize::new(32).expect("not 0");
/// Number of blocks to read ahead on sequential access.
const READ_AHEAD: u64 = 8;

type Fetch = Shared<BoxFuture<'static, Result<Arc<[u8]>, Arc<io::Error>>>>;

/// A block cache for the shards in a bucket.
pub(super) struct Blocks {
    bucket: Bucket,
    cache: Mutex<LruCache<(String, u64), Fetch>>,
}

impl Blocks {
    /// Creates an empty cache for a bucket.
    pub(super) fn of(bucket: Bucket) -> Self {
        Self { bucket, cache: Mutex::new(LruCache::new(MAX_BLOCKS)) }
    }

    /// Reads a byte range of a shard.
    ///
    /// # Errors
    /// If it cannot be fetched or the shard ends before the end of the range.
    pub(super) fn read(&self, shard: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for i in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            let block = self.bucket.wait(self.block(shard, i)).map_err(|error| {
                self.lock().pop(&(shard.to_owned(), i)); // the next read retries
                io::Error::new(error.kind(), error.to_string())
            })?;
            let within =
                |at: u64| usize::try_from(at.saturating_sub(i * BLOCK)).map_or(block.len(), |at| at.min(block.len()));
            bytes.extend_from_slice(&block[within(range.start)..within(range.end)]);
        }
        if bytes.len() as u64 != range.end - range.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    /// Returns a cached block or starts to fetch it. Also starts to fetch the next blocks if the access is sequential.
    fn block(&self, shard: &str, i: u64) -> Fetch {
        let mut cache = self.lock();
        let is_sequential = i > 0 && cache.contains(&(shard.to_owned(), i - 1));
        for ahead in (i + 1..=i + READ_AHEAD).rev().filter(|_| is_sequential) {
            drop(self.fetch(&mut cache, shard, ahead)); // the runtime continues the fetch
        }
        self.fetch(&mut cache, shard, i)
    }

    fn fetch(&self, cache: &mut LruCache<(String, u64), Fetch>, shard: &str, i: u64) -> Fetch {
        let fetch = || {
            let bytes = self.bucket.fetch(shard, i * BLOCK..(i + 1) * BLOCK);
            async { bytes.await.map(Into::into).map_err(Arc::new) }.boxed().shared()
        };
        cache.get_or_insert((shard.to_owned(), i), fetch).clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<(String, u64), Fetch>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
