//! XMP sidecars: `photo.jpg.xmp` beside `photo.jpg`, with a location, as digiKam, darktable and Immich read them.
//!
//! Only a sidecar that this module wrote is replaced. Merging into those of other programs is out of scope.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use landfall_model::metadata::xmp;
use maud::html;

use crate::photos::exif::{Geotag, is_own_method};

/// The value of `x:xmptk`. Programs that change a sidecar put their own name there.
const TOOLKIT: &str = "Landfall";
const ADOBE_META: &str = "adobe:ns:meta/";
/// Maximum size of a sidecar of ours.
const MAX_BYTES: u64 = 64 << 10;

/// What is where a sidecar would be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SidecarState {
    Absent,
    /// Written by this module, and not changed since.
    Own,
    /// Of another program.
    Foreign,
}

/// Where the sidecar of a photo is.
pub(crate) fn sidecar_path(photo: &Path) -> PathBuf {
    let mut name = photo.file_name().unwrap_or_default().to_owned();
    name.push(".xmp");
    photo.with_file_name(name)
}

pub(crate) fn sidecar_state(photo: &Path) -> SidecarState {
    // Adobe's programs replace the extension instead.
    if photo.with_extension("xmp").symlink_metadata().is_ok() {
        return SidecarState::Foreign;
    }
    let sidecar = sidecar_path(photo);
    match sidecar.symlink_metadata() {
        Err(_) => SidecarState::Absent,
        Ok(found) if found.is_file() && found.len() <= MAX_BYTES && is_own(&sidecar) => SidecarState::Own,
        Ok(_) => SidecarState::Foreign,
    }
}

fn is_own(sidecar: &Path) -> bool {
    let mut text = String::new();
    let read = File::open(sidecar).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    let has_own_toolkit =
        |document: &roxmltree::Document<'_>| document.root_element().attribute((ADOBE_META, "xmptk")) == Some(TOOLKIT);
    let has_own_method = || {
        let method =
            |found: &xmp::Properties<'_, '_>| found.get(xmp::EXIF, "GPSProcessingMethod").is_some_and(is_own_method);
        xmp::with_properties(text.as_bytes(), method).unwrap_or(false)
    };
    read.is_ok()
        && roxmltree::Document::parse(&text).is_ok_and(|document| has_own_toolkit(&document))
        && has_own_method()
}

/// The sidecar with a location.
pub(crate) fn sidecar(geotag: &Geotag<'_>) -> String {
    let mut properties = vec![
        ("GPSVersionID", "2.3.0.0".to_owned()),
        ("GPSLatitude", degrees(geotag.at.lat, ['N', 'S'])),
        ("GPSLongitude", degrees(geotag.at.lng, ['E', 'W'])),
        ("GPSMapDatum", "WGS-84".to_owned()),
        ("GPSProcessingMethod", geotag.method()),
    ];
    properties.extend(geotag.error_m.map(|error_m| ("GPSHPositioningError", format!("{}/1", error_m.round()))));
    // maud escapes the values.
    let property = |(name, value): (&str, String)| format!("\n   exif:{name}=\"{}\"", html! { (value) }.into_string());
    let properties: String = properties.into_iter().map(property).collect();
    format!(
        "<x:xmpmeta xmlns:x=\"{ADOBE_META}\" x:xmptk=\"{TOOLKIT}\">\n \
         <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n  \
         <rdf:Description rdf:about=\"\" xmlns:exif=\"{}\"{properties}/>\n \
         </rdf:RDF>\n</x:xmpmeta>\n",
        xmp::EXIF
    )
}

/// Degrees and minutes as in `48,51.500000N`.
fn degrees(degrees: f64, letters: [char; 2]) -> String {
    // In millionths of a minute, so that minutes never round up to 60.
    let whole = (degrees.abs() * 60e6).round() as u64;
    let (degree, minute, millionths) = (whole / 60_000_000, whole / 1_000_000 % 60, whole % 1_000_000);
    format!("{degree},{minute}.{millionths:06}{}", letters[usize::from(degrees < 0.0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photos::exif::GeotagSource;
    use landfall_model::LatLng;

    #[test]
    fn degrees_are_written_as_xmp_has_them() {
        for (number, text) in [
            (48.858_333_333_333, "48,51.500000N"),
            (-0.999_999_999_9, "1,0.000000S"),
            (0.5, "0,30.000000N"),
            (-33.856_789, "33,51.407340S"),
        ] {
            assert_eq!(degrees(number, ['N', 'S']), text);
        }
    }

    #[test]
    fn a_sidecar_is_read_back_and_told_from_those_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let photo = dir.path().join("a.jpg");
        let at = LatLng { lat: -33.856_789, lng: 151.215_256 };
        assert_eq!(sidecar_state(&photo), SidecarState::Absent);
        for source in
            [GeotagSource::Picture, GeotagSource::PictureAndHints, GeotagSource::Accepted, GeotagSource::Corrected]
        {
            let error_m = (source != GeotagSource::Corrected).then_some(400_000.0);
            let text = sidecar(&Geotag { at, error_m, bundle: "<\"pocket\"&>@1", source });
            assert_eq!(text.contains("exif:GPSHPositioningError=\"400000/1\""), error_m.is_some(), "{text}");
            assert_eq!(
                text.contains("estimate by"),
                matches!(source, GeotagSource::Picture | GeotagSource::PictureAndHints)
            );
            std::fs::write(sidecar_path(&photo), &text).unwrap();
            assert_eq!(sidecar_state(&photo), SidecarState::Own, "{text}");
            let read = xmp::with_properties(text.as_bytes(), |found| {
                (
                    found.get(xmp::EXIF, "GPSLatitude").unwrap().to_owned(),
                    found.get(xmp::EXIF, "GPSLongitude").unwrap().to_owned(),
                )
            });
            assert_eq!(read.unwrap(), ("33,51.407340S".to_owned(), "151,12.915360E".to_owned()));
            for other in
                [text.replace("x:xmptk=\"Landfall\"", "x:xmptk=\"XMP Core 6.0\""), "notes".into(), String::new()]
            {
                std::fs::write(sidecar_path(&photo), &other).unwrap();
                assert_eq!(sidecar_state(&photo), SidecarState::Foreign, "{other}");
            }
        }
        std::fs::remove_file(sidecar_path(&photo)).unwrap();
        std::fs::write(dir.path().join("a.xmp"), "").unwrap();
        assert_eq!(sidecar_state(&photo), SidecarState::Foreign);
    }
}
