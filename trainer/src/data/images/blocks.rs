//! Pictures out of a bucket: blocks of a shard are fetched, a few ahead of the one that is read, so that a network with a
//! tenth of a second's delay keeps all processors busy; no more than 64 MiB of them are kept.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use lru::LruCache;

use crate::io::storage::Bucket;

/// Bytes of a block.
const BLOCK: u64 = 2 << 20;
/// Blocks that are kept.
const MAX_BLOCKS: NonZeroUsize = NonZeroUsize::new(32).expect("is not 0");
/// Blocks that are fetched ahead when two are read one behind the other.
const READ_AHEAD: u64 = 8;

type Fetch = Shared<BoxFuture<'static, Result<Arc<[u8]>, Arc<io::Error>>>>;

/// The blocks of the shards in a bucket.
pub(super) struct Blocks {
    bucket: Bucket,
    cache: Mutex<LruCache<(String, u64), Fetch>>,
}

impl Blocks {
    /// Those of a bucket, none of which is fetched.
    pub(super) fn of(bucket: Bucket) -> Self {
        Self { bucket, cache: Mutex::new(LruCache::new(MAX_BLOCKS)) }
    }

    /// A range of a shard's bytes.
    ///
    /// # Errors
    /// When they cannot be fetched or the shard ends before.
    pub(super) fn read(&self, shard: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for i in range.start / BLOCK..range.end.div_ceil(BLOCK) {
            let block = self.bucket.wait(self.block(shard, i)).map_err(|error| {
                self.lock().pop(&(shard.to_owned(), i)); // the next to ask tries again
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

    /// A block that is there or on its way; with it come the next ones when the one before was read.
    fn block(&self, shard: &str, i: u64) -> Fetch {
        let mut cache = self.lock();
        let follows = i > 0 && cache.contains(&(shard.to_owned(), i - 1));
        for ahead in (i + 1..=i + READ_AHEAD).rev().filter(|_| follows) {
            drop(self.fetch(&mut cache, shard, ahead)); // it goes on by itself
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
