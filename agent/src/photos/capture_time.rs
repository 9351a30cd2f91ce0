//! When and with which camera a photo was taken, according to its EXIF data.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeZone, Utc};
use exif::{Exif, In, Tag, Value};
use landfall_model::metadata::Metadata;
use serde::{Deserialize, Serialize};

/// What EXIF data says of the time at which a photo was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureTime {
    /// The time of a GPS receiver, or a local time with its offset from UTC.
    Known(DateTime<Utc>),
    /// A local time of unknown offset.
    Local(NaiveDateTime),
}

/// The times and the camera of a photo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shot {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc: Option<DateTime<Utc>>,
    /// The local time that the camera's clock showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<NaiveDateTime>,
    /// Make, model and serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
}

impl Shot {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let shots = metadata.exif.iter().filter_map(|block| read_exif(block.clone())).map(|exif| {
            let (local, with_offset) = camera_times(&exif).unzip();
            let camera = [Tag::Make, Tag::Model, Tag::BodySerialNumber].map(|tag| text(&exif, tag).unwrap_or_default());
            let camera = camera.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect::<Vec<_>>();
            let camera = (!camera.is_empty()).then(|| camera.join(" "));
            Self { utc: gps_time(&exif).or(with_offset.flatten()), local, camera }
        });
        shots.into_iter().find(|shot| shot.utc.is_some() || shot.local.is_some()).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the time from the EXIF data of a file; `None` if it has none, or cannot be read.
pub(crate) fn capture_time(file: &Path) -> Option<CaptureTime> {
    capture_time_in(&mut BufReader::new(File::open(file).ok()?))
}

/// As [`capture_time`], of an image in memory or elsewhere.
pub(crate) fn capture_time_in(image: &mut (impl BufRead + Seek)) -> Option<CaptureTime> {
    let metadata = Metadata::read(image).ok()?;
    let Shot { utc, local, .. } = Shot::of(&metadata);
    utc.map(CaptureTime::Known).or(local.map(CaptureTime::Local))
}

fn read_exif(block: Vec<u8>) -> Option<Exif> {
    let mut reader = exif::Reader::new();
    reader.continue_on_error(true);
    reader.read_raw(block).or_else(|error| error.distill_partial_result(|_| {})).ok()
}

/// `GPSDateStamp` and `GPSTimeStamp`, which are in UTC.
fn gps_time(exif: &Exif) -> Option<DateTime<Utc>> {
    let date = date(&text(exif, Tag::GPSDateStamp)?)?;
    let Value::Rational(time) = &exif.get_field(Tag::GPSTimeStamp, In::PRIMARY)?.value else { return None };
    let number = |i: usize| time.get(i).map(exif::Rational::to_f64).filter(|number| (0.0..=60.0).contains(number));
    let (hour, minute, second) = (number(0)?, number(1)?, number(2)?);
    Some(date.and_hms_opt(hour as u32, minute as u32, (second as u32).min(59))?.and_utc())
}

/// `DateTimeOriginal`, and in UTC if it has an offset.
fn camera_times(exif: &Exif) -> Option<(NaiveDateTime, Option<DateTime<Utc>>)> {
    let text_of_time = text(exif, Tag::DateTimeOriginal)?;
    let (day, time) = text_of_time.split_once(' ')?;
    let (day, mut time) = (date(day)?, time.split(':').map(|part| part.trim().parse::<u32>().ok()));
    let local = day.and_hms_opt(time.next()??, time.next()??, time.next().flatten().unwrap_or(0).min(59))?;
    let offset = text(exif, Tag::OffsetTimeOriginal).and_then(|text| text.trim().parse::<FixedOffset>().ok());
    let known = offset.and_then(|offset| offset.from_local_datetime(&local).single());
    Some((local, known.map(|known| known.to_utc())))
}

fn text(exif: &Exif, tag: Tag) -> Option<String> {
    match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(texts) => texts.first().map(|text| String::from_utf8_lossy(text).into_owned()),
        _ => None,
    }
}

/// A date as EXIF writes it, `2024:06:01`, or as some programs do, `2024-06-01`.
fn date(text: &str) -> Option<NaiveDate> {
    let mut parts = text.trim().split([':', '-']);
    let (year, month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    // Cameras whose clock was never set.
    NaiveDate::from_ymd_opt(year, month, day).filter(|_| year > 1825)
}

/// A time that a user states: RFC 3339, or without an offset in UTC, with or without seconds.
///
/// # Errors
/// When the text is not a time.
pub(crate) fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let local = text.trim_end_matches(['Z', 'z']).replace(' ', "T");
    let forms = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"];
    let time = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(&local, form).ok());
    time.map(|time| time.and_utc())
        .ok_or_else(|| format!("`{text}` is not a time in UTC: write it as in 2024-06-01T12:30Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use exif::experimental::Writer;
    use exif::{Field, Rational};

    fn field(tag: Tag, value: Value) -> Field {
        Field { tag, ifd_num: In::PRIMARY, value }
    }

    fn ascii(tag: Tag, text: &str) -> Field {
        field(tag, Value::Ascii(vec![text.as_bytes().to_vec()]))
    }

    /// What is read from a file with these fields.
    fn read(fields: &[Field]) -> Option<CaptureTime> {
        let mut writer = Writer::new();
        fields.iter().for_each(|field| writer.push_field(field));
        let mut tiff = std::io::Cursor::new(Vec::new());
        writer.write(&mut tiff, false).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tif");
        std::fs::write(&file, tiff.into_inner()).unwrap();
        capture_time(&file)
    }

    fn utc(text: &str) -> CaptureTime {
        CaptureTime::Known(parse_time(text).unwrap())
    }

    #[test]
    fn times_are_read_as_cameras_and_phones_write_them() {
        let original = |text: &str| ascii(Tag::DateTimeOriginal, text);
        let seconds = |n: u32| Rational { num: n, denom: 1 };
        let gps = [
            ascii(Tag::GPSDateStamp, "2024:06:01"),
            field(Tag::GPSTimeStamp, Value::Rational(vec![seconds(10), seconds(30), seconds(5)])),
        ];
        assert_eq!(read(&gps), Some(utc("2024-06-01T10:30:05Z")));
        let with_offset = [original("2024:06:01 12:30:05"), ascii(Tag::OffsetTimeOriginal, "+02:00")];
        assert_eq!(read(&with_offset), Some(utc("2024-06-01T10:30:05Z")));
        let local = parse_time("2024-06-01T12:30:05").unwrap().naive_utc();
        assert_eq!(read(&[original("2024:06:01 12:30:05")]), Some(CaptureTime::Local(local)));
        // A receiver without a date.
        assert_eq!(read(&[gps[1].clone(), original("2024:06:01 12:30:05")]), Some(CaptureTime::Local(local)));
        for unset in ["0000:00:00 00:00:00", "    :  :     :  :  ", "2024:13:01 12:00:00", "soon"] {
            assert_eq!(read(&[original(unset)]), None, "{unset}");
        }
    }

    #[test]
    fn a_stated_time_is_in_utc_unless_it_has_an_offset() {
        for text in ["2024-06-01T10:30:00Z", "2024-06-01T12:30:00+02:00", "2024-06-01 10:30", "2024-06-01T10:30Z"] {
            assert_eq!(parse_time(text).unwrap().to_rfc3339(), "2024-06-01T10:30:00+00:00", "{text}");
        }
        for text in ["", "noon", "2024-06-01", "2024-06-31T10:00Z", "10:30"] {
            assert!(parse_time(text).unwrap_err().contains("is not a time in UTC"), "{text}");
        }
    }
}
