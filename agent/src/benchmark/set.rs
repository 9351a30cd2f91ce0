//! The rounds of a benchmark: the fixtures, or those of a manifest.

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::{LatLng, countries};
use sha2::{Digest, Sha256};

use crate::benchmark::fetch;
use crate::benchmark::manifest::{ManifestRound, Source};
use crate::benchmark::pictures::sha256_hex;
use crate::server::arena::{ArenaRound, NamedRound, Picture, PictureKind, RoundSource, load_named};

/// Where the rounds come from.
#[derive(Clone, Debug)]
pub(crate) enum SetSource {
    Fixtures(RoundSource),
    Manifest { name: String, rounds: Vec<ManifestRound> },
}

/// A round with its truth.
#[derive(Clone, Debug)]
pub(crate) struct BenchRound {
    pub id: String,
    /// Code of the country that the truth is in.
    pub country: Option<String>,
    /// The truth and the first picture.
    pub first: ArenaRound,
    /// Heading of the first picture and further pictures of the place with theirs, in degrees, where they are known.
    pub heading: Option<f64>,
    pub further: Vec<(Picture, Option<f64>)>,
    /// Page that states author and licence.
    pub source: Option<String>,
}

impl BenchRound {
    pub(super) fn truth(&self) -> LatLng {
        self.first.truth
    }

    /// What identifies the round: change it, and it is another set.
    fn fingerprint(&self) -> Result<String> {
        let mut text = format!("{}\t{}\t{}", self.id, self.first.truth.lat, self.first.truth.lng);
        let pictures = std::iter::once(&self.first.picture).chain(self.further.iter().map(|(picture, _)| picture));
        for picture in pictures {
            let bytes = picture.read().map_err(|why| usage_error(format!("{picture}: cannot be read: {why}")))?;
            text += &format!("\t{}", sha256_hex(&bytes));
        }
        Ok(text)
    }
}

/// The rounds of a benchmark in the order in which they are played.
#[derive(Clone, Debug)]
pub(crate) struct RoundSet {
    pub name: String,
    /// Of identifiers, places and pictures of all rounds of the set, in hexadecimal.
    pub sha256: String,
    /// All of the set, or its first ones.
    pub rounds: Vec<BenchRound>,
}

impl RoundSet {
    /// Loads all rounds, or the first `limit` in the order of the set.
    ///
    /// # Errors
    /// When a round is invalid, or pictures were not fetched.
    pub(crate) fn load(source: &SetSource, limit: Option<usize>) -> Result<Self> {
        let (name, mut rounds) = match source {
            SetSource::Fixtures(source) => {
                ("fixtures".to_owned(), load_named(source)?.into_iter().map(from_fixture).collect::<Vec<_>>())
            }
            SetSource::Manifest { name, rounds } => {
                let rounds: Result<Vec<_>> = rounds.iter().map(from_manifest).collect();
                (name.clone(), rounds?)
            }
        };
        if rounds.is_empty() {
            return Err(usage_error(format!("the set {name} has no rounds")));
        }
        rounds.sort_by(|a, b| a.id.cmp(&b.id));
        let lines: Result<Vec<String>> = rounds.iter().map(BenchRound::fingerprint).collect();
        let sha256 = sha256_hex(lines?.join("\n").as_bytes());
        shuffle(&mut rounds, &sha256);
        let all = rounds.len();
        rounds.truncate(limit.unwrap_or(all));
        let name = if rounds.len() < all { format!("{name}, first {} of {all}", rounds.len()) } else { name };
        Ok(Self { name, sha256, rounds })
    }
}

/// Sorts by a hash of set and identifier: an arbitrary order that is the same everywhere and says nothing of the place.
fn shuffle(rounds: &mut [BenchRound], sha256: &str) {
    rounds.sort_by_cached_key(|round| {
        let mut hash = Sha256::new();
        hash.update(sha256);
        hash.update(&round.id);
        <[u8; 32]>::from(hash.finalize())
    });
}

fn from_fixture(NamedRound { id, country, round }: NamedRound) -> BenchRound {
    let country = country.or_else(|| country_at(round.truth));
    let heading = (round.kind == PictureKind::Panorama).then_some(0.0);
    BenchRound { id, country, heading, first: round, further: Vec::new(), source: None }
}

fn from_manifest(round: &ManifestRound) -> Result<BenchRound> {
    let mut views = round.views.iter().map(|view| {
        let file =
            fetch::cached(view)?.ok_or_else(|| usage_error(format!("{}: its pictures were not fetched", round.id)))?;
        anyhow::Ok((Picture::File(file), view.heading))
    });
    let (picture, heading) = views.next().ok_or_else(|| usage_error(format!("{} has no views", round.id)))??;
    let Source { author, licence, source } = &round.credits;
    Ok(BenchRound {
        id: round.id.clone(),
        country: round.country.clone().or_else(|| country_at(round.at)),
        heading,
        further: views.collect::<Result<_>>()?,
        first: ArenaRound {
            truth: round.at,
            picture,
            kind: PictureKind::Photo,
            heading: 0.0,
            name: Some(round.id.clone()),
            credits: Some(format!("Author: {author} · Licence: {licence}")),
            max_side: super::pictures::MAX_SIDE,
        },
        source: Some(source.clone()),
    })
}

pub(super) fn country_at(at: LatLng) -> Option<String> {
    countries::of(at).map(|country| country.iso2.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::path::Path;

    pub(crate) fn fixtures() -> SetSource {
        SetSource::Fixtures(RoundSource::Fixtures(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")))
    }

    #[test]
    fn the_order_depends_on_the_set_only_and_says_nothing() {
        let all = RoundSet::load(&fixtures(), None).unwrap();
        let ids = |set: &RoundSet| set.rounds.iter().map(|round| round.id.clone()).collect::<Vec<_>>();
        let mut sorted = ids(&all);
        assert_eq!(ids(&RoundSet::load(&fixtures(), None).unwrap()), sorted);
        sorted.sort();
        assert_ne!(ids(&all), sorted);
        let first = RoundSet::load(&fixtures(), Some(3)).unwrap();
        assert_eq!((&ids(&first)[..], &first.sha256), (&ids(&all)[..3], &all.sha256));
        assert!(first.name.starts_with("fixtures, first 3 of "), "{}", first.name);
        let mut other = all.rounds.clone();
        shuffle(&mut other, "another set");
        assert_ne!(other.iter().map(|round| round.id.clone()).collect::<Vec<_>>(), ids(&all));
    }
}
