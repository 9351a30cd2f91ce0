//! GeoJSON (RFC 7946): a point per prediction; for rounds also the truth and the great circle between the two.

use landfall_common::draw::geodesic;
use landfall_model::LatLng;
use serde_json::{Map, Value, json};

use crate::export::{ExportRow, ExportTable};

/// Distance in metres between the points of a line. The error of straight segments is less than a pixel of a world map.
const MAX_SEGMENT_M: f64 = 100_000.0;

pub(super) fn write(table: &ExportTable) -> String {
    let features: Vec<Value> = table.rows.iter().flat_map(|row| features(row, table.columns)).collect();
    json!({"type": "FeatureCollection", "features": features}).to_string() + "\n"
}

fn features(row: &ExportRow, columns: &[&str]) -> Vec<Value> {
    let feature = |kind: &str, geometry: Value, more: Map<String, Value>| {
        let mut properties = Map::from_iter([("name".to_owned(), json!(row.name)), ("kind".to_owned(), json!(kind))]);
        properties.extend(more);
        json!({"type": "Feature", "geometry": geometry, "properties": properties})
    };
    let point = |at: LatLng| json!({"type": "Point", "coordinates": [at.lng, at.lat]});
    let values = columns.iter().map(|column| (*column).to_owned()).zip(row.values.iter().cloned()).collect();
    let mut features = vec![feature("guess", point(row.at), values)];
    if let Some(truth) = row.truth {
        let lines = great_circle(truth, row.at);
        let line = json!({"type": "MultiLineString", "coordinates": lines});
        features.push(feature("truth", point(truth), Map::new()));
        features.push(feature("error", line, Map::new()));
    }
    features
}

/// The great circle as `[longitude, latitude]`, split in two where it crosses the date line.
fn great_circle(from: LatLng, to: LatLng) -> Vec<Vec<[f64; 2]>> {
    let steps = (from.distance_m(to) / MAX_SEGMENT_M).ceil().max(1.0) as usize;
    let mut line: Vec<LatLng> = geodesic::great_circle(from, to, steps).skip(1).collect();
    line.pop();
    line.push(to); // exact, without rounding errors
    let (mut segments, mut last) = (vec![vec![[from.lng, from.lat]]], from);
    for next in line {
        let turn = ((next.lng - last.lng) / 360.0).round() * 360.0;
        if turn != 0.0 {
            // The intersection of the segment with the meridian of 180 degrees.
            let edge = 180.0_f64.copysign(last.lng);
            let span = next.lng - turn - last.lng;
            let part = if span == 0.0 { 0.0 } else { (edge - last.lng) / span };
            let lat = last.lat + part * (next.lat - last.lat);
            segments.last_mut().into_iter().for_each(|line| line.push([edge, lat]));
            segments.push(vec![[-edge, lat]]);
        }
        segments.last_mut().into_iter().for_each(|line| line.push([next.lng, next.lat]));
        last = next;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::hostile_table;

    #[test]
    fn rounds_are_two_points_and_a_line() {
        let parsed: Value = serde_json::from_str(&write(&hostile_table())).unwrap();
        let features = parsed["features"].as_array().unwrap();
        assert_eq!(
            features.iter().map(|f| f["properties"]["kind"].as_str().unwrap()).collect::<Vec<_>>(),
            ["guess", "truth", "error"]
        );
        assert_eq!(features[0]["geometry"]["coordinates"], json!([179.0, 10.0]));
        assert_eq!(features[0]["properties"]["name"], "=1+\u{1}<script>\"&'\n,");
        // Across the date line: from -179 west to -180, and from 180 to 179.
        let lines = features[2]["geometry"]["coordinates"].as_array().unwrap();
        assert_eq!(lines.len(), 2);
        let end = |line: &Value, last: bool| {
            let line = line.as_array().unwrap();
            line[if last { line.len() - 1 } else { 0 }][0].as_f64().unwrap()
        };
        assert_eq!((end(&lines[0], false), end(&lines[0], true)), (-179.0, -180.0));
        assert_eq!((end(&lines[1], false), end(&lines[1], true)), (180.0, 179.0));
    }

    #[test]
    fn lines_are_great_circles() {
        let place = |lat, lng| LatLng::new(lat, lng).unwrap();
        let (from, to) = (place(51.5, -0.1), place(35.7, 139.7));
        let points: Vec<[f64; 2]> = great_circle(from, to).concat();
        let length: f64 = points.windows(2).map(|p| place(p[0][1], p[0][0]).distance_m(place(p[1][1], p[1][0]))).sum();
        assert!((length - from.distance_m(to)).abs() < 10.0, "{length}");
        assert_eq!(great_circle(from, from), [[[-0.1, 51.5], [-0.1, 51.5]]]);
    }
}
