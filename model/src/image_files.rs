//! The GPS position of image files in EXIF.

use std::io::BufReader;
use std::path::Path;

use exif::{Exif, In, Tag, Value};

use crate::error::{Error, Result};
use crate::latlng::LatLng;

/// The GPS position in the EXIF data of an image; `None` if it has none.
///
/// # Errors
/// When the file cannot be read or its position is invalid.
pub fn gps_position(file: &Path) -> Result<Option<LatLng>> {
    position(file).map_err(|reason| Error::Exif { file: file.to_owned(), reason })
}

fn position(file: &Path) -> std::result::Result<Option<LatLng>, String> {
    let mut reader = BufReader::new(std::fs::File::open(file).map_err(|e| format!("cannot be read: {e}"))?);
    let exif = match exif::Reader::new().read_from_container(&mut reader) {
        Ok(exif) => exif,
        Err(exif::Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(format!("the EXIF data is invalid ({error})")),
    };
    let lat = degrees(&exif, Tag::GPSLatitude, Tag::GPSLatitudeRef, [b'N', b'S'])?;
    let lng = degrees(&exif, Tag::GPSLongitude, Tag::GPSLongitudeRef, [b'E', b'W'])?;
    match (lat, lng) {
        (Some(lat), Some(lng)) => LatLng::new(lat, lng).map(Some).map_err(|e| e.to_string()),
        (None, None) => Ok(None),
        _ => Err("the EXIF position has a latitude or a longitude but not both".into()),
    }
}

/// Signed degrees from the three rationals of a GPS tag and the reference letter that states the sign.
fn degrees(exif: &Exif, tag: Tag, reference: Tag, letters: [u8; 2]) -> std::result::Result<Option<f64>, String> {
    let Some(field) = exif.get_field(tag, In::PRIMARY) else { return Ok(None) };
    let Value::Rational(parts) = &field.value else { return Err(format!("EXIF {tag} does not consist of rationals")) };
    let [degrees, minutes, seconds] = parts.as_slice() else {
        return Err(format!("EXIF {tag} has {} numbers instead of degrees, minutes and seconds", parts.len()));
    };
    let value = degrees.to_f64() + minutes.to_f64() / 60.0 + seconds.to_f64() / 3600.0;
    if !value.is_finite() {
        return Err(format!("EXIF {tag} divides by zero"));
    }
    let letter = exif.get_field(reference, In::PRIMARY).and_then(|field| match &field.value {
        Value::Ascii(lines) => lines.first()?.first().copied(),
        _ => None,
    });
    match letter {
        Some(letter) if letter == letters[0] => Ok(Some(value)),
        Some(letter) if letter == letters[1] => Ok(Some(-value)),
        _ => Err(format!("EXIF {reference} is missing, so {tag} has no sign")),
    }
}
