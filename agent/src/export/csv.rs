//! CSV with a header row and decimal points, independent of the locale.

use anyhow::{Context, Result};
use landfall_common::exit::environment_error;
use serde_json::Value;

use crate::export::ExportTable;

pub(super) fn write(table: &ExportTable) -> Result<String> {
    let failed = || environment_error("the table cannot be written as CSV");
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["name", "lat", "lng"].into_iter().chain(table.columns.iter().copied());
    writer.write_record(header).with_context(failed)?;
    for row in &table.rows {
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) if is_formula(text) => format!("'{text}"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let fields = [defuse_formula(&row.name), row.at.lat.to_string(), row.at.lng.to_string()];
        writer.write_record(fields.into_iter().chain(row.values.iter().map(text))).with_context(failed)?;
    }
    Ok(String::from_utf8(writer.into_inner().map_err(|error| error.into_error()).with_context(failed)?)?)
}

/// Prefixes a path with `./` if spreadsheets would interpret it as a formula.
fn defuse_formula(path: &str) -> String {
    if is_formula(path) { format!("./{path}") } else { path.to_owned() }
}

/// Whether spreadsheets would interpret a text as a formula (OWASP, "CSV Injection").
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\n'])
}

#[cfg(test)]
mod tests {
    use crate::export::tests::hostile_table;

    #[test]
    fn written_values_can_be_read_back() {
        let text = crate::export::csv::write(&hostile_table()).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        let value = |column: &str| &rows[0][header.iter().position(|name| name == column).unwrap()];
        assert_eq!(rows.len(), 1);
        assert_eq!(value("name"), "./=1+\u{1}<script>\"&'\n,");
        assert_eq!((value("lng"), value("truth_lng"), value("page_score")), ("179", "-179.0", ""));
        assert_eq!((value("place"), value("map")), ("<b>near</b> \"Lyon\", France", "'=HYPERLINK()"));
    }
}
