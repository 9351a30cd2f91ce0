//! Rounds to play: read from `rounds/NAME/round.json`, or made from a folder of geotagged photos.

use anyhow::Result;

use crate::server::arena::options::RoundSource;
use crate::server::arena::round::RoundPool;
use crate::server::arena::{fixtures, photos};

/// The rounds of a source, in the order of their file names.
///
/// # Errors
/// When a fixture is broken or when there is no round at all.
pub(super) fn load(source: &RoundSource) -> Result<RoundPool> {
    match source {
        RoundSource::Fixtures(dir) => fixtures::load(dir),
        RoundSource::Photos(dir) => photos::load(dir),
    }
}
