//! The pictures of a manifest and what was decided on them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::LatLng;
use serde::{Deserialize, Serialize};

use crate::photos::archive::Answer;
use crate::photos::archive::decisions::{Decided, Decision, Decisions};
use crate::photos::archive::manifest::{Header, Record, read_manifest};
use crate::photos::exif::{Geotag, GeotagSource};
use crate::photos::geotag::{GeotagOptions, GeotagSummary, Geotagger};

/// The pictures that can be reviewed, numbered in the order of their paths.
#[derive(Debug)]
pub(crate) struct Collection {
    header: Header,
    pictures: Vec<Picture>,
    decisions: Decisions,
    /// Pictures that state a position themselves, which are not shown.
    have_location: usize,
    /// Pictures that could not be located.
    failed: usize,
}

#[derive(Debug)]
struct Picture {
    path: String,
    answer: Answer,
    same_as: Option<String>,
}

/// What is decided on a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Open,
    Accepted,
    Corrected,
}

/// A picture on the map: number, latitude, longitude, probability of the answer's circle, and status.
pub(super) type Dot = (usize, f64, f64, f64, Status);

/// What the page shows of a picture.
#[derive(Debug, Serialize)]
pub(super) struct Details<'a> {
    id: usize,
    path: &'a str,
    same_as: Option<&'a str>,
    #[serde(flatten)]
    answer: &'a Answer,
    /// The confirmed location.
    confirmed: Option<Decision>,
    status: Status,
}

/// A part of the map: degrees, over the date line if `west` is greater than `east`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Bounds {
    south: f64,
    west: f64,
    north: f64,
    east: f64,
}

impl Bounds {
    fn contains(&self, at: LatLng) -> bool {
        let is_between = match self.west <= self.east {
            true => (self.west..=self.east).contains(&at.lng),
            false => at.lng >= self.west || at.lng <= self.east,
        };
        is_between && (self.south..=self.north).contains(&at.lat)
    }
}

impl Collection {
    /// Reads a manifest and the decisions on it.
    ///
    /// # Errors
    /// When one of the two cannot be read, or there is nothing to review.
    pub(crate) fn open(manifest: &Path) -> Result<Self> {
        let (header, records) = read_manifest(manifest)?;
        let has_location = |record: &&Record| record.answer.is_some() && record.has_location;
        let have_location = records.iter().filter(has_location).count();
        let failed = records.iter().filter(|record| record.answer.is_none()).count();
        let picture = |record: Record| {
            let answer = record.answer.filter(|_| !record.has_location)?;
            Some(Picture { path: record.path, answer, same_as: record.same_as })
        };
        let pictures: Vec<Picture> = records.into_iter().filter_map(picture).collect();
        if pictures.is_empty() {
            return Err(usage_error(format!(
                "{}: no picture to review: {have_location} have a position already, {failed} could not be located",
                manifest.display()
            )));
        }
        let decisions = Decisions::open(manifest)?;
        Ok(Self { header, pictures, decisions, have_location, failed })
    }

    pub(crate) fn len(&self) -> usize {
        self.pictures.len()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.header.root
    }

    /// Number of pictures with a confirmed location.
    pub(crate) fn decided(&self) -> usize {
        self.pictures.iter().filter(|picture| self.decisions.of(&picture.path).is_some()).count()
    }

    pub(super) fn bundle(&self) -> &str {
        &self.header.bundle
    }

    pub(super) fn left_out(&self) -> (usize, usize) {
        (self.have_location, self.failed)
    }

    pub(super) fn undoable(&self) -> usize {
        self.decisions.undoable()
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.pictures.iter().map(|picture| picture.path.as_str())
    }

    pub(super) fn file(&self, id: usize) -> Option<PathBuf> {
        self.pictures.get(id).map(|picture| self.header.root.join(&picture.path))
    }

    pub(super) fn dots(&self) -> Vec<Dot> {
        (0..self.pictures.len()).map(|id| self.dot(id)).collect()
    }

    fn dot(&self, id: usize) -> Dot {
        let Picture { path, answer, .. } = &self.pictures[id];
        let decision = self.decisions.of(path);
        let at = decision.map_or(answer.at, |decision| decision.at);
        (id, at.lat, at.lng, answer.p, status(decision))
    }

    pub(super) fn details(&self, id: usize) -> Option<Details<'_>> {
        let Picture { path, answer, same_as } = self.pictures.get(id)?;
        let confirmed = self.decisions.of(path);
        Some(Details { id, path, same_as: same_as.as_deref(), answer, confirmed, status: status(confirmed) })
    }

    /// Accepts the answers of pictures on which nothing was decided. Returns these pictures.
    ///
    /// # Errors
    /// When the decision cannot be written.
    pub(super) fn accept(&mut self, ids: &[usize]) -> Result<Vec<Dot>> {
        let is_open = |id: &&usize| self.pictures.get(**id).is_some_and(|it| self.decisions.of(&it.path).is_none());
        let ids: Vec<usize> = ids.iter().filter(is_open).copied().collect();
        let decided = |id: &usize| {
            let Picture { path, answer, .. } = &self.pictures[*id];
            Decided { path: path.clone(), decision: Decision { at: answer.at, is_corrected: false } }
        };
        let decided: Vec<Decided> = ids.iter().map(decided).collect();
        self.decisions.decide(decided)?;
        Ok(ids.into_iter().map(|id| self.dot(id)).collect())
    }

    /// Accepts the answers in a part of the map of at least this probability.
    ///
    /// # Errors
    /// As [`Collection::accept`].
    pub(super) fn accept_in(&mut self, bounds: Bounds, min_p: f64) -> Result<Vec<Dot>> {
        let is_in = |picture: &Picture| bounds.contains(picture.answer.at) && picture.answer.p >= min_p;
        let ids: Vec<usize> =
            self.pictures.iter().enumerate().filter(|(_, picture)| is_in(picture)).map(|(id, _)| id).collect();
        self.accept(&ids)
    }

    /// Sets the location of a picture.
    ///
    /// # Errors
    /// As [`Collection::accept`].
    pub(super) fn correct(&mut self, id: usize, at: LatLng) -> Result<Vec<Dot>> {
        let Some(picture) = self.pictures.get(id) else { return Ok(Vec::new()) };
        let decision = Decision { at, is_corrected: true };
        self.decisions.decide(vec![Decided { path: picture.path.clone(), decision }])?;
        Ok(vec![self.dot(id)])
    }

    /// Takes the last decision back. Returns the pictures that it was on.
    ///
    /// # Errors
    /// As [`Collection::accept`].
    pub(super) fn undo(&mut self) -> Result<Vec<Dot>> {
        let paths: std::collections::HashSet<String> = self.decisions.undo()?.into_iter().collect();
        let ids = (0..self.pictures.len()).filter(|id| paths.contains(&self.pictures[*id].path));
        Ok(ids.map(|id| self.dot(id)).collect())
    }

    /// The confirmed locations, for [`write_confirmed`].
    pub(crate) fn confirmed(&self) -> Vec<Confirmed> {
        let confirmed = |picture: &Picture| {
            let decision = self.decisions.of(&picture.path)?;
            let error_m = (!decision.is_corrected).then_some(picture.answer.radius_km.p90 * 1000.0);
            Some(Confirmed { path: picture.path.clone(), decision, error_m })
        };
        self.pictures.iter().filter_map(confirmed).collect()
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }
}

/// A confirmed location of a picture.
pub(crate) struct Confirmed {
    path: String,
    decision: Decision,
    error_m: Option<f64>,
}

/// Writes confirmed locations. Returns what was written and what went wrong.
pub(crate) fn write_confirmed(
    header: &Header,
    confirmed: &[Confirmed],
    options: GeotagOptions,
) -> (GeotagSummary, Vec<String>) {
    let mut geotagger = Geotagger::new(options);
    let mut problems = Vec::new();
    for Confirmed { path, decision, error_m } in confirmed {
        let source = if decision.is_corrected { GeotagSource::Corrected } else { GeotagSource::Accepted };
        let geotag = Geotag { at: decision.at, error_m: *error_m, bundle: &header.bundle, source };
        problems.extend(geotagger.add(&header.root.join(path), Path::new(path), &geotag, None));
    }
    (geotagger.summary().clone(), problems)
}

fn status(decision: Option<Decision>) -> Status {
    match decision {
        None => Status::Open,
        Some(Decision { is_corrected: false, .. }) => Status::Accepted,
        Some(Decision { is_corrected: true, .. }) => Status::Corrected,
    }
}
