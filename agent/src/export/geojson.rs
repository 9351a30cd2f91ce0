//! GeoJSON (RFC 7946): a point per prediction; for rounds also the truth and the great circle between the two, for photos
//! also credible regions if asked for.

use geo::orient::Direction;
use geo::{LineString, MultiPolygon, Orient, Polygon};
use landfall_common::text::escape_json;
use landfall_model::LatLng;
use serde_json::{Map, Value, json};

use crate::export::line::great_circle;
use crate::export::{ExportRow, ExportTable};
use crate::photos::regions::CredibleRegion;

pub(super) fn write(table: &ExportTable) -> String {
    let features: Vec<Value> = table.rows.iter().flat_map(|row| features(row, &table.columns)).collect();
    escape_json(&json!({"type": "FeatureCollection", "features": features}).to_string()) + "\n"
}

fn features(row: &ExportRow, columns: &[&str]) -> Vec<Value> {
    let feature = |kind: &str, geometry: Value, more: Map<String, Value>| {
        let mut properties = Map::from_iter([("name".to_owned(), json!(row.name)), ("kind".to_owned(), json!(kind))]);
        properties.extend(more);
        json!({"type": "Feature", "geometry": geometry, "properties": properties})
    };
    let point = |at: LatLng| json!({"type": "Point", "coordinates": [at.lng, at.lat]});
    let values = columns.iter().map(|column| (*column).to_owned()).zip(row.values.iter().cloned()).collect();
    let kind = if row.rank == 1 { "guess" } else { "candidate" };
    let mut features = vec![feature(kind, point(row.at), values)];
    for CredibleRegion { mass, outline } in &row.regions {
        let geometry = json!({"type": "MultiPolygon", "coordinates": coordinates(outline)});
        features.push(feature("region", geometry, Map::from_iter([("p".to_owned(), json!(mass))])));
    }
    if let Some(truth) = row.truth {
        let lines = great_circle(truth, row.at);
        let line = json!({"type": "MultiLineString", "coordinates": lines});
        features.push(feature("truth", point(truth), Map::new()));
        features.push(feature("error", line, Map::new()));
    }
    features
}

/// Coordinates in degrees with four decimals, which are 11 m. Outer rings run counter-clockwise.
fn coordinates(outline: &MultiPolygon<f64>) -> Vec<Vec<Vec<[f64; 2]>>> {
    let rounded = |degrees: f64| (degrees * 1e4).round() / 1e4;
    let ring = |ring: &LineString<f64>| ring.coords().map(|at| [rounded(at.x), rounded(at.y)]).collect::<Vec<_>>();
    let outline = outline.orient(Direction::Default);
    let rings =
        |polygon: &Polygon<f64>| std::iter::once(polygon.exterior()).chain(polygon.interiors()).map(ring).collect();
    outline.iter().map(rings).collect()
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
}
