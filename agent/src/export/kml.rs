//! KML 2.2: a placemark per prediction; for rounds also the truth and the line to it.

use landfall_common::text::is_printable;
use landfall_model::LatLng;
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use crate::export::line::great_circle;
use crate::export::{ExportRow, ExportTable};

pub(super) fn write(table: &ExportTable) -> String {
    let kml = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        kml xmlns="http://www.opengis.net/kml/2.2" {
            Document {
                name { "Landfall" }
                @for row in &table.rows { (placemarks(row, &table.columns)) }
            }
        }
    };
    kml.into_string() + "\n"
}

fn placemarks(row: &ExportRow, columns: &[&str]) -> Markup {
    let name = replace_invalid_chars(&row.name);
    html! {
        Placemark {
            name { (name) @if row.rank > 1 { " (" (row.rank) ")" } }
            @if let Some(place) = &row.place { description { (replace_invalid_chars(place)) } }
            ExtendedData {
                @for (column, value) in columns.iter().zip(&row.values).filter(|(_, value)| !value.is_null()) {
                    Data name=(column) { value { @match value {
                        Value::String(text) => (replace_invalid_chars(text)),
                        other => (other.to_string()),
                    } } }
                }
            }
            Point { coordinates { (coordinates(row.at)) } }
        }
        @if let Some(truth) = row.truth {
            Placemark {
                name { (name) ": the truth" }
                Point { coordinates { (coordinates(truth)) } }
            }
            Placemark {
                name { (name) ": line to the truth" }
                MultiGeometry {
                    @for line in great_circle(truth, row.at) {
                        // Clamped to the ground, it follows the great circle.
                        LineString { tessellate { "1" } coordinates { (line_coordinates(&line)) } }
                    }
                }
            }
        }
    }
}

fn coordinates(at: LatLng) -> String {
    format!("{},{}", at.lng, at.lat)
}

fn line_coordinates(line: &[[f64; 2]]) -> String {
    line.iter().map(|[lng, lat]| format!("{lng},{lat}")).collect::<Vec<_>>().join(" ")
}

/// Replaces characters that are invalid in XML or could command a terminal.
fn replace_invalid_chars(text: &str) -> String {
    text.chars().map(|c| if c == '\t' || is_printable(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use crate::export::tests::hostile_table;

    #[test]
    fn names_are_escaped() {
        let kml = crate::export::kml::write(&hostile_table());
        assert!(kml.contains("<name>=1+\u{fffd}&lt;script&gt;&quot;&amp;'\n,</name>"), "{kml}");
        // Split at the date line.
        let lines: Vec<&str> = kml.split("<LineString>").skip(1).collect();
        assert!(lines.len() == 2 && lines[0].contains("<coordinates>-179,10 ") && lines[0].contains(" -180,"), "{kml}");
        assert!(lines[1].contains("<coordinates>180,") && lines[1].contains(" 179,10</coordinates>"), "{kml}");
        assert!(!kml.contains("<script"), "{kml}");
        assert!(kml.contains("<Data name=\"score\"><value>2269</value></Data>") && !kml.contains("page_score"));
    }
}
