//! Photographs in folders, and where they say that they were taken.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use exif::{Exif, In, Tag, Value};

use crate::error::{Error, Result};
use crate::latlng::LatLng;

/// The pictures in a folder and those in it, in the order of their paths. Links are not followed, which keeps the search
/// finite.
///
/// # Errors
/// When a folder cannot be read.
pub fn pictures_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    find(dir, &mut files)
        .map_err(|(dir, e)| Error::file(&dir, format!("cannot be read: {e}"), "name another folder"))?;
    files.sort();
    Ok(files)
}

fn find(dir: &Path, files: &mut Vec<PathBuf>) -> std::result::Result<(), (PathBuf, std::io::Error)> {
    let failed = |e| (dir.to_owned(), e);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            find(&path, files)?;
        } else if path.extension().and_then(|ext| ext.to_str()).is_some_and(is_picture) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_picture(extension: &str) -> bool {
    ["jpg", "jpeg", "png", "webp"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Where a photograph was taken, by its EXIF data; `None` when it does not say.
///
/// # Errors
/// When the file cannot be read or says it in a way that has no meaning.
pub fn place_of(file: &Path) -> Result<Option<LatLng>> {
    place(file).map_err(|why| Error::picture(file, why))
}

fn place(file: &Path) -> std::result::Result<Option<LatLng>, String> {
    let mut reader = BufReader::new(std::fs::File::open(file).map_err(|e| format!("cannot be read: {e}"))?);
    let exif = match exif::Reader::new().read_from_container(&mut reader) {
        Ok(exif) => exif,
        Err(exif::Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(format!("its EXIF data is broken ({error})")),
    };
    let lat = degrees(&exif, Tag::GPSLatitude, Tag::GPSLatitudeRef, [b'N', b'S'])?;
    let lng = degrees(&exif, Tag::GPSLongitude, Tag::GPSLongitudeRef, [b'E', b'W'])?;
    match (lat, lng) {
        (Some(lat), Some(lng)) => LatLng::new(lat, lng).map(Some).map_err(|e| e.to_string()),
        (None, None) => Ok(None),
        _ => Err("it has a latitude or a longitude, not both".into()),
    }
}

/// Signed degrees from the three rationals of a GPS tag and the letter that gives them their sign.
fn degrees(exif: &Exif, tag: Tag, reference: Tag, letters: [u8; 2]) -> std::result::Result<Option<f64>, String> {
    let Some(field) = exif.get_field(tag, In::PRIMARY) else { return Ok(None) };
    let Value::Rational(parts) = &field.value else { return Err(format!("its {tag} is not made of rationals")) };
    let [degrees, minutes, seconds] = parts.as_slice() else {
        return Err(format!("its {tag} has {} numbers instead of degrees, minutes and seconds", parts.len()));
    };
    let value = degrees.to_f64() + minutes.to_f64() / 60.0 + seconds.to_f64() / 3600.0;
    if !value.is_finite() {
        return Err(format!("its {tag} divides by zero"));
    }
    let letter = exif.get_field(reference, In::PRIMARY).and_then(|field| match &field.value {
        Value::Ascii(lines) => lines.first()?.first().copied(),
        _ => None,
    });
    match letter {
        Some(letter) if letter == letters[0] => Ok(Some(value)),
        Some(letter) if letter == letters[1] => Ok(Some(-value)),
        _ => Err(format!("its {reference} is missing, so {tag} has no sign")),
    }
}
