//! GeoJSON (RFC 7946): a point per prediction; for rounds also the truth and the great circle between the two.

use landfall_common::text::escape_json;
use landfall_model::LatLng;
use serde_json::{Map, Value, json};

use crate::export::line::great_circle;
use crate::export::{ExportRow, ExportTable};

pub(super) fn write(table: &ExportTable) -> String {
    let features: Vec<Value> = table.rows.iter().flat_map(|row| features(row, table.columns)).collect();
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
    let mut features = vec![feature("guess", point(row.at), values)];
    if let Some(truth) = row.truth {
        let lines = great_circle(truth, row.at);
        let line = json!({"type": "MultiLineString", "coordinates": lines});
        features.push(feature("truth", point(truth), Map::new()));
        features.push(feature("error", line, Map::new()));
    }
    features
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
