//! Rounds from a directory of photos with EXIF GPS coordinates.

use std::path::Path;

use anyhow::{Result, bail};
use landfall_common::photo_files::find_photos;
use landfall_model::metadata::gps;

use crate::server::arena::picture;
use crate::server::arena::round::{ArenaRound, Picture, PictureKind, RoundPool};

/// Maximum side in pixels of served photos.
const MAX_PHOTO_SIDE: u32 = 2048;

/// All photos under `dir` with GPS coordinates, sorted by path.
///
/// # Errors
/// When the directory cannot be read or contains no photos with GPS coordinates.
pub(super) fn load(dir: &Path) -> Result<RoundPool> {
    let found = find_photos(dir)?;
    let (files, mut loaded, mut without_place) = (found.files, RoundPool::default(), 0);
    loaded.notes.extend(found.notes.into_iter().chain(found.problems));
    for file in &files {
        match gps::position(file) {
            Ok(Some(truth)) => loaded.rounds.push(ArenaRound {
                truth,
                kind: if picture::is_panorama(file) { PictureKind::Panorama } else { PictureKind::Photo },
                picture: Picture::File(file.clone()),
                heading: 0.0,
                name: file.file_name().map(|name| name.to_string_lossy().into_owned()),
                credits: None,
                max_side: MAX_PHOTO_SIDE,
            }),
            Ok(None) => without_place += 1,
            Err(error) => loaded.notes.push(format!("left out {error}")),
        }
    }
    if without_place > 0 {
        loaded.notes.push(format!("left out {without_place} of {} photos: they have no GPS coordinates", files.len()));
    }
    if loaded.rounds.is_empty() {
        let reason = if loaded.notes.is_empty() { "it contains no photos".into() } else { loaded.notes.join("; ") };
        bail!("no photo in {} has GPS coordinates: {reason}", dir.display());
    }
    Ok(loaded)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use exif::experimental::Writer;
    use exif::{Field, In, Rational, Tag, Value};

    /// EXIF data with GPS coordinates, and with the reference letters `letters` if any.
    pub(crate) fn gps(lat: f64, lng: f64, letters: Option<(&str, &str)>) -> Vec<u8> {
        let sexagesimal = |value: f64| {
            let value = value.abs();
            let (degrees, minutes) = (value.trunc(), (value.fract() * 60.0).trunc());
            let seconds = (value - degrees - minutes / 60.0) * 3600.0;
            Value::Rational(
                [(degrees, 1.0), (minutes, 1.0), (seconds * 1e4, 1e4)]
                    .map(|(num, denom)| Rational { num: num as u32, denom: denom as u32 })
                    .to_vec(),
            )
        };
        let letter = |letter: &str| Value::Ascii(vec![letter.as_bytes().to_vec()]);
        let mut fields = vec![(Tag::GPSLatitude, sexagesimal(lat)), (Tag::GPSLongitude, sexagesimal(lng))];
        if let Some((ns, ew)) = letters {
            fields.extend([(Tag::GPSLatitudeRef, letter(ns)), (Tag::GPSLongitudeRef, letter(ew))]);
        }
        encode(fields)
    }

    pub(crate) fn encode(fields: Vec<(Tag, Value)>) -> Vec<u8> {
        let fields: Vec<Field> =
            fields.into_iter().map(|(tag, value)| Field { tag, ifd_num: In::PRIMARY, value }).collect();
        let mut writer = Writer::new();
        for field in &fields {
            writer.push_field(field);
        }
        let mut data = std::io::Cursor::new(Vec::new());
        writer.write(&mut data, false).unwrap();
        data.into_inner()
    }

    /// A JPEG that is red on the left and blue on the right, with `exif`.
    pub(crate) fn jpeg(width: u32, height: u32, exif: Option<&[u8]>) -> Vec<u8> {
        let picture = image::RgbImage::from_fn(width, height, |x, _| {
            image::Rgb(if x < width / 2 { [200, 0, 0] } else { [0, 0, 200] })
        });
        let mut plain = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut plain, image::ImageFormat::Jpeg).unwrap();
        let plain = plain.into_inner();
        let Some(exif) = exif else { return plain };
        let mut tagged = plain[..2].to_vec();
        tagged.extend([0xff, 0xe1]);
        tagged.extend(u16::try_from(exif.len() + 8).unwrap().to_be_bytes());
        tagged.extend(b"Exif\0\0");
        tagged.extend(exif);
        tagged.extend(&plain[2..]);
        tagged
    }

    #[test]
    fn reads_coordinates_in_all_hemispheres() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.jpg");
        for (lat, lng, letters) in
            [(45.7578, 4.832, ("N", "E")), (-33.8568, 151.2153, ("S", "E")), (-54.8, -68.3, ("S", "W"))]
        {
            std::fs::write(&file, jpeg(8, 8, Some(&gps(lat, lng, Some(letters))))).unwrap();
            let place = gps::position(&file).unwrap().unwrap();
            assert!((place.lat - lat).abs() < 1e-6 && (place.lng - lng).abs() < 1e-6, "{place}");
        }
    }

    #[test]
    fn positions_without_reference_letters_are_errors_and_absent_positions_are_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.jpg"), jpeg(8, 8, Some(&gps(1.0, 2.0, None)))).unwrap();
        std::fs::write(dir.path().join("b.JPG"), jpeg(8, 8, None)).unwrap();
        std::fs::write(dir.path().join("c.jpg"), "not a picture").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "").unwrap();
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("a.jpg: EXIF GPSLatitudeRef is missing"), "{error}");
        assert!(error.contains("left out 2 of 3 photos"), "{error}");

        std::fs::create_dir(dir.path().join("more")).unwrap();
        let good = jpeg(8, 8, Some(&gps(1.0, -2.0, Some(("N", "W")))));
        std::fs::write(dir.path().join("more/d.jpeg"), good).unwrap();
        let loaded = load(dir.path()).unwrap();
        assert_eq!((loaded.rounds.len(), loaded.notes.len()), (1, 2));
        assert_eq!(loaded.rounds[0].kind, PictureKind::Photo);
    }

    #[test]
    fn photos_of_cameras_without_a_fix_are_left_out_with_a_note() {
        let dir = tempfile::tempdir().unwrap();
        let none = || Value::Rational(vec![Rational { num: 0, denom: 0 }; 3]);
        let nowhere = encode(vec![(Tag::GPSLatitude, none()), (Tag::GPSLongitude, none())]);
        for (name, exif) in
            [("a.jpg", gps(0.0, 0.0, Some(("N", "E")))), ("b.jpg", nowhere), ("c.jpg", gps(1.0, 2.0, Some(("N", "E"))))]
        {
            std::fs::write(dir.path().join(name), jpeg(8, 8, Some(&exif))).unwrap();
        }
        let loaded = load(dir.path()).unwrap();
        assert_eq!(loaded.rounds.len(), 1);
        assert!(loaded.notes[0].contains("a.jpg: the position is 0, 0"), "{:?}", loaded.notes);
        assert!(loaded.notes[1].contains("b.jpg: EXIF GPSLatitude divides by zero"), "{:?}", loaded.notes);
    }
}
