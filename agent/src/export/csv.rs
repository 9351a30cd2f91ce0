//! CSV with a header row and decimal points, independent of the locale.

use anyhow::{Context, Result};
use csv::{QuoteStyle, WriterBuilder};
use landfall_common::exit::environment_error;
use landfall_common::text::is_printable;
use serde_json::Value;

use crate::export::ExportTable;

pub(super) fn write(table: &ExportTable) -> Result<String> {
    let header = ["name", "lat", "lng"].into_iter().chain(table.columns.iter().copied());
    let mut text = record(header.map(str::to_owned).collect())?;
    for row in &table.rows {
        let field = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) if is_formula(text) => format!("'{text}"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let fields = [defuse_formula(&row.name), row.at.lat.to_string(), row.at.lng.to_string()];
        text += &record(fields.into_iter().chain(row.values.iter().map(field)).collect())?;
    }
    Ok(text)
}

fn record(mut fields: Vec<String>) -> Result<String> {
    let failed = || environment_error("the table cannot be written as CSV");
    for field in &mut fields {
        *field = replace_controls(field);
    }
    // Some programs end a row at these too, unless they are quoted.
    let ends_line = |c: char| matches!(c, '\u{2028}' | '\u{2029}');
    let style =
        if fields.iter().any(|field| field.contains(ends_line)) { QuoteStyle::Always } else { QuoteStyle::Necessary };
    let mut writer = WriterBuilder::new().quote_style(style).from_writer(Vec::new());
    writer.write_record(&fields).with_context(failed)?;
    Ok(String::from_utf8(writer.into_inner().map_err(|error| error.into_error()).with_context(failed)?)?)
}

/// Replaces characters that could command a terminal in which the table is looked at.
fn replace_controls(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.chars().map(|c| if c == '\t' || is_printable(c) { c } else { '\u{fffd}' }).collect()
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
        assert_eq!(value("name"), "./=1+\u{fffd}<script>\"&'\n,");
        assert_eq!((value("lng"), value("truth_lng"), value("page_score")), ("179", "-179.0", ""));
        assert_eq!((value("place"), value("map")), ("<b>near</b> \"Lyon\", France", "'=HYPERLINK()"));
    }

    #[test]
    fn one_row_is_one_record_and_formulas_stay_neutralised() {
        let mut table = hostile_table();
        let names =
            ["São\u{2028}Paulo\r\nbreak", "\u{1b}]0;title\u{7}\u{9b}.jpg", "+1", "@x", "\tx", "-rf.jpg", "＝1", "a\tb"];
        table.rows =
            names.map(|name| crate::export::ExportRow { name: name.to_owned(), ..table.rows[0].clone() }).to_vec();
        let text = crate::export::csv::write(&table).unwrap();
        assert!(text.contains("\n\"São\u{2028}Paulo\nbreak\",\""), "{text}");
        let rows: Vec<csv::StringRecord> =
            csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap).collect();
        let read: Vec<&str> = rows.iter().map(|row| &row[0]).collect();
        let expected = [
            "São\u{2028}Paulo\nbreak",
            "\u{fffd}]0;title\u{fffd}\u{fffd}.jpg",
            "./+1",
            "./@x",
            "./\tx",
            "./-rf.jpg",
            "./＝1",
            "a\tb",
        ];
        assert_eq!(read, expected);
    }
}
