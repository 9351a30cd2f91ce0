//! Where the photographer was shortly before or after a photo: other photos with a position, and a GPS track.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, TimeZone, Utc};
use landfall_common::exit::usage_error;
use landfall_common::fs::read_limited;
use landfall_model::LatLng;
use landfall_model::metadata::Metadata;
use landfall_model::metadata::gps;
use rayon::prelude::*;

use crate::photos::capture_time::Shot;
use crate::photos::hints::Hint;

/// Radius in kilometres of the circle around a position at the same time: GPS receivers and clocks are not exact.
const MIN_RADIUS_KM: f64 = 2.0;
/// By how much the radius grows with the time apart, in kilometres per minute: a car on a motorway.
const KM_PER_MINUTE: f64 = 2.0;
/// Maximum size of a track.
const MAX_TRACK_BYTES: u64 = 256 << 20;

/// A position at a time, UTC or local.
#[derive(Clone, Debug, PartialEq)]
struct Fix<T> {
    time: T,
    at: LatLng,
    /// The photo that states it; `None` for the track.
    photo: Option<String>,
}

/// Positions by time.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    window: TimeDelta,
    /// What photos without an offset from UTC are assumed to have.
    offset: Option<FixedOffset>,
    utc: Vec<Fix<DateTime<Utc>>>,
    /// For photos of which only the local time is known. They are compared as if taken in the same time zone.
    local: Vec<Fix<NaiveDateTime>>,
}

impl Neighbours {
    /// The positions of a track and of those photos, by their paths relative to `root`, that have one.
    ///
    /// # Errors
    /// When the track cannot be read.
    pub(crate) fn find(
        root: &Path,
        photos: &[String],
        window: TimeDelta,
        offset: Option<FixedOffset>,
        track: Option<&Path>,
    ) -> Result<Self> {
        let mut neighbours = Self { window, offset, ..Self::default() };
        if let Some(track) = track {
            neighbours.utc = read_track(track)?;
        }
        let located = photos.par_iter().filter_map(|path| {
            let (shot, at) = position_of(&root.join(path))?;
            Some((neighbours.with_offset(shot), at, path.clone()))
        });
        for (Shot { utc, local, .. }, at, path) in located.collect::<Vec<_>>() {
            neighbours.utc.extend(utc.map(|time| Fix { time, at, photo: Some(path.clone()) }));
            neighbours.local.extend(local.map(|time| Fix { time, at, photo: Some(path) }));
        }
        // By name as well, so that the answer does not depend on the order in which they were read.
        neighbours.utc.sort_by(|a, b| (a.time, &a.photo).cmp(&(b.time, &b.photo)));
        neighbours.local.sort_by(|a, b| (a.time, &a.photo).cmp(&(b.time, &b.photo)));
        Ok(neighbours)
    }

    fn with_offset(&self, shot: Shot) -> Shot {
        let assumed = || Some(self.offset?.from_local_datetime(&shot.local?).single()?.to_utc());
        Shot { utc: shot.utc.or_else(assumed), ..shot }
    }

    /// Where a photo was taken if the nearest position in time is within the window.
    pub(crate) fn hint(&self, shot: &Shot) -> Option<Hint> {
        let Shot { utc, local, .. } = self.with_offset(shot.clone());
        let by_utc = utc.and_then(|time| nearest(&self.utc, time, |a, b| a - b));
        // A photo whose time in UTC is known is compared by it, if there are others of which it is known.
        let found = match by_utc {
            None if utc.is_none() || self.utc.is_empty() => {
                local.and_then(|time| nearest(&self.local, time, |a, b| a - b))
            }
            found => found,
        };
        let (apart, at, photo) = found.filter(|(apart, ..)| *apart <= self.window)?;
        let minutes = apart.num_seconds() as f64 / 60.0;
        let radius_km = (MIN_RADIUS_KM + KM_PER_MINUTE * minutes).min(1000.0);
        let source = photo.as_deref().unwrap_or("the track");
        let text = format!("within {radius_km:.1} km of {source}, {minutes:.1} min apart");
        Hint::around(text, at, radius_km).ok()
    }
}

/// The fix that is nearest to a time, the earlier one of two, and how far apart it is.
fn nearest<T: Copy + Ord>(
    fixes: &[Fix<T>],
    time: T,
    apart: impl Fn(T, T) -> TimeDelta,
) -> Option<(TimeDelta, LatLng, &Option<String>)> {
    let after = fixes.partition_point(|fix| fix.time < time);
    let near = fixes[..after].last().into_iter().chain(fixes.get(after));
    near.map(|fix| (apart(fix.time, time).abs(), fix.at, &fix.photo)).min_by_key(|(apart, ..)| *apart)
}

/// The position and the times of a photo, if it has both.
fn position_of(photo: &Path) -> Option<(Shot, LatLng)> {
    let at = gps::position(photo).ok()??;
    let metadata = Metadata::read(&mut BufReader::new(File::open(photo).ok()?)).ok()?;
    Some((Shot::of(&metadata), at))
}

/// The points of a GPX track that have a time.
fn read_track(file: &Path) -> Result<Vec<Fix<DateTime<Utc>>>> {
    let unusable = |reason: String| usage_error(format!("{}: {reason}", file.display()));
    let bytes = read_limited(file, MAX_TRACK_BYTES).with_context(|| usage_error("cannot use the track"))?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("not a GPX file: it is not UTF-8".to_owned()))?;
    let document = roxmltree::Document::parse(text.trim_start_matches('\u{feff}'))
        .map_err(|error| unusable(format!("not a GPX file: {error}")))?;
    if document.root_element().tag_name().name() != "gpx" {
        return Err(unusable("not a GPX file: its root element is not `gpx`".to_owned()));
    }
    let fix = |point: roxmltree::Node<'_, '_>| {
        let number = |name: &str| point.attribute(name)?.trim().parse::<f64>().ok();
        let time = point.children().find(|child| child.tag_name().name() == "time")?.text()?;
        let time = DateTime::parse_from_rfc3339(time.trim()).ok()?.to_utc();
        Some(Fix { time, at: gps::plausible(number("lat")?, number("lon")?).ok()?, photo: None })
    };
    // GPX 1.0 and 1.1 have different namespaces.
    let points = document.descendants().filter(|node| node.tag_name().name() == "trkpt");
    let fixes: Vec<_> = points.filter_map(fix).collect();
    if fixes.is_empty() {
        return Err(unusable("it has no track points with a time".to_owned()));
    }
    Ok(fixes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photos::capture_time::parse_time;

    const TRACK: &str = r#"<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1"><trk><trkseg>
        <trkpt lat="45.0" lon="7.0"><ele>3</ele><time>2024-06-01T10:00:00Z</time></trkpt>
        <trkpt lat="45.5" lon="7.5"><time>2024-06-01T12:20:00+02:00</time></trkpt>
        <trkpt lat="46.0" lon="8.0"/>
        <trkpt lat="97.0" lon="8.0"><time>2024-06-01T10:30:00Z</time></trkpt></trkseg></trk></gpx>"#;

    fn neighbours(track: &str, offset: Option<&str>) -> Result<Neighbours> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("track.gpx");
        std::fs::write(&file, track).unwrap();
        let offset = offset.map(|offset| offset.parse().unwrap());
        Neighbours::find(dir.path(), &[], TimeDelta::minutes(30), offset, Some(&file))
    }

    fn local(time: &str) -> Shot {
        Shot { local: Some(parse_time(time).unwrap().naive_utc()), ..Shot::default() }
    }

    #[test]
    fn the_nearest_point_of_a_track_counts_and_the_circle_grows_with_the_time() {
        let found = neighbours(TRACK, None).unwrap();
        let hint = |time: &str| {
            let shot = Shot { utc: Some(parse_time(time).unwrap()), ..Shot::default() };
            found.hint(&shot).map(|hint| hint.text)
        };
        assert_eq!(hint("2024-06-01T10:06Z").unwrap(), "within 14.0 km of the track, 6.0 min apart");
        assert_eq!(hint("2024-06-01T10:20Z").unwrap(), "within 2.0 km of the track, 0.0 min apart");
        assert_eq!(hint("2024-06-01T10:51Z"), None);
        assert_eq!(hint("2024-06-01T09:29Z"), None);
    }

    #[test]
    fn a_local_time_needs_an_offset_for_a_track() {
        assert!(neighbours(TRACK, None).unwrap().hint(&local("2024-06-01T12:00")).is_none());
        let hint = neighbours(TRACK, Some("+02:00")).unwrap().hint(&local("2024-06-01T12:00")).unwrap();
        assert_eq!(hint.text, "within 2.0 km of the track, 0.0 min apart");
    }

    #[test]
    fn local_times_are_compared_among_photos() {
        let time = local("2024-06-01T12:00").local.unwrap();
        let fix = Fix { time, at: LatLng { lat: 45.0, lng: 7.0 }, photo: Some("a.jpg".into()) };
        let neighbours = Neighbours { window: TimeDelta::minutes(30), local: vec![fix], ..Neighbours::default() };
        let hint = neighbours.hint(&local("2024-06-01T12:10")).unwrap();
        assert_eq!(hint.text, "within 22.0 km of a.jpg, 10.0 min apart");
        assert!(neighbours.hint(&local("2024-06-01T12:31")).is_none());
    }

    #[test]
    fn other_files_are_no_tracks() {
        for (text, reason) in [
            ("notes", "not a GPX file"),
            ("<kml/>", "its root element is not `gpx`"),
            ("<gpx><trkpt lat='1' lon='2'/></gpx>", "no track points with a time"),
        ] {
            let error = neighbours(text, None).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("track.gpx"), "{error}");
        }
    }
}
