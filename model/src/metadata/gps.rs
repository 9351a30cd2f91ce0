//! The position at which a photo was taken, according to its metadata. All commands use this one, so that they agree on
//! which photos have a position.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use exif::{Exif, Tag, Value};

use super::{Metadata, xmp};
use crate::error::{Error, Result};
use crate::latlng::LatLng;

/// Why metadata with a position has none that can be used.
type Reason = String;

/// The position in the EXIF or XMP data of an image file; `None` if it has none.
///
/// Writers take liberties with the standard. What ExifTool, phones and browsers read is read here too: signed numbers,
/// one or two numbers instead of three, reference letters in lower case, blank or spelled out, `0/0` seconds, and data
/// with damaged fields beside the position.
///
/// # Errors
/// When the file cannot be read, or its position is invalid or that of a camera without a GPS fix.
pub fn position(file: &Path) -> Result<Option<LatLng>> {
    let error = |reason| Error::Exif { file: file.to_owned(), reason };
    let open = File::open(file).map_err(|e| error(format!("cannot be read: {e}")))?;
    position_in(&mut BufReader::new(open)).map_err(error)
}

/// As [`position`], of an open file.
///
/// # Errors
/// The reason, as a message.
pub fn position_in(reader: &mut (impl BufRead + Seek)) -> std::result::Result<Option<LatLng>, String> {
    let metadata = Metadata::read(reader).map_err(|e| format!("cannot be read: {e}"))?;
    let mut unusable = None;
    let exif = metadata.exif.into_iter().map(of_exif);
    for found in exif.chain(metadata.xmp.iter().map(|packet| of_xmp(packet))) {
        match found {
            Ok(Some(at)) => return Ok(Some(at)),
            Ok(None) => {}
            Err(reason) => unusable = unusable.or(Some(reason)),
        }
    }
    unusable.map_or(Ok(None), Err)
}

/// Coordinates that a device or a table states. Unlike [`LatLng::new`], this does not wrap longitudes, and it refuses
/// 0, 0, which stands for a missing position: nobody takes photos there.
///
/// # Errors
/// The reason, as a message.
pub fn plausible(lat: f64, lng: f64) -> std::result::Result<LatLng, String> {
    if (lat, lng) == (0.0, 0.0) {
        return Err("the position is 0, 0, which stands for a missing position".into());
    }
    if !(-90.0..=90.0).contains(&lat) {
        return Err(format!("the latitude {lat} is not between -90 and 90"));
    }
    if !(-180.0..=180.0).contains(&lng) {
        return Err(format!("the longitude {lng} is not between -180 and 180"));
    }
    LatLng::new(lat, lng).map_err(|e| e.to_string())
}

fn both(lat: Option<f64>, lng: Option<f64>) -> std::result::Result<Option<LatLng>, Reason> {
    match (lat, lng) {
        (Some(lat), Some(lng)) => plausible(lat, lng).map(Some),
        (None, None) => Ok(None),
        _ => Err("the position has a latitude or a longitude but not both".into()),
    }
}

fn of_exif(block: Vec<u8>) -> std::result::Result<Option<LatLng>, Reason> {
    let mut tolerant = exif::Reader::new();
    tolerant.continue_on_error(true);
    let exif = tolerant.read_raw(block).or_else(|error| error.distill_partial_result(|_| {}));
    let exif = exif.map_err(|error| format!("the EXIF data is invalid ({error})"))?;
    let lat = exif_degrees(&exif, Tag::GPSLatitude, Tag::GPSLatitudeRef, ['N', 'S'])?;
    let lng = exif_degrees(&exif, Tag::GPSLongitude, Tag::GPSLongitudeRef, ['E', 'W'])?;
    both(lat, lng)
}

/// Signed degrees from the numbers of a GPS tag and the reference letter that states the sign.
fn exif_degrees(exif: &Exif, tag: Tag, reference: Tag, letters: [char; 2]) -> std::result::Result<Option<f64>, Reason> {
    let find = |tag: Tag| exif.fields().find(|field| field.tag == tag).map(|field| &field.value);
    let Some(value) = find(tag) else { return Ok(None) };
    let parts = numbers(value).ok_or_else(|| format!("EXIF {tag} does not consist of numbers"))?;
    let (Some(Part::Number(_)), ..=3) = (parts.first(), parts.len()) else {
        return Err(match parts.len() {
            1..=3 => format!("EXIF {tag} divides by zero"),
            n => format!("EXIF {tag} has {n} numbers instead of degrees, minutes and seconds"),
        });
    };
    let parts = parts.iter().map(|part| match part {
        Part::Number(number) => Ok(*number),
        Part::Absent => Ok(0.0),
        Part::Infinite => Err(format!("EXIF {tag} divides by zero")),
    });
    let parts: Vec<f64> = parts.collect::<std::result::Result<_, _>>()?;
    let letter = match find(reference) {
        Some(Value::Ascii(lines)) => Some(first_letter(lines.iter().flatten())),
        Some(Value::Byte(bytes) | Value::Undefined(bytes, _)) => Some(first_letter(bytes)),
        _ => None,
    };
    match letter {
        // A negative number states the sign itself.
        None if !parts.iter().any(|part| *part < 0.0) => {
            Err(format!("EXIF {reference} is missing, so {tag} has no sign"))
        }
        None => Ok(Some(signed(&parts, None, letters))),
        Some(Some(letter)) if !letters.contains(&letter) => {
            Err(format!("EXIF {reference} is neither {} nor {}", letters[0], letters[1]))
        }
        Some(letter) => Ok(Some(signed(&parts, letter, letters))),
    }
}

/// A number of a GPS tag.
enum Part {
    Number(f64),
    /// `0/0`, with which some phones replace the seconds.
    Absent,
    Infinite,
}

fn numbers(value: &Value) -> Option<Vec<Part>> {
    let ratio = |num: f64, denom: f64| match denom == 0.0 {
        true if num == 0.0 => Part::Absent,
        true => Part::Infinite,
        false => Part::Number(num / denom),
    };
    let float = |number: f64| if number.is_finite() { Part::Number(number) } else { Part::Infinite };
    Some(match value {
        Value::Rational(v) => v.iter().map(|r| ratio(r.num.into(), r.denom.into())).collect(),
        Value::SRational(v) => v.iter().map(|r| ratio(r.num.into(), r.denom.into())).collect(),
        Value::Float(v) => v.iter().map(|number| float((*number).into())).collect(),
        Value::Double(v) => v.iter().map(|number| float(*number)).collect(),
        Value::Short(v) => v.iter().map(|number| float((*number).into())).collect(),
        Value::SShort(v) => v.iter().map(|number| float((*number).into())).collect(),
        Value::Long(v) => v.iter().map(|number| float((*number).into())).collect(),
        Value::SLong(v) => v.iter().map(|number| float((*number).into())).collect(),
        _ => return None,
    })
}

fn first_letter<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> Option<char> {
    let printed = bytes.into_iter().find(|byte| byte.is_ascii_graphic());
    printed.map(|byte| char::from(*byte).to_ascii_uppercase())
}

/// Degrees from degrees, minutes and seconds. The reference letter decides the sign; without one, the numbers do.
fn signed(parts: &[f64], letter: Option<char>, letters: [char; 2]) -> f64 {
    let degrees: f64 = parts.iter().zip([1.0, 60.0, 3600.0]).map(|(part, divisor)| part.abs() / divisor).sum();
    let is_negative = letter.map_or_else(|| parts.iter().any(|part| *part < 0.0), |letter| letter == letters[1]);
    if is_negative { -degrees } else { degrees }
}

fn of_xmp(packet: &[u8]) -> std::result::Result<Option<LatLng>, Reason> {
    let read = |properties: &xmp::Properties<'_, '_>| {
        let degrees = |name: &str, letters: [char; 2]| {
            let text = properties.get(xmp::EXIF, name).filter(|text| !text.is_empty());
            let invalid = || format!("XMP exif:{name} is not a coordinate, such as 48,51.5{}", letters[0]);
            text.map(|text| xmp_degrees(text, letters).ok_or_else(invalid)).transpose()
        };
        both(degrees("GPSLatitude", ['N', 'S'])?, degrees("GPSLongitude", ['E', 'W'])?)
    };
    xmp::with_properties(packet, read).unwrap_or(Ok(None))
}

/// Degrees from `DDD,MM,SSk` or `DDD,MM.mmk`, where `k` is the reference letter. Other separators and signed degrees are
/// not valid but written by some programs.
fn xmp_degrees(text: &str, letters: [char; 2]) -> Option<f64> {
    let letter = text.chars().next_back().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_uppercase());
    if letter.is_some_and(|letter| !letters.contains(&letter)) {
        return None;
    }
    let is_of_number = |c: char| c.is_ascii_digit() || ['.', '-', '+'].contains(&c);
    let numbers = text.split(|c| !is_of_number(c)).filter(|number| !number.is_empty());
    let parts: Vec<f64> = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
    (1..=3).contains(&parts.len()).then(|| signed(&parts, letter, letters))
}
