//! Loads rounds from `rounds/NAME/round.json`, from a directory of geotagged photos or from the program.

use anyhow::Result;

use crate::server::arena::fixtures::NamedRound;
use crate::server::arena::options::RoundSource;
use crate::server::arena::round::RoundPool;
use crate::server::arena::{fixtures, photos};

/// The rounds of a source, sorted by file name.
///
/// # Errors
/// When a fixture is invalid or there are no rounds.
pub(super) fn load(source: &RoundSource) -> Result<RoundPool> {
    match source {
        RoundSource::Fixtures(dir) => fixtures::load(dir),
        RoundSource::Photos(dir) => photos::load(dir),
        #[cfg(feature = "embed")]
        RoundSource::Embedded => fixtures::embedded(),
    }
}

/// The rounds of a source with the names of their directories; photos have none.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_named(source: &RoundSource) -> Result<Vec<NamedRound>> {
    match source {
        RoundSource::Fixtures(dir) => fixtures::load_named(dir),
        RoundSource::Photos(_) => Ok(Vec::new()),
        #[cfg(feature = "embed")]
        RoundSource::Embedded => fixtures::embedded_named(),
    }
}
