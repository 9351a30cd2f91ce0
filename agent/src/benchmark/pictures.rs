//! What a player sees of a round: pictures without metadata, encoded anew.

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_common::picture::{fit_within, to_jpeg};
use landfall_model::images;
use sha2::{Digest, Sha256};

use crate::benchmark::set::BenchRound;
use crate::server::arena::{Picture, PictureKind, panorama_views};

/// Longer side of a picture in pixels.
pub(super) const MAX_SIDE: u32 = 2048;
const JPEG_QUALITY: u8 = 92;

/// A picture for a player.
#[derive(Clone, Debug)]
pub(super) struct ShownView {
    /// Degrees clockwise from the first view, where it is known.
    pub heading_deg: Option<f64>,
    pub jpeg: Vec<u8>,
}

/// The pictures of a round: four views all around of a panorama, else the photos. Always decoded and encoded anew, so that
/// neither metadata nor the file itself can be recognised.
///
/// # Errors
/// When a file is not an image.
pub(super) fn shown(round: &BenchRound) -> Result<Vec<ShownView>> {
    let first = decode(&round.first.picture)?;
    if round.first.kind == PictureKind::Panorama {
        return panorama_views(&first, round.first.heading)
            .map(|(heading, view)| Ok(ShownView { heading_deg: Some(heading), jpeg: to_jpeg(&view, JPEG_QUALITY)? }))
            .collect();
    }
    let mut views = vec![photo(&first, round.heading)?];
    for (picture, heading) in &round.further {
        views.push(photo(&decode(picture)?, *heading)?);
    }
    Ok(views)
}

fn photo(picture: &RgbImage, heading_deg: Option<f64>) -> Result<ShownView> {
    Ok(ShownView { heading_deg, jpeg: to_jpeg(&fit_within(picture, (MAX_SIDE, MAX_SIDE)), JPEG_QUALITY)? })
}

/// The first picture of a round as the report shows it.
pub(super) fn preview(round: &BenchRound) -> Result<RgbImage> {
    let first = decode(&round.first.picture)?;
    if round.first.kind == PictureKind::Photo {
        return Ok(first);
    }
    let view = panorama_views(&first, round.first.heading).next().map(|(_, view)| view);
    Ok(view.unwrap_or(first))
}

fn decode(picture: &Picture) -> Result<RgbImage> {
    let bytes = picture.read().with_context(|| format!("cannot read {picture}"))?;
    images::from_bytes(&bytes).with_context(|| format!("{picture} cannot be decoded"))
}

/// File name of a picture, the same for every place.
pub(super) fn file_name(round: usize, view: usize) -> String {
    format!("round-{round:03}-view-{view}.jpg")
}

/// A hash that tells two texts apart without saying what they are.
pub(crate) fn hash_of(text: &str) -> String {
    let hash = sha256_hex(text.as_bytes());
    format!("sha256 {}", &hash[..16])
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::arena::ArenaRound;
    use landfall_model::LatLng;
    use landfall_model::metadata::Metadata;

    #[test]
    fn nothing_of_the_file_is_left_but_the_picture() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("eiffel-tower.jpg");
        let pixels = RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 3, y as u8 * 5, 90]));
        let plain = to_jpeg(&pixels, 90).unwrap();
        // As a camera would write it, with a comment that names the place.
        let secret = b"\xff\xfe\x00\x0fEiffel Tower!";
        std::fs::write(&file, [&plain[..2], secret, &plain[2..]].concat()).unwrap();
        crate::testing::readers::copy_with_location(&file, &dir.path().join("tagged.jpg")).unwrap();
        let tagged = dir.path().join("tagged.jpg");
        let exif = |bytes: &[u8]| Metadata::read(&mut std::io::Cursor::new(bytes)).unwrap().exif.len() == 1;
        let original = std::fs::read(&tagged).unwrap();
        assert!(exif(&original));
        let round = BenchRound {
            id: "paris-eiffel-tower".into(),
            country: Some("FR".into()),
            first: ArenaRound {
                truth: LatLng { lat: 48.858, lng: 2.294 },
                picture: Picture::File(tagged),
                kind: PictureKind::Photo,
                heading: 0.0,
                name: Some("Eiffel Tower".into()),
                credits: None,
                max_side: 9,
            },
            heading: None,
            further: vec![(Picture::File(file), Some(90.0))],
            source: None,
        };
        let views = shown(&round).unwrap();
        assert_eq!(views.iter().map(|view| view.heading_deg).collect::<Vec<_>>(), [None, Some(90.0)]);
        for view in &views {
            assert!(!exif(&view.jpeg) && !view.jpeg.windows(6).any(|part| part == b"Eiffel"));
            assert_ne!(view.jpeg.len(), original.len());
            assert_eq!(image::load_from_memory(&view.jpeg).unwrap().width(), 64);
        }
        assert_eq!(file_name(7, 1), "round-007-view-1.jpg");
    }

    #[test]
    fn panoramas_are_shown_as_four_views() {
        let set = crate::benchmark::RoundSet::load(&crate::benchmark::set::tests::fixtures(), None).unwrap();
        let panorama = set.rounds.iter().find(|round| round.first.kind == PictureKind::Panorama).unwrap();
        let headings: Vec<_> = shown(panorama).unwrap().iter().map(|view| view.heading_deg).collect();
        assert_eq!(headings, [Some(0.0), Some(90.0), Some(180.0), Some(270.0)]);
    }
}
