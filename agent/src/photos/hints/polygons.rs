//! Areas in GeoJSON files (RFC 7946).

use std::path::Path;

use anyhow::{Context, Result};
use geo::{Contains, Coord, CoordsIter, LineString, Point, Polygon, Rect};
use geojson::{GeoJson, Geometry, GeometryValue, Position};
use landfall_common::exit::usage_error;
use landfall_common::fs::read_limited;
use landfall_model::LatLng;

use crate::photos::hints::area::rect_of;

/// Maximum size of a file.
const MAX_BYTES: u64 = 32 << 20;
/// Maximum number of vertices: each may have to be looked at for each of some hundred thousand locations.
const MAX_VERTICES: usize = 50_000;

/// Polygons with the rectangles around them.
#[derive(Debug)]
pub(crate) struct Polygons(Vec<(Rect<f64>, Polygon<f64>)>);

impl Polygons {
    pub(super) fn contains(&self, at: LatLng) -> bool {
        // Polygons over the date line may extend beyond ±180 degrees.
        [0.0, 360.0, -360.0].into_iter().any(|turn| {
            let point = Point::new(at.lng + turn, at.lat);
            self.0.iter().any(|(rect, polygon)| rect.contains(&point) && polygon.contains(&point))
        })
    }

    /// The southernmost and the northernmost latitude.
    pub(super) fn latitudes(&self) -> (f64, f64) {
        let around =
            |(south, north): (f64, f64), (rect, _): &(Rect<f64>, _)| (south.min(rect.min().y), north.max(rect.max().y));
        self.0.iter().fold((f64::INFINITY, f64::NEG_INFINITY), around)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Polygon<f64>> {
        self.0.iter().map(|(_, polygon)| polygon)
    }
}

/// The polygons of a file; what is not a polygon is left out.
///
/// # Errors
/// When the file cannot be read, is not GeoJSON, or has no polygons.
pub(super) fn read(file: &Path) -> Result<Polygons> {
    let bytes =
        read_limited(file, MAX_BYTES).with_context(|| usage_error(format!("cannot read {}", file.display())))?;
    let unusable = |reason: &str| usage_error(format!("{}: {reason}", file.display()));
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("not GeoJSON: it is not UTF-8"))?;
    let parsed: GeoJson = text.parse().map_err(|error| unusable(&format!("not GeoJSON: {error}")))?;
    parse(parsed).map_err(|reason| unusable(&reason))
}

fn parse(parsed: GeoJson) -> Result<Polygons, String> {
    let geometries: Vec<Geometry> = match parsed {
        GeoJson::Geometry(geometry) => vec![geometry],
        GeoJson::Feature(feature) => feature.geometry.into_iter().collect(),
        GeoJson::FeatureCollection(features) => features.features.into_iter().filter_map(|one| one.geometry).collect(),
    };
    let mut polygons = Vec::new();
    geometries.into_iter().try_for_each(|geometry| collect(geometry, &mut polygons))?;
    if polygons.is_empty() {
        return Err("it has no polygons".to_owned());
    }
    let vertices: usize = polygons.iter().map(CoordsIter::coords_count).sum();
    if vertices > MAX_VERTICES {
        return Err(format!("its polygons have {vertices} vertices, the limit is {MAX_VERTICES}: simplify them"));
    }
    let is_on_earth = |x: f64, y: f64| x.abs() <= 540.0 && y.abs() <= 90.0;
    if let Some(outside) = polygons.iter().flat_map(CoordsIter::coords_iter).find(|at| !is_on_earth(at.x, at.y)) {
        return Err(format!(
            "[{}, {}] is not a longitude and a latitude in degrees: the coordinates must be WGS 84",
            outside.x, outside.y
        ));
    }
    Ok(Polygons(polygons.into_iter().filter_map(|polygon| Some((rect_of(&polygon)?, polygon))).collect()))
}

fn collect(geometry: Geometry, polygons: &mut Vec<Polygon<f64>>) -> Result<(), String> {
    match geometry.value {
        GeometryValue::GeometryCollection { geometries } => {
            geometries.into_iter().try_for_each(|geometry| collect(geometry, polygons))
        }
        GeometryValue::Polygon { coordinates } => {
            polygons.push(polygon(&coordinates)?);
            Ok(())
        }
        GeometryValue::MultiPolygon { coordinates } => {
            coordinates.iter().try_for_each(|rings| polygon(rings).map(|polygon| polygons.push(polygon)))
        }
        _ => Ok(()),
    }
}

fn polygon(rings: &[Vec<Position>]) -> Result<Polygon<f64>, String> {
    let coord = |position: &Position| match position.as_slice() {
        [x, y, ..] => Ok(Coord { x: *x, y: *y }),
        _ => Err("a position has fewer than two numbers".to_owned()),
    };
    let ring = |positions: &Vec<Position>| positions.iter().map(coord).collect::<Result<LineString<f64>, String>>();
    let mut rings = rings.iter().map(ring).collect::<Result<Vec<_>, _>>()?.into_iter();
    let exterior = rings.next().filter(|ring| ring.0.len() > 2).ok_or("a polygon has fewer than three corners")?;
    Ok(Polygon::new(exterior, rings.collect()))
}

/// A point in a polygon: the mean of its corners if that lies in it, else the middle of a triangle of neighbouring ones,
/// of which a polygon without self-intersections always has two inside (G. H. Meisters, "Polygons Have Ears", 1975).
pub(super) fn point_inside(polygon: &Polygon<f64>) -> Option<Point<f64>> {
    let corners: Vec<Point<f64>> = polygon.exterior().points().skip(1).collect();
    let mean = |points: &[Point<f64>]| {
        let sum = points.iter().fold(Point::new(0.0, 0.0), |sum, point| sum + *point);
        sum / points.len().max(1) as f64
    };
    let triangles = corners.windows(3).map(mean);
    std::iter::once(mean(&corners)).chain(triangles).find(|point| polygon.contains(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Polygons, String> {
        parse(json.parse().map_err(|error: geojson::Error| error.to_string())?)
    }

    #[test]
    fn polygons_are_found_in_every_kind_of_geojson() {
        let square =
            r#"{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[0,10],[0,0]],[[4,4],[6,4],[6,6],[4,6],[4,4]]]}"#;
        let feature = format!(r#"{{"type":"Feature","properties":null,"geometry":{square}}}"#);
        let collection = format!(
            r#"{{"type":"GeometryCollection","geometries":[{{"type":"Point","coordinates":[50,50]}},{square}]}}"#
        );
        let features = format!(
            r#"{{"type":"FeatureCollection","features":[{{"type":"Feature","properties":{{}},"geometry":null}},{feature}]}}"#
        );
        for json in [square, &feature, &collection, &features] {
            let polygons = parsed(json).unwrap();
            let contains = |lat, lng| polygons.contains(LatLng::new(lat, lng).unwrap());
            assert!(contains(2.0, 1.0) && !contains(5.0, 5.0) && !contains(50.0, 50.0), "{json}");
            assert_eq!(polygons.latitudes(), (0.0, 10.0));
        }
    }

    #[test]
    fn polygons_may_extend_over_the_date_line() {
        let fiji = parsed(r#"{"type":"Polygon","coordinates":[[[176,-20],[183,-20],[183,-15],[176,-15],[176,-20]]]}"#);
        let fiji = fiji.unwrap();
        for (lng, is_inside) in [(179.0, true), (-178.0, true), (-176.0, false), (170.0, false)] {
            assert_eq!(fiji.contains(LatLng::new(-17.0, lng).unwrap()), is_inside, "{lng}");
        }
    }

    #[test]
    fn what_is_no_area_is_refused() {
        for (json, reason) in [
            (r#"{"type":"Point","coordinates":[0,0]}"#, "no polygons"),
            (r#"{"type":"FeatureCollection","features":[]}"#, "no polygons"),
            (r#"{"type":"Polygon","coordinates":[[[500000,0],[500010,0],[500010,10],[500000,0]]]}"#, "WGS 84"),
            (r#"{"type":"Polygon","coordinates":[[[1],[2],[3],[1]]]}"#, "fewer than two numbers"),
            (r#"{"type":"MultiPolygon","coordinates":[[[[0,0],[1,1]]]]}"#, "fewer than three corners"),
            ("{}", "type"),
        ] {
            let error = parsed(json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }

    #[test]
    fn a_point_inside_is_found_in_a_ring() {
        let horseshoe =
            r#"{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[8,10],[8,2],[2,2],[2,10],[0,10],[0,0]]]}"#;
        let polygons = parsed(horseshoe).unwrap();
        let polygon = polygons.iter().next().unwrap();
        assert!(polygon.contains(&point_inside(polygon).unwrap()));
    }
}
